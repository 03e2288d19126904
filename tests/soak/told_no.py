"""Who asks a Redis without memory, what they are told, and how that is held to the record."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import httpx

from jobcast.shared.errors import Unavailable
from jobcast.shared.events import Event
from jobcast.shared.journal import RedisJournal, Writer
from jobcast.shared.journal.contract import Appended
from tests.contract.jobs import log, queued, started
from tests.gateway.support import http
from tests.shared.bullmq import Site

PAUSE: Final = 0.002
LONGEST_LINE: Final = 8192
JOBS: Final = "/api/v1/jobs"


@dataclass
class Notes:
    """``yes`` and ``no`` count the answers by what was asked; ``accepted`` to ``again`` hold the jobs they were of."""

    yes: Counter[str] = field(default_factory=Counter)
    no: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    cancelled: dict[str, str] = field(default_factory=dict)
    """The state that was answered, by job."""
    refused: set[str] = field(default_factory=set)
    """Jobs whose cancel was told unavailable."""
    again: set[str] = field(default_factory=set)
    """Jobs that were tried again."""
    doubtful: int = 0
    stranded: int = 0
    violations: list[str] = field(default_factory=list)
    over: bool = False


class Appending:
    """One job and its writer. What was refused is offered again under the same key, or given up."""

    def __init__(self, journal: RedisJournal, job_id: str, chance: random.Random, notes: Notes) -> None:
        self.job_id = job_id
        self.lines: dict[int, str] = {}
        """The lines that were taken, by number."""
        self._journal = journal
        self._chance = chance
        self._notes = notes
        self._writer = Writer()
        self._last = 0

    async def go_on(self) -> None:
        for event in (queued(self.job_id), started(self.job_id)):
            await self._insist(event)
        number = 0
        while not self._notes.over:
            number += 1
            line = f"{number} " + "x" * self._chance.randrange(LONGEST_LINE)
            key = self._writer.key()
            for _ in range(self._chance.randint(1, 3)):
                try:
                    appended = await self._journal.append(log(self.job_id, line=line), key=key)
                except Unavailable as error:
                    self._refused(error)
                else:
                    self._taken(appended)
                    self.lines[appended.position.seq] = line
                    break
                await asyncio.sleep(PAUSE)
            await asyncio.sleep(PAUSE)

    async def _insist(self, event: Event) -> None:
        while True:
            try:
                return self._taken(await self._journal.append(event))
            except Unavailable as error:
                self._refused(error)
            await asyncio.sleep(PAUSE)

    def _taken(self, appended: Appended) -> None:
        self._notes.yes["append"] += 1
        if not appended.fresh or appended.position.seq != self._last + 1:
            self._notes.violations.append(f"{self.job_id}: after {self._last} the answer was {appended}")
        self._last = appended.position.seq

    def _refused(self, error: Unavailable) -> None:
        self._notes.no["append"] += 1
        if "nothing was recorded" not in str(error):
            self._notes.violations.append(f"{self.job_id}: refused in doubt: {error}")


class Asking:
    """Who asks over HTTP: an answer is 202, or 503 in the shape of an error that may be tried again."""

    def __init__(self, url: str, chance: random.Random, notes: Notes) -> None:
        self._client: httpx.AsyncClient = http(url)
        self._chance = chance
        self._notes = notes

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def _ask(self, what: str, method: str, path: str, body: object = None) -> dict[str, str] | None:
        answer = await self._client.request(method, path, json=body)
        told = answer.json()
        if answer.status_code == httpx.codes.ACCEPTED:
            self._notes.yes[what] += 1
            return dict(told)
        self._notes.no[what] += 1
        if (answer.status_code, told.get("code"), told.get("retryable")) != (503, "unavailable", True):
            self._notes.violations.append(f"{what} {path} was answered {answer.status_code} {answer.text[:200]}")
        return None

    async def submit(self) -> None:
        while not self._notes.over:
            data = {"text": "x" * self._chance.randrange(4096)}
            told = await self._ask("submit", "POST", JOBS, {"queue": "songs", "name": "encode", "data": data})
            if told is not None:
                self._notes.accepted.append(told["jobId"])
            await asyncio.sleep(PAUSE)

    async def cancel(self) -> None:
        while not self._notes.over:
            await asyncio.sleep(PAUSE)
            left = [job_id for job_id in self._notes.accepted[-50:] if job_id not in self._notes.cancelled]
            if left:
                await self._cancel(self._chance.choice(left))

    async def _cancel(self, job_id: str) -> None:
        told = await self._ask("cancel", "DELETE", f"{JOBS}/{job_id}")
        if told is None:
            self._notes.refused.add(job_id)
        else:
            self._notes.cancelled[job_id] = told["state"]

    async def retry(self, finished: list[str]) -> None:
        while not self._notes.over and len(self._notes.again) < len(finished):
            await asyncio.sleep(20 * PAUSE)
            job_id = self._chance.choice([each for each in finished if each not in self._notes.again])
            if await self._ask("retry", "POST", f"{JOBS}/{job_id}/retry") is not None:
                self._notes.again.add(job_id)

    async def ask_again(self) -> None:
        """There is memory: whose cancel was refused is told yes now."""
        for job_id in self._notes.refused - self._notes.cancelled.keys():
            await self._cancel(job_id)


async def compare(site: Site, notes: Notes) -> None:
    """Every job that was said to be queued, cancelled or tried again is so, in the record and in the queue."""
    queued_now = {job.id for job in await site.queue("songs").getJobs(["wait"])}
    for job_id in notes.accepted:
        state, kinds = (await site.fields(job_id)).get("state"), await site.kinds(job_id)
        if kinds[:1] != ["job-queued"]:
            notes.violations.append(f"{job_id} was accepted; the record holds {kinds}")
        if job_id not in queued_now and job_id not in notes.cancelled:
            notes.violations.append(f"{job_id} was accepted and not cancelled; it is not in the queue, and {state!r}")
    for job_id, told in notes.cancelled.items():
        fields = await site.fields(job_id)
        if told == "cancelled" and fields.get("state") != b"cancelled":
            notes.violations.append(f"{job_id} was called cancelled; it is {fields.get('state')!r}")
        if told == "cancelling" and fields.get("state") != b"cancelled" and "cancel" not in fields:
            notes.violations.append(f"{job_id} was called cancelling; nobody is asked to stop it")
        notes.stranded += told == "cancelling" and fields.get("state") == b"waiting" and job_id not in queued_now
    tried_again = {job.id for job in await site.queue("films").getJobs(["wait"])}
    for job_id in notes.again:
        fields = await site.fields(job_id)
        if (fields["state"], fields["attempt"]) != (b"waiting", b"2") or job_id not in tried_again:
            notes.violations.append(f"{job_id} was to be tried again; it is {fields['state']!r}")
    notes.doubtful = len(queued_now - set(notes.accepted))


async def compare_appends(journal: RedisJournal, job: Appending, notes: Notes) -> None:
    """The record ends at the last ok, and what it still holds is what was taken."""
    position, last = (await journal.read(job.job_id)).position, max(job.lines, default=0)
    if position is None or (last and position.seq != last):
        notes.violations.append(f"{job.job_id} stands at {position}; the last ok was for {last}")
    history = await journal.history(job.job_id)
    if [entry.seq for entry in history] != list(range(last - len(history) + 1, last + 1)):
        notes.violations.append(f"{job.job_id} holds {[entry.seq for entry in history]}; the last ok was for {last}")
    for entry in history:
        line = job.lines.get(entry.seq)
        if entry.seq > 2 and (line is None or f'"line":"{line}"'.encode() not in entry.wire):
            notes.violations.append(f"{job.job_id} holds at {entry.seq} what was never answered ok")
