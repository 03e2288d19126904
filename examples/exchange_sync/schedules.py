"""The hourly sync of each account: planned and forgotten while everything runs.

What holds for every installation stands in ``queues.py``; whose orders are synced changes with the users.
"""

import msgspec

from examples.exchange_sync.database import Account
from jobcast import Repeat, SyncProducer

HOURLY = Repeat(every=3_600_000)
PRIORITIES = {True: "high", False: "normal"}
"""Of the hourly sync of a premium user, and of the others; one that somebody asked for goes before both."""


def plan(jobs: SyncProducer, account: Account, *, premium: bool) -> bool:
    """Have an account synced every hour, beginning now; False when it is planned so already."""
    opts = {"priority": PRIORITIES[premium]}
    return jobs.schedule("orders", _id(account), "sync", repeat=HOURLY, data=msgspec.to_builtins(account), opts=opts)


def forget(jobs: SyncProducer, account: Account) -> bool:
    """Plan it no more, and take its waiting job away; False when it is not planned."""
    return jobs.unschedule("orders", _id(account))


def _id(account: Account) -> str:
    # The account's: a second schedule of it is the first, and each hour has one job.
    return f"hourly-{account}"
