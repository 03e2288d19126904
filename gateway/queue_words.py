"""What the watcher of a queue is told besides its events. Values in, values out; no I/O."""

from typing import Final

import msgspec

from jobcast.gateway.wire import Message
from jobcast.shared.position import Position

QUEUE_POSITION: Final = "queue-position"
QUEUE_RESET: Final = "queue-reset"
_encode: Final = msgspec.json.Encoder().encode


def told_up_to(queue: str, place: Position) -> Message:
    """All that stands before this place in the queue has been sent."""
    payload = {"queueName": queue, "epoch": place.epoch, "seq": place.seq}
    return Message(QUEUE_POSITION, _encode([QUEUE_POSITION, payload]), "", queue_position=place)


def begun_anew(queue: str) -> Message:
    """What is known of the queue's jobs is to be forgotten; their snapshots follow."""
    return Message(QUEUE_RESET, _encode([QUEUE_RESET, {"queueName": queue}]), "")
