"""The progress of a parent, made by its children: live, weighted, whoever runs them and however often."""

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from jobcast import Context
from jobcast.shared.events import JobProgress
from jobcast.shared.parents import Parents
from jobcast.worker import reconciler
from jobcast.worker.consumer import Timing
from tests.contract.jobs import progress, started
from tests.worker.conftest import Bench
from tests.worker.flows import counts, is_in_state, node, percents, shows, snapshot, submit
from tests.worker.mortal import MortalWorker


class Puppets:
    """Handlers that do what the test says: each job reports what is under its id in Redis, and ends with it."""

    def __init__(self, bench: Bench, *queues: str) -> None:
        self._client = bench.client
        for queue in queues:
            bench.registry.add(queue, "go", self._go)

    async def say(self, job_id: str, word: object) -> None:
        await self._client.set(f"say:{job_id}", str(word))

    async def _go(self, ctx: Context) -> str:
        told = None
        while (word := await self._client.get(f"say:{ctx.job_id}")) != "end":
            if word == "fail" and ctx.attempt == 1:
                raise ValueError("as the test wished")
            if word is not None and word != told and word.isdigit():
                await ctx.progress(int(word))
            told = word
            await asyncio.sleep(0.02)
        return ctx.job_id


def above(bench: Bench) -> None:
    """The parent's own work: half of it is told."""

    @bench.handler("top", "go")
    async def top(ctx: Context) -> str:
        await ctx.progress(50, stage="adding up")
        return "added up"


async def test_whoever_watches_the_parent_sees_its_progress_move_before_it_runs(bench: Bench) -> None:
    above(bench)
    puppets = Puppets(bench, "one", "two")
    added = await submit(bench, node("top", "go", node("one"), node("two", weight=3)))
    light, heavy = added.children
    async with bench.worker():
        await puppets.say(light.job_id, 50)
        shown = await shows(bench, added.job_id, 11.25)
        assert shown.state == "waiting-children"
        await puppets.say(heavy.job_id, 40)
        await shows(bench, added.job_id, 38.25)
        await puppets.say(light.job_id, "end")
        shown = await shows(bench, added.job_id, 49.5)
        assert shown.children == {
            "total": 2, "waiting": 0, "active": 1, "completed": 1, "failed": 0, "cancelled": 0,
        }  # fmt: skip
        await puppets.say(heavy.job_id, "end")
        events = await bench.ended(added.job_id)
    assert percents(events) == sorted(percents(events))
    assert percents(events)[-1] == 95, "its own half, of the tenth that is left to it"
    told = [event for event in events if isinstance(event, JobProgress) and event.children]
    assert {event.children["total"] for event in told if event.children} == {2}
    assert (await snapshot(bench, added.job_id)).percent == 100


async def test_grandchildren_move_the_progress_of_the_whole_flow(bench: Bench) -> None:
    above(bench)
    puppets = Puppets(bench, "leaf")
    middle = node("top", "go", node("leaf"), node("leaf"), childrenShare=1)
    added = await submit(bench, node("top", "go", middle, node("leaf"), childrenShare=1))
    (first, second), other = added.children[0].children, added.children[1]
    async with bench.worker():
        await puppets.say(first.job_id, 50)
        await shows(bench, added.job_id, 12.5)
        await puppets.say(second.job_id, 100)
        await shows(bench, added.job_id, 37.5)
        await puppets.say(other.job_id, 100)
        await shows(bench, added.job_id, 87.5)
        for job in (first, second, other):
            await puppets.say(job.job_id, "end")
        events = await bench.ended(added.job_id)
    assert percents(events) == sorted(percents(events))


async def test_a_child_that_is_tried_again_takes_its_progress_back(bench: Bench) -> None:
    above(bench)
    puppets = Puppets(bench, "work")
    added = await submit(bench, node("top", "go", node("work", attempts=2), node("work")))
    again, other = added.children
    async with bench.worker():
        await puppets.say(again.job_id, 80)
        await shows(bench, added.job_id, 36)
        await puppets.say(other.job_id, 20)
        await shows(bench, added.job_id, 45)
        await puppets.say(again.job_id, "fail")
        await shows(bench, added.job_id, 9)
        await puppets.say(again.job_id, 40)
        await shows(bench, added.job_id, 27)
        for job in (again, other):
            await puppets.say(job.job_id, "end")
        await bench.ended(added.job_id)


async def test_children_that_fail_and_are_cancelled_are_over_in_the_progress_of_their_parent(bench: Bench) -> None:
    puppets = Puppets(bench, "work")
    added = await submit(bench, node("top", "go", *(node("work", ignoreDependencyOnFailure=True) for _ in range(4))))
    failing, running, *_ = added.children
    async with bench.worker(concurrency=2):
        await puppets.say(failing.job_id, "fail")
        await shows(bench, added.job_id, 22.5)
        await bench.seen(running.job_id, "job-queue-to-start")
        for job in added.children[1:3]:
            await bench.queues.cancel(job.job_id, "enough")
        shown = await shows(bench, added.job_id, 67.5)
        assert (counts(shown)["failed"], counts(shown)["cancelled"]) == (1, 2)
        await puppets.say(added.children[3].job_id, "end")
        await shows(bench, added.job_id, 90)


async def test_the_progress_is_right_after_a_worker_was_killed_in_the_middle_of_a_child(
    bench: Bench, children: ExitStack
) -> None:
    """Its child is begun anew by another worker, and what it had done counts no more."""
    added = await submit(bench, node("top", "go", node("work"), node("quick")))
    child, quick = added.children
    puppets = Puppets(bench, "quick")
    brief = Timing(lock=2.0, renew=0.4, stalled_check=0.5, idle=1.0)
    async with bench.worker():
        await puppets.say(quick.job_id, 40)
        victim = children.enter_context(MortalWorker(bench.url, timing=brief))
        await shows(bench, added.job_id, 40.5, 20)
        victim.kill()
        children.enter_context(MortalWorker(bench.url, timing=brief, silent=True))
        shown = await shows(bench, added.job_id, 18, 20)
        assert counts(shown)["active"] == 2
        await bench.client.set("end", "1")
        shown = await shows(bench, added.job_id, 63)
        assert counts(shown)["completed"] == 1
        await puppets.say(quick.job_id, "end")
        await shows(bench, added.job_id, 90)
        await is_in_state(bench, added.job_id, "waiting")
    assert [event.attempt for event in await bench.events(child.job_id) if event.kind == "job-queue-to-start"] == [1, 2]


async def test_what_a_worker_that_died_left_untold_is_told_by_the_next_look(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    above(bench)
    puppets = Puppets(bench, "work")
    added = await submit(bench, node("top", "go", node("work"), node("nobody")))
    (child, _) = added.children
    with monkeypatch.context() as dead:
        dead.setattr(Parents, "roll_up", _dead)
        async with bench.worker(reconciling=reconciler.Timing(every=600)):
            await puppets.say(child.job_id, 60)
            await bench.seen(child.job_id, "job-progress")
            await puppets.say(child.job_id, "end")
            with pytest.raises(AssertionError):
                await shows(bench, added.job_id, 45, 0.3)
    async with bench.worker(reconciling=reconciler.Timing(every=0.1)):
        await shows(bench, added.job_id, 45)


async def _dead(*_: Any, **__: Any) -> Any:
    raise asyncio.CancelledError


async def test_an_event_of_a_child_costs_no_more_with_thousands_of_siblings(bench: Bench) -> None:
    """Counted in the commands that Redis runs for it, those of its telling included."""
    costs = []
    for siblings in (1, 2000):
        added = await submit(bench, node("top", "go", *(node("work") for _ in range(siblings + 1))))
        child = added.children[0].job_id
        await bench.journal.append(started(child, queue="work"))
        await bench.journal.append(progress(child, queue="work", percent=10))
        await Parents(bench.client, bench.journal).roll_up(added.job_id, at_once=True)
        await bench.commands.config_resetstat()
        await bench.journal.append(progress(child, queue="work", percent=20))
        await Parents(bench.client, bench.journal).roll_up(added.job_id, at_once=True)
        stats = await bench.commands.info("commandstats")
        costs.append({name: each["calls"] for name, each in stats.items() if name != "cmdstat_zremrangebyrank"})
        assert (await snapshot(bench, added.job_id)).percent == round(90 * 0.2 / (siblings + 1), 2)
    assert costs[0] == costs[1]


async def test_a_thousand_changes_are_told_ten_times_a_second_and_the_last_of_them_always(bench: Bench) -> None:
    """By two workers at once: each tells, and none tells what the other has."""

    @bench.handler("work", "go")
    async def go(ctx: Context) -> None:
        for percent in range(0, 101, 2):
            await ctx.progress(percent, stage=str(percent))

    added = await submit(bench, node("top", "go", *([node("work")] * 20)))
    async with bench.worker(concurrency=4), bench.worker(concurrency=4):
        for child in added.children:
            await bench.ended(child.job_id)
        shown = await shows(bench, added.job_id, 90)
        events = await bench.events(added.job_id)
        # The last may be that it waits for a worker by now, which bears the time it was added at.
        took = (max(event.timestamp for event in events) - events[0].timestamp) / 1000
        assert len(events) <= 4 + took * 10 * 1.5 + 3
    assert percents(events) == sorted(percents(events))
    assert counts(shown)["completed"] == 20
