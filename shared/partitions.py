"""A queue in parts, each for a range of keys: all that concerns one key is in one part, and parts are worked apart.

The ranges are of the hash slots of Redis Cluster (its specification, "Key distribution model"): CRC-16/XMODEM of the
key, modulo 16,384, cut into equal ranges. So a producer in another language finds a key's part by what its Redis client
uses itself; for Node that is ``cluster-key-slot``.
"""

import binascii
from dataclasses import dataclass
from typing import Final

from jobcast.shared.errors import BadRequest, BadSettings
from jobcast.shared.names import check_queue_name

SLOTS: Final = 16_384
MOST: Final = 256
"""Parts: each is a queue of its own, with connections and loops in every worker that works it."""


@dataclass(frozen=True, slots=True)
class Partitions:
    """``count`` parts of ``name``, the queues ``<name>-0``, ``<name>-1`` ...

    Another count sends keys to other parts: let the old ones run empty first.

    Raises:
        BadSettings: a count out of its range.
        BadQueueName: a part's name is not a queue's.
    """

    name: str
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST:
            raise BadSettings(f"expected from 1 to {MOST} parts of queue {self.name}, got {self.count}")
        check_queue_name(self.queues[-1])

    @property
    def queues(self) -> tuple[str, ...]:
        """All parts, by their ranges."""
        return tuple(f"{self.name}-{part}" for part in range(self.count))

    def queue(self, key: str) -> str:
        """The part that the key is in; BadRequest for what is no text."""
        if not isinstance(key, str):
            raise BadRequest(f"expected the key of a job as text, got {key!r}")
        return f"{self.name}-{slot(key) * self.count // SLOTS}"


def slot(key: str) -> int:
    """The key's hash slot: of what stands between its first ``{`` and the ``}`` after it, where that is something."""
    begin = key.find("{")
    end = key.find("}", begin + 1) if begin >= 0 else -1
    return binascii.crc_hqx((key[begin + 1 : end] if end > begin + 1 else key).encode("utf-8", "replace"), 0) % SLOTS
