"""Sample wallets, the same ones every time, and questions about them.

python -m examples.wallet_analysis.sample           submits them to the Redis of JOBCAST_REDIS_URL
python -m examples.wallet_analysis.sample --flow    prints the comparison as JSON, for `jobcast submit-flow @-`
"""

import json
import random
import sys
import time
from typing import Any, Final

from examples.wallet_analysis import database
from examples.wallet_analysis.flows import SYSTEM, Request
from examples.wallet_analysis.payloads import Rules
from jobcast import JobcastError, SyncProducer

BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
SEED: Final = 7


def address(number: int, begins: str = "") -> str:
    """The address of a wallet that is nobody's; how it begins tells the stand-in how to answer."""
    chance = random.Random(f"{SEED}-{number}")
    return (begins + "".join(chance.choice(BASE58) for _ in range(44)))[:44]


def wallets() -> list[str]:
    """Seven wallets, of which one is slow and one is not there; no address at all; and a program of the chain."""
    ordinary = [address(number) for number in range(5)]
    return [*ordinary, address(5, "Late"), address(6, "Gone"), "not-a-wallet", min(SYSTEM)]


def comparison(request: Request) -> dict[str, Any]:
    with database.connected() as db:
        return request.similarity(db, wallets(), Rules(enrichment="hybrid", batch_size=3))


def main() -> None:
    now = time.time_ns() // 1_000_000
    if sys.argv[1:] == ["--flow"]:
        print(json.dumps(comparison(Request(f"flow-{now}", now))))
        return
    try:
        with SyncProducer.connect() as jobs:
            waited_for = jobs.submit_flow(Request(f"dashboard-{now}", now, "critical").dashboard(address(0)))
            compared = jobs.submit_flow(comparison(Request(f"sample-{now}", now)))
    except JobcastError as error:
        sys.exit(f"sample: {error}")
    print(f"dashboard   {waited_for.job_id}")
    print(f"comparison  {compared.job_id}")
    print(f"Watch them: jobcast tail {waited_for.job_id} {compared.job_id}")


if __name__ == "__main__":
    main()
