"""Reading a job's data: a struct says what is expected, and a sentence says what was wrong."""

from typing import Any, TypeVar

import msgspec

from jobcast.worker.errors import BadData

S = TypeVar("S", bound=msgspec.Struct)


def read_data(data: Any, kind: type[S]) -> S:
    """``data`` as ``kind``.

    Raises:
        BadData: a field is missing, unknown or not of its kind.
    """
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        fields = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        raise BadData(f"expected data as an object of {fields}: {error}") from error
