"""Engine.IO v4 packets: a type digit and text; binary is a binary frame, or base64 behind a ``b`` in a poll.

See the Engine.IO protocol, revision 4, section "Packet encoding".
"""

import base64
from collections.abc import Iterator
from typing import Final

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = "0123456"
RECORD_SEPARATOR: Final = "\x1e"
MOST_PACKETS: Final = 256
"""Packets in one posted payload."""


class BadPacket(Exception):
    """What came is no Engine.IO packet; its connection is closed."""


def read_payload(body: bytes) -> Iterator[str | bytes]:
    """The packets of a posted payload: text as it stands, a message in base64 as its bytes.

    Raises:
        BadPacket: not UTF-8, not base64, an empty packet, or too many.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadPacket("expected a payload in UTF-8") from error
    packets = text.split(RECORD_SEPARATOR, MOST_PACKETS)
    if len(packets) > MOST_PACKETS:
        raise BadPacket(f"expected at most {MOST_PACKETS} packets in a payload")
    for packet in packets:
        if packet.startswith("b"):
            try:
                yield base64.b64decode(packet[1:], validate=True)
            except ValueError as error:
                raise BadPacket(f"expected base64 behind b: {error}") from error
        else:
            yield packet
