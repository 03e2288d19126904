"""The market's back end as its tests meet it: a gateway, a worker, a receiver, a database, and calls of them."""

import itertools
import random
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from examples.market import sample
from examples.market.database import Database
from examples.market.payloads import Payload, ResolveMarket, job_for
from examples.market.receiver import Post, Receiver
from jobcast import SyncProducer
from tests.examples.system import rows
from tests.support.processes import JobcastProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import free_port, wait_until

JOBS = "examples.market.jobs"
SECRET = "known to both"
FIRST_WAIT = 0.05
Event = tuple[str, dict[str, Any]]
_number = itertools.count(1)


class System:
    """``start`` has all run; until then there is only Redis, the database and the receiver."""

    outlived: str
    at_work: JobcastProcess

    def __init__(self, stack: ExitStack, redis: RedisServer, path: Path) -> None:
        self._stack = stack
        self.redis, self.path = redis, path
        self.database = Database(path)
        self.database.create()
        self.receiver = stack.enter_context(Receiver(SECRET))
        self.jobs = stack.enter_context(SyncProducer.connect(redis.url))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.http = stack.enter_context(httpx.Client(base_url=f"{self.url}/api/v1", timeout=10, trust_env=False))
        self.env = {
            "JOBCAST_REDIS_URL": redis.url,
            "JOBCAST_PORT": str(port),
            "JOBCAST_LOG_STACKS": "false",
            "EXAMPLE_DATABASE": str(path),
            "EXAMPLE_FIRST_WAIT": str(FIRST_WAIT),
        }

    def worker(self, module: str = JOBS) -> JobcastProcess:
        return self._child("worker", "--module", module, "--no-shipped")

    async def start(self) -> None:
        """Have a worker killed when it has resolved the market ``outlived``, then start the rest."""
        mortal = self.worker("tests.examples.mortal_market")
        self.outlived = self.market()
        job = self.ask(ResolveMarket(self.outlived))
        assert await mortal.exited(20) == -9
        assert self.database.pending_deliveries(self.outlived)
        with self.redis.client() as redis:
            redis.pexpire(f"bull:market-resolution:{job}:lock", 200)  # not to wait 15 s for it
        gateway, self.at_work = self._child("gateway"), self.worker()
        await gateway.ready(self.url)
        await self.at_work.says("worker ready", 20)

    def _child(self, *args: str) -> JobcastProcess:
        child = self._stack.enter_context(JobcastProcess(*args, env=self.env))
        self._stack.callback(lambda: print(child.report))
        return child

    def ask(self, payload: Payload, **opts: Any) -> str:
        queue, name, data, own = job_for(payload)
        return self.jobs.submit(queue, name, data, {**own, **opts}).job_id

    def again(self, payload: Payload) -> str:
        """The same as another job."""
        return self.ask(payload, jobId=new("again"))

    def events(self, job_id: str) -> list[Event]:
        answer = self.http.get(f"/jobs/{job_id}/history")
        return [] if answer.status_code == 404 else [(kind, said) for kind, said in answer.json()["events"]]

    async def seen(self, job_id: str, wanted: Callable[[Event], bool], timeout: float = 20) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            return next((said for kind, said in self.events(job_id) if wanted((kind, said))), None)

        found = await wait_until(look, timeout, f"an event of job {job_id}")
        assert found is not None
        return found

    async def result(self, job_id: str, timeout: float = 20) -> Any:
        last = await self.seen(job_id, over, timeout)
        assert "result" in last, last
        return last["result"]

    async def failed(self, job_id: str) -> dict[str, Any]:
        last = await self.seen(job_id, over)
        assert "error" in last, last
        return last

    def posts(self, delivery: str) -> list[Post]:
        return [post for post in self.receiver.posts if post.delivery == delivery]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return rows(self.path, query, *values)

    def run(self, statement: str, *values: object) -> None:
        with self.database.transaction() as db:
            db.execute(statement, values)

    def market(self, outcome: str | None = "yes", stakes: int = 20, lost: int = 0) -> str:
        return add_market(self.database, outcome, stakes, lost)

    def delivery(self, endpoint: str, next_attempt_at: int = 0) -> str:
        """A delivery that no resolution noted, to this endpoint alone."""
        delivery, columns = new("delivery"), "id, endpoint_id, market_id, body, next_attempt_at"
        adding = f"INSERT INTO webhook_deliveries ({columns}) VALUES (?, ?, ?, ?, ?)"
        self.run(adding, delivery, endpoint, self.market(stakes=1), "{}", next_attempt_at)
        return delivery

    def predictions(self, market: str) -> dict[tuple[str, str], int]:
        query = "SELECT side, status, count(*) FROM predictions WHERE market_id = ? GROUP BY side, status"
        return {(side, status): number for side, status, number in self.rows(query, market)}


def new(what: str) -> str:
    return f"{what}-{next(_number)}"


def over(event: Event) -> bool:
    kind, said = event
    return kind == "job-completed" or (kind == "job-failed" and said["final"])


def add_market(database: Database, outcome: str | None = "yes", stakes: int = 20, lost: int = 0) -> str:
    """A market with as many predictions, of which the seed puts some on either side."""
    market = new("market")
    with database.transaction() as db:
        sample.add_market(db, market, outcome, [100] * stakes, random.Random(7), lost=lost)
    return market


def add_endpoint(database: Database, id_: str, url: str, secret: str = SECRET) -> None:
    with database.transaction() as db:
        sample.add_endpoint(db, id_, url, secret)
