"""What is published is recorded and what is recorded is published, byte for byte, in order, on both channels."""

import asyncio
import contextlib
import random

from jobcast.shared.errors import Refused
from jobcast.shared.journal import Writer
from jobcast.shared.position import Position
from tests.contract.conftest import Kept
from tests.contract.jobs import EVERY_EVENT, bring, completed, log, new_id, progress, queued, started


def placed(wire: bytes, place: Position, number: int) -> bytes:
    """What the queue's channel carries for this: its place in the queue stands before the payload's own fields."""
    return wire.replace(b"{", b'{"queuePosition":{"seq":%d,"epoch":"%b"},' % (number, place.epoch.encode()), 1)


async def test_both_channels_carry_what_the_history_holds(kept: Kept) -> None:
    job_id = new_id()
    kept.follow(job_id, "films")
    await bring(kept.journal, job_id, "delayed after a failed try")
    await bring(kept.journal, job_id, "completed", attempt=2)
    wires = [entry.wire for entry in await kept.journal.history(job_id)]
    heard = kept.heard()
    (place,) = await kept.journal.queue_positions(["films"])
    assert place is not None
    assert (len(wires), place.seq) == (6, 6)
    assert [wire for channel, wire in heard if channel == f"jobcast:{{{job_id}}}"] == wires
    assert [wire for channel, wire in heard if channel == "jobcast:queue:{films}"] == [
        placed(wire, place, number + 1) for number, wire in enumerate(wires)
    ]


async def test_writers_that_quarrel_publish_in_the_order_of_the_numbers(kept: Kept) -> None:
    job_id, writers = new_id(), [Writer() for _ in range(5)]
    kept.follow(job_id, "films")

    async def quarrel(writer: Writer) -> None:
        for _ in range(20):
            make = random.choice(list(EVERY_EVENT.values()))
            with contextlib.suppress(Refused):
                await kept.journal.append(make(job_id, random.choice((1, 2, 3))), key=writer.key())

    await asyncio.gather(*(quarrel(writer) for writer in writers))
    wires = [entry.wire for entry in await kept.journal.history(job_id)]
    assert [wire for channel, wire in kept.heard() if channel == f"jobcast:{{{job_id}}}"] == wires


async def test_a_refused_or_repeated_event_is_not_published(kept: Kept) -> None:
    job_id = new_id()
    await bring(kept.journal, job_id, "completed")
    kept.follow(job_id, "films")
    kept.heard()
    await kept.journal.append(queued(job_id))
    for make in (started, progress, completed):
        with contextlib.suppress(Refused):
            await kept.journal.append(make(job_id))
    assert kept.heard() == []


async def test_text_beyond_ascii_and_quotes_travel_untouched(kept: Kept) -> None:
    job_id = new_id()
    await bring(kept.journal, job_id, "active")
    kept.follow(job_id, "films")
    kept.heard()
    await kept.journal.append(log(job_id, line='naïve "quoted" \\ \u2028 \x00 \r\n 🎬'))
    wire = (await kept.journal.history(job_id))[-1].wire
    (place,) = await kept.journal.queue_positions(["films"])
    assert place is not None
    assert [heard for _, heard in kept.heard()] == [wire, placed(wire, place, place.seq)]
    assert 'naïve \\"quoted\\" \\\\ \u2028 \\u0000 \\r\\n 🎬'.encode() in wire
