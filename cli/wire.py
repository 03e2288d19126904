"""Messages of the plain WebSocket door: arrays ``[event, payload]``, calls with an id as third element."""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from jobcast.shared.errors import BadRequest

JOB_SNAPSHOT: Final = "job-snapshot"
"""Said here again: the module of its name in ``shared`` brings a Redis client along, a third of a command's start."""

_parts = msgspec.json.Decoder(list[msgspec.Raw])
_word = msgspec.json.Decoder(str)
_object = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Message:
    """What a gateway sent. ``raw`` is the payload's own text, for whoever passes it on unchanged."""

    event: str
    payload: dict[str, Any]
    raw: bytes

    @classmethod
    def of(cls, event: str, payload: dict[str, Any]) -> "Message":
        """A message made of an object that came within another one."""
        return cls(event, payload, msgspec.json.encode(payload))

    def as_line(self) -> bytes:
        """One JSON object: the payload as it was received, its event name put before it."""
        name = msgspec.json.encode(self.event)
        rest = self.raw.lstrip()[1:].lstrip()
        joint = b"" if rest.startswith(b"}") else b","
        return b'{"event":' + name + joint + rest


@dataclass(frozen=True, slots=True)
class Call:
    """What a client asks; ``number`` comes back in the answer."""

    event: str
    payload: dict[str, Any]
    number: int

    def encode(self) -> str:
        return msgspec.json.encode((self.event, self.payload, self.number)).decode()


def decode(text: str | bytes) -> Message:
    """Read one message.

    Raises:
        BadRequest: it is no message of this door.
    """
    try:
        event, payload = _parts.decode(text)[:2]
        raw = bytes(payload)
        return Message(_word.decode(event), _object.decode(raw), raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadRequest(f"expected a message as [event, payload]: {error}") from error
