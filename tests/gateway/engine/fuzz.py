"""Valid sessions, and what a seeded generator makes of them."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.gateway.engine.raw import packet_frame

Door = Literal["packets", "frames", "polling", "http"]
Packet = str | bytes
HERE = '{"_placeholder":true,"num":0}'

SESSIONS: tuple[tuple[Packet, ...], ...] = (
    ("40", '42["subscribe-to-job","fuzz"]', '421["get-subscriptions"]', "3"),
    ('40{"token":"x"}', '4212["subscribe-to-job",{"jobId":"fuzz","since":{"epoch":"k","seq":1}}]', "41"),
    ("40/job-progress,", '42/job-progress,3["subscribe-to-queue",{"queueName":"demo"}]', "41/job-progress,"),
    ("40", f'452-["x",{HERE},{{"_placeholder":true,"num":1}}]', b"\x01\x02", b"", '437["y"]'),
    ("40", f'451-/job-progress,8["x",{HERE}]', b"\xff" * 40, f"461-9[{HERE}]", b"4"),
    ("40", "40/job-progress", '42["cancel-job",{"jobId":"fuzz","reason":"\\u00e9\\ud83d\\ude00"}]', "3", "6", "1"),
)
REQUESTS: tuple[bytes, ...] = (
    b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n40",
    (
        b"POST /socket.io/?EIO=4&transport=polling&sid=x HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n40\r\n0\r\n\r\n"
    ),
    (
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ),
)
TELLING = (
    b"\x1e",
    b"\x00",
    b"\xff",
    b"[",
    b"{",
    b'"',
    b",",
    b"-",
    b"/",
    b"0",
    b"9" * 30,
    b"\r\n",
    b"b",
    b"\xed\xa0\x80",
)
"""Bytes that mean something somewhere."""


@dataclass(frozen=True)
class Case:
    """What is sent through a door. ``packets`` are whole frames each, whatever is in them."""

    door: Door
    sent: tuple[Packet, ...]


def make(seed: int, number: int) -> Case:
    """The case of that number: any one can be had again without those before it."""
    chance = random.Random(f"{seed}-{number}")
    doors: list[Door] = ["packets", "frames", "polling", "http"]
    door = chance.choices(doors, (5, 3, 3, 2))[0]
    if door == "http":
        return Case(door, (_mutate_bytes(chance, chance.choice(REQUESTS)),))
    session = list(chance.choice(SESSIONS))
    if door == "frames":
        return Case(door, (_mutate_bytes(chance, b"".join(map(packet_frame, session))),))
    for _ in range(chance.randint(1, 3)):
        chance.choice(_MUTATIONS)(chance, session)
    if door == "polling":
        texts = (each if isinstance(each, str) else "b" + each.hex() for each in session)
        body = "\x1e".join(texts).encode("utf-8", "surrogatepass")
        return Case(door, (_mutate_bytes(chance, body) if chance.random() < 0.3 else body,))
    return Case(door, tuple(session))


def _mutate_bytes(chance: random.Random, data: bytes) -> bytes:
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(data))
        end = min(len(data), start + chance.choice((0, 1, 1, 2, 8)))
        new = chance.choice((b"", chance.randbytes(1), chance.choice(TELLING), data[start:end] * 3))
        data = data[:start] + new + data[end:]
    return data


def _mutate_packet(chance: random.Random, session: list[Packet]) -> None:
    if session:
        place = chance.randrange(len(session))
        packet = session[place]
        if isinstance(packet, bytes):
            session[place] = _mutate_bytes(chance, packet)
        else:
            session[place] = _mutate_bytes(chance, packet.encode()).decode("utf-8", "replace")


def _change_kind(_chance: random.Random, session: list[Packet]) -> None:
    """Text becomes binary and binary text, as of a client that mixes the two up."""
    session[:] = [each.decode("latin-1") if isinstance(each, bytes) else each.encode() for each in session]


def _drop(chance: random.Random, session: list[Packet]) -> None:
    if session:
        session.pop(chance.randrange(len(session)))


def _repeat(chance: random.Random, session: list[Packet]) -> None:
    if session:
        place = chance.randrange(len(session))
        session[place:place] = [session[place]] * chance.choice((1, 2, 20))


def _shuffle(chance: random.Random, session: list[Packet]) -> None:
    chance.shuffle(session)


def _join(chance: random.Random, session: list[Packet]) -> None:
    session += chance.choice(SESSIONS)


_MUTATIONS: tuple[Callable[[random.Random, list[Packet]], None], ...] = (
    _mutate_packet,
    _mutate_packet,
    _mutate_packet,
    _change_kind,
    _drop,
    _repeat,
    _shuffle,
    _join,
)
