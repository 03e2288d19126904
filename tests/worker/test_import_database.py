"""import-csv and its database: shared with others, not there yet, or none."""

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from jobcast import SyncContext
from jobcast.shared.events import JobCancelled, JobCompleted, JobFailed, JobProgress
from jobcast.worker.handlers import shipped
from jobcast.worker.handlers.database import WAITING, transaction
from jobcast.worker.handlers.paths import Roots
from tests.support.waiting import wait_until
from tests.worker.conftest import Bench
from tests.worker.jobs import error_of, result_of
from tests.worker.test_import_csv import rows_of

DATA = {"path": "in.csv", "database": "out.db", "table": "t"}


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Somebody else's transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.rollback()


def names_in(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir())


async def _waiting(bench: Bench, job_id: str) -> bool:
    return any(isinstance(event, JobProgress) and event.stage == WAITING for event in await bench.events(job_id))


async def _submit(bench: Bench, root: Path, text: str = "a\n1\n") -> str:
    (root / "in.csv").write_text(text)
    bench.registry = shipped([root])
    return await bench.submit(DATA, "files", "import-csv")


async def test_an_import_waits_for_another_for_as_long_as_it_takes(bench: Bench, tmp_path: Path) -> None:
    job_id = await _submit(bench, tmp_path)
    async with bench.worker():
        with held(tmp_path / "out.db"):
            await wait_until(lambda: _waiting(bench, job_id))
            await asyncio.sleep(5.5)  # SQLite was told to wait for 5 s, and the job failed then
        *_, last = await bench.ended(job_id)
    assert isinstance(last, JobCompleted)


async def test_a_reader_that_lingers_holds_a_commit_up_and_breaks_nothing(bench: Bench, tmp_path: Path) -> None:
    job_id = await _submit(bench, tmp_path)
    with closing(sqlite3.connect(tmp_path / "out.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.execute("INSERT INTO theirs VALUES (1)")
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM theirs").fetchall()
        async with bench.worker():
            await wait_until(lambda: _waiting(bench, job_id))
            connection.execute("COMMIT")
            *_, last = await bench.ended(job_id)
    assert isinstance(last, JobCompleted)
    assert rows_of(tmp_path / "out.db", "SELECT * FROM t") == [("1",)]


@pytest.mark.parametrize("ended_by", ["cancel", "time-out"])
async def test_a_wait_for_a_database_can_be_ended(bench: Bench, tmp_path: Path, ended_by: str) -> None:
    job_id = await _submit(bench, tmp_path)
    with held(tmp_path / "out.db"):
        async with bench.worker(job_timeout=60 if ended_by == "cancel" else 0.8):
            await wait_until(lambda: _waiting(bench, job_id))
            if ended_by == "cancel":
                await bench.queues.cancel(job_id)
            *_, last = await bench.ended(job_id)
    assert isinstance(last, JobCancelled if ended_by == "cancel" else JobFailed)
    assert "TimeoutError" in getattr(last, "error", "TimeoutError")


@pytest.mark.parametrize("text", ["", "a\n" + "1\n" * 400_000])
async def test_a_first_import_that_fails_leaves_no_database(bench: Bench, tmp_path: Path, text: str) -> None:
    job_id = await _submit(bench, tmp_path, text)
    async with bench.worker():
        await bench.seen(job_id, "job-progress" if text else "job-failed")
        if text:
            await bench.queues.cancel(job_id)
        *_, last = await bench.ended(job_id)
    assert last.kind == ("job-cancelled" if text else "job-failed")
    assert names_in(tmp_path) == ["in.csv"]


async def test_a_database_that_was_there_is_never_removed(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "out.db").touch()
    (tmp_path / "in.csv").touch()
    assert "header" in await error_of(bench, tmp_path, "import-csv", DATA)
    assert (tmp_path / "out.db").exists()


class Quiet:
    """A context that nobody stops."""

    job_id = "j"

    def __init__(self) -> None:
        self.waits = threading.Event()

    def progress(self, _value: float, stage: str) -> None:
        if stage == WAITING:
            self.waits.set()

    def check_cancelled(self) -> None: ...


def test_who_waited_for_a_first_import_that_fails_does_not_write_into_a_removed_file(tmp_path: Path) -> None:
    place, second = Roots([tmp_path]).locate("out.db"), Quiet()

    def write() -> None:
        with transaction(place, cast("SyncContext", second)) as connection:
            connection.execute("CREATE TABLE kept (x)")

    thread = threading.Thread(target=write)
    with contextlib.suppress(ZeroDivisionError), transaction(place, cast("SyncContext", Quiet())):
        thread.start()
        assert second.waits.wait(5)
        _ = 1 / 0
    thread.join(10)
    assert rows_of(tmp_path / "out.db", "SELECT name FROM sqlite_master") == [("kept",)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": "dir"}, "expected a file, got the directory 'dir'"),
        ({"path": "pipe"}, "expected a file, got the pipe 'pipe'"),
        ({"database": "dir"}, "expected database as a file, got the directory 'dir'"),
        ({"database": "pipe"}, "expected database as a file, got the pipe 'pipe'"),
    ],
)
async def test_what_is_no_file_is_named(bench: Bench, tmp_path: Path, change: dict[str, str], words: str) -> None:
    (tmp_path / "in.csv").write_text("a\n1\n")
    (tmp_path / "dir").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert await error_of(bench, tmp_path, "import-csv", {**DATA, **change}) == f"BadData: {words}"


async def test_a_field_may_be_as_long_as_a_row(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,b\n" + "x" * 900_000 + ",2\n" + '"never closed,2\n')
    result: Any = await result_of(bench, tmp_path, "import-csv", DATA)
    assert (result["rows"], result["rejected"]) == (1, 1)
    assert rows_of(tmp_path / "out.db", "SELECT reason FROM t_rejects") == [("a quote is opened and not closed",)]
