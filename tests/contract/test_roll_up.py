"""What a parent's record holds of its children: every journal counts alike, whatever becomes of them."""

import pytest

from jobcast.shared.errors import Refused
from jobcast.shared.journal import Journal
from jobcast.shared.journal.contract import Key
from jobcast.shared.rollup import ROLL_UP, RollUp, read
from tests.contract.jobs import (
    NOW,
    cancelled,
    child_of,
    children_progress,
    completed,
    failed,
    log,
    new_id,
    progress,
    queued,
    stalled,
    started,
    tried_again_at_once,
    with_children,
)


async def rolled_up(journal: Journal, job_id: str) -> RollUp:
    found = read((await journal.read(job_id)).fields)
    assert found is not None
    return found


async def family(journal: Journal, *weights: float, share: float = 1.0) -> tuple[str, list[str]]:
    """A parent and its children, all announced."""
    parent, children = new_id(), [new_id() for _ in weights]
    await journal.append(with_children(parent, total=len(children), share=share))
    for child, weight in zip(children, weights, strict=True):
        await journal.append(child_of(parent, child, weight=weight))
    return parent, children


async def test_the_progress_of_a_parent_is_that_of_its_children_by_their_weights(journal: Journal) -> None:
    parent, (light, heavy) = await family(journal, 1, 3)
    assert (await rolled_up(journal, parent)).percent == 0
    for child in (light, heavy):
        await journal.append(started(child))
    await journal.append(progress(light, percent=50))
    assert (await rolled_up(journal, parent)).percent == 12.5
    await journal.append(progress(heavy, percent=50))
    assert (await rolled_up(journal, parent)).percent == 50
    await journal.append(completed(heavy))
    found = await rolled_up(journal, parent)
    assert found.percent == 87.5
    assert found.counts == {"total": 2, "waiting": 0, "active": 1, "completed": 1, "failed": 0, "cancelled": 0}
    assert found.pending == 1


async def test_the_children_make_up_the_share_of_the_parent_that_it_declares(journal: Journal) -> None:
    parent, (child,) = await family(journal, 1, share=0.4)
    await journal.append(started(child))
    answer = await journal.append(progress(child, percent=50))
    assert answer.parent == parent
    assert (await rolled_up(journal, parent)).percent == 20
    assert (await journal.append(queued(parent))).share == 40
    assert (await journal.append(started(parent))).share == 40
    assert answer.share is None


async def test_a_child_that_is_tried_again_begins_anew(journal: Journal) -> None:
    parent, (first, _) = await family(journal, 1, 1)
    await journal.append(started(first))
    await journal.append(progress(first, percent=80))
    assert (await rolled_up(journal, parent)).percent == 40
    await journal.append(tried_again_at_once(first))
    found = await rolled_up(journal, parent)
    assert (found.percent, found.counts["waiting"], found.counts["active"]) == (0, 2, 0)
    await journal.append(started(first, 2))
    await journal.append(progress(first, 2, percent=30))
    assert (await rolled_up(journal, parent)).percent == 15
    # It lost its worker, and nobody had told that its attempt was over.
    await journal.append(started(first, 3))
    found = await rolled_up(journal, parent)
    assert (found.percent, found.counts["active"]) == (0, 1)


@pytest.mark.parametrize(("end", "state"), [(completed, "completed"), (failed, "failed"), (cancelled, "cancelled")])
async def test_a_child_that_is_over_counts_whole_and_as_what_it_is(journal: Journal, end: object, state: str) -> None:
    parent, (first, _) = await family(journal, 1, 1)
    await journal.append(started(first))
    await journal.append(end(first))  # type: ignore[operator]
    found = await rolled_up(journal, parent)
    assert (found.percent, found.counts[state], found.counts["active"], found.pending) == (50, 1, 0, 1)
    # Somebody has it tried again by hand.
    await journal.append(queued(first, 2))
    found = await rolled_up(journal, parent)
    assert (found.percent, found.counts[state], found.pending) == (0, 0, 2)


async def test_what_says_nothing_new_of_a_child_changes_nothing(journal: Journal) -> None:
    parent, (child, _) = await family(journal, 1, 1)
    await journal.append(started(child))
    await journal.append(progress(child, percent=50), key=Key("w", 1))
    before = await rolled_up(journal, parent)
    again = await journal.append(progress(child, percent=90), key=Key("w", 1))
    assert (again.fresh, again.parent) == (False, None)
    for event in (log(child), stalled(child), progress(child, percent=50)):
        assert (await journal.append(event)).parent is None
    with pytest.raises(Refused):
        await journal.append(progress(child, 0))
    assert await rolled_up(journal, parent) == before


async def test_grandchildren_move_their_grandparent_through_what_is_told_of_their_parent(journal: Journal) -> None:
    top, middle, child = new_id(), new_id(), new_id()
    await journal.append(with_children(top, total=1, share=1.0))
    await journal.append(with_children(middle, total=1, share=1.0, parent=top))
    for event in (child_of(middle, child), started(child), progress(child, percent=60)):
        await journal.append(event)
    assert (await rolled_up(journal, top)).percent == 0
    assert (await journal.append(children_progress(middle, percent=60))).parent == top
    assert (await rolled_up(journal, top)).percent == 60


async def test_a_parent_that_is_born_again_counts_its_new_children_alone(journal: Journal) -> None:
    parent, child = new_id(), new_id()
    await journal.append(with_children(parent, total=1), born=NOW)
    for event in (child_of(parent, child), started(child), completed(child), cancelled(parent)):
        await journal.append(event)
    await journal.append(with_children(parent, total=3), born=NOW + 1)
    found = await rolled_up(journal, parent)
    assert (found.percent, found.counts["total"], found.counts["completed"]) == (0, 3, 0)


async def test_a_child_whose_parent_is_unknown_or_over_is_recorded_all_the_same(journal: Journal) -> None:
    parent, child = new_id(), new_id()
    for event in (child_of(parent, child), started(child), progress(child, percent=50)):
        assert (await journal.append(event)).parent is None
    await journal.append(with_children(parent, total=1, share=1.0))
    assert (await rolled_up(journal, parent)).percent == 0
    assert (await journal.append(progress(child, percent=70))).parent == parent
    assert (await rolled_up(journal, parent)).percent == 70
    await journal.append(failed(parent))
    assert (await journal.append(completed(child))).parent is None


async def test_the_numbers_of_a_parent_that_is_over_go_on_and_nobody_is_told(journal: Journal) -> None:
    parent, children = await family(journal, 1, 1)
    await journal.append(queued(parent))
    await journal.append(started(parent))
    await journal.append(completed(parent))
    for child in children:
        assert (await journal.append(started(child))).parent is None
        assert (await journal.append(completed(child))).parent is None
    assert await journal.claim_roll_up(parent, 0) is None
    found = await rolled_up(journal, parent)
    assert (found.counts["completed"], found.pending) == (2, 0)


async def test_children_whose_weights_nobody_declared_weigh_what_is_known_of_them(journal: Journal) -> None:
    """As with a flow of Node's, which a worker announces by how many children there are."""
    parent = new_id()
    await journal.append(with_children(parent, total=3, share=1.0))
    await journal.append(child_of(parent, child := new_id(), weight=2))
    await journal.append(started(child))
    await journal.append(completed(child))
    assert (await rolled_up(journal, parent)).percent == 50


async def test_one_tells_at_a_time_and_what_was_told_is_not_told_again(journal: Journal) -> None:
    parent, (child, _) = await family(journal, 1, 1)
    first = await journal.claim_roll_up(parent, 10_000)
    assert isinstance(first, RollUp)
    again = await journal.claim_roll_up(parent, 10_000)
    assert isinstance(again, int)
    assert 0 < again <= 10_000
    await journal.append(started(child))
    await journal.append(progress(child, percent=50))
    newer = await journal.claim_roll_up(parent, 0)
    assert isinstance(newer, RollUp)
    assert (await journal.append(newer.event(parent, NOW), key=Key(ROLL_UP, newer.changes))).fresh
    assert await journal.claim_roll_up(parent, 0) is None
    # Claimed before and told after: what it says is older.
    assert not (await journal.append(first.event(parent, NOW), key=Key(ROLL_UP, first.changes))).fresh


async def test_a_parent_that_runs_is_told_nothing_of_its_children(journal: Journal) -> None:
    parent, (child,) = await family(journal, 1)
    await journal.append(started(child))
    found = await rolled_up(journal, parent)
    for event in (queued(parent), started(parent)):
        await journal.append(event)
    assert await journal.claim_roll_up(parent, 0) is None
    with pytest.raises(Refused) as caught:
        await journal.append(found.event(parent, NOW), key=Key(ROLL_UP, found.changes))
    assert caught.value.reason == "out-of-order"
    assert await journal.claim_roll_up(new_id(), 0) is None


async def test_a_parent_whose_record_was_written_to_by_hand_keeps_no_child_from_being_recorded(
    journal: Journal,
) -> None:
    parent, child = new_id(), new_id()
    await journal.append(child_of(f"{parent}%s:x", child))
    assert (await journal.append(started(child))).fresh
