"""What the watcher of a queue is told besides its events. Values in, values out; no I/O."""

from typing import Final, Literal

import msgspec

from jobcast.gateway.wire import LARGEST_MESSAGE, Message
from jobcast.shared.circuit_words import QUEUE_CIRCUIT, Circuit
from jobcast.shared.position import Position

QUEUE_POSITION: Final = "queue-position"
QUEUE_RESET: Final = "queue-reset"
_encode: Final = msgspec.json.Encoder().encode
_read_circuit: Final = msgspec.json.Decoder(tuple[Literal["queue-circuit"], Circuit]).decode
_CIRCUIT_HEAD: Final = b'["%b",' % QUEUE_CIRCUIT.encode()


def told_up_to(queue: str, place: Position) -> Message:
    """All that stands before this place in the queue has been sent."""
    payload = {"queueName": queue, "epoch": place.epoch, "seq": place.seq}
    return Message(QUEUE_POSITION, _encode([QUEUE_POSITION, payload]), "", queue_position=place)


def begun_anew(queue: str) -> Message:
    """What is known of the queue's jobs is to be forgotten; their snapshots follow."""
    return Message(QUEUE_RESET, _encode([QUEUE_RESET, {"queueName": queue}]), "")


def told_circuit(circuit: Circuit) -> Message:
    """The state of the queue's circuit breaker has changed, or is this."""
    return Message(QUEUE_CIRCUIT, _encode([QUEUE_CIRCUIT, circuit]), "")


def heard_circuit(wire: bytes) -> Circuit | None:
    """The change of a circuit in what was published on a queue's channel, or None when it is none."""
    if not wire.startswith(_CIRCUIT_HEAD) or len(wire) > LARGEST_MESSAGE:
        return None
    try:
        return _read_circuit(wire)[1]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
