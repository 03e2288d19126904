"""The opening handshake of a WebSocket, against RFC 6455 and the client of the websockets library."""

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from jobcast.gateway.engine.handshake import MOST_FIELDS, Refused, accept, read

UPGRADE = "Upgrade: websocket\r\nConnection: upgrade"
FIELDS = {
    "Host": "example.org",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def head(*more: str, line: str = "GET /ws?a=b HTTP/1.1", **changed: str | None) -> bytes:
    """A good request, fields changed (underscores for hyphens) or left out (None), and more of them."""
    fields = FIELDS | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([line, *lines, *more, "", ""]).encode("latin-1")


def opened(data: bytes) -> bytes:
    return accept(read(data))


def test_the_answer_to_the_rfcs_example_is_the_rfcs_answer() -> None:
    request = read(head())
    assert (request.path, request.query) == ("/ws", "a=b")
    assert opened(head()) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


def test_the_client_of_the_websockets_library_asks_and_takes_the_answer() -> None:
    client = ClientProtocol(parse_uri("ws://example.org/ws?a=b"))
    client.send_request(client.connect())
    client.receive_data(opened(b"".join(client.data_to_send())) + b"\x81\x02hi")
    response, frame = client.events_received()
    assert isinstance(response, Response)
    assert client.handshake_exc is None
    assert client.state is State.OPEN
    assert not isinstance(frame, Response)
    assert (frame.opcode, bytes(frame.data)) == (Opcode.TEXT, b"hi")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "data",
    [
        head(Connection="keep-alive, Upgrade"),
        head(Connection="UPGRADE", Upgrade="WebSocket"),
        head(Connection="keep-alive").replace(b"Upgrade: w", b"connection:upgrade\r\nUpgrade: w"),
        head("Content-Length: 0"),
        head("Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: chat"),
        head("X-Note: \t a b \xe9\t ", "x-empty:"),
        head().lower().replace(b"get /ws?a=b http/1.1", b"GET /ws HTTP/1.1"),
    ],
)
def test_what_a_client_may_write_in_another_way_is_taken(data: bytes) -> None:
    lowered = b"sec-websocket-key" in data
    assert opened(data).endswith(b"\r\n\r\n")
    assert lowered or b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in opened(data)


def test_fields_are_kept_as_they_came() -> None:
    request = read(head("Origin: a", "ORIGIN: \t b \xe9\t "))
    assert request.all(b"origin") == ["a", "b \xe9"]
    assert request.all(b"x-none") == []
    assert request.one(b"origin") is None


@pytest.mark.parametrize(
    ("status", "field", "data"),
    [
        (405, "Allow: GET", head(line="POST /ws HTTP/1.1")),
        (505, "", head(line="GET /ws HTTP/1.0")),
        (400, "", head(line="GET /ws HTTP/2.0")),
        (400, "", head(line="GET  /ws HTTP/1.1")),
        (400, "", head(line="GET /w\u00e9 HTTP/1.1")),
        (400, "", head(line="GET /ws")),
        (400, "", b"\r\n\r\n"),
        (400, "", head().replace(b"\r\n", b"\n")),
        (400, "", head("no colon")),
        (400, "", head("X Y: space in a name")),
        (400, "", head("X : space before the colon")),
        (400, "", head("X: a\r\n folded")),
        (400, "", head("X: nul \x00")),
        (400, "", head("X: bare \r in a value")),
        (400, "", head(": no name")),
        (431, "", head(*(f"X-{number}: y" for number in range(MOST_FIELDS)))),
        (400, "", head("Transfer-Encoding: chunked")),
        (400, "", head("Content-Length: 1")),
        (426, UPGRADE, head(Connection=None)),
        (426, UPGRADE, head(Connection="keep-alive")),
        (426, UPGRADE, head(Upgrade=None)),
        (426, UPGRADE, head(Upgrade="h2c")),
        (426, UPGRADE, head(Upgrade="websocket, h2c")),
        (426, "Sec-WebSocket-Version: 13", head(Sec_WebSocket_Version=None)),
        (426, "Sec-WebSocket-Version: 13", head(Sec_WebSocket_Version="12")),
        (426, "Sec-WebSocket-Version: 13", head("Sec-WebSocket-Version: 13")),
        (400, "", head(Sec_WebSocket_Key=None)),
        (400, "", head(Sec_WebSocket_Key="")),
        (400, "", head(Sec_WebSocket_Key="c2hvcnQ=")),
        (400, "", head(Sec_WebSocket_Key="!!!!!!!!!!!!!!!!!!!!!!==")),
        (400, "", head("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")),
    ],
)
def test_what_opens_no_websocket_is_refused_with_the_status_for_it(status: int, field: str, data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        opened(data)
    assert (refused.value.status, refused.value.field) == (status, field)
