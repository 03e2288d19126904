"""Stands in for the exchanges of this world: an HTTP server that is in a bad mood at times, by a seed.

    python -m examples.exchange_sync.exchange --port 8090 --seed 7

``GET /<exchange>/orders?after=N``   {"orders": [{id, market, side, amount, price, placedAt}, ...], "total"}
``GET /<exchange>/balances``         {"balances": {<asset>: <amount>}}
``GET /prices``, ``/prices/<market>``  {"prices": {<market>: <price>}}

The same seed gives the same books and the same moods: the n-th request made with a key is always met alike, whatever
other keys ask for meanwhile. Amounts and prices are text, as exchanges send them; times are Unix ms.
"""

import argparse
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

MOODS = {"fine": 70, "limited": 10, "broken": 8, "lost": 6, "garbled": 6}
"""What a request meets, in per cent."""
REVOKED = "revoked-"
"""A key that begins like this is refused, always."""
SLOW = "slow-"
"""One that begins like this is answered after ``SLOW_FOR`` seconds."""
SLOW_FOR = 1.0
LIMIT_RESETS_IN = 1
"""Seconds, as a refusal for too many requests says."""
PAGE = 5
MARKETS = {"BTC-EUR": "61034.50", "ETH-EUR": "3120.08", "SOL-EUR": "142.9"}
DAY = 24 * 3600 * 1000


def mood(seed: int, key: str, nth: int) -> str:
    """How the ``nth`` request (from 1) made with this key is met."""
    return random.Random(f"{seed}/{key}/{nth}").choices(list(MOODS), list(MOODS.values()))[0]


def book(seed: int, exchange: str, key: str, now: int) -> list[dict[str, Any]]:
    """The orders of a key on one exchange, 7 to 17 of the 60 days before ``now`` (Unix ms), the oldest first."""
    chance = random.Random(f"{seed}/{exchange}/{key}")
    account = f"{chance.getrandbits(32):08x}"
    ages = sorted((chance.uniform(0, 60) for _ in range(chance.randint(7, 17))), reverse=True)
    return [
        {
            "id": f"{account}-{n}",
            "market": chance.choice(list(MARKETS)),
            "side": chance.choice(["buy", "sell"]),
            "amount": f"{chance.randint(0, 9)}.{chance.randint(1, 10**18 - 1):018d}",
            "price": f"{chance.randint(10**4, 10**7) / 100:.2f}",
            "placedAt": now - int(age * DAY),
        }
        for n, age in enumerate(ages, start=1)
    ]


class Exchange:
    """The server, in a thread of its own for the length of a ``with``; port 0 is any that is free."""

    def __init__(self, seed: int = 7, port: int = 0) -> None:
        self.seed = seed
        self._began = int(time.time() * 1000)
        self._asked: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), partial(Answer, self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def meet(self, key: str) -> str:
        """The mood in which the next request of this key is met."""
        if key.startswith(REVOKED):
            return "refused"
        with self._counting:
            self._asked[key] += 1
            return mood(self.seed, key, self._asked[key])

    def answer(self, path: str, key: str) -> dict[str, Any] | None:
        """What is at ``path``, or None."""
        at = urlsplit(path)
        match at.path.strip("/").split("/"):
            case ["prices"]:
                return {"prices": MARKETS}
            case ["prices", market] if market in MARKETS:
                return {"prices": {market: MARKETS[market]}}
            case [exchange, "orders"]:
                orders = book(self.seed, exchange, key, self._began)
                after = int(parse_qs(at.query).get("after", ["0"])[0])
                return {"orders": orders[after : after + PAGE], "total": len(orders)}
            case [exchange, "balances"]:
                chance = random.Random(f"{self.seed}/{exchange}/{key}/balances")
                assets = ["EUR", *(market.partition("-")[0] for market in MARKETS)]
                return {
                    "balances": {
                        asset: f"{chance.randint(0, 9)}.{chance.randint(0, 10**18 - 1):018d}" for asset in assets
                    }
                }
        return None


class Answer(BaseHTTPRequestHandler):
    """One request, met as ``exchange`` is minded."""

    def __init__(self, exchange: Exchange, *given: Any) -> None:
        self._exchange = exchange
        super().__init__(*given)

    def do_GET(self) -> None:
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if key.startswith(SLOW):
            time.sleep(SLOW_FOR)
        match self._exchange.meet(key):
            case "refused":
                self._send(401, {"error": "this key is not valid (any more)"})
            case "limited":
                self._send(429, {"error": "too many requests"}, {"Retry-After": str(LIMIT_RESETS_IN)})
            case "broken":
                self._send(502, {"error": "the matching engine is away"})
            case "lost":
                self.close_connection = True  # nothing is sent: the line is just closed
            case "garbled":
                self._send(200, None)
            case _:
                found = self._exchange.answer(self.path, key)
                self._send(404 if found is None else 200, found or {"error": "nothing is here"})

    def _send(self, status: int, content: dict[str, Any] | None, headers: Mapping[str, str] | None = None) -> None:
        body = b'{"maintenance": ' if content is None else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: a user of this looks at the jobs."""


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for exchanges, in a bad mood at times.")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    with Exchange(given.seed, given.port) as exchange:
        print(f"the exchange is at {exchange.url}; Ctrl-C stops it", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
