"""The hourly sync of each account: planned and forgotten while everything runs.

What holds for every installation stands in ``queues.py``; whose orders are synced changes with the users, so it is said
over HTTP, to the gateway at ``JOBCAST_URL``.
"""

import os

import httpx
import msgspec

from examples.exchange_sync.database import Account

HOUR = 3_600_000
PRIORITIES = {True: "high", False: "normal"}
"""Of the hourly sync of a premium user, and of the others; one that somebody asked for goes before both."""


def gateway() -> httpx.Client:
    url = os.environ.get("JOBCAST_URL", "http://127.0.0.1:8080")
    return httpx.Client(base_url=f"{url}/api/v1", timeout=10, trust_env=False)


def plan(http: httpx.Client, account: Account, *, premium: bool) -> bool:
    """Have an account synced every hour, beginning now; False when it is planned so already."""
    body = {
        "name": "sync",
        "data": msgspec.to_builtins(account),
        "repeat": {"every": HOUR},
        "opts": {"priority": PRIORITIES[premium]},
    }
    return http.put(_path(account), json=body).raise_for_status().status_code == httpx.codes.CREATED


def forget(http: httpx.Client, account: Account) -> bool:
    """Plan it no more, and take its waiting job away; False when it is not planned."""
    answer = http.delete(_path(account))
    if answer.status_code == httpx.codes.NOT_FOUND:
        return False
    answer.raise_for_status()
    return True


def _path(account: Account) -> str:
    # The id is the account's: a second schedule of it is the first, and each hour has one job.
    return f"/queues/orders/schedules/hourly-{account}"
