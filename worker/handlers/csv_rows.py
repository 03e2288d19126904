"""A CSV file of any size as rows and rejects, in flat memory: every line ends in exactly one of the two.

A row that cannot be read costs its first line only: a quote that is never closed would otherwise swallow the rest of
the file. What it had taken in is read again as rows of its own.
"""

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple

LONGEST_LINE: Final = 1024 * 1024
"""Bytes of one line; a longer one is rejected and its beginning kept."""
LONGEST_ROW: Final = 1024 * 1024
"""Bytes of one row over several lines: how far an open quote is followed."""


_WORDS: Final = {
    "unexpected end of data": "a quote is opened and not closed",
    "new-line character seen in unquoted field - do you need to open the file with newline=''?": (
        "a carriage return stands alone within the line"
    ),
}
"""What the reader says to programmers, said to whoever has the file."""


class Row(NamedTuple):
    """``line`` is the number of its first line, from 1."""

    line: int
    fields: list[str]


class Reject(NamedTuple):
    """A line that is no row; ``raw`` as text, bytes that are none escaped."""

    line: int
    reason: str
    raw: str


class _Line(NamedTuple):
    number: int
    data: bytes
    cut: bool


class _BadLine(Exception):
    """This line cannot be part of any row."""


class Rows:
    """Iterates over a file opened in binary; empty lines are neither rows nor rejects.

    ``offset`` is how many bytes were read; ``width``, once it is set, how many fields a row must have.
    """

    def __init__(self, file: BinaryIO, delimiter: str) -> None:
        # The reader's own limit is 128 KiB for a field, the whole process over: it is only ever raised.
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_ROW))
        self.offset = 0
        self.width: int | None = None
        self._file = file
        self._number = 0
        self._again: deque[_Line] = deque()
        self._taken: list[_Line] = []
        self._taken_bytes = 0
        self._reader = csv.reader(self._lines(), delimiter=delimiter, strict=True)
        self._delimiter = delimiter

    def __iter__(self) -> "Iterator[Row | Reject]":
        while True:
            self._taken.clear()
            self._taken_bytes = 0
            try:
                fields = next(self._reader)
            except StopIteration:
                return
            except (csv.Error, _BadLine) as error:
                yield self._reject(_WORDS.get(str(error), str(error)))
                continue
            if self.width is not None and fields and len(fields) != self.width:
                yield self._rejected(f"expected {self.width} fields, got {len(fields)}", self._taken)
            elif fields:
                yield Row(self._taken[0].number, fields)

    def _reject(self, reason: str) -> Reject:
        first, *rest = self._taken
        self._again.extendleft(reversed(rest))
        # A generator that raised is over; the reader needs another.
        self._reader = csv.reader(self._lines(), delimiter=self._delimiter, strict=True)
        return self._rejected(reason, [first])

    @staticmethod
    def _rejected(reason: str, lines: "Sequence[_Line]") -> Reject:
        raw = b"".join(line.data for line in lines).rstrip(b"\r\n")
        return Reject(lines[0].number, reason, raw.decode("utf-8", "backslashreplace"))

    def _lines(self) -> Iterator[str]:
        while (line := self._again.popleft() if self._again else self._next_line()) is not None:
            self._taken.append(line)
            self._taken_bytes += len(line.data)
            yield self._text(line)

    def _next_line(self) -> _Line | None:
        data = self._file.readline(LONGEST_LINE)
        if not data:
            return None
        self._number += 1
        self.offset += len(data)
        cut = False
        while len(data) == LONGEST_LINE and not data.endswith(b"\n"):
            more = self._file.readline(LONGEST_LINE)
            self.offset += len(more)
            if not more:
                break
            cut = True
            if len(more) < LONGEST_LINE or more.endswith(b"\n"):
                break
        if self._number == 1:
            data = data.removeprefix(b"\xef\xbb\xbf")
        return _Line(self._number, data, cut)

    def _text(self, line: _Line) -> str:
        if line.cut:
            raise _BadLine(f"the line is longer than {LONGEST_LINE} bytes")
        if b"\0" in line.data:
            raise _BadLine("the line holds a NUL")
        if self._taken_bytes > LONGEST_ROW:
            raise _BadLine(f"the row is longer than {LONGEST_ROW} bytes: is a quote not closed?")
        try:
            return line.data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _BadLine(f"byte {error.start + 1} of the line is not UTF-8") from error
