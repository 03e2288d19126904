"""A job that does nothing, visibly: for demonstrations and tests."""

import asyncio
from typing import Annotated

import msgspec

from jobcast.worker.context import Context
from jobcast.worker.errors import BadData
from jobcast.worker.handlers.data import read_data


class SimulatedFailure(Exception):
    """What ``failAt`` asked for."""


class Simulation(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """``duration`` in seconds, spread evenly over ``steps``; fails at step ``fail_at``; a line every ``log_every``."""

    steps: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    duration: Annotated[float, msgspec.Meta(ge=0, le=24 * 3600)]
    fail_at: Annotated[int, msgspec.Meta(ge=1)] | None = None
    log_every: Annotated[int, msgspec.Meta(ge=1)] | None = None


async def simulate(context: Context) -> dict[str, int]:
    """``{steps, duration, failAt?, logEvery?}`` -> ``{steps}``."""
    wanted = read_data(context.data, Simulation)
    if wanted.fail_at is not None and wanted.fail_at > wanted.steps:
        raise BadData(f"expected failAt from 1 to {wanted.steps}, the number of steps, got {wanted.fail_at}")
    for step in range(1, wanted.steps + 1):
        await asyncio.sleep(wanted.duration / wanted.steps)
        if step == wanted.fail_at:
            raise SimulatedFailure(f"failed at step {step} of {wanted.steps}, as asked")
        await context.progress(100 * step / wanted.steps, "simulating")
        if wanted.log_every is not None and step % wanted.log_every == 0:
            await context.log(f"step {step} of {wanted.steps} done")
    return {"steps": wanted.steps}
