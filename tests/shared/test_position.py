"""Positions: read, written, compared; anything else refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobcast.shared.errors import BadRequest
from jobcast.shared.journal.contract import Entry, continues
from jobcast.shared.position import LARGEST_SEQ, Position
from tests.shared.hostile import HOSTILE

EPOCHS = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=32)
SEQS = st.integers(0, LARGEST_SEQ)


@given(EPOCHS, SEQS)
def test_a_position_reads_back_what_it_wrote(epoch: str, seq: int) -> None:
    position = Position(epoch, seq)
    assert Position.parse(str(position)) == position == Position.check(epoch, seq)


@pytest.mark.parametrize(
    "text",
    ["", "-", "a", "a-", "-1", "a-01", "a--1", "A-1", "a-1 ", " a-1", "a-1\n", "a-1\r\nx", "a-1-2", "a-+1", "a-1e3",
     "a-١", "ä-1", "a" * 33 + "-1", "a-" + "9" * 16, "a-" + "9" * 10_000, "a\x00-1", "*-1"],
)  # fmt: skip
def test_text_that_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="expected a position") as caught:
        Position.parse(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", HOSTILE)
def test_an_epoch_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match=r"since\.epoch"):
        Position.check(HOSTILE[name], 1)


@pytest.mark.parametrize("epoch", ["A", "a" * 33, "a\n", "a-b"])
def test_an_epoch_beyond_its_alphabet_is_refused(epoch: str) -> None:
    with pytest.raises(BadRequest, match=r"since\.epoch"):
        Position.check(epoch, 1)


@pytest.mark.parametrize("seq", [-1, True, False, None, "1", 1.0, float("nan"), LARGEST_SEQ + 1, [1]])
def test_a_seq_that_is_none_is_refused(seq: Any) -> None:
    with pytest.raises(BadRequest, match=r"since\.seq"):
        Position.check("abc", seq)


@pytest.mark.parametrize(
    ("since", "position", "missed", "whole"),
    [
        (("e", 3), ("e", 3), [], True),
        (("e", 3), ("e", 5), [4, 5], True),
        (("e", 0), ("e", 2), [1, 2], True),
        (("e", 3), ("e", 5), [5], False),
        (("e", 3), ("e", 5), [4], False),
        (("e", 3), ("e", 5), [], False),
        (("e", 6), ("e", 5), [], False),
        (("f", 3), ("e", 5), [4, 5], False),
        (("f", 5), ("e", 5), [], False),
    ],
)
def test_events_continue_a_position_only_when_none_is_missing(
    since: tuple[str, int], position: tuple[str, int], missed: list[int], whole: bool
) -> None:
    entries = [Entry(seq, b"") for seq in missed]
    assert continues(Position(*since), Position(*position), entries) is whole
