"""A stretch of a chain, the same for the same seed: ``python -m examples.copy_trading.sample [SEED]``.

Its jobs go to the Redis of ``JOBCAST_REDIS_URL``, as a program that listens to a chain would add them: nothing waits
for anything, one vault is told of three seconds late, and every fifth event comes twice.
"""

import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from examples.copy_trading.events import Deposited, Event, Traded, VaultCreated, Withdrawn, job_of
from jobcast import JobcastError, SyncProducer

SEED: Final = 7
VAULTS: Final = ("Tortoise", "Hare", "Late riser")
FOLLOWERS: Final = 4
ROUNDS: Final = 30
LATE: Final = 3000
"""Ms by which the last vault is told of later than its trades."""
COIN: Final = 10**18
"""Base units of one: even a middling sum is more than 64 bits hold."""


class _Chain:
    """What happened, in order; it keeps the books only to make a history that can be."""

    def __init__(self, seed: int) -> None:
        self.events: list[Event] = []
        self._chance = random.Random(seed)
        self._values: dict[str, int] = defaultdict(int)
        self._held: dict[tuple[str, str], int] = defaultdict(int)

    def address(self) -> str:
        return f"0x{self._chance.getrandbits(160):040x}"

    def create_vault(self, name: str) -> str:
        vault = self.address()
        self.events.append(VaultCreated(**self._place(), address=vault, leader=self.address(), name=name))
        return vault

    def trade(self, vault: str) -> None:
        """The leader puts a tenth of the vault into something else, and the vault is worth 4 % less to 6 % more."""
        before = self._values[vault]
        after = self._values[vault] = before * self._chance.randint(960, 1060) // 1000
        event = Traded(
            **self._place(),
            vault=vault,
            token_in=self.address(),
            token_out=self.address(),
            amount_in=str(before // 10),
            amount_out=str(self._chance.randint(1, 10**6) * COIN),
            value_before=str(before),
            value_after=str(after),
        )
        self.events.append(event)

    def deposit(self, vault: str, follower: str) -> None:
        amount = self._chance.randint(100, 10_000) * COIN
        self._values[vault] += amount
        self._held[vault, follower] += amount
        self.events.append(Deposited(**self._place(), vault=vault, follower=follower, amount=str(amount)))

    def withdraw(self, vault: str, follower: str) -> None:
        """All of it."""
        amount = self._held.pop((vault, follower))
        self._values[vault] -= amount
        self.events.append(Withdrawn(**self._place(), vault=vault, follower=follower, amount=str(amount)))

    def _place(self) -> dict[str, Any]:
        return {
            "block": 1_000 + len(self.events) // 2,
            "log_index": len(self.events) % 2,
            "transaction_hash": f"0x{self._chance.getrandbits(256):064x}",
        }


def history(seed: int = SEED) -> list[Event]:
    """Three vaults whose leader trades thirty times, with four followers each, of whom the first leaves again."""
    chain = _Chain(seed)
    followers = [chain.address() for _ in range(FOLLOWERS)]
    vaults = [chain.create_vault(name) for name in VAULTS]
    for vault in vaults:
        for follower in followers:
            chain.deposit(vault, follower)
    for number in range(ROUNDS):
        for vault in vaults:
            chain.trade(vault)
            if number % 10 == 9:
                chain.deposit(vault, followers[-1])
    for vault in vaults:
        chain.withdraw(vault, followers[0])
    return chain.events


def deliveries(events: list[Event]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events as they reach the queues, ``(queue, job)``: some too late, some again."""
    for number, event in enumerate(events):
        late = {"delay": LATE} if isinstance(event, VaultCreated) and event.name == VAULTS[-1] else {}
        queue, job = job_of(event, **late)
        yield queue, job
        if number % 5 == 0:
            yield queue, {**job, "opts": {**job["opts"], "jobId": f"{job['opts']['jobId']}-again"}}


def submit(seed: int) -> dict[str, list[str]]:
    """The ids of the jobs, by queue."""
    jobs = defaultdict(list)
    for queue, job in deliveries(history(seed)):
        jobs[queue].append(job)
    with SyncProducer.connect() as producer:
        return {queue: [each.job_id for each in producer.submit_many(queue, many)] for queue, many in jobs.items()}


def main() -> None:
    try:
        ids = submit(int(sys.argv[1]) if sys.argv[1:] else SEED)
    except JobcastError as error:
        sys.exit(f"sample: {error}")
    for queue, of_queue in ids.items():
        print(f"{len(of_queue):4} jobs of {queue}, the last: {of_queue[-1]}")
    print(f"Watch:  jobcast tail {ids['trade'][-1]}")
    print("        jobcast queue list")
    print("Then:   python -m examples.copy_trading.report")


if __name__ == "__main__":
    main()
