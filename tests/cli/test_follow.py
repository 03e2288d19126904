"""The follower keeps the promise against a gateway that loses, repeats, replaces and forgets."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jobcast.cli import follow
from jobcast.cli.follow import Followed, Verdict
from jobcast.shared.position import Position

Payload = dict[str, Any]


def event(seq: int, epoch: str = "a", **more: Any) -> Payload:
    return {"epoch": epoch, "seq": seq, "jobId": "1", **more}


def snapshot(seq: int, epoch: str = "a", state: str = "active", **more: Any) -> Payload:
    return {"epoch": epoch, "seq": seq, "jobId": "1", "state": state, "recovered": False, **more}


def at(seq: int, epoch: str = "a") -> Followed:
    return Followed.resumed(Position(epoch, seq))


def test_the_latest_event_behind_a_snapshot_is_applied_once() -> None:
    job, verdict = follow.take_snapshot(Followed(), snapshot(5, state="completed"))
    assert verdict is Verdict.APPLY
    assert job.ended == "completed"
    assert not job.settled

    job, first = follow.take_event(job, "job-completed", event(5))
    job, second = follow.take_event(job, "job-completed", event(5))

    assert (first, second) == (Verdict.APPLY, Verdict.DROP)
    assert job.settled


def test_a_connection_lost_behind_a_snapshot_goes_on_from_before_it() -> None:
    job, _ = follow.take_snapshot(Followed(), snapshot(5, state="completed"))
    assert job.since == Position("a", 4)
    job, _ = follow.take_event(job, "job-completed", event(5))
    assert job.since == Position("a", 5)


def test_a_hole_is_asked_for_from_the_position_held_and_then_afresh() -> None:
    job, first = follow.take_event(at(3), "job-progress", event(6))
    job, while_waiting = follow.take_event(job, "job-progress", event(7))
    job = follow.take_answer(job, snapshot(7), recovered=True)
    job, second = follow.take_event(job, "job-progress", event(8))

    assert (first, while_waiting, second) == (Verdict.ASK_SINCE, Verdict.DROP, Verdict.ASK_AFRESH)
    assert job.position == Position("a", 3)


def test_a_message_that_says_what_it_replaces_leaves_no_hole() -> None:
    job, verdict = follow.take_event(at(3), "job-progress", event(9, skipped=5))
    assert verdict is Verdict.APPLY
    assert job.position == Position("a", 9)


def test_one_that_replaces_too_little_leaves_a_hole() -> None:
    _, verdict = follow.take_event(at(3), "job-progress", event(9, skipped=4))
    assert verdict is Verdict.ASK_SINCE


def test_a_new_epoch_begins_at_one_and_the_old_one_does_not_come_back() -> None:
    job, begun = follow.take_event(at(9), "job-queued", event(1, "b"))
    job, late = follow.take_event(job, "job-progress", event(10, "a"))
    job, late_snapshot = follow.take_snapshot(job, snapshot(10, "a"))

    assert (begun, late, late_snapshot) == (Verdict.APPLY, Verdict.DROP, Verdict.DROP)
    assert job.position == Position("b", 1)


def test_a_new_epoch_in_its_midst_is_a_hole() -> None:
    _, verdict = follow.take_event(at(9), "job-progress", event(4, "b"))
    assert verdict is Verdict.ASK_SINCE


def test_a_snapshot_older_than_what_was_applied_is_dropped() -> None:
    job, verdict = follow.take_snapshot(at(9), snapshot(8))
    assert verdict is Verdict.DROP
    assert job == at(9)


def test_a_failure_that_will_be_tried_again_is_not_the_end() -> None:
    job, _ = follow.take_event(at(3), "job-failed", event(4, final=False))
    assert job.ended is None
    job, _ = follow.take_event(job, "job-failed", event(5, final=True))
    assert job.ended == "failed"


def test_a_job_opened_again_is_no_longer_at_its_end() -> None:
    job, _ = follow.take_event(at(3), "job-failed", event(4, final=True))
    job, _ = follow.take_event(job, "job-queued", event(5))
    assert job.ended is None


def test_resuming_at_the_very_end_is_settled_by_the_answer() -> None:
    job = follow.take_answer(at(9), snapshot(9, state="completed", recovered=True), recovered=True)
    assert job.settled


def test_an_answer_overtaken_by_the_end_does_not_open_the_job_again() -> None:
    job, _ = follow.take_event(at(7), "job-completed", event(8))
    job = follow.take_answer(job, snapshot(7), recovered=True)
    assert job.ended == "completed"


def test_a_record_that_is_gone_begins_the_view_anew() -> None:
    job, verdict = follow.take_snapshot(at(9), {"state": "unknown", "epoch": None, "seq": 0, "recovered": False})
    assert verdict is Verdict.APPLY
    assert job.position is None
    job, late = follow.take_event(job, "job-progress", event(10))
    job, begun = follow.take_event(job, "job-queued", event(1, "b"))
    assert (late, begun) == (Verdict.DROP, Verdict.APPLY)


def test_what_has_no_position_is_no_event() -> None:
    for payload in ({}, {"epoch": "a"}, event(0), {"epoch": 3, "seq": "4"}, {"epoch": "A B", "seq": True}):
        assert follow.take_event(at(3), "job-progress", payload) == (at(3), Verdict.DROP)


class Gateway:
    """One job's record and one client's subscription to it, with faults the test chooses."""

    def __init__(self) -> None:
        self.lives: list[list[Payload]] = [[]]
        self.sent: list[tuple[str, Payload]] = []
        self.watching = False
        self.left_out = 0

    @property
    def epoch(self) -> str:
        return f"e{len(self.lives)}"

    def happen(self, kind: str, fault: str) -> None:
        life = self.lives[-1]
        if life and life[-1]["kind"] == "job-completed":
            return
        life.append({"seq": len(life) + 1, "epoch": self.epoch, "kind": kind})
        if not self.watching or fault == "lose":
            self.left_out = 0
            return
        if fault == "replace" and kind == "job-progress":
            self.left_out += 1
            return
        payload = {**life[-1], **({"skipped": self.left_out} if self.left_out else {})}
        self.left_out = 0
        self.sent += [(kind, payload)] * (2 if fault == "repeat" else 1)

    def forget(self) -> None:
        """Redis came back empty: the next event begins another life."""
        self.lives.append([])
        self.left_out = 0

    def subscribe(self, since: Position | None, history: int) -> None:
        self.watching, self.left_out = True, 0
        life = self.lives[-1]
        seq = len(life)
        kept = life[-history:]
        if (
            since
            and since.epoch == self.epoch
            and since.seq <= seq
            and (since.seq == seq or since.seq >= seq - len(kept))
        ):
            self.sent += [(each["kind"], each) for each in kept if each["seq"] > since.seq]
            self.sent.append(("ack", {**self._snapshot(), "recovered": True}))
            return
        self.sent.append(("job-snapshot", self._snapshot()))
        if life:
            self.sent.append((life[-1]["kind"], life[-1]))
        self.sent.append(("ack", self._snapshot()))

    def _snapshot(self) -> Payload:
        life = self.lives[-1]
        if not life:
            return {"state": "unknown", "epoch": None, "seq": 0, "recovered": False}
        over = life[-1]["kind"] == "job-completed"
        state = "completed" if over else "active"
        return {"state": state, "epoch": self.epoch, "seq": len(life), "recovered": False}


class Client:
    """Feeds the follower and notes what it applied."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.job = Followed()
        self.applied: list[tuple[str, Payload]] = []
        self.asked = 0

    def connect(self, history: int) -> None:
        self.gateway.sent.clear()
        self.job = follow.subscribing(follow.reconnected(self.job))
        self.gateway.subscribe(self.job.since, history)

    def read(self, most: int, history: int) -> None:
        for _ in range(most):
            if not self.gateway.sent:
                return
            kind, payload = self.gateway.sent.pop(0)
            if kind == "ack":
                self.job = follow.take_answer(self.job, payload, recovered=payload["recovered"])
                continue
            take = follow.take_snapshot(self.job, payload) if kind == "job-snapshot" else None
            self.job, verdict = take or follow.take_event(self.job, kind, payload)
            if verdict is Verdict.APPLY:
                self.applied.append((kind, payload))
            elif verdict is not Verdict.DROP:
                self.asked += 1
                self.gateway.subscribe(self.job.since if verdict is Verdict.ASK_SINCE else None, history)


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("happen"),
            st.sampled_from(["job-progress", "job-progress", "job-log", "job-completed"]),
            st.sampled_from(["", "", "", "lose", "repeat", "replace"]),
        ),
        st.tuples(st.just("read"), st.integers(1, 8)),
        st.tuples(st.sampled_from(["connect", "forget"])),
    ),
    max_size=60,
)


@settings(max_examples=1000)
@given(STEPS, st.integers(1, 12))
def test_whatever_the_connection_does_the_promise_holds(steps: list[tuple[Any, ...]], history: int) -> None:
    gateway = Gateway()
    client = Client(gateway)
    client.connect(history)
    for step in steps:
        match step:
            case ("happen", kind, fault):
                gateway.happen(kind, fault)
            case ("read", most):
                client.read(most, history)
            case ("connect",):
                client.connect(history)
            case ("forget",):
                gateway.forget()
    # At last a sound connection, and one more event if the job is still open.
    client.read(1000, history)
    client.connect(history)
    client.read(1000, history)
    gateway.happen("job-completed", "")
    client.read(1000, history)

    check_promise(client.applied, gateway)
    assert client.job.settled
    assert client.job.position == Position(gateway.epoch, len(gateway.lives[-1]))


def check_promise(applied: list[tuple[str, Payload]], gateway: Gateway) -> None:
    events = [(payload["epoch"], payload["seq"]) for kind, payload in applied if kind != "job-snapshot"]
    for epoch in {epoch for epoch, _ in events}:
        seqs = [seq for each, seq in events if each == epoch]
        assert seqs == sorted(set(seqs)), "the numbers applied only grow"
        where = [place for place, (each, _) in enumerate(events) if each == epoch]
        assert where == list(range(where[0], where[-1] + 1)), "an epoch that was left does not come back"
    ends = [payload["epoch"] for kind, payload in applied if kind == "job-completed"]
    assert len(ends) == len(set(ends)), "the end is applied once"
    check_holes(applied, gateway)


def check_holes(applied: list[tuple[str, Payload]], gateway: Gateway) -> None:
    """Every number that was left out is progress that was replaced, or stands before a snapshot."""
    covered = Position("", 0)
    for kind, payload in applied:
        if kind == "job-snapshot":
            covered = Position(payload["epoch"] or "", payload["seq"])
            continue
        here = Position(payload["epoch"], payload["seq"])
        begin = covered.seq if covered.epoch == here.epoch else 0
        skipped = payload.get("skipped", 0)
        assert here.seq - skipped <= begin + 1, f"{here} leaves a hole after {begin}"
        life = gateway.lives[int(here.epoch[1:]) - 1]
        replaced = life[max(begin, here.seq - 1 - skipped) : here.seq - 1]
        assert all(each["kind"] == "job-progress" for each in replaced)
        covered = here
