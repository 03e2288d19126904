"""What a job, a queue and a handler may be called. Checked at every door, before Redis."""

import re

from jobcast.shared.errors import BadJobId, BadQueueName, BadRequest

_JOB_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}", re.ASCII)
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_CACHE_KEY = re.compile(r"[!-~]{1,255}", re.ASCII)
_LOCK_KEY = re.compile(r"lock:[^\s\x00-\x1f\x7f]{1,250}")
_JOB_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")

# BullMQ keeps a queue's own keys beside its jobs, as bull:<queue>:<this>: a job of that name would overwrite
# the list of waiting jobs, say.
_RESERVED_BY_BULLMQ = frozenset(
    "active completed de delayed events failed id limiter marker meta metrics paused pc prioritized repeat "  # noqa: SIM905  a list of 21 strings reads worse
    "stalled stalled-check wait waiting waiting-children".split()
)


def _shown(value: object) -> str:
    # Only text is shown: the repr of a value nested a thousand deep, or of an integer of 5,000 digits, raises.
    if not isinstance(value, str):
        return type(value).__name__
    return repr(value) if len(value) <= 80 else f"{value[:77]!r}..."


def check_job_id(value: object) -> str:
    """Return ``value`` as a job id, or raise ``BadJobId``."""
    if isinstance(value, str) and _JOB_ID.fullmatch(value):
        return value
    raise BadJobId(f"expected a job id of 1 to 128 letters, digits and _ . : -, got {_shown(value)}")


def check_new_job_id(value: object) -> str:
    """Return ``value`` as the id of a job to be queued, or raise ``BadJobId``.

    Narrower than :func:`check_job_id`: BullMQ gives whole numbers itself, joins its keys with a colon
    (job ``a:lock`` would be the lock of job ``a``), and reserves some words.
    """
    job_id = check_job_id(value)
    if ":" in job_id or job_id.isdigit() or job_id in _RESERVED_BY_BULLMQ:
        raise BadJobId(
            f"expected an id BullMQ can keep, got {_shown(value)}: it must hold no colon, be no whole number and "
            "not be a word BullMQ uses for its own keys"
        )
    return job_id


def check_queue_name(value: object) -> str:
    """Return ``value`` as a queue name, or raise ``BadQueueName``."""
    if isinstance(value, str) and _QUEUE_NAME.fullmatch(value):
        return value
    raise BadQueueName(f"expected a queue name of 1 to 64 letters, digits and _ . -, got {_shown(value)}")


def check_lock_key(value: object) -> str:
    """Return ``value`` as the key of a lock, or raise ``BadRequest``; such keys are nobody else's in Redis."""
    if isinstance(value, str) and _LOCK_KEY.fullmatch(value):
        return value
    raise BadRequest(
        f"expected a lock's key as lock:<what>:<which>, 6 to 255 characters without spaces, got {_shown(value)}"
    )


def check_cache_key(value: object) -> str:
    """Return ``value`` as the name of a result that is kept, or raise ``BadRequest``."""
    if isinstance(value, str) and _CACHE_KEY.fullmatch(value):
        return value
    raise BadRequest(
        f"expected the key of a result as 1 to 255 printable characters without spaces, got {_shown(value)}"
    )


def check_job_name(value: object) -> str:
    """Return ``value`` as the name of a handler's job, or raise ``BadRequest``."""
    if isinstance(value, str) and _JOB_NAME.fullmatch(value):
        return value
    raise BadRequest(f"expected a job name of 1 to 128 printable characters, got {_shown(value)}")
