"""Rows for HTTP: what reaches the gateway before there is a session, or a protocol at all."""

from tests.gateway.engine.rows import Row, rows, status

POLL = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
HOST = "Host: 127.0.0.1"
BROKEN = (status(400, ends=True),)
NO_HTTP = (status(400, 403, 505, None, ends=True),)
TOO_LONG = (status(431, ends=True),)
NOT_ASKED_SO = (status(400),)
NO_UPGRADE = (status(400, 403, 405, 426),)
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
VERSION = "Sec-WebSocket-Version: 13"
ASKING = ("Connection: Upgrade", "Upgrade: websocket")


def request(first: str, *headers: str, body: bytes = b"", host: str | None = HOST) -> bytes:
    lines = [first, *([host] if host else []), *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def get(path: str = "/healthz", *headers: str) -> bytes:
    return request(f"GET {path} HTTP/1.1", *headers)


def post(*headers: str, body: bytes = b"") -> bytes:
    return request(f"POST {POLL}&sid=nobody HTTP/1.1", *headers, body=body)


def upgrade(*headers: str, method: str = "GET") -> bytes:
    return request(f"{method} {WEBSOCKET} HTTP/1.1", *headers)


REQUESTS: list[Row] = [
    *rows(
        "http",
        NO_HTTP,
        ("HTTP 1.2", request("GET /healthz HTTP/1.2")),
        ("HTTP 9.9", request("GET /healthz HTTP/9.9")),
        ("HTTP 0.9", b"GET /healthz\r\n\r\n"),
        ("HTTPS for HTTP", request("GET /healthz HTTPS/1.1")),
        ("the preface of HTTP 2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        ("NUL bytes", bytes(100) + b"\r\n\r\n"),
        ("a Redis command", b"*1\r\n$4\r\nPING\r\n\r\n"),
        ("a word", b"hello\r\n\r\n"),
    ),
    *rows(
        "http",
        BROKEN,
        ("two Hosts", get("/healthz", "Host: evil.example")),
        ("a header without a colon", get("/healthz", "X")),
        ("a header without a name", get("/healthz", ": x")),
        ("a space before the colon", get("/healthz", "X : y")),
        ("a space within a header's name", get("/healthz", "X Y: z")),
        ("NUL in a header", get("/healthz", "X: a\x00b")),
        ("a lone CR in a header", get("/healthz", "X: a\rb")),
        ("a path with a space", request("GET /health z HTTP/1.1")),
        ("a path with NUL", request("GET /health\x00z HTTP/1.1")),
        ("a method with a bracket", request("G[T /healthz HTTP/1.1")),
        ("a first line of nothing but spaces", request("   ")),
        ("a length of letters", post("Content-Length: abc")),
        ("a length below zero", post("Content-Length: -1")),
        ("a length with a sign", post("Content-Length: +1", body=b"3")),
        ("a length in hexadecimal", post("Content-Length: 0x1", body=b"3")),
        ("a length with an underscore", post("Content-Length: 1_0", body=b"3" * 10)),
        ("two lengths", post("Content-Length: 1", "Content-Length: 2", body=b"33")),
        ("two lengths in one", post("Content-Length: 1, 2", body=b"33")),
        ("a chunk whose size is no number", post("Transfer-Encoding: chunked", body=b"zz\r\n3\r\n0\r\n\r\n")),
    ),
    *rows("http", (status(400, 413, ends=True),), ("a length of 400 digits", post(f"Content-Length: {'9' * 400}"))),
    *rows("http", (status(400, 403),), ("no Host", request("GET /healthz HTTP/1.1", host=None))),
    *rows(
        "http",
        (status(400, 413, 501, ends=True),),
        ("an encoding nobody knows", post("Transfer-Encoding: gzip", body=b"3")),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked", body=b"1\r\n3\r\n0\r\n\r\n")),
        ("a chunk of 2^64 bytes", post("Transfer-Encoding: chunked", body=b"1" + b"0" * 16 + b"\r\n3")),
    ),
    *rows(
        "http",
        (status(400, 411, 413),),
        ("a length and chunks", post("Content-Length: 1", "Transfer-Encoding: chunked", body=b"1\r\n3\r\n0\r\n\r\n")),
        ("chunks to a session that is none", post("Transfer-Encoding: chunked", body=b"1\r\n3\r\n0\r\n\r\n")),
    ),
    *rows("http", (status(400, 413),), ("a length over the limit and no body", post("Content-Length: 65537"))),
    *rows("http", (status(400, 413),), ("a length of a terabyte", post("Content-Length: 1000000000000"))),
    *rows(
        "http",
        TOO_LONG,
        ("a header of 17 KiB", get("/healthz", "X: " + "x" * 17_408)),
        ("a header of 70 KB without end", get("/healthz", "X: " + "x" * 70_000)[:-4]),
        ("2,000 headers", get("/healthz", *(f"X-{number}: xxxxxxxx" for number in range(2000)))),
        ("a header on an upgrade of 17 KiB", upgrade(*ASKING, KEY, VERSION, "X: " + "x" * 17_408)),
    ),
    *rows("http", (status(400, 414, 431, ends=True),), ("a path of 20 KB", get("/" + "x" * 20_000))),
    *rows("http", (status(400, 414, 431, ends=True),), ("a first line without end", b"GET /" + b"x" * 70_000)),
    *rows(
        "http",
        (status(200, 400, 403, None),),
        ("lone LF for line ends", get().replace(b"\r\n", b"\n")),
        ("a header folded over two lines", get("/healthz", "X: a\r\n b")),
        ("empty lines before the request", b"\r\n" * 3 + get()),
    ),
    *rows("http", (status(400, 403, 404, 405),), ("the address of another host", get("http://evil.example/"))),
    *rows("http", (status(400, 403, 404, 405, 501, None),), ("CONNECT", request("CONNECT evil.example:443 HTTP/1.1"))),
    *rows("http", (status(400, 404, 405, 501),), ("a method nobody knows", request("BREW /healthz HTTP/1.1"))),
]

HANDSHAKES: list[Row] = [
    *rows(
        "http",
        NOT_ASKED_SO,
        ("no query", get("/socket.io/")),
        ("no EIO", get("/socket.io/?transport=polling")),
        ("EIO 3", get("/socket.io/?EIO=3&transport=polling")),
        ("EIO 5", get("/socket.io/?EIO=5&transport=polling")),
        ("EIO 4.0", get("/socket.io/?EIO=4.0&transport=polling")),
        ("EIO in another script's digit", get("/socket.io/?EIO=%D9%A4&transport=polling")),
        ("a transport of nothing", get("/socket.io/?EIO=4&transport=")),
        ("a transport nobody knows", get("/socket.io/?EIO=4&transport=webtransport")),
        ("a transport in capitals", get("/socket.io/?EIO=4&transport=POLLING")),
        ("websocket without an upgrade", get(WEBSOCKET)),
        ("a sid nobody knows", get(f"{POLL}&sid=nobody")),
        ("a sid with NUL", get(f"{POLL}&sid=%00")),
        ("a sid not UTF-8", get(f"{POLL}&sid=%ff%fe")),
        ("a sid of 10,000 letters", get(f"{POLL}&sid={'x' * 10_000}")),
        ("a sid of another shape", get(f"{POLL}&sid=__proto__")),
        ("a post without a sid", request(f"POST {POLL} HTTP/1.1", "Content-Length: 1", body=b"3")),
        ("a post to a sid nobody knows", post("Content-Length: 1", body=b"3")),
    ),
    *rows(
        "http",
        (status(400, 405),),
        *((f"{method} for a handshake", request(f"{method} {POLL} HTTP/1.1")) for method in ("PUT", "DELETE", "PATCH")),
    ),
    *rows(
        "http",
        NO_UPGRADE,
        ("an upgrade without a key", upgrade(*ASKING, VERSION)),
        ("an upgrade with a short key", upgrade(*ASKING, VERSION, "Sec-WebSocket-Key: c2hvcnQ=")),
        (
            "an upgrade with a key that is no base64",
            upgrade(*ASKING, VERSION, "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="),
        ),
        ("an upgrade with a long run of blanks before a NUL", upgrade(*ASKING, KEY, VERSION, f"X:{' ' * 15_000}\0")),
        ("an upgrade with blanks around a NUL", upgrade(*ASKING, KEY, VERSION, f"X: a{' ' * 15_000}\0{' ' * 500}")),
        ("an upgrade with an empty key", upgrade(*ASKING, VERSION, "Sec-WebSocket-Key: ")),
        ("an upgrade with two keys", upgrade(*ASKING, VERSION, KEY, KEY)),
        ("an upgrade of version 12", upgrade(*ASKING, KEY, "Sec-WebSocket-Version: 12")),
        ("an upgrade of version 130", upgrade(*ASKING, KEY, "Sec-WebSocket-Version: 130")),
        ("an upgrade without a version", upgrade(*ASKING, KEY)),
        ("an upgrade with two versions", upgrade(*ASKING, KEY, VERSION, "Sec-WebSocket-Version: 12")),
        ("an upgrade by POST", upgrade(*ASKING, KEY, VERSION, "Content-Length: 0", method="POST")),
        ("an upgrade to something else", upgrade("Connection: Upgrade", "Upgrade: h2c", KEY, VERSION)),
        ("an upgrade the Connection header says nothing of", upgrade("Upgrade: websocket", KEY, VERSION)),
        ("an upgrade of a sid nobody knows", get(f"{WEBSOCKET}&sid=nobody", *ASKING, KEY, VERSION)),
        ("an upgrade of EIO 3", get("/socket.io/?EIO=3&transport=websocket", *ASKING, KEY, VERSION)),
        ("an upgrade that names polling", get(POLL, *ASKING, KEY, VERSION)),
    ),
]
