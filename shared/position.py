"""Where in a job's record something stands."""

import re
from typing import NamedTuple

from jobcast.shared.errors import BadRequest

_FORMAT = re.compile(r"([0-9a-z]{1,32})-(0|[1-9][0-9]{0,14})", re.ASCII)
_EPOCH = re.compile(r"[0-9a-z]{1,32}", re.ASCII)
LARGEST_SEQ = 10**15 - 1


class Position(NamedTuple):
    """``seq`` counts a job's events 1, 2, 3 ...; ``epoch`` names the life of the record they are counted in.

    Without the epoch a client that had seen 3 of a record since lost and begun again would resume "after 3"
    and silently miss the new 1 to 3.
    """

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    def is_news(self, last: "Position | None") -> bool:
        """Whether who was told everything up to ``last`` has something to read here."""
        return last is None or self.epoch != last.epoch or self.seq > last.seq

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read ``<epoch>-<seq>``, as an SSE ``Last-Event-ID`` carries it.

        Raises:
            BadRequest: the text is anything else.
        """
        found = _FORMAT.fullmatch(text)
        if found is None:
            raise BadRequest(f"expected a position like k3v9-7, got {text[:64]!r}")
        return cls(found[1], int(found[2]))

    @classmethod
    def check(cls, epoch: object, seq: object) -> "Position":
        """Take the two fields of a ``since`` as a client sent them.

        Raises:
            BadRequest: either is not what a position holds.
        """
        if not isinstance(epoch, str) or _EPOCH.fullmatch(epoch) is None:
            raise BadRequest("expected since.epoch to be a short word of 0-9 and a-z, as an event carried it")
        if isinstance(seq, bool) or not isinstance(seq, int) or not 0 <= seq <= LARGEST_SEQ:
            raise BadRequest("expected since.seq to be a whole number from 0, as an event carried it")
        return cls(epoch, seq)
