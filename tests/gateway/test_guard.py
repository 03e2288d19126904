"""Whose page may speak to the gateway: shapes of Host and Origin through HTTP, WebSocket and Socket.IO."""

import pytest

from tests.gateway.conftest import StartGateway
from tests.gateway.support import GatewayProcess, send_raw, status_of, until_ready, upgrade

PORT = "{port}"
OWN = f"127.0.0.1:{PORT}"
SHAPES = [
    pytest.param(OWN, [], True, id="no Origin, as a program sends"),
    pytest.param(OWN, [f"Origin: http://{OWN}"], True, id="the same origin"),
    pytest.param(f"localhost:{PORT}", [f"Origin: http://localhost:{PORT}"], True, id="localhost"),
    pytest.param(f"LOCALHOST:{PORT}", [f"Origin: HTTP://LocalHost:{PORT}"], True, id="uppercase"),
    pytest.param(f"[::1]:{PORT}", [f"Origin: http://[::1]:{PORT}"], True, id="an IPv6 host"),
    pytest.param(OWN, ["Origin: http://evil.example"], False, id="another origin"),
    pytest.param(OWN, ["Origin: null"], False, id="null, as a sandboxed frame sends"),
    pytest.param("evil.example", ["Origin: http://evil.example"], False, id="a name rebound to this machine"),
    pytest.param(f"evil.example:{PORT}", [], False, id="a rebound name without an Origin"),
    pytest.param(
        OWN, ["Origin: http://evil.example", "X-Forwarded-Host: evil.example"], False, id="a forged X-Forwarded-Host"
    ),
    pytest.param(OWN, ["Origin: http://127.0.0.1:1"], False, id="another port"),
    pytest.param(OWN, ["Origin: http://127.0.0.1"], False, id="no port"),
    pytest.param(OWN, [f"Origin: http://{OWN}", "Origin: http://evil.example"], False, id="two Origins"),
    pytest.param(OWN, [f"Origin: http://{OWN}.evil.example"], False, id="a name that begins like ours"),
    pytest.param(OWN, [f"Origin: http://{OWN}@evil.example"], False, id="our name as a user's"),
    pytest.param(OWN, ["Origin: http://["], False, id="an Origin that is no address"),
    pytest.param("[", [], False, id="a Host that is no address"),
    pytest.param("", ["Origin: null"], False, id="an empty Host"),
]
POLL = "/socket.io/?EIO=4&transport=polling"


def plain(path: str, host: str, headers: list[str]) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]).encode()


async def statuses(gateway: GatewayProcess, host: str, headers: list[str]) -> dict[str, int]:
    """How each door answers: HTTP, Socket.IO by polling and by WebSocket, plain WebSocket."""
    host, headers = (
        host.replace(PORT, str(gateway.port)),
        [h.replace(PORT, str(gateway.port)) for h in headers],
    )
    sent = {
        "http": plain("/healthz", host, headers),
        "polling": plain(POLL, host, headers),
        "socket.io": upgrade(gateway.port, "/socket.io/?EIO=4&transport=websocket", host or " ", *headers),
        "websocket": upgrade(gateway.port, "/ws", host or " ", *headers),
    }
    return {door: await status_of(gateway.port, data) for door, data in sent.items()}


LET_IN = {"http": 200, "polling": 200, "socket.io": 101, "websocket": 101}
KEPT_OUT = dict.fromkeys(LET_IN, 403)


@pytest.mark.parametrize(("host", "headers", "let_in"), SHAPES)
async def test_only_the_gateways_own_pages_and_programs_are_let_in_through_every_door(
    gateway: GatewayProcess, host: str, headers: list[str], let_in: bool
) -> None:
    found = await statuses(gateway, host, headers)
    if let_in:
        assert found == LET_IN
    else:
        # Two Origins in one upgrade are no HTTP to the server itself.
        assert set(found.values()) <= {400, 403}
        assert found["http"] == found["polling"] == 403


async def test_an_origin_that_is_named_is_let_in_and_no_other(start_gateway: StartGateway, redis_url: str) -> None:
    env = {"JOBCAST_ORIGINS": "https://app.example, http://Other.example:3000/"}
    gateway = start_gateway(redis_url, env=env)
    await until_ready(gateway)
    for origin in ("https://app.example", "https://APP.example", "http://other.example:3000"):
        assert await statuses(gateway, OWN, [f"Origin: {origin}"]) == LET_IN
    for origin in ("http://app.example", "https://app.example:444", "https://app.example.evil.example", "null"):
        assert await statuses(gateway, OWN, [f"Origin: {origin}"]) == KEPT_OUT
    answer = await send_raw(
        gateway.port, plain("/healthz", f"127.0.0.1:{gateway.port}", ["Origin: https://app.example"])
    )
    assert b"access-control-allow-origin: https://app.example" in answer.lower()
    gateway.check_log()


async def test_a_star_lets_every_origin_in_but_no_rebound_name(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = start_gateway(redis_url, env={"JOBCAST_ORIGINS": "*"})
    await until_ready(gateway)
    assert await statuses(gateway, OWN, ["Origin: http://anywhere.example"]) == LET_IN
    assert await statuses(gateway, "evil.example", ["Origin: http://evil.example"]) == KEPT_OUT


async def test_a_gateway_that_listens_to_the_network_answers_to_any_name_but_to_its_own_origin_only(
    start_gateway: StartGateway, redis_url: str
) -> None:
    gateway = start_gateway(redis_url, env={"JOBCAST_HOST": "0.0.0.0"})
    await until_ready(gateway)
    assert await statuses(gateway, "jobs.example", ["Origin: https://jobs.example"]) == LET_IN
    assert await statuses(gateway, "jobs.example", ["Origin: https://evil.example"]) == KEPT_OUT
    assert await statuses(
        gateway, "jobs.example", ["X-Forwarded-Host: evil.example", "Origin: https://evil.example"]
    ) == (KEPT_OUT)
    assert (await statuses(gateway, "", ["Origin: null"]))["http"] in {400, 403}


async def test_only_named_hosts_are_served_where_they_are_named(start_gateway: StartGateway, redis_url: str) -> None:
    gateway = start_gateway(redis_url, env={"JOBCAST_HOST": "0.0.0.0", "JOBCAST_HOSTS": "localhost, jobs.example"})
    await until_ready(gateway)
    assert await statuses(gateway, "jobs.example", ["Origin: http://jobs.example"]) == LET_IN
    assert await statuses(gateway, "evil.example", ["Origin: http://evil.example"]) == KEPT_OUT
