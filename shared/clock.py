"""The time events carry: for display only, order is by ``seq`` alone."""

import time


def now_ms() -> int:
    """Unix time in ms."""
    return time.time_ns() // 1_000_000
