"""A wall clock that a test sets while a process runs, by libfaketime; the monotonic clock goes on as it does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

PLACES: Final = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/lib64/faketime", "/usr/local/lib/faketime")


def find_faketime() -> Path | None:
    """Return the library; the variant for programs with threads."""
    for place in PLACES:
        for found in sorted(Path("/").glob(f"{place[1:]}/libfaketimeMT.so.1")):
            return found
    return None


class Clock:
    """Ahead of the true time by some seconds, which may change at any moment. ``env`` is for the process."""

    def __init__(self, library: Path, file: Path, ahead: int = 0) -> None:
        self._file = file
        self.ahead = ahead
        self.step(ahead)
        self.env: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            # Asked each time: without it a step would be noticed up to ten seconds later.
            "FAKETIME_NO_CACHE": "1",
            # An operator or a time server steps the wall clock alone; no kernel steps the other one.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, ahead: int) -> None:
        """Set it; replaced as a whole, or a reader might find the file empty and believe the true time."""
        self.ahead = ahead
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{ahead:+d}\n", encoding="ascii")
        fresh.replace(self._file)
