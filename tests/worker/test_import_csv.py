"""import-csv on real input."""

import csv
import io
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobcast.shared.events import JobLog
from jobcast.worker.handlers.csv_rows import Reject, Row, Rows
from jobcast.worker.handlers.import_csv import columns
from tests.worker.conftest import Bench
from tests.worker.jobs import error_of, grown, handled, result_of


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
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(table)
    rows = Rows(io.BytesIO(text.getvalue().encode()), ",")
    assert [each.fields for each in rows if isinstance(each, Row)] == list(
        csv.reader(io.StringIO(text.getvalue(), newline=""))
    )


@given(st.binary(max_size=300) | st.lists(st.sampled_from([b'"', b",", b"\n", b"a", b"\r\n", b"\xff"])).map(b"".join))
def test_no_line_is_lost_whatever_the_bytes(data: bytes) -> None:
    rows = Rows(io.BytesIO(data), ",")
    found = list(rows)
    lines = [each.line for each in found]
    assert lines == sorted(set(lines))
    assert rows.offset == len(data)
    assert len([each for each in found if isinstance(each, Reject)]) <= data.count(b"\n") + 1


def test_columns_are_named_by_a_rule() -> None:
    assert columns([" a ", "", "A", "a", "a_2", ""]) == ["a", "column_2", "A_2", "a_3", "a_2_2", "column_6"]


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


CRASH = """
import os, sys
from pathlib import Path
from jobcast.worker.handlers import shipped
class Context:
    job_id = "j"
    data = {"path": "in.csv", "database": "out.db", "table": "t"}
    def log(self, *_): pass
    def progress(self, percent, stage):
        if percent > float(sys.argv[2]): os._exit(9)
shipped([Path(sys.argv[1])]).find("files", "import-csv").function(Context())
"""


def test_a_worker_killed_midway_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,b\n" + "1,2\n" * 50_000)
    command = [sys.executable, "-c", CRASH, str(tmp_path)]
    assert subprocess.run([*command, "101"], check=False).returncode == 0
    (tmp_path / "in.csv").write_text("c\n" + "1\n" * 50_000)
    for at in ("50", "99.8"):
        assert subprocess.run([*command, at], check=False).returncode == 9
        assert rows_of(tmp_path / "out.db", "SELECT count(a), count(b) FROM t") == [(50_000, 50_000)]
    assert subprocess.run([*command, "101"], check=False).returncode == 0
    assert rows_of(tmp_path / "out.db", "SELECT count(c) FROM t") == [(50_000,)]
