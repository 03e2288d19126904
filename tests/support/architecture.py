"""The rules of the house, as a function over source text: which module may import what.

A rule that lives only in a document is broken by the first hurried import; this one answers in CI.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import jobcast

MAX_LINES = 300

PURE = (
    "shared/position.py",
    "shared/states.py",
    "shared/events.py",
    "shared/keys.py",
    "shared/snapshot.py",
    "shared/silence.py",
    "shared/names.py",
    "shared/options.py",
    "shared/circuit_words.py",
    "shared/errors.py",
    "shared/rollup.py",
    "shared/flow_tree.py",
    "gateway/held.py",
    "gateway/known_jobs.py",
    "gateway/queue_watch.py",
    "gateway/queue_plan.py",
    "gateway/queue_words.py",
    "gateway/watch.py",
    "gateway/outbox.py",
    "gateway/wire.py",
    "gateway/lane.py",
    "gateway/dialects.py",
    "gateway/allowance.py",
    "gateway/engine/limits.py",
    "gateway/engine/packets.py",
    "gateway/access.py",
    "worker/throttle.py",
    "worker/backoff.py",
    "worker/eta.py",
)

# What a pure module may import; a list of what it may not would never be whole.
# `random` is here for its class: the generator itself is an argument, as time is.
PURE_MAY_IMPORT = {
    "__future__",
    "abc",
    "base64",
    "binascii",
    "bisect",
    "collections",
    "contextlib",
    "copy",
    "dataclasses",
    "datetime",
    "enum",
    "fnmatch",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "msgspec",
    "operator",
    "orjson",
    "random",
    "re",
    "string",
    "struct",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
}
# The journal's contract makes an id by chance, so it is not pure; what it hands over (Reading, Entry) is.
PURE_OF_OURS = {"jobcast.shared.journal.contract"} | {
    "jobcast." + path.removesuffix(".py").replace("/", ".") for path in PURE
}

PUBLIC = {"jobcast"} | {f"jobcast.{name}" for name in jobcast.__all__}
EXAMPLES_MAY_IMPORT = PUBLIC | sys.stdlib_module_names | {"httpx", "msgspec"}


@dataclass(frozen=True)
class Ban:
    """Modules under ``who`` never import ``what``: globs over paths, prefixes of dotted names."""

    who: tuple[str, ...]
    what: tuple[str, ...]
    why: str
    but: tuple[str, ...] = ()

    def covers(self, path: str) -> bool:
        return _matches(path, self.who) and not _matches(path, self.but)


BANS = (
    Ban(("gateway/*",), ("jobcast.worker", "jobcast.cli"), "the gateway knows the worker by the journal alone"),
    Ban(("worker/*",), ("jobcast.gateway", "jobcast.cli"), "the worker knows the gateway by the journal alone"),
    Ban(
        ("shared/*",),
        ("jobcast.gateway", "jobcast.worker", "jobcast.cli"),
        "shared words know nobody who speaks them",
    ),
    Ban(
        ("*",),
        ("bullmq",),
        "bullmq's defects are contained in its adapters",
        but=("shared/queue*", "shared/schedules.py", "shared/planned.py", "worker/taker*"),
    ),
    Ban(
        ("*",),
        ("socketio", "engineio"),
        "python-socketio ends at the Socket.IO door",
        but=("gateway/sockets.py", "gateway/engine/*"),
    ),
    Ban(("gateway/*",), ("jobcast.gateway.app",), "only app wires", but=("gateway/app.py",)),
    Ban(
        (
            "gateway/feed.py",
            "gateway/subscriber.py",
            "gateway/positions.py",
            "gateway/readings.py",
            "gateway/hub.py",
            "gateway/topic.py",
            "gateway/lane.py",
            "gateway/watch.py",
            "gateway/queue_watch.py",
            "gateway/catchup.py",
            "gateway/outlet.py",
            "gateway/outbox.py",
        ),
        tuple(f"jobcast.gateway.{door}" for door in ("sockets", "streams", "routes", "app", "engine")),
        "doors know the hub, never the other way round",
    ),
    Ban(
        ("gateway/engine/*",),
        tuple(
            f"jobcast.gateway.{user}" for user in ("hub", "client", "doors", "calls", "sockets", "streams", "routes")
        ),
        "the engine carries bytes and knows nobody who sends them",
    ),
    Ban(
        ("gateway/watch.py", "gateway/queue_watch.py", "gateway/outbox.py"),
        ("jobcast.gateway.hub", "jobcast.gateway.feed"),
        "values in, values out",
    ),
)


def violations(path: str, source: str) -> list[str]:
    """Return what this module (``gateway/hub.py``) does against the rules, one sentence each."""
    tree = ast.parse(source)
    imports = sorted(set(imported(path, tree)))
    return [
        *_size(path, source),
        *_docstring(path, tree),
        *(message for name in imports for message in _import(path, name)),
    ]


def imported(path: str, tree: ast.Module) -> Iterator[str]:
    """Yield the full dotted name of all that is imported, even in a function or under TYPE_CHECKING."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                base = _absolute(path, node)
                yield from (f"{base}.{alias.name}" for alias in node.names)


def _absolute(path: str, node: ast.ImportFrom) -> str:
    """Resolve ``from ..shared import keys``: a rule that dots can walk around is none."""
    if not node.level:
        return node.module or ""
    root = [] if _is_example(path) else ["jobcast"]
    package = [*root, *path.split("/")][: -node.level]
    return ".".join([*package, *filter(None, [node.module])])


def _import(path: str, name: str) -> Iterator[str]:
    for ban in BANS:
        if ban.covers(path) and _within(name, ban.what):
            yield f"{path} imports {name}: {ban.why}"
    if path in PURE and not _pure(name):
        yield f"{path} imports {name}: it is pure, and I/O and time are its arguments"
    if _within(name, ("gateway", "worker", "shared", "cli")):
        yield f"{path} imports {name}: the installed name is jobcast.{name}"
    if _is_example(path) and not _for_example(path, name):
        yield f"{path} imports {name}: an example has what a user has, and knows no other example"


def _pure(name: str) -> bool:
    if name.startswith("jobcast."):
        return _within(name, PURE_OF_OURS)
    return _within(name, PURE_MAY_IMPORT)


def _is_example(path: str) -> bool:
    return path.startswith("examples/")


def _for_example(path: str, name: str) -> bool:
    if name.startswith("jobcast"):
        return name in PUBLIC
    itself = ".".join(path.split("/")[:2])
    return _within(name, EXAMPLES_MAY_IMPORT | {itself})


def _size(path: str, source: str) -> Iterator[str]:
    lines = len(source.splitlines())
    if lines > MAX_LINES:
        yield f"{path} has {lines} lines, more than {MAX_LINES}: it holds more than one idea"


def _docstring(path: str, tree: ast.Module) -> Iterator[str]:
    if not re.search(r"\w", ast.get_docstring(tree) or ""):
        yield f"{path} has no docstring: a reader learns nothing of why it is there"


def _matches(path: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(path, glob) for glob in globs)


def _within(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)
