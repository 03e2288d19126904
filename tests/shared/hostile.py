"""What strangers send where a name belongs, a table for every door."""

from typing import Any, Final


def _nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


HOSTILE_TEXT: Final = {
    "empty": "",
    "star": "*",
    "question mark": "job?",
    "character class": "[a]",
    "braces": "{}",
    "hash tag": "a{b}c",
    "parent directory": "../etc/passwd",
    "backslash": "a\\b",
    "CRLF": "a\r\nDEL b",
    "trailing newline": "abc\n",
    "NUL": "a\x00b",
    "escape": "\x1b[31m",
    "space": "a b",
    "quote": "a'b\"c",
    "percent": "a%2e",
    "10 KB": "x" * 10_240,
    "Cyrillic a": "job-\u0430",
    "fullwidth digits": "１２３",
    "Arabic digits": "١٢٣",
    "superscript": "a²",
    "dotless i": "jıb",
    "zero width": "a\u200bb",
    "right to left": "a\u202eb",
    "emoji": "🎬",
    "lone surrogate": "\ud800",
}
NO_TEXT: Final[dict[str, Any]] = {
    "none": None,
    "true": True,
    "false": False,
    "zero": 0,
    "number": 17,
    "float": 1.5,
    "5000 digits": 10**5000,
    "bytes": b"abc",
    "list": ["abc"],
    "dict": {"jobId": "abc"},
    "nested": _nested(5000),
}
HOSTILE: Final[dict[str, Any]] = {**HOSTILE_TEXT, **NO_TEXT}
