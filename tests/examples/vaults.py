"""examples/copy_trading at work: a gateway and a worker on a Redis of their own, a database, events of a chain."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from examples.copy_trading.events import QUEUES, Deposited, Event, Traded, VaultCreated, Withdrawn
from tests.examples.system import System, running

MODULE = "examples.copy_trading.jobs"
WORKER = ("worker", "--module", MODULE, "--no-shipped")


def address() -> str:
    return f"0x{os.urandom(20).hex()}"


def place(block: int = 1) -> dict[str, Any]:
    """A transaction that is no other test's."""
    return {"block": block, "log_index": 0, "transaction_hash": f"0x{os.urandom(32).hex()}"}


def vault_of(leader: str) -> VaultCreated:
    return VaultCreated(**place(), address=address(), leader=leader, name="Tortoise")


def trade_of(vault: str, before: int, after: int, block: int = 1) -> Traded:
    return Traded(
        **place(block),
        vault=vault,
        token_in=address(),
        token_out=address(),
        amount_in="5",
        amount_out="7",
        value_before=str(before),
        value_after=str(after),
    )


def deposit_of(vault: str, follower: str, amount: int) -> Deposited:
    return Deposited(**place(), vault=vault, follower=follower, amount=str(amount))


def withdrawal_of(vault: str, follower: str, amount: int) -> Withdrawn:
    return Withdrawn(**place(), vault=vault, follower=follower, amount=str(amount))


class Vaults(System):
    """The system, and what a test asks of this one."""

    async def send(self, event: Event, **opts: Any) -> str:
        """Add the job of an event, under an id of its own: told twice, an event is two jobs."""
        queue, name = QUEUES[type(event)]
        return await self.stack.submit(queue, name, msgspec.to_builtins(event), **opts)

    async def done(self, *events: Event) -> list[Any]:
        """The results of their jobs, which were all added before the first was waited for."""
        return [await self.completed(job_id) for job_id in [await self.send(event) for event in events]]

    async def vault(self) -> str:
        """The address of a new vault."""
        event = vault_of(address())
        await self.done(event)
        return event.address

    async def snapshots(self, *trades: Traded) -> None:
        """Record trades one after the other, and wait until each was followed by its snapshot."""
        for trade in trades:
            [result] = await self.done(trade)
            await self.completed(result["snapshot"])

    def subscribed(self, vault: str, follower: str) -> list[str]:
        query = "SELECT amount FROM copy_subscriptions WHERE vault = ? AND follower = ?"
        return [amount for (amount,) in self.rows(query, vault, follower)]


@contextmanager
def vaults(redis_binary: Path, directory: Path) -> Iterator[Vaults]:
    """All of it, for the length of the block."""
    with running(redis_binary, directory, MODULE) as base:
        yield Vaults(**vars(base))
