"""What Redis answers about a job's record, read with the care that bytes deserve which anybody may have written."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from redis.exceptions import ResponseError

from jobcast.shared import logs
from jobcast.shared.errors import BadRequest, Unavailable
from jobcast.shared.journal.contract import Ask, Entry, Reading, continues
from jobcast.shared.position import Position
from jobcast.shared.redis import unavailable
from jobcast.shared.states import LIVE, TERMINAL

_STATES: Final = {state: state for state in LIVE | TERMINAL}
_log = logs.get("journal")


@contextlib.contextmanager
def legible(queue: str) -> Iterator[None]:
    """As ``unavailable``; a queue's own record that somebody garbled is one that cannot be served either."""
    try:
        with unavailable():
            yield
    except ResponseError as error:
        raise Unavailable(f"the record of queue {queue} cannot be read, it was written to by hand: {error}") from error


def answered(ask: Ask, answer: Any) -> Reading:
    """What one of the scripts, or HGETALL, answered."""
    if isinstance(answer, Exception | dict):
        return read_state(answer)
    state, rows, *whole = answer
    reading = read_state(dict(zip(state[::2], state[1::2], strict=True)))
    if reading.position is None:
        return reading
    missed = [Entry(int(entry_id.partition(b"-")[0]), values[1]) for entry_id, values in rows]
    if ask.place is not None:
        missed.reverse()
        recovered = whole == [1]
    else:
        assert ask.since is not None, "it was asked for"
        recovered = continues(ask.since, reading.position, missed)
    return Reading(reading.position, reading.fields, missed, recovered=True) if recovered else reading


def read_state(answer: dict[bytes, bytes] | Exception) -> Reading:
    """The record in a state hash. What somebody else wrote there must not keep others from being read: it is none."""
    if isinstance(answer, Exception):
        if not is_of_another_kind(answer):
            raise answer
        return _garbled(answer)
    try:
        fields = {name.decode(): value for name, value in answer.items()}
        if not fields.get("epoch") or not fields.get("seq"):
            return Reading(None, {})
        position = Position.check(fields["epoch"].decode(), int(fields["seq"]))
        int(fields["attempt"]), int(fields["at"]), fields["queue"].decode(), _STATES[fields["state"].decode()]
    except (ValueError, KeyError, BadRequest) as error:
        return _garbled(error)
    return Reading(position, fields)


def read_place(text: str) -> Position | None:
    """``<epoch>-<seq>``; nothing for what has no record, or one that somebody garbled."""
    try:
        return Position.parse(text) if text else None
    except BadRequest:
        return None


def _garbled(error: Exception) -> Reading:
    _log.warning("a job's record cannot be read and is taken for none", reason=repr(error)[:200])
    return Reading(None, {}, garbled=True)


def is_of_another_kind(error: Exception) -> bool:
    """Whether the key is a list, say, where a hash is asked for."""
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def entries(rows: Sequence[Any]) -> list[Entry]:
    return [Entry(int(entry_id.partition(b"-")[0]), values[b"e"]) for entry_id, values in rows if b"e" in values]
