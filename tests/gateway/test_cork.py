"""What goes to many connections at once: written directly, whole, in order, and one connection's fault its own."""

import contextlib
import socket
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from jobcast.gateway.cork import Cork
from jobcast.gateway.metrics import Metrics
from jobcast.gateway.outlet import Outlet


class Kept(Outlet):
    """Notes what it is given to do; ``descriptor`` may be a real socket's."""

    def __init__(self, descriptor: int = -1) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.written: list[bytes] = []
        self.left = b""
        self.ended = ""
        self.fault: Exception | None = None

    def write(self, entry: bytes) -> None:
        if self.fault is not None:
            raise self.fault
        self.written.append(entry)

    def rest(self, entry: bytes) -> None:
        self.left += entry
        self.blocked = True

    def broken(self) -> None:
        self.ended = "broken"

    def slow(self) -> None:
        self.ended = "slow"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    # By TCP: on a Unix socket the kernel takes a write whole or not at all.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def cork(metrics: Metrics) -> Cork:
    return Cork(metrics)


def read(connection: socket.socket) -> bytes:
    """What has come; what is still on its way comes within the tenth of a second that this waits for more."""
    connection.settimeout(0.1)
    data = b""
    with contextlib.suppress(TimeoutError):
        while part := connection.recv(1 << 16):
            data += part
    return data


def test_what_one_read_of_redis_holds_for_a_connection_is_one_write(cork: Cork) -> None:
    first, second = Kept(), Kept()
    cork.active = True
    for entry in (b"a", b"b"):
        assert not cork.offer_all([first], entry)
    assert cork.offer(first, b"c")
    second.blocked = True
    assert cork.offer(second, b"d")
    assert (first.written, len(second.outbox)) == ([], 1)
    cork.flush()
    assert first.written == [b"abc"]
    assert not cork.active
    assert cork.offer(first, b"d")
    assert first.written == [b"abc", b"d"]


def test_a_descriptor_is_written_to_directly(cork: Cork, pair: tuple[socket.socket, socket.socket]) -> None:
    direct, other = Kept(pair[0].fileno()), Kept()
    assert not cork.offer_all([direct, other], b"event")
    assert (read(pair[1]), direct.written, other.written) == (b"event", [], [b"event"])


@pytest.mark.parametrize("corked", [False, True])
def test_what_the_kernel_does_not_take_is_left_to_the_connection_and_nothing_doubled(
    cork: Cork, pair: tuple[socket.socket, socket.socket], corked: bool
) -> None:
    direct = Kept(pair[0].fileno())
    sent = b""
    for number in range(1000):
        entry = b"%08d" % number * 5000
        cork.active = corked
        assert not cork.offer_all([direct], entry)
        cork.flush()
        sent += entry
        if direct.blocked:
            break
    assert direct.blocked
    assert direct.left
    assert read(pair[1]) + direct.left == sent


def test_a_full_connection_that_was_not_known_to_be_full_loses_nothing(
    cork: Cork, pair: tuple[socket.socket, socket.socket]
) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            pair[0].send(b"x" * 65536)
    direct = Kept(pair[0].fileno())
    assert not cork.offer_all([direct], b"event")
    assert direct.left == b"event"


def test_a_connection_that_is_gone_is_told_so_and_the_others_get_theirs(
    cork: Cork, pair: tuple[socket.socket, socket.socket]
) -> None:
    gone, other = Kept(pair[0].fileno()), Kept()
    # Closed with something unread, it resets ours.
    pair[0].send(b"unread")
    pair[1].close()
    assert not cork.offer_all([gone, other], b"event")
    assert (gone.ended, other.written) == ("broken", [b"event"])


@pytest.mark.parametrize("when", ["rest", "broken"])
def test_a_fault_in_what_follows_a_direct_write_is_one_connections_too(
    cork: Cork, pair: tuple[socket.socket, socket.socket], when: str
) -> None:
    class Faulty(Kept):
        def rest(self, _entry: bytes) -> None:
            raise RuntimeError("a fault of the test's")

        def broken(self) -> None:
            raise RuntimeError("a fault of the test's")

    faulty, other = Faulty(pair[0].fileno()), Kept()
    entry = b"x" * 50_000_000
    if when == "broken":
        entry = b"event"
        pair[0].send(b"unread")
        pair[1].close()
    with capture_logs():
        refused = cork.offer_all([faulty, other], entry)
    assert other.written == [entry]
    # Half of an event was sent: whatever came next would stand behind it.
    assert (refused, faulty.ended) == (([], "slow") if when == "rest" else ([faulty], ""))


@pytest.mark.parametrize("corked", [False, True])
def test_one_connections_fault_is_counted_and_the_others_get_theirs(cork: Cork, metrics: Metrics, corked: bool) -> None:
    faulty, other = Kept(), Kept()
    faulty.fault = RuntimeError("a fault of the test's")
    cork.active = corked
    with capture_logs() as logs:
        refused = cork.offer_all([faulty, other], b"event")
        cork.flush()
    assert [each["event"] for each in logs] == ["a connection failed to take events"]
    assert metrics.sink_errors._value.get() == 1
    assert other.written == [b"event"]
    # Corked, it counts as sent already: only a new connection can put that right.
    assert (refused, faulty.ended) == (([], "slow") if corked else ([faulty], ""))
