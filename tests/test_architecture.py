"""The arrows of the house hold: who may import whom, and what does no I/O."""

from pathlib import Path

import pytest

from tests.support.architecture import PURE, PURE_MAY_IMPORT, violations

ROOT = Path(__file__).parent.parent
ROOMS = ("shared", "gateway", "worker", "cli", "examples")
MODULES = sorted(file.relative_to(ROOT).as_posix() for room in ROOMS for file in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("path", MODULES)
def test_a_module_keeps_the_rules_of_the_house(path: str) -> None:
    assert violations(path, (ROOT / path).read_text(encoding="utf-8")) == []


def told(path: str, *lines: str) -> str:
    """Return what the checker says of a documented module with these lines."""
    return "\n".join(violations(path, '"""Doc."""\n' + "\n".join(lines)))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("gateway/hub.py", "import jobcast.worker"),
        ("gateway/hub.py", "from jobcast.worker.runner import run"),
        ("gateway/hub.py", "from jobcast import worker"),
        ("gateway/hub.py", "from ..worker import runner"),
        ("gateway/engine/server.py", "from ...worker import runner"),
        ("worker/app.py", "from jobcast.gateway import app"),
        ("worker/app.py", "from jobcast.cli import main"),
        ("shared/redis.py", "from jobcast.worker import context"),
        ("shared/journal/redis.py", "from jobcast.gateway.hub import Hub"),
        ("shared/redis.py", "from jobcast.cli import main"),
        ("worker/runner.py", "import bullmq"),
        ("cli/main.py", "from bullmq import Queue"),
        ("gateway/streams.py", "import socketio"),
        ("worker/app.py", "from engineio.payload import Payload"),
        ("gateway/routes.py", "from jobcast.gateway import app"),
        ("gateway/sockets.py", "from .app import build"),
        ("gateway/hub.py", "from jobcast.gateway.sockets import Sockets"),
        ("gateway/feed.py", "from jobcast.gateway import streams"),
        ("gateway/feed.py", "from jobcast.gateway import routes"),
        ("gateway/watch.py", "from jobcast.gateway.hub import Hub"),
        ("gateway/outbox.py", "from jobcast.gateway.feed import Feed"),
        ("gateway/hub.py", "from worker import runner"),
        ("examples/market/jobs.py", "from jobcast.worker.breaker import Breaker"),
        ("examples/market/jobs.py", "from jobcast import gateway"),
        ("examples/market/jobs.py", "import jobcast.shared"),
        ("examples/market/jobs.py", "import redis"),
        ("examples/market/jobs.py", "from examples.copy_trading import database"),
        ("examples/market/jobs.py", "from ..copy_trading import database"),
        ("examples/market/jobs.py", "from examples import copy_trading"),
    ],
)
def test_a_forbidden_import_is_told(path: str, line: str) -> None:
    assert f"{path} imports" in told(path, line)


@pytest.mark.parametrize("path", PURE)
@pytest.mark.parametrize(
    "module",
    [
        "asyncio", "bullmq", "httpx", "logging", "os", "pathlib", "redis.asyncio", "secrets",
        "socket", "socketio", "starlette", "structlog", "subprocess", "threading", "time", "uuid",
        "urllib.request", "jobcast.shared.redis", "jobcast.shared.settings", "jobcast.shared.journal.redis",
    ],
)  # fmt: skip
def test_a_pure_module_that_imports_the_world_is_told(path: str, module: str) -> None:
    assert f"imports {module}: it is pure" in told(path, f"import {module}")


def test_an_import_hidden_in_a_function_or_for_types_only_is_told() -> None:
    assert "imports time" in told("gateway/watch.py", "def now():", "    import time")
    lines = (
        "from typing import TYPE_CHECKING",
        "if TYPE_CHECKING:",
        "    from jobcast.gateway.hub import Hub",
    )
    assert "gateway.hub" in told("gateway/watch.py", *lines)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("gateway/app.py", "from jobcast.gateway import feed, hub, routes, sockets, streams"),
        ("gateway/sockets.py", "import socketio"),
        ("gateway/engine/server.py", "from engineio import packet"),
        ("gateway/streams.py", "from jobcast.gateway.hub import Hub"),
        ("gateway/watch.py", "from jobcast.shared.position import Position"),
        ("gateway/watch.py", "from collections.abc import Iterator"),
        ("shared/queue.py", "import bullmq"),
        ("shared/queue/producer.py", "import bullmq"),
        ("worker/taker.py", "from bullmq import Worker"),
        ("worker/app.py", "from jobcast.shared import redis"),
        ("cli/up.py", "from jobcast import gateway, worker"),
        ("examples/market/jobs.py", "from jobcast import Breaker, Context, job"),
        ("examples/market/jobs.py", "import sqlite3"),
        ("examples/market/jobs.py", "import httpx, msgspec"),
        ("examples/market/jobs.py", "from examples.market import database"),
        ("examples/market/jobs.py", "from . import database"),
    ],
)
def test_what_the_drawing_allows_is_not_told(path: str, line: str) -> None:
    assert told(path, line) == ""


def test_a_module_of_more_than_300_lines_is_told() -> None:
    assert told("worker/app.py", *["x = 1"] * 299) == ""
    assert "has 301 lines" in told("worker/app.py", *["x = 1"] * 300)


def test_a_module_without_a_docstring_is_told() -> None:
    assert violations("worker/app.py", "x = 1\n") == [
        "worker/app.py has no docstring: a reader learns nothing of why it is there"
    ]


def test_the_list_for_pure_modules_holds_no_way_out() -> None:
    assert PURE_MAY_IMPORT.isdisjoint({"asyncio", "io", "os", "socket", "sys", "threading", "time", "logging"})
