"""The shipped handlers on real files, from the command line to the exit code."""

import json
import random
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from tests.conftest import StartJobcast
from tests.e2e.conftest import Stack
from tests.support.processes import JobcastProcess

COREUTILS = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum | sha256sum"


async def followed(start: StartJobcast, stack: Stack, queue: str, name: str, data: dict[str, Any]) -> JobcastProcess:
    env = {"JOBCAST_URL": stack.url}
    child = start("submit", queue, name, "--data", json.dumps(data), "--follow", "--json", env=env)
    await child.exited(60)
    return child


def last_event(child: JobcastProcess) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return found


def digest_by_coreutils(tree: Path) -> str:
    told = subprocess.run(["sh", "-c", COREUTILS], cwd=tree, capture_output=True, text=True, check=True)
    return told.stdout.split()[0]


async def test_a_tree_is_summed_as_coreutils_sums_it(stack: Stack, start_jobcast: StartJobcast) -> None:
    tree = stack.files / "tree"
    for i in range(40):
        file = tree / f"d{i % 5}" / f"file {i}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(random.Random(i).randbytes(i * 1000))
    (tree / "back\\slash\nand newline").write_bytes(b"odd name")

    child = await followed(start_jobcast, stack, "files", "checksum-tree", {"path": str(tree)})
    assert child.exit_code == 0, child.report
    result = last_event(child)["result"]
    assert result["digest"] == digest_by_coreutils(tree)
    assert result["files"] == 41
    assert result["bytes"] == sum(i * 1000 for i in range(40)) + len("odd name")
    assert result["unreadable"] == 0


async def test_a_path_outside_the_roots_fails_with_exit_code_1(stack: Stack, start_jobcast: StartJobcast) -> None:
    child = await followed(start_jobcast, stack, "files", "checksum-tree", {"path": "/etc"})
    assert child.exit_code == 1, child.report
    assert last_event(child)["event"] == "job-failed"


def write_csv(file: Path, rows: int, bad_every: int) -> int:
    """A table with a wrong number of fields in every so-manieth row; returns how many are wrong."""
    with file.open("w", newline="") as out:
        out.write("id,name,amount\n")
        for n in range(1, rows + 1):
            out.write(f"{n},only two\n" if n % bad_every == 0 else f'{n},"name, {n}",{n / 7:.2f}\n')
    return rows // bad_every


async def test_a_table_is_imported_and_its_bad_rows_are_kept_apart(stack: Stack, start_jobcast: StartJobcast) -> None:
    file, database = stack.files / "table.csv", stack.files / "out.db"
    bad = write_csv(file, rows=50_000, bad_every=1000)
    data = {"path": str(file), "database": str(database), "table": "payments"}
    child = await followed(start_jobcast, stack, "files", "import-csv", data)
    assert child.exit_code == 0, child.report
    assert last_event(child)["result"] == {
        "rows": 50_000 - bad,
        "rejected": bad,
        "columns": ["id", "name", "amount"],
    }
    with sqlite3.connect(database) as connection:
        assert connection.execute("select count(*), max(amount) from payments").fetchone()[0] == 50_000 - bad
        lines = connection.execute("select line from payments_rejects order by line").fetchall()
        assert [line for (line,) in lines] == [n + 1 for n in range(1000, 50_001, 1000)]
    connection.close()
