"""The shipped handlers on real input, through a real worker or on their own."""

import csv
import os
import random
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobcast.shared.events import Event, JobCompleted, JobFailed, JobLog
from jobcast.worker.errors import BadData
from jobcast.worker.handlers import shipped
from jobcast.worker.handlers.checksum_tree import files
from jobcast.worker.handlers.csv_rows import Reject, Row, Rows
from jobcast.worker.handlers.import_csv import columns
from jobcast.worker.handlers.paths import Roots
from tests.worker.conftest import Bench

COREUTILS = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum | sha256sum"


async def handled(bench: Bench, root: Path, name: str, data: Any, queue: str = "files") -> list[Event]:
    """Run one shipped job to its end."""
    bench.registry = shipped([root])
    job_id = await bench.submit(data, queue, name)
    async with bench.worker():
        return await bench.ended(job_id, 30)


async def result_of(bench: Bench, root: Path, name: str, data: Any, queue: str = "files") -> Any:
    last = (await handled(bench, root, name, data, queue))[-1]
    assert isinstance(last, JobCompleted), last
    return last.result


async def error_of(bench: Bench, root: Path, name: str, data: Any, queue: str = "files") -> str:
    last = (await handled(bench, root, name, data, queue))[-1]
    assert isinstance(last, JobFailed), last
    assert last.final
    return last.error


def confirmed(path: Path) -> str:
    """What a user's own coreutils say of the tree."""
    return subprocess.run(["sh", "-c", COREUTILS], cwd=path, capture_output=True, text=True, check=False).stdout[:64]


def plant(root: Path) -> None:
    names = [
        b"a", b"a.b", b"a/b", b"a0", b"with space", b"back\\slash", b"new\nline", b"return\r", b"\xff\xfe", b"-n", "ü".encode(),
        b"A/z", b"deep/er/est/leaf", b"empty",
    ]  # fmt: skip
    for number, name in enumerate(names):
        path = os.path.join(os.fsencode(root), name)  # noqa: PTH118  names that are no text
        if name == b"a/b":
            path = os.path.join(os.fsencode(root), b"a-dir/b")  # noqa: PTH118
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(b"" if name == b"empty" else os.urandom(1000 * number))
    (root / "dir.x").mkdir()
    (root / "dir.x" / "1").write_text("1")
    (root / "dir").mkdir()
    (root / "dir" / "1").write_text("2")
    (root / "to-secret").symlink_to("/etc/passwd")
    (root / "to-dir").symlink_to("/etc")
    (root / "broken").symlink_to("nowhere")
    os.mkfifo(root / "pipe")


async def test_a_digest_is_the_one_coreutils_give(bench: Bench, tmp_path: Path) -> None:
    plant(tmp_path)
    result = await result_of(bench, tmp_path, "checksum-tree", {"path": str(tmp_path)})
    assert result["digest"] == confirmed(tmp_path)
    assert (result["files"], result["unreadable"]) == (16, 0)
    found = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert result["bytes"] == sum(path.stat().st_size for path in found)


async def test_an_empty_directory_has_a_digest_too(bench: Bench, tmp_path: Path) -> None:
    result = await result_of(bench, tmp_path, "checksum-tree", {"path": "."})
    assert result["digest"] == confirmed(tmp_path)
    assert result["files"] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_what_cannot_be_read_is_left_out_counted_and_logged(tmp_path: Path) -> None:
    """In a child of another user, for root reads everything."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("open", "closed", "also-closed"):
        (tree / name).write_text(name)
        (tree / name).chmod(0o600 if "closed" in name else 0o644)
    (tree / "shut").mkdir(0o700)
    (tree / "shut" / "in").write_text("in")
    for path in (tmp_path, *tmp_path.parents[:2], tree):
        path.chmod(0o755)
    program = f"""
import os, json
from jobcast.worker.handlers.checksum_tree import Checksum, files
class Context:
    lines = []
    def log(self, line, level): self.lines.append(line)
    def progress(self, *_): pass
os.setuid(65534)
top = os.open({str(tree)!r}, os.O_RDONLY)
context = Context()
sum_ = Checksum(context, 10)
for each in files(top, sum_.unreadable): sum_.add(*each)
print(json.dumps([sum_.result(), context.lines]))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    import json

    result, lines = json.loads(ran.stdout)
    assert (result["files"], result["unreadable"], result["bytes"]) == (1, 3, 4)
    assert lines == [
        "cannot read ./also-closed: Permission denied",
        "cannot read ./closed: Permission denied",
        "cannot read ./shut/: Permission denied",
    ]
    confirm = subprocess.run(
        ["sh", "-c", f"cd {tree} && {COREUTILS}"], capture_output=True, text=True, check=False, user=65534
    )
    assert result["digest"] == confirm.stdout[:64]


def test_files_come_in_the_order_of_their_paths_bytes(tmp_path: Path) -> None:
    for name in ("b/1", "b.c", "b-/1", "b0", "a/z/1", "a/z.1", "B"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    top = os.open(tmp_path, os.O_RDONLY)
    try:
        paths = [path for _, _, path in files(top)]
    finally:
        os.close(top)
    assert paths == sorted(paths)
    assert len(paths) == 7


@pytest.mark.parametrize("path", ["/etc", "../", "link-out", "a/../../x", "", "x\0y", "y" * 5000, "/nonexistent/file"])
async def test_nothing_outside_the_roots_is_read(bench: Bench, tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link-out").symlink_to("/etc")
    for name, data in (
        ("checksum-tree", {"path": path}),
        ("import-csv", {"path": path, "database": "ok.db", "table": "t"}),
        ("import-csv", {"path": "ok.csv", "database": path, "table": "t"}),
    ):
        error = await error_of(bench, root, name, data)
        assert error.startswith("BadData: ")
        assert "JOBCAST_FILE_ROOTS" in error or "expected a path" in error


def test_a_directory_swapped_for_a_link_after_the_look_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "passwd").write_text("mine")
    place = Roots([tmp_path]).locate("in/passwd")
    (tmp_path / "in").rename(tmp_path / "was")
    (tmp_path / "in").symlink_to("/etc")
    with pytest.raises(BadData, match="expected a file that can be read"):
        place.open_file()


@pytest.mark.parametrize(
    "data",
    [None, {}, {"path": 5}, {"path": ".", "more": 1}, []],
)
async def test_data_of_another_shape_is_refused_with_a_sentence(bench: Bench, tmp_path: Path, data: Any) -> None:
    assert (await error_of(bench, tmp_path, "checksum-tree", data)).startswith(
        "BadData: expected data as an object of path"
    )


def rows_of(database: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


BAD = (
    b"id,name,Name,,when\n"
    b"1,ann,x,y,z\n"
    b"2,too,few\n"
    b'3,"quoted, comma",x,y,"two\nlines"\n'
    b'4,"bad"quote,x,y,z\n'
    b"5,\xff\xfe,x,y,z\n"
    b"6,nul\0,x,y,z\n"
    b"\n"
    b"7,too,many,x,y,z\n"
    b'8,"never closed,x,y,z\n'
    b"9,last,x,y,z"
)


async def test_bad_rows_are_told_by_line_and_kept(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(BAD)
    data = {"path": "in.csv", "database": "out.db", "table": "people"}
    events = await handled(bench, tmp_path, "import-csv", data)
    result = events[-1].result  # type: ignore[attr-defined]
    assert result == {"rows": 3, "rejected": 6, "columns": ["id", "name", "Name_2", "column_4", "when"]}
    assert rows_of(tmp_path / "out.db", "SELECT id, name, `when` FROM people") == [
        ("1", "ann", "z"), ("3", "quoted, comma", "two\nlines"), ("9", "last", "z"),
    ]  # fmt: skip
    rejects = rows_of(tmp_path / "out.db", "SELECT line, reason, raw FROM people_rejects")
    assert [line for line, _, _ in rejects] == [3, 6, 7, 8, 10, 11]
    assert rejects[0] == (3, "expected 5 fields, got 3", "2,too,few")
    assert rejects[2] == (7, "byte 3 of the line is not UTF-8", "5,\\xff\\xfe,x,y,z")
    assert rejects[3][1] == "the line holds a NUL"
    assert rejects[5][2] == '8,"never closed,x,y,z'
    lines = [event.line for event in events if isinstance(event, JobLog)]
    assert lines[0] == "line 3: expected 5 fields, got 3"
    assert len(lines) == 6


async def test_a_second_import_replaces_the_first_and_a_foreign_table_is_left_alone(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("a;b\n1;2\n3\n")
    data = {"path": "in.csv", "database": "out.db", "table": "t", "delimiter": ";"}
    for _ in range(2):
        assert await result_of(bench, tmp_path, "import-csv", data) == {"rows": 1, "rejected": 1, "columns": ["a", "b"]}
    assert rows_of(tmp_path / "out.db", "SELECT count(*) FROM t") == [(1,)]
    assert rows_of(tmp_path / "out.db", "SELECT count(*) FROM t_rejects") == [(1,)]
    connection = sqlite3.connect(tmp_path / "out.db")
    connection.execute("CREATE TABLE Mine (x)")
    connection.close()
    error = await error_of(bench, tmp_path, "import-csv", {**data, "table": "mine"})
    assert "was not made by import-csv" in error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"table": "x; DROP TABLE y"}, "expected table"),
        ({"table": "sqlite_master"}, "expected table"),
        ({"table": "jobcast_imports"}, "expected table"),
        ({"table": "a_rejects"}, "expected table"),
        ({"delimiter": ";;"}, "expected delimiter"),
        ({"delimiter": '"'}, "expected delimiter"),
        ({"database": "in.csv"}, "two files"),
        ({"database": "text.txt"}, "to be an SQLite database"),
        ({"database": "no/where.db"}, "a database that can be opened"),
        ({"path": "empty.csv"}, "expected a header row"),
        ({"path": "gone.csv"}, "expected a file that can be read"),
        ({"path": "."}, "expected a file"),
    ],
)
async def test_what_cannot_be_imported_is_refused_with_a_sentence(
    bench: Bench, tmp_path: Path, change: dict[str, str], words: str
) -> None:
    (tmp_path / "in.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "text.txt").write_text("this is no database at all, whatever it may look like\n" * 30)
    data = {"path": "in.csv", "database": "out.db", "table": "t", **change}
    assert words in await error_of(bench, tmp_path, "import-csv", data)


@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8), min_size=2, max_size=4)
    )
)
def test_good_rows_are_those_python_s_own_csv_reads(table: list[list[str]]) -> None:
    import io

    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(table)
    rows = Rows(io.BytesIO(text.getvalue().encode()), ",")
    assert [each.fields for each in rows if isinstance(each, Row)] == list(
        csv.reader(io.StringIO(text.getvalue(), newline=""))
    )


@given(st.binary(max_size=300) | st.lists(st.sampled_from([b'"', b",", b"\n", b"a", b"\r\n", b"\xff"])).map(b"".join))
def test_no_line_is_lost_whatever_the_bytes(data: bytes) -> None:
    import io

    rows = Rows(io.BytesIO(data), ",")
    found = list(rows)
    lines = [each.line for each in found]
    assert lines == sorted(set(lines))
    assert rows.offset == len(data)
    assert len([each for each in found if isinstance(each, Reject)]) <= data.count(b"\n") + 1


def test_columns_are_named_by_a_rule() -> None:
    assert columns([" a ", "", "A", "a", "a_2", ""]) == ["a", "column_2", "A_2", "a_3", "a_2_2", "column_6"]


MEMORY = """
import resource, sys
from pathlib import Path
from jobcast.worker.handlers import shipped
class Context:
    job_id = "j"
    data = {"path": sys.argv[2], "database": sys.argv[3], "table": "t"}
    def log(self, *_): pass
    def progress(self, *_): pass
    def check_cancelled(self): pass
handler = shipped([Path(sys.argv[1])]).find("files", sys.argv[4])
if sys.argv[4] == "checksum-tree": Context.data = {"path": "."}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(handler.function(Context()))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def grown(root: Path, source: str, name: str) -> tuple[dict[str, Any], int]:
    """The result, and by how many KiB a process grew over it."""
    command = [sys.executable, "-c", MEMORY, str(root), source, "out.db", name]
    result, grew = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return eval(result), int(grew)  # what our own child printed


def test_a_hundred_thousand_rows_with_bad_ones_in_flat_memory(tmp_path: Path) -> None:
    chance = random.Random(7)
    bad = 0
    with (tmp_path / "big.csv").open("w") as file:
        file.write("id,name,amount,comment\n")
        for number in range(100_000):
            if chance.random() < 0.01:
                bad += 1
                file.write(f"{number},too few\n")
            else:
                file.write(f'{number},name {number},{number * 7},"a comment, with commas {"x" * 40}"\n')
    result, grew = grown(tmp_path, "big.csv", "import-csv")
    assert result == {"rows": 100_000 - bad, "rejected": bad, "columns": ["id", "name", "amount", "comment"]}
    with (tmp_path / "big.csv").open(newline="") as file:
        theirs = [len(row) for row in csv.reader(file)][1:]
    assert (theirs.count(4), theirs.count(2)) == (result["rows"], result["rejected"])
    assert grew < 16 * 1024


def test_a_big_file_is_hashed_in_flat_memory(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    result, grew = grown(tmp_path, "", "checksum-tree")
    assert result["bytes"] == 200 * 1024 * 1024
    assert grew < 8 * 1024
    assert resource.RLIMIT_AS  # the module is there: the figures above are real


async def test_a_simulation_steps_logs_and_fails_as_asked(bench: Bench, tmp_path: Path) -> None:
    events = await handled(
        bench, tmp_path, "simulate", {"steps": 4, "duration": 0.1, "logEvery": 2, "failAt": 4}, "demo"
    )
    assert [event.line for event in events if isinstance(event, JobLog)] == ["step 2 of 4 done"]
    assert events[-1].error == "SimulatedFailure: failed at step 4 of 4, as asked"  # type: ignore[attr-defined]
    result = await result_of(bench, tmp_path, "simulate", {"steps": 3, "duration": 0}, "demo")
    assert result == {"steps": 3}


@pytest.mark.parametrize(
    "data",
    [{"steps": 0, "duration": 1}, {"steps": 1, "duration": -1}, {"steps": 10**9, "duration": 1}, {"steps": 2},
     {"steps": 2, "duration": 1, "failAt": 3}, {"steps": 2, "duration": 1, "logEvery": 0}],
)  # fmt: skip
async def test_a_simulation_is_bounded(bench: Bench, tmp_path: Path, data: Any) -> None:
    assert (await error_of(bench, tmp_path, "simulate", data, "demo")).startswith("BadData: ")
