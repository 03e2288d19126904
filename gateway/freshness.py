"""What a client is told of the feed: that what it sees may be old, and when it is so no more."""

from typing import Any, Literal

from jobcast.shared.clock import now_ms


class Informed:
    """A client's part in it. Each change is told once: ``feed-status`` ``{status: "stale" | "current", timestamp}``."""

    __slots__ = ("_seen",)

    closed: bool

    def __init__(self) -> None:
        self._seen: Literal["current", "catching-up", "stale"] = "current"

    @property
    def level(self) -> bool:
        """Nothing is left to be read for it."""
        raise NotImplementedError

    def say(self, name: str, payload: Any) -> None:
        raise NotImplementedError

    def lost(self) -> None:
        """The feed is gone: what this client sees grows old."""
        if self._seen == "current":
            self._tell("stale")
        self._seen = "stale"

    def found(self) -> None:
        """The feed is there again: the client is told once it has been sent all that it may have missed."""
        if self._seen == "stale":
            self._seen = "catching-up"
            self.caught_up()

    def caught_up(self) -> None:
        """Something was read; perhaps it was the last of it."""
        if self._seen == "catching-up" and self.level:
            self._seen = "current"
            self._tell("current")

    def _tell(self, status: str) -> None:
        if not self.closed:
            self.say("feed-status", {"status": status, "timestamp": now_ms()})
