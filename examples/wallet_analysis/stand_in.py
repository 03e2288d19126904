"""Stands in for the chain: an HTTP server whose wallets are made up from their addresses, the same ones every time.

An address that begins with ``Gone`` is not known, with ``Down`` it is answered 503, with ``Late`` slowly.
"""

import json
import random
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

TOKENS: Final = [f"{name}1111111111111111111111111111" for name in ("Ant", "Bee", "Cat", "Dog", "Eel", "Fox", "Gnu")]
FIRST: Final = 1_735_689_600_000
"""When the first trade of all was made: the beginning of 2025, in Unix ms."""
HOUR: Final = 3_600_000
SLOW: Final = 0.5


def trades(wallet: str) -> list[dict[str, Any]]:
    """30 to 60 trades in four or five tokens; nothing is sold that was not bought."""
    chance = random.Random(wallet)
    mine = chance.sample(TOKENS, chance.randint(4, 5))
    held = dict.fromkeys(mine, 0)
    made: list[dict[str, Any]] = []
    at = FIRST
    for number in range(chance.randint(30, 60)):
        at += chance.randint(1, 24) * HOUR
        token = chance.choice(mine)
        selling = held[token] > 0 and chance.random() < 0.4
        amount = held[token] if selling else chance.randint(1, 10**6) * 10**15
        held[token] += -amount if selling else amount
        value = amount // 10**15 * chance.randint(80, 130)
        side = "sell" if selling else "buy"
        trade = {"id": f"{wallet}-{number}", "token": token, "side": side, "amount": str(amount), "value": value}
        made.append({**trade, "at": at})
    return made


def balances(wallet: str) -> dict[str, str]:
    held: dict[str, int] = {}
    for trade in trades(wallet):
        sign = 1 if trade["side"] == "buy" else -1
        held[trade["token"]] = held.get(trade["token"], 0) + sign * int(trade["amount"])
    return {token: str(amount) for token, amount in held.items() if amount}


def token(address: str) -> dict[str, Any]:
    return {"symbol": address[:3].upper(), "price": random.Random(address).randint(1, 10**9)}


class Service(BaseHTTPRequestHandler):
    """``/wallets/<address>/trades?start=&limit=``, ``/wallets/<address>/balances``, ``/tokens?ids=``."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        match url.path.split("/")[1:]:
            case ["wallets", address, _] if address.startswith("Gone"):
                self._answer(404, {})
            case ["wallets", address, _] if address.startswith("Down"):
                self._answer(503, {})
            case ["wallets", address, "trades"]:
                time.sleep(SLOW * address.startswith("Late"))
                start, limit, all_of_them = int(asked["start"]), int(asked["limit"]), trades(address)
                self._answer(200, {"trades": all_of_them[start : start + limit], "total": len(all_of_them)})
            case ["wallets", address, "balances"]:
                self._answer(200, balances(address))
            case ["tokens"]:
                self._answer(200, {each: token(each) for each in asked["ids"].split(",")})
            case _:
                self._answer(404, {})

    def _answer(self, status: int, what: dict[str, Any]) -> None:
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is http.server's
        """One line for each request would hide what matters."""


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8099
    with ThreadingHTTPServer(("127.0.0.1", port), Service) as server:
        print(f"the stand-in for the chain listens on http://127.0.0.1:{port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
