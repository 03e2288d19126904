"""One client's view of one queue: what to send it, and which jobs must be read. Values in, values out; no I/O.

A queue counts the events of all its jobs, so it is watched as a job is: everything up to one position has been sent.
Who missed something asks which jobs have changed since and reads those, one after the other, while the feed is held.
"""

from collections.abc import Container, Iterable, Sequence

from jobcast.gateway.held import Held
from jobcast.gateway.known_jobs import KnownJobs
from jobcast.gateway.queue_plan import MOST_STANDING, Plan, Told
from jobcast.gateway.queue_words import begun_anew, told_up_to
from jobcast.gateway.watch import Phase, conflated, introduce
from jobcast.gateway.wire import Message, parse, placed
from jobcast.shared.journal.contract import Ask, Changes, Entry, Reading
from jobcast.shared.position import Position
from jobcast.shared.snapshot import build


class QueueWatch:
    """Begins in phase ``reading``: :meth:`plan` what is to be read, have every job of :meth:`asked` read, tell ``todo``
    of each that was sent, and it is :meth:`level`.

    ``elsewhere`` are the jobs that the client watches by themselves: they are told by those watches alone.
    """

    __slots__ = (
        "_began",
        "_conflate",
        "_due",
        "_elsewhere",
        "_end",
        "_former",
        "_held",
        "_known",
        "_stood",
        "_told",
        "_undo",
        "abandoned",
        "goal",
        "last",
        "phase",
        "queue",
        "recovered",
        "todo",
    )

    def __init__(self, queue: str, since: Position | None, elsewhere: Container[str]) -> None:
        self.queue = queue
        self.last = since
        self.phase: Phase = "reading"
        self.abandoned = False
        self.recovered = False
        """What was missed before it was opened last could be told, or will be."""
        self._elsewhere = elsewhere
        # Who resumes knows jobs that this watch does not.
        self._known = KnownJobs(forgetful=since is not None)
        self._former = self._known
        """Before the view began anew."""
        self._began = since is not None
        self._undo: tuple[str, Position | None, Position | None] = ("", None, None)
        self._held = Held()
        self._due: Position | None = None
        self._conflate = False
        self.todo = Plan()
        self.goal: Position | None = None
        """Where the queue was when it was asked what is to be read."""
        self._told = since
        self._end: Position | None = None
        """Until the feed has come to here the place stands at ``_told``."""
        self._stood = 0

    @property
    def place(self) -> Position | None:
        """The last that the client was told of its place, from where it resumes.

        It stands still while jobs are read, each a moment later than the queue's place was: what is told then may lie
        behind that place, and would be told again to who resumes in front of it.
        """
        return self._told if self.phase == "reading" or self._end is not None else self.last

    @property
    def behind(self) -> bool:
        """The record must be read before anything more can be sent."""
        return self.phase == "behind"

    # From the feed.

    def live(self, message: Message) -> Message | None:
        """Take an event of the queue; returns it if it is to be sent now."""
        place, last = message.queue_position, self.last
        if place is None:
            return None
        known, position = self._known, message.position
        if (
            self.phase == "live"
            and last is not None
            and position is not None
            and place == (last[0], last[1] + 1)
            and (before := known.get(message.job_id)) is not None
            and position == (before[0], before[1] + 1)
            and not (message.ends_job or self._end or known.lingering or message.job_id in self._elsewhere)
        ):
            # Nearly always; what follows are the exceptions.
            self._undo = (message.job_id, before, None)
            known.told[message.job_id] = position
            self.last = place
            return message
        if self.phase == "live":
            if place == (last[0], last[1] + 1) if last is not None else self._is_first(place):
                return self._next(message, place)
            if place.is_news(last):
                self.phase = "behind"
        elif self.phase == "reading":
            self._held.add(message)
        return None

    def _next(self, message: Message, place: Position) -> Message | None:
        job_id, position, sent = message.job_id, message.position, False
        assert position is not None, "it is an event"
        known = self._known.get(job_id)
        if job_id in self._elsewhere:
            self._known.set(job_id, position)
        elif self._is_strange(position, known):
            self.phase = "behind"
            return None
        elif known is None or position.is_news(known):
            sent = True
            self._known.heard(job_id, position, ends=message.ends_job)
        self._undo = (job_id, known, self._end)
        self.last = place
        if place == self._end:
            self._end = None
            return message if sent else told_up_to(self.queue, place)
        return self._placed(message) if sent else None

    def _is_first(self, place: Position) -> bool:
        return place.seq == 1 and (self._end is None or self._end.epoch == place.epoch)

    def _is_strange(self, position: Position, known: Position | None) -> bool:
        """Of a job in its midst that nobody told this client of, or of another life of one that is known."""
        if self.last is None and self._known and (known is None or position.is_news(known)):
            # Jobs were read before the queue's first event came: they may all be of a record that is gone.
            return True
        if known is None:
            return position.seq != 1 and not self._known.forgetful
        return position.epoch != known.epoch

    def lag(self, last: Position | None) -> None:
        """What :meth:`live` just returned was not taken: it is read from the record later, from ``last`` on."""
        self.last, self.phase, self._conflate = last, "behind", True
        job_id, known, self._end = self._undo
        self._known.set(job_id, known)

    def suspect(self) -> None:
        """The feed may have lost something without a trace: read what changed since the last event sent."""
        if self.phase == "live":
            self.phase = "behind"
        self._held.lost = self.phase == "reading"

    def verify(self, position: Position) -> bool:
        """As with a job's watch: False when an event up to this position was not heard of."""
        if self.phase == "live":
            self._known.all_came()
        return self._compare(position)

    def _compare(self, position: Position) -> bool:
        if self.phase == "reading":
            self._due = position
        elif self.phase == "live" and position.is_news(self.last):
            self.phase = "behind"
            return False
        return True

    def owe(self, job_id: str, last: Position | None, *, level: bool) -> None:
        """The client has left a job's own watch, which had come to ``last``: from there on it is ours to tell."""
        # One not met here may stand among what is held, or be read just now.
        if job_id in self._known or (self.phase != "live" and last is not None):
            self._known.set(job_id, last)
        if not level:
            self.todo.owe(job_id)
            self.suspect()

    # From the record.

    def begin(self) -> Position | None:
        """From here on events are held; returns the position after which changes are to be asked for."""
        self._told = self.place
        self.phase = "reading"
        self._held.begin()
        return self.last

    def plan(self, changes: Changes, live: Iterable[str]) -> Message | None:
        """What is to be read: the jobs that changed, or where there are too many, those that are live.

        Returns what says that the view begins anew, where it does.
        """
        began, self._began = self._began, True
        self.goal = changes.position
        self.recovered = changes.continued and changes.job_ids is not None
        if self.recovered:
            after = self.last or (self.goal._replace(seq=0) if self.goal else None)
            # Without a position, jobs that are known may be of a record that is gone.
            known = list(self._known) if self.last is None else []
        else:
            # Until all is told there is no position to resume from.
            self.last = self._told = after = None
            self._former, self._known = self._known, KnownJobs(forgetful=False)
            known = list(self._former)
        changed = live if changes.job_ids is None else changes.job_ids
        self.todo.begin([*known, *changed], after)
        if self.recovered or not began:
            return None
        return begun_anew(self.queue)

    def asked(self, most: int = 1) -> list[Ask]:
        """The next jobs to be read."""
        return self.todo.next(most, self._known)

    def tell(self, asked: Ask, reading: Reading) -> Told | None:
        """What a job's reading is for this client; its introduction counts as sent, its events by :meth:`sent`.

        None when something else is to be asked by now: another watch of the client told of the job meanwhile.
        """
        if self.asked() != [asked]:
            return None
        told, job_id, known = Told(), asked.job_id, asked.since
        if reading.position is not None and reading.fields["queue"].decode() != self.queue:
            reading = Reading(None, {})  # its id is used again elsewhere: what was here is gone
        position = reading.position
        if job_id in self._elsewhere:
            if position is not None:
                self._known.set(job_id, position)
        elif reading.recovered and (known is not None or self._is_met(reading.missed)):
            found = [message for entry in reading.missed if (message := parse(entry.wire)) is not None]
            told.events.extend(map(self._placed, conflated(found) if self._conflate else found))
        elif position is not None or self._was_told(job_id):
            messages = introduce(job_id, reading, build(job_id, reading), known or self._former.get(job_id))
            told.introduction.extend(map(self._placed, messages))
            if position is not None:
                self._known.read(job_id, position, ends=told.introduction[0].ends_job)
            else:
                self._known.set(job_id, None)
        else:
            # It had changed, and is gone.
            self._held.lost = self._held.lost or self.recovered
        return told

    def _was_told(self, job_id: str) -> bool:
        return job_id in self._known or job_id in self._former or self.todo.owes(job_id)

    def _is_met(self, missed: Sequence[Entry]) -> bool:
        return not missed or missed[0].seq == 1 or self._known.forgetful

    def sent(self, message: Message) -> None:
        """An event from the record was taken."""
        if message.position is not None:
            self._known.read(message.job_id, message.position, ends=message.ends_job)

    def full(self) -> None:
        """The client has no room for more of the job that was asked for: it is asked for again later."""
        self._conflate = True

    def level(self, end: Position | None) -> tuple[Message | None, list[Message]]:
        """All was read, and the queue was at ``end`` then: what was told stands before that.

        Returns what says where the client is now, if that is known already, and what the feed brought meanwhile, for
        :meth:`live`.
        """
        goal = self.goal
        self.todo.end()
        self._former, self._conflate = self._known, False
        self._end = None
        if end is not None and (goal is None or goal.epoch == end.epoch):
            # What is owed stands before the goal and is not told yet: the next reading tells it, and then the place.
            self._end = end if end.is_news(goal) or self.todo.owing else None
        self._stood = self._stood + 1 if self._end is not None and self._held.lost else 0
        if self._stood > MOST_STANDING and not self.todo.owing:
            self._end = None
        here = told_up_to(self.queue, goal) if goal is not None and self._end is None and goal != self._told else None
        self.last, self.phase = goal, "behind" if self._held.lost else "live"
        return here, self._held.let_go()

    def settle(self) -> None:
        """What the feed brought was taken too."""
        due, self._due = self._due, None
        if due is not None:
            self._compare(due)

    def _placed(self, message: Message) -> Message:
        # Jobs come one after the other and not as it happened: until all are told, who resumes begins where this did.
        return message if self.phase == "live" and self._end is None else placed(message, self._told)
