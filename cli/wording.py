"""What an event says to a person, in one line. Pure; what a job said is made harmless to a terminal first.

A job's text may hold terminal escapes: printed as they are they recolour, retitle, or type into the shell of whoever
watches. Nothing a job said leaves here with a control character in it.
"""

import re
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from jobcast.cli.follow import Payload
from jobcast.cli.wire import JOB_SNAPSHOT
from jobcast.shared import states
from jobcast.shared.circuit_words import QUEUE_CIRCUIT

LONGEST_VALUE: Final = 2000
_OTHERS: Final = ("failed", "cancelled", "active", "waiting")
_SEQUENCE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?")
_BLANK = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
# Also what turns the direction of writing: it can make a line read as another one.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def inert(text: object) -> str:
    """``text`` on one line, escape sequences and control characters taken out."""
    return _CONTROL.sub("", _BLANK.sub(" ", _SEQUENCE.sub("", str(text))))


def inert_json(line: bytes) -> bytes:
    """The same JSON value, what a terminal could obey or a reader take for a line's end written as ``\\u....``."""
    if line.isascii() and b"\x7f" not in line:
        return line
    return _IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", line.decode()).encode()


def span(ms: object) -> str:
    """Milliseconds as a person says them."""
    if not isinstance(ms, int | float):
        return "?"
    if ms < 1000:
        return f"{ms:.0f} ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def value(found: Any) -> str:
    """A result or a detail: text as it is, the rest as JSON."""
    text = found if isinstance(found, str) else msgspec.json.encode(found).decode()
    text = inert(text)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}... ({len(text)} characters)"


def percent(payload: Payload) -> float | None:
    """How far the job is, where it can be told."""
    for name in ("percent", "progress"):
        found = payload.get(name)
        if isinstance(found, int | float) and not isinstance(found, bool):
            return min(100.0, max(0.0, float(found)))
    return None


def activity(payload: Payload) -> str:
    """What the job says it is doing: its stage and details, or what its children do; and how long it will take."""
    stage, details, eta = payload.get("stage"), payload.get("details"), payload.get("eta")
    parts = [inert(stage)] if stage else []
    if details is not None:
        parts.append(value(details))
    if counted := children(payload.get("children")):
        parts.append(f"({counted})")
    said = " ".join(parts)
    left = f"{span(eta)} left" if isinstance(eta, int | float) and eta > 0 else ""
    return ", ".join(filter(None, (said, left)))


def children(counts: Any) -> str:
    """Such as ``2 of 7 completed, 1 failed, 4 waiting``; nothing where nobody counts them."""
    if not isinstance(counts, dict) or not isinstance(counts.get("completed"), int):
        return ""
    others = [f"{inert(counts[state])} {state}" for state in _OTHERS if counts.get(state)]
    return ", ".join([f"{inert(counts['completed'])} of {inert(counts.get('total'))} completed", *others])


def says(event: str, payload: Payload) -> str:
    """The event in a few words. One of a kind not known here is told by its name alone."""
    told = _SAYS.get(event)
    return told(payload) if told else ""


def line(event: str, payload: Payload) -> str:
    """One line of a log: when, which job, where in its record, what."""
    at = payload.get("timestamp") or payload.get("heartbeatAt")
    clock = time.strftime("%H:%M:%S", time.localtime(at / 1000)) if isinstance(at, int | float) else "--:--:--"
    epoch, seq = payload.get("epoch"), payload.get("seq")
    place = f"{inert(epoch)}-{inert(seq)}" if epoch else "-"
    about = payload.get("jobId") or payload.get("queueName") or "?"
    return f"{clock} {inert(about)} {place} {inert(event)} {says(event, payload)}".rstrip()


def _queued(payload: Payload) -> str:
    text = f"{inert(payload.get('name', ''))} in {inert(payload.get('queue', ''))}"
    return f"{text}, to start in {span(payload['delay'])}" if payload.get("delay") else text


def _started(payload: Payload) -> str:
    return f"by {inert(payload.get('worker', '?'))} after {span(payload.get('queueToStartTime'))}"


def _progress(payload: Payload) -> str:
    done = percent(payload)
    said = activity(payload)
    if done is None:
        return f"{value(payload.get('progress'))} {said}".rstrip()
    return f"{done:.4g}% {said}".rstrip()


def _log(payload: Payload) -> str:
    level = payload.get("level")
    text = inert(payload.get("line", ""))
    return f"[{inert(level)}] {text}" if level else text


def _stalled(payload: Payload) -> str:
    return inert(payload.get("reason", ""))


def _completed(payload: Payload) -> str:
    return f"in {span(payload.get('processingTime'))}: {value(payload.get('result'))}"


def _failed(payload: Payload) -> str:
    # Used up, not begun: one that waits for a lock or for a limit to reset uses none, so it may be 0 of 3.
    tries = f"{inert(payload.get('attempts', '?'))} of {inert(payload.get('maxAttempts', '?'))} attempts used up"
    more = tries if payload.get("final") is not False else f"{tries}, to be tried again"
    return f"({more}): {inert(payload.get('error', ''))}"


def _cancelled(payload: Payload) -> str:
    return inert(payload.get("reason") or "")


def _circuit(payload: Payload) -> str:
    until = payload.get("until")
    clock = f" until {time.strftime('%H:%M:%S', time.localtime(until / 1000))}" if isinstance(until, int) else ""
    reason = payload.get("reason")
    return f"{inert(payload.get('state'))}{clock}" + (f": {inert(reason)}" if reason else "")


def _snapshot(payload: Payload) -> str:
    done = percent(payload)
    parts = [inert(payload.get("state", "unknown"))]
    if done is not None:
        parts.append(f"{done:.4g}%")
    return " ".join([*parts, activity(payload)]).rstrip()


_SAYS: Final[dict[str, Callable[[Payload], str]]] = {
    states.JOB_QUEUED: _queued,
    states.JOB_STARTED: _started,
    states.JOB_PROGRESS: _progress,
    states.JOB_LOG: _log,
    states.JOB_STALLED: _stalled,
    states.JOB_COMPLETED: _completed,
    states.JOB_FAILED: _failed,
    states.JOB_CANCELLED: _cancelled,
    JOB_SNAPSHOT: _snapshot,
    QUEUE_CIRCUIT: _circuit,
}
