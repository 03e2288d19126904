"""A WebSocket's opening handshake, the server's side (RFC 6455, section 4.2). Bytes in, values out; no I/O.

The head of the request is whole and bounded when it comes here (see engine.front). The websockets library reads one
line by line in a coroutine and builds an answer of objects: a seventh of what it cost to take in a client.
"""

import re
from dataclasses import dataclass
from typing import Final

from websockets.utils import accept_key

_REQUEST: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) (HTTP/1\.[01])\r\n")
# RFC 9110, sections 5.1 and 5.5; lines that are folded are not taken. The blanks around a value are stripped later: a
# pattern that also looks for them tries every way to share a long run of them out, for half an hour.
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)\r\n")
_UPGRADE: Final = "Upgrade: websocket\r\nConnection: upgrade"
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")
"""Sixteen bytes in base64."""
MOST_FIELDS: Final = 128


class Refused(Exception):
    """The request opens no WebSocket: ``status``, and a ``field`` that is to stand in the answer."""

    def __init__(self, status: int, message: str, field: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.field = field


@dataclass(frozen=True, slots=True)
class Request:
    """``fields`` are the header's, by their names in lower case, in the order in which they came."""

    path: str
    query: str
    fields: dict[bytes, list[str]]

    def all(self, name: bytes) -> list[str]:
        return self.fields.get(name, [])

    def one(self, name: bytes) -> str | None:
        """The value of a field that came once."""
        values = self.all(name)
        return values[0] if len(values) == 1 else None


def read(head: bytes) -> Request:
    """A whole head, its empty line included.

    Raises:
        Refused: it is no request that could open a WebSocket.
    """
    line = _REQUEST.match(head)
    if line is None:
        raise Refused(400, "expected a request line such as GET /ws HTTP/1.1")
    method, target, version = line.groups()
    if method != b"GET":
        raise Refused(405, f"expected GET, got {method[:16].decode()}", "Allow: GET")
    if version != b"HTTP/1.1":
        raise Refused(505, "expected HTTP/1.1")
    path, _, query = target.decode().partition("?")
    return Request(path, query, _fields(head, line.end()))


def accept(request: Request) -> bytes:
    """The answer that opens it. Extensions and subprotocols are not agreed on, whatever is offered.

    Raises:
        Refused: it asks for something else, or wrongly.
    """
    if request.all(b"transfer-encoding") or set(request.all(b"content-length")) - {"0"}:
        raise Refused(400, "expected no body")
    if "upgrade" not in _tokens(request.all(b"connection")) or _tokens(request.all(b"upgrade")) != ["websocket"]:
        raise Refused(426, "expected Connection: Upgrade and Upgrade: websocket", _UPGRADE)
    if request.one(b"sec-websocket-version") != "13":
        raise Refused(426, "expected Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13")
    key = request.one(b"sec-websocket-key") or ""
    if not _KEY.fullmatch(key):
        raise Refused(400, "expected one Sec-WebSocket-Key of sixteen bytes in base64")
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n"
    ).encode()


def _fields(head: bytes, start: int) -> dict[bytes, list[str]]:
    fields: dict[bytes, list[str]] = {}
    number = 0
    while found := _FIELD.match(head, start):
        start, number = found.end(), number + 1
        fields.setdefault(found[1].lower(), []).append(found[2].strip(b" \t").decode("latin-1"))
    if head[start:] != b"\r\n":
        raise Refused(400, f"expected a header field such as Host: example.org, got {head[start : start + 32]!r}")
    if number > MOST_FIELDS:
        raise Refused(431, f"expected at most {MOST_FIELDS} header fields, got {number}")
    return fields


def _tokens(values: list[str]) -> list[str]:
    """The members of a list that stands in one field or in several, in lower case."""
    return [token for value in values for part in value.split(",") if (token := part.strip().lower())]
