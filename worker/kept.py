"""For how long BullMQ keeps a finished job, and the journal its record."""

from typing import Any, Final

from jobcast.worker.values import is_number

FOR_EVER_MS: Final = 30 * 24 * 3600 * 1000
"""What stands for "as long as BullMQ keeps the job" where BullMQ is to keep it for ever (``removeOnComplete: false``).

Its price: Redis evicts nothing here, and a record is a few KiB, with a full history up to some 100 KiB and more. At a
million jobs a month that is gigabytes; who keeps jobs for ever pays for them in BullMQ as well, and there for good.
"""
LONGEST_LIFE_MS: Final = 10 * 365 * 24 * 3600 * 1000
"""An age that was told is honoured up to here; what is longer is a slip, and past some number Redis refuses it."""


def is_kept(keep: Any) -> bool:
    """Whether BullMQ keeps a job that was finished with this ``keep`` at all; None is no finish and keeps it."""
    if isinstance(keep, dict):
        return keep.get("count") != 0
    return keep is False or keep is None or (keep is not True and keep != 0)


def kept_for(keep: Any) -> int | None:
    """Milliseconds the journal must remember a finished job, given how BullMQ keeps it; None for the usual life.

    A count names no time, and a busy queue is through it soon: such a job is remembered for the usual life.
    """
    if not is_kept(keep):
        return None
    age, count = (keep.get("age"), keep.get("count")) if isinstance(keep, dict) else (None, keep)
    if is_number(age):
        return round(min(max(age, 0) * 1000, LONGEST_LIFE_MS))
    return None if is_number(count) and count >= 0 else FOR_EVER_MS
