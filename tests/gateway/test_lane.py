"""The lane, and the topic that drives it: what is decided once for all, and who falls out of it."""

import asyncio

import pytest

from jobcast.gateway.cork import Cork
from jobcast.gateway.lane import Lane
from jobcast.gateway.metrics import Metrics
from jobcast.gateway.outlet import Outlet
from jobcast.gateway.queue_watch import QueueWatch
from jobcast.gateway.sinks import JobSink
from jobcast.gateway.topic import Topic
from jobcast.gateway.watch import Watch
from jobcast.gateway.wire import Dialect, Message, parse
from jobcast.shared.circuit_words import Circuit
from jobcast.shared.position import Position
from tests.gateway.support import Plain


def event(seq: int, epoch: str = "e", name: str = "job-progress") -> bytes:
    return b'["%b",{"seq":%d,"epoch":"%b","jobId":"j"}]' % (name.encode(), seq, epoch.encode())


def message(seq: int, epoch: str = "e", name: str = "job-progress") -> Message:
    parsed = parse(event(seq, epoch, name))
    assert parsed is not None
    return parsed


class Runner:
    def __init__(self, seq: int | None) -> None:
        self.step = None if seq is None else Position("e", seq)

    def resume(self, last: Position) -> None:
        self.step = last


class Sent(Outlet):
    """Takes everything, or refuses, or raises."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.fault: Exception | None = None
        self.closed = False

    def write(self, entry: bytes) -> None:
        if self.fault is not None:
            raise self.fault
        self.sent += entry.splitlines()

    def slow(self) -> None:
        self.closed = True


class Watcher:
    """A client as its sink sees it."""

    def __init__(self, dialect: Dialect) -> None:
        self.outlet: Outlet = Sent()
        self.dialect = dialect
        self.behind: list[Position | None] = []
        self.sink = JobSink(self, Watch("j"))
        self.jobs = {"j": self.sink}

    @property
    def sent(self) -> list[bytes]:
        assert isinstance(self.outlet, Sent)
        return self.outlet.sent

    def take(self, watch: Watch | QueueWatch, message: Message) -> None:
        if watch.live(message) is not None and not self.outlet.offer(message.encoded(self.dialect)):
            self.fall_behind(watch, None)

    def fall_behind(self, watch: Watch | QueueWatch, last: Position | None) -> None:
        watch.lag(last)
        self.behind.append(last)

    def tell_circuit(self, circuit: Circuit) -> None: ...

    def catch_up(self, watch: Watch | QueueWatch) -> None: ...

    def abandon(self, watch: Watch) -> None: ...


def numbers(first: int, last: int) -> list[bytes]:
    return [event(seq) for seq in range(first, last + 1)]


class Crowd:
    """Watchers of one job, all in step at event 1."""

    def __init__(self, topic: Topic, cork: Cork, metrics: Metrics, number: int) -> None:
        self.topic, self.cork, self.metrics = topic, cork, metrics
        dialect = Plain()
        self.watchers = [Watcher(dialect) for _ in range(number)]
        for each in self.watchers:
            each.sink.watch.phase, each.sink.watch.last = "live", Position("e", 0)
            topic.add(each.sink)
        topic.deliver((event(1),))
        assert len(topic._lane.members) == number

    def corked(self, *wires: bytes) -> None:
        self.cork.active = True
        self.topic.deliver(wires)
        self.cork.flush()


@pytest.fixture
async def crowd() -> Crowd:
    async def nothing() -> None: ...

    ready, metrics = asyncio.create_task(nothing()), Metrics()
    cork = Cork(metrics)
    await ready
    return Crowd(Topic(b"c", "j", ready, cork, metrics), cork, metrics, 1000)


def test_a_lane_follows_only_the_very_next_events() -> None:
    lane: Lane[Runner] = Lane("j")
    assert lane.admit(Runner(4), Position("e", 4))
    for wires in (
        [event(5), event(7)],
        [event(6)],
        [event(4)],
        [event(5, "other")],
        [event(5, name="job-unheard-of")],
        [event(5).replace(b'"j"', b'"k"')],
        [event(5)[:-1]],
        [b""],
    ):
        assert not lane.take(wires), wires
        assert lane.last == Position("e", 4)
    assert lane.take([event(5), event(6, name="job-completed")])
    assert lane.last == Position("e", 6)
    assert lane.is_old(message(6))
    assert not lane.is_old(message(7))
    assert not lane.is_old(message(4, "other"))


def test_a_lane_goes_on_by_an_event_of_a_name_it_never_heard_of() -> None:
    lane: Lane[Runner] = Lane("j")
    assert lane.admit(Runner(4), Position("e", 4))
    assert not lane.go_on(message(6, name="job-unheard-of"))
    assert not lane.go_on(message(5, "other"))
    assert lane.go_on(message(5, name="job-unheard-of"))
    assert lane.last == Position("e", 5)


def test_a_lane_admits_who_is_level_and_lets_each_go_on_from_where_it_is() -> None:
    lane: Lane[Runner] = Lane("j")
    first, late = Runner(4), Runner(3)
    assert lane.admit(first, Position("e", 4))
    assert not lane.admit(late, Position("e", 4))
    assert not lane.admit(Runner(None), Position("e", 4))
    assert lane.take(numbers(5, 9))
    lane.leave(late)
    assert late.step == Position("e", 3)
    assert lane.dissolve() == [first]
    assert first.step == Position("e", 9)
    assert not lane.members


async def test_who_goes_on_by_another_connection_is_sent_what_follows_there(crowd: Crowd) -> None:
    mover = crowd.watchers[500]
    crowd.topic.deliver((event(2),))
    before = mover.sent
    mover.outlet = Sent()
    crowd.topic.moved(mover.sink)
    for seq in (3, 4):
        crowd.topic.deliver((event(seq),))
    assert (before, mover.sent) == (numbers(1, 2), numbers(3, 4))
    assert mover.sink in crowd.topic._lane.members


@pytest.mark.parametrize("corked", [False, True])
async def test_when_one_outlet_refuses_the_other_999_get_everything(crowd: Crowd, corked: bool) -> None:
    full = crowd.watchers[500]
    full.outlet.blocked = True
    full.outlet.keep(b"x" * 200_000)
    for seq in (2, 3):
        (crowd.corked if corked else lambda *wires: crowd.topic.deliver(wires))(event(seq))
    assert full.behind[0] == Position("e", 1)
    assert all(each.sent == numbers(1, 3) for each in crowd.watchers if each is not full)
    assert len(crowd.topic) == 1000


async def test_when_one_outlet_raises_the_other_999_get_everything_and_it_reads_again(crowd: Crowd) -> None:
    broken = crowd.watchers[500]
    assert isinstance(broken.outlet, Sent)
    broken.outlet.fault = RuntimeError("a fault of the test's")
    crowd.topic.deliver((event(2), event(3)))
    assert broken.behind == [Position("e", 1)]
    assert crowd.metrics.registry.get_sample_value("jobcast_sink_errors_total") == 1
    assert all(each.sent == numbers(1, 3) for each in crowd.watchers if each is not broken)


async def test_when_one_outlet_raises_as_a_batch_is_written_the_other_999_get_everything(crowd: Crowd) -> None:
    broken = crowd.watchers[500]
    assert isinstance(broken.outlet, Sent)
    broken.outlet.fault = RuntimeError("a fault of the test's")
    crowd.corked(event(2), event(3))
    assert all(each.sent == numbers(1, 3) for each in crowd.watchers if each is not broken)
    # It counts as sent, and was not: only a new connection can put that right.
    assert broken.outlet.closed
    broken.outlet.fault = None
    crowd.topic.deliver((event(4),))
    assert all(each.sent == numbers(1, 4) for each in crowd.watchers if each is not broken)
