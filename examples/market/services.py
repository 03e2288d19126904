"""What the handlers work with, given to them: a test or another program gives others."""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from examples.market.database import Backup, Database
from jobcast import Unrecoverable


class BackupBroken(Unrecoverable):
    """The backup is not what was written; the sentence says why."""


Verifier = Callable[[Backup], None]
"""Raises ``BackupBroken``; of anything else it raises the verification is tried again."""


@dataclass(frozen=True)
class Services:
    """``now``: Unix milliseconds. ``first_wait``: seconds between a webhook's first try and its second."""

    database: Database
    http: httpx.Client
    verify: Verifier
    now: Callable[[], int]
    first_wait: float = 1.0

    @classmethod
    def from_environment(cls) -> Self:
        return cls(
            database=Database(Path(os.environ.get("EXAMPLE_DATABASE", "examples.sqlite3"))),
            http=httpx.Client(timeout=10.0, trust_env=False),
            verify=verify_backup,
            now=lambda: time.time_ns() // 1_000_000,
            first_wait=float(os.environ.get("EXAMPLE_FIRST_WAIT", "1")),
        )


def verify_backup(backup: Backup) -> None:
    """Check that a file has its digest and that SQLite finds it whole."""
    path = Path(backup.path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != backup.sha256:
        raise BackupBroken(f"backup {backup.id}: expected digest {backup.sha256[:12]}..., got {digest[:12]}...")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        raise BackupBroken(f"backup {backup.id}: {error}") from error
    if verdict != "ok":
        raise BackupBroken(f"backup {backup.id}: {verdict}")
