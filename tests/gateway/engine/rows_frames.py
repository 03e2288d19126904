"""Rows for the WebSocket protocol itself (RFC 6455): raw frames within an open session."""

from tests.gateway.engine.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame
from tests.gateway.engine.rows import DROPPED, IGNORED, Row, closed, rows

BROKEN = (closed(1002),)
NOT_TEXT = (closed(1007),)
TOO_BIG = (closed(1009),)
MANY = (closed(1002, 1008, 1009),)
PONG_PACKET = b"3"


def announced(size: int, opcode: int = TEXT) -> bytes:
    """The head of a frame that never follows."""
    return bytes([0x80 | opcode, 0xFF]) + size.to_bytes(8, "big") + b"\0\0\0\0"


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


FRAMES: list[Row] = [
    *rows(
        "frames",
        BROKEN,
        *((f"reserved bit {bit}", frame(TEXT, PONG_PACKET, rsv=bit)) for bit in (4, 2, 1)),
        *((f"opcode {code:#x}", frame(code, b"x")) for code in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF)),
        ("a text frame unmasked", frame(TEXT, PONG_PACKET, masked=False)),
        ("a binary frame unmasked", frame(BINARY, b"x", masked=False)),
        ("a ping unmasked", frame(PING, masked=False)),
        ("a close unmasked", frame(CLOSE, masked=False)),
        ("a ping in fragments", frame(PING, b"x", fin=False)),
        ("a pong in fragments", frame(PONG, b"x", fin=False)),
        ("a close in fragments", frame(CLOSE, b"", fin=False)),
        ("a ping of 126 bytes", frame(PING, b"x" * 126)),
        ("a pong of 126 bytes", frame(PONG, b"x" * 126)),
        ("a close of 126 bytes", frame(CLOSE, (1000).to_bytes(2, "big") + b"x" * 124)),
        ("a continuation of nothing", frame(CONTINUATION, b"x")),
        ("a continuation that is not the last of nothing", frame(CONTINUATION, b"x", fin=False)),
        ("a text frame within a message", frame(TEXT, b"4", fin=False) + frame(TEXT, b"0")),
        ("a binary frame within a text", frame(TEXT, b"4", fin=False) + frame(BINARY, b"0")),
        ("a close of one byte", frame(CLOSE, b"\x03")),
        *(
            (f"a close with the code {code}", close(code))
            for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
        ),
        ("zeros", bytes(14)),
        ("an HTTP request on a WebSocket", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a TLS hello on a WebSocket", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("0xFF without end", b"\xff" * 2000),
    ),
    *rows("frames", (closed(1002, 1009),), ("a ping of 2^40 bytes", announced(2**40, PING))),
    *rows("frames", (closed(1002, 1009),), ("a length of 2^63", announced(2**63))),
    *rows("frames", (closed(1002, 1009),), ("a length of 2^64 - 1", announced(2**64 - 1))),
    *rows("frames", (closed(1002, 1007),), ("a close whose reason is no UTF-8", close(1000, b"\xff"))),
    *rows(
        "frames",
        NOT_TEXT,
        ("text that is no UTF-8", frame(TEXT, b"42\xff")),
        ("text cut within a letter", frame(TEXT, b"42\xe2\x82")),
        ("text with a surrogate", frame(TEXT, b"4\xed\xa0\x80")),
        ("text with an overlong NUL", frame(TEXT, b"4\xc0\x80")),
        ("text beyond Unicode", frame(TEXT, b"4\xf4\x90\x80\x80")),
        ("text no UTF-8 across fragments", frame(TEXT, b"4\xe2", fin=False) + frame(CONTINUATION, b"\x28\xa1")),
    ),
    *rows(
        "frames",
        TOO_BIG,
        ("a length over the limit", announced(65_537)),
        ("a length of 2^40", announced(2**40)),
        ("a binary length of 2^62", announced(2**62, BINARY)),
        (
            "fragments that together are over the limit",
            frame(TEXT, b"4" * 40_000, fin=False) + frame(CONTINUATION, b"4" * 40_000),
        ),
    ),
    *rows(
        "frames",
        MANY,
        ("10,000 fragments of a byte", frame(TEXT, b"4", fin=False) + frame(CONTINUATION, b"x", fin=False) * 10_000),
        ("10,000 fragments of nothing", frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 10_000),
        ("binary in 10,000 fragments", frame(BINARY, b"4", fin=False) + frame(CONTINUATION, b"x", fin=False) * 10_000),
    ),
    *rows(
        "frames",
        (closed(1000, 1005),),
        ("a close", close(1000)),
        ("a close of nothing", frame(CLOSE)),
        ("text behind a close", close(1000) + frame(TEXT, b'42["x"]')),
    ),
    *rows("frames", (closed(3000),), ("a close with a code of the application's", close(3000, b"why"))),
    *rows(
        "frames",
        DROPPED,
        ("a length written in 16 bits too many", frame(TEXT, PONG_PACKET, width=16)),
        ("a length written in 64 bits too many", frame(TEXT, PONG_PACKET, width=64)),
        ("a ping with its length in 16 bits", frame(PING, b"x", width=16)),
    ),
    *rows(
        "frames",
        IGNORED,
        ("a packet in two fragments", frame(TEXT, b"42[", fin=False) + frame(CONTINUATION, b'"x"]')),
        ("a packet with a ping within", frame(TEXT, b"42[", fin=False) + frame(PING) + frame(CONTINUATION, b'"x"]')),
        ("a pong nobody asked for as a frame", frame(PONG, b"x" * 125)),
        ("a thousand pings", frame(PING, b"x" * 20) * 1000),
    ),
]
