"""A job that does nothing, for `jobcast worker --module bench.peers.noop`."""

from jobcast import Context, job


@job("bench", "noop")
async def noop(_ctx: Context) -> None:
    pass
