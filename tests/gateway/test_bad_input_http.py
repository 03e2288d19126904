"""What no caller should send over HTTP: each is refused with its code, and neither the log nor a neighbour minds."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from tests.gateway.listeners import WebSocketListener
from tests.gateway.support import GatewayProcess, http, send_raw
from tests.support.redis_server import RedisServer

HOSTILE = ["*", "a?", "[a]", "a b", "a\r\nb", "a\x00b", "{}", "../x", "x" * 129, "x" * 10_000, "jоb", "ｊ", "%00"]
BELOW = ["", "/progress", "/result", "/history", "/events"]
GOOD = {"queue": "demo", "name": "simulate", "data": {}}
NAN = b'{"queue":"demo","name":"simulate","data":{"x":NaN}}'
BODIES = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"{", id="cut short"),
    pytest.param(b'"text"', id="not an object"),
    pytest.param(b"[1]", id="a list"),
    pytest.param(b"null", id="null"),
    pytest.param(b"\xff\xfe{}", id="not UTF-8"),
    pytest.param(NAN, id="NaN"),
    pytest.param(b'{"queue":"demo","name":"simulate","data":"\\ud800"}', id="half a surrogate"),
    pytest.param(b"[" * 60_000, id="nesting without end"),
    pytest.param(
        b'{"queue":"demo","name":"simulate","data":' + b"[" * 30_000 + b"]" * 30_000 + b"}", id="deep nesting"
    ),
    pytest.param(b'{"queue":"demo","name":"simulate","data":' + b"9" * 60_000 + b"}", id="an endless integer"),
    pytest.param(json.dumps({**GOOD, "queue": "a b"}).encode(), id="a queue with a space"),
    pytest.param(json.dumps({**GOOD, "queue": "q" * 65}).encode(), id="a queue of 65"),
    pytest.param(json.dumps({**GOOD, "queue": 7}).encode(), id="a queue that is a number"),
    pytest.param(json.dumps({**GOOD, "name": ""}).encode(), id="no name"),
    pytest.param(json.dumps({**GOOD, "name": "a\nb"}).encode(), id="a name of two lines"),
    pytest.param(json.dumps({**GOOD, "name": {}}).encode(), id="a name that is an object"),
    pytest.param(json.dumps({**GOOD, "more": 1}).encode(), id="an unknown field"),
    pytest.param(json.dumps({**GOOD, "opts": []}).encode(), id="opts that are a list"),
    pytest.param(json.dumps({**GOOD, "opts": {"delayed": 1}}).encode(), id="an unknown option"),
    pytest.param(json.dumps({**GOOD, "opts": {"delay": -1}}).encode(), id="a negative delay"),
    pytest.param(json.dumps({**GOOD, "opts": {"attempts": 10**9}}).encode(), id="too many attempts"),
    pytest.param(json.dumps({**GOOD, "opts": {"jobId": "a:b"}}).encode(), id="an id BullMQ cannot keep"),
    pytest.param(json.dumps({**GOOD, "opts": {"jobId": "7"}}).encode(), id="an id that is a number"),
]


@pytest.fixture(autouse=True)
async def neighbour(gateway: GatewayProcess) -> AsyncIterator[None]:
    """Somebody else, connected throughout and served as well after the test as before."""
    async with WebSocketListener.to(gateway.url) as listener:
        yield
        assert (await listener.call("subscribe-to-job", "neighbour"))["ok"]


@pytest.mark.parametrize("job_id", HOSTILE)
async def test_a_hostile_id_is_refused_on_every_path_before_redis(
    gateway: GatewayProcess, redis_server: RedisServer, job_id: str
) -> None:
    place = quote(job_id, safe="")
    requests = [("GET", f"/api/v1/jobs/{place}{below}") for below in BELOW]
    requests += [("DELETE", f"/api/v1/jobs/{place}"), ("POST", f"/api/v1/jobs/{place}/retry")]
    requests += [("GET", f"/api/v1/queues/{place}"), ("GET", f"/api/v1/queues/{place}/events")]
    requests += [("GET", f"/api/v1/jobs?queue={place}"), ("GET", f"/api/v1/jobs/queue/{place}/stats")]
    async with http(gateway.url) as client:
        for method, path in requests:
            answer = await client.request(method, path)
            assert answer.status_code in {400, 404, 405}, (method, path, answer.text)
            assert answer.json()["code"] in {"bad-job-id", "bad-queue-name", "bad-request"}
            assert len(answer.text) < 500
    with redis_server.client() as redis:
        assert redis.keys("*") == []


@pytest.mark.parametrize("body", BODIES)
async def test_a_body_that_is_no_job_is_refused_and_nothing_is_queued(
    gateway: GatewayProcess, redis_server: RedisServer, body: bytes
) -> None:
    async with http(gateway.url) as client:
        answer = await client.post("/api/v1/jobs", content=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"].startswith("bad-")
    assert answer.json()["retryable"] is False
    assert len(answer.text) < 1000
    with redis_server.client() as redis:
        assert [key for key in redis.keys("*") if "meta" not in key] == []


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_64_kib_is_too_large_with_and_without_its_length(
    gateway: GatewayProcess, chunked: bool
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b"x" * 1024

    async with http(gateway.url) as client:
        answer = await client.post("/api/v1/jobs", content=chunks() if chunked else b"x" * 70 * 1024)
    assert (answer.status_code, answer.json()["code"]) == (413, "payload-too-large")


@pytest.mark.parametrize(
    "data", [b"[" * 10**5 + b"]" * 10**5, b"9" * 10**6], ids=["nesting of 100,000", "an integer of a million digits"]
)
async def test_what_could_only_be_read_at_great_length_is_not_read_at_all(gateway: GatewayProcess, data: bytes) -> None:
    body = b'{"queue":"demo","name":"simulate","data":%b}' % data
    async with http(gateway.url) as client:
        answer = await client.post("/api/v1/jobs", content=body)
        assert (answer.status_code, answer.json()["code"]) == (413, "payload-too-large")
        assert (await client.post("/api/v1/jobs", json=GOOD)).status_code == 202


@pytest.mark.parametrize("rest", [130_000, 10_000], ids=["all of it", "not all of it"])
async def test_a_body_answered_before_its_end_may_be_sent_to_the_end(gateway: GatewayProcess, rest: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + b"x" * 70_000)
        assert (await _answer(reader)).startswith(b"HTTP/1.1 413 ")
        writer.write(b"x" * rest)
        if rest == 130_000:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await _answer(reader)).startswith(b"HTTP/1.1 200 ")
        else:
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """An answer's head; its body is read and dropped."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length is not None, head
    await asyncio.wait_for(reader.readexactly(int(length[1])), 5)
    return head


async def test_the_largest_body_that_is_allowed_is_taken(gateway: GatewayProcess) -> None:
    empty = len(json.dumps({**GOOD, "data": ""}).encode())
    async with http(gateway.url) as client:
        body = json.dumps({**GOOD, "data": "x" * (64 * 1024 - empty)}).encode()
        assert (await client.post("/api/v1/jobs", content=body)).status_code == 202
        assert (await client.post("/api/v1/jobs", content=body + b" ")).status_code == 413


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=x",
        "limit=1e3",
        "status=done",
        "cursor=x",
        "cursor=1:",
        f"cursor={9:01000}",
    ],
)
async def test_a_list_asked_for_wrongly_is_refused(gateway: GatewayProcess, query: str) -> None:
    async with http(gateway.url) as client:
        answer = await client.get(f"/api/v1/jobs?queue=demo&{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-request")


async def test_a_reason_without_end_is_refused(gateway: GatewayProcess) -> None:
    async with http(gateway.url) as client:
        answer = await client.delete("/api/v1/jobs/j", params={"reason": "x" * 501})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-request")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x16\x03\x01\x02\x00", id="TLS"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no Host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="two Hosts"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 70_000, id="an endless header"),
    ],
)
async def test_what_is_no_request_is_refused(gateway: GatewayProcess, data: bytes) -> None:
    assert (await send_raw(gateway.port, data))[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 431"}
