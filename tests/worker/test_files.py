"""checksum-tree and the guard of the roots."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from jobcast import SyncContext
from jobcast.worker.errors import BadData
from jobcast.worker.handlers.checksum_tree import Checksum
from jobcast.worker.handlers.paths import Roots
from jobcast.worker.handlers.walk import KEPT_OPEN, files
from tests.worker.conftest import Bench
from tests.worker.jobs import error_of, grown, result_of

COREUTILS = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum | sha256sum"


def confirmed(path: Path) -> str:
    """What a user's own coreutils say of the tree."""
    return subprocess.run(["sh", "-c", COREUTILS], cwd=path, capture_output=True, text=True, check=False).stdout[:64]


def size_of(path: Path) -> int:
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file() and not each.is_symlink())


def plant(root: Path) -> None:
    names = [
        b"a", b"a.b", b"a/b", b"a0", b"with space", b"back\\slash", b"new\nline", b"return\r", b"\xff\xfe", b"-n",
        b"A/z", b"deep/er/est/leaf", b"empty", "ü".encode(),
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
    assert result["bytes"] == size_of(tmp_path)


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
    for path in (tree, *tree.parents):
        if path.name.startswith(("test_", "popen-", "pytest-", "tree")):
            path.chmod(0o755)
    program = f"""
import os, json
from jobcast.worker.handlers.checksum_tree import Checksum
from jobcast.worker.handlers.walk import files
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


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_tree_may_be_deeper_than_a_process_has_descriptors(tmp_path: Path) -> None:
    """1200 levels, and names by which the whole path is longer than any the system takes."""
    name, at = "d" * 20, os.open(tmp_path, os.O_RDONLY)
    depth = 1200
    for level in range(depth):
        for leaf in ("a", "z") if level % 400 == 0 else ():
            os.close(os.open(leaf, os.O_WRONLY | os.O_CREAT, dir_fd=at))
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=at))
    os.close(at)
    top, most, paths = os.open(tmp_path, os.O_RDONLY), 0, []
    before = descriptors()
    try:
        for directory, leaf, path in files(top):
            os.stat(leaf, dir_fd=directory)
            most = max(most, descriptors() - before)
            paths.append(path)
    finally:
        os.close(top)
        subprocess.run(["rm", "-rf", str(tmp_path / name)], check=True)  # shutil's own goes by recursion
    assert paths == sorted(paths)
    assert len(paths) == 7
    assert max(path.count(b"/") for path in paths) == depth + 1
    assert most <= KEPT_OPEN + 1


def test_a_directory_moved_while_it_is_read_ends_the_walk(tmp_path: Path) -> None:
    deep = tmp_path / "tree" / "/".join(["d"] * (KEPT_OPEN + 3))
    deep.mkdir(parents=True)
    (deep / "leaf").touch()
    (tmp_path / "tree" / "z").touch()
    top = os.open(tmp_path / "tree", os.O_RDONLY)
    walk = files(top)
    try:
        _, _, path = next(walk)
        inside = (tmp_path / "tree").joinpath("d", "d")
        inside.rename(tmp_path / "elsewhere")
        with pytest.raises(OSError, match="moved while it was read"):
            next(walk)
    finally:
        os.close(top)
    assert path.endswith(b"d/leaf")


@pytest.mark.parametrize("measured", [True, False])
def test_a_tree_of_empty_files_or_directories_can_be_cancelled(tmp_path: Path, measured: bool) -> None:
    for number in range(20):
        (tmp_path / f"d{number}").mkdir()
        if measured:
            (tmp_path / f"d{number}" / "empty").touch()
    context = Told()
    top = os.open(tmp_path, os.O_RDONLY)
    sum_ = Checksum(cast("SyncContext", context), 0)
    try:
        for each in files(top, sum_.unreadable, sum_.report):
            sum_._reported = 0.0
            sum_.add(*each)
    finally:
        os.close(top)
    assert context.told >= (20 if measured else 1)


class Told:
    """A context that counts."""

    told = 0

    def progress(self, *_: object) -> None:
        self.told += 1


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


def test_a_big_file_is_hashed_in_flat_memory(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    result, grew = grown(tmp_path, "", "checksum-tree")
    assert result["bytes"] == 200 * 1024 * 1024
    assert grew < 8 * 1024
