"""The journal in Redis and its twin in memory, driven by the same steps and held to the same answers.

Both could be wrong alike, so a witness holds what Redis answers, records and publishes to the law itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ClassVar

import hypothesis.strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from redis.asyncio import Redis
from redis.client import PubSub

from jobcast.shared.errors import Refused
from jobcast.shared.events import Event, decode
from jobcast.shared.journal import Journal, MemoryJournal, RedisJournal
from jobcast.shared.journal.contract import Appended, Ask, Entry, Key, Reading
from jobcast.shared.keys import Keys
from jobcast.shared.position import Position
from tests.contract.jobs import (
    EVERY_EVENT,
    NOW,
    child_of,
    children_progress,
    delayed,
    queued,
    tried_again_at_once,
    tried_again_later,
    with_children,
)
from tests.shared.law import Witness

JOBS = ("a", "b")


def family(job_id: str, attempt: int = 1, queue: str = "films") -> Event:
    """The one waits for its child, and that is the other."""
    return with_children(job_id, attempt, queue, total=1) if job_id == "a" else child_of("a", job_id, attempt, queue)


MAKERS = [
    *EVERY_EVENT.values(), delayed, tried_again_at_once, tried_again_later, family, family, children_progress,
]  # fmt: skip
QUEUES = ("films", "films", "films", "films", "songs")
WRITERS = ("v", "w")
# Most steps belong to the present: a search that is refused nine times of ten sees little.
LATENESS = st.sampled_from([0, 0, 0, 0, 0, 0, 1, 1, -1, -2])
EVENT = st.tuples(
    st.sampled_from(JOBS), st.sampled_from(MAKERS), LATENESS, st.sampled_from((None, *WRITERS))
)  # fmt: skip
BORN = st.sampled_from((0, 0, NOW, NOW, NOW + 1, NOW + 2))

END = "the-end"
HEARD_WITHIN = 5.0
Step = tuple[Event, Key | None, int]


class Twins(RuleBasedStateMachine):
    """Appends in any order, repeated, late, interleaved; cancels, reads, and a store that forgets."""

    loop: ClassVar[asyncio.AbstractEventLoop]
    client: ClassVar[Redis]
    heard: ClassVar[PubSub]
    """Subscribed to every channel of the journal and to ``END``."""
    steps: ClassVar[int] = 0
    taken: ClassVar[int] = 0
    published: ClassVar[int] = 0

    sent = Bundle("sent")
    unsent = Bundle("unsent")
    positions = Bundle("positions")

    def __init__(self) -> None:
        super().__init__()
        self.memory = MemoryJournal()
        self.redis = RedisJournal(self.client)
        self.counts = dict.fromkeys(WRITERS, 0)
        self.attempts = dict.fromkeys(JOBS, 1)
        self.witness = Witness()
        self.touched = set(JOBS)

    @initialize()
    def begin(self) -> None:
        self._run(self._flush())
        for _ in self._published():
            # Left by an example that ended early.
            pass

    async def _flush(self) -> None:
        await self.client.flushdb()

    def _run(self, call: Any) -> Any:
        return self.loop.run_until_complete(call)

    def _both(self, ask: Callable[[Journal], Awaitable[Any]]) -> tuple[Any, Any]:
        async def asked() -> tuple[Any, Any]:
            return await ask(self.redis), await ask(self.memory)

        pair: tuple[Any, Any] = self._run(asked())
        return pair

    def _event(self, job: str, make: Any, late: int, queue: str, writer: str | None) -> tuple[Event, Key | None]:
        key = None
        if writer is not None:
            self.counts[writer] += 1
            key = Key(writer, self.counts[writer])
        return make(job, max(1, self.attempts[job] + late), queue), key

    @rule(target=unsent, what=EVENT, queue=st.sampled_from(QUEUES), born=BORN)
    def make(self, what: tuple[str, Any, int, str | None], queue: str, born: int) -> Any:
        """Make an event and leave it under way: it may be overtaken, or never arrive."""
        job, make, late, writer = what
        event, key = self._event(job, make, late, queue, writer)
        return event, key, born if event.kind == "job-queued" else 0

    @rule(target=sent, step=consumes(unsent))
    def arrive(self, step: Step) -> Any:
        """An event arrives, whatever has arrived meanwhile."""
        self._append(step)
        return step

    @rule(target=sent, what=EVENT)
    def append(self, what: tuple[str, Any, int, str | None]) -> Any:
        """An event is made and arrives at once."""
        job, make, late, writer = what
        event, key = self._event(job, make, late, "films", writer)
        self._append((event, key, 0))
        return event, key, 0

    @rule(job=st.sampled_from(JOBS))
    def run_an_attempt(self, job: str) -> None:
        """A worker takes the job, as most do: without this few examples would ever see a job run."""
        for name in ("job-queued", "job-queue-to-start", "job-progress"):
            self._append((EVERY_EVENT[name](job, self.attempts[job]), None, 0))

    @rule(rise=st.booleans())
    def run_a_child(self, rise: bool) -> None:
        """A job waits for a child that is run, whether it was known to before or not."""
        made = [family("a", self.attempts["a"]), family("b", self.attempts["b"]), *self._attempt("b")]
        for event in made if rise else made[1:]:
            self._append((event, None, 0))

    def _attempt(self, job: str) -> list[Event]:
        return [EVERY_EVENT[name](job, self.attempts[job]) for name in ("job-queue-to-start", "job-progress")]

    @rule(job=st.sampled_from(JOBS), born=st.integers(NOW, NOW + 4), queue=st.sampled_from(QUEUES))
    def be_born(self, job: str, born: int, queue: str) -> None:
        """Its producer says when the job was born: the same news, a younger life or an older one."""
        self._append((queued(job, 1, queue), None, born))

    @rule(step=sent)
    def repeat(self, step: Step) -> None:
        """An append whose answer was lost is sent again, soon or late."""
        self._append(step)

    def _append(self, step: Step) -> None:
        event, key, born = step
        self.touched.update((event.job_id, "a"))

        async def append(journal: Journal) -> tuple[Any, ...]:
            try:
                answer = await journal.append(event, key=key, born=born)
            except Refused as refused:
                self._note(journal, refused)
                return ("refused", refused.reason, refused.state)
            self._note(journal, answer)
            return (answer.fresh, answer.position.seq, answer.cancelling, answer.parent, answer.share)

        ours, twins = self._both(append)
        assert ours == twins, f"{event!r} {key} born {born}"
        self.witness.offered(event, key, born, self.answer)
        if ours[0] is True:
            type(self).taken += 1
            self.attempts[event.job_id] = max(self.attempts[event.job_id], event.attempt)

    def _note(self, journal: Journal, answer: Appended | Refused) -> None:
        if journal is self.redis:
            self.answer = answer

    @rule(job=st.sampled_from(JOBS), reason=st.sampled_from(("", "slow")))
    def request_cancel(self, job: str, reason: str) -> None:
        self.touched.add(job)
        ours, twins = self._both(lambda journal: journal.request_cancel(job, reason))
        assert ours == twins
        ours, twins = self._both(lambda journal: journal.cancel_requests(JOBS))
        assert ours == twins

    @rule(job=st.sampled_from(JOBS), seq=st.integers(0, 40))
    def read_since(self, job: str, seq: int) -> None:
        """Who resumes is brought everything after its position, or told that it cannot be."""
        now, twin = self._both(lambda journal: journal.read(job))
        if now.position is None:
            return

        async def since(journal: Journal) -> Reading:
            epoch = (now if journal is self.redis else twin).position.epoch
            return await journal.read(job, Position(epoch, seq))

        ours, twins = self._both(since)
        assert ours.recovered == twins.recovered == (seq <= now.position.seq)
        numbers = list(range(seq + 1, now.position.seq + 1))
        assert [entry.seq for entry in ours.missed] == [entry.seq for entry in twins.missed] == numbers

    @rule(queue=st.sampled_from(QUEUES[-2:]), seq=st.integers(0, 40), job=st.sampled_from(JOBS))
    def read_queue_since(self, queue: str, seq: int, job: str) -> None:
        """The same with a queue: which jobs changed, and what of each was missed."""

        async def since(journal: Journal) -> tuple[Any, ...]:
            (place,) = await journal.queue_positions([queue])
            found = await journal.changes(queue, place and Position(place.epoch, seq), 10)
            at = Position(place.epoch if place else "none", seq)
            (reading,) = await journal.read_each(queue, [Ask(job, place=at)])
            missed = [entry.seq for entry in reading.missed]
            return place and place.seq, found.job_ids, reading.recovered, missed

        ours, twins = self._both(since)
        assert ours == twins

    @rule(chance=st.integers(0, 4))
    def forget(self, chance: int) -> None:
        """Redis comes back empty, now and then."""
        if chance:
            return
        self.touched.update(JOBS)
        self._run(self._flush())
        self.memory.forget()
        self.witness.forgotten()

    @invariant()
    def records_agree_and_keep_the_law(self) -> None:
        type(self).steps += 1
        for job, ours, history, twins in self._run(self._look()):
            assert _facts(ours) == _facts(twins)
            self.witness.looked(job, ours, history)
        self.touched.clear()
        assert not self.witness.violations, "; ".join(self.witness.violations)

    async def _look(self) -> list[tuple[str, Reading, list[Entry], Reading]]:
        return [
            (job, await self.redis.read(job), await self.redis.history(job), await self.memory.read(job))
            for job in sorted(self.touched)
        ]

    def teardown(self) -> None:
        for channel, wire in self._published():
            self.witness.heard(channel, wire)
            type(self).published += 1
        self.witness.at_the_end(Keys())
        assert not self.witness.violations, "; ".join(self.witness.violations)

    def _published(self) -> Iterator[tuple[str, bytes]]:
        """All that the subscriber has not heard yet, up to a word of our own behind it."""
        self._run(self.client.publish(END, b""))
        while True:
            message = self.heard.get_message(timeout=HEARD_WITHIN)
            assert message is not None, "what was published did not arrive"
            if message["channel"] == END.encode() and message["type"] == "message":
                return
            if message["type"] == "pmessage":
                yield message["channel"].decode(), message["data"]


def _facts(reading: Reading) -> dict[str, Any]:
    """What both must hold alike: all but the epoch's name, the time, and each store's own bookkeeping."""
    if reading.position is None:
        return {}
    fields = reading.fields
    kinds = {
        name: decode(b'["%s",%s]' % (name[6:].encode(), value)) for name, value in fields.items() if ":job-" in name
    }
    return {
        **{name: fields.get(name) for name in ("seq", "attempt", "state", "queue", "born", "cancel")},
        "over": fields.get("over", b"0"),
        "family": {name: value for name, value in fields.items() if _of_the_family(name, value)},
        "kinds": {name: (event.seq, event.attempt, event.kind) for name, event in kinds.items()},
    }


def _of_the_family(name: str, value: bytes) -> bool:
    """A number that was never told is 0, and when it was told is each store's own."""
    numbers = name.startswith("children:") and name != "children:told-at"
    return (numbers or name in ("kin", "share")) and value not in (b"0", b"")
