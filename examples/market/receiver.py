"""Stands in for the customers' servers: takes webhooks, and answers them well or badly by the path they come to.

    python -m examples.market.receiver

``/fine`` takes everything; ``/flaky`` refuses the first two tries of each delivery; ``/broken`` refuses all;
``/slow`` answers when it is told to, or after ten seconds. A body without the right signature is refused anywhere.
"""

import contextlib
import os
import threading
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

from examples.market.webhooks import is_genuine

PORT: Final = 8765
SECRET: Final = os.environ.get("EXAMPLE_SECRET", "shared-by-both-sides")
LONGEST_BODY: Final = 64 * 1024
SLOW: Final = 10.0
"""Seconds."""


@dataclass(frozen=True)
class Post:
    """One request and the status it was answered with."""

    path: str
    delivery: str
    signature: str
    body: bytes
    status: int


class Receiver:
    """A server in threads of its own, on a free port unless one is given."""

    def __init__(self, secret: str = SECRET, port: int = 0) -> None:
        self.posts: list[Post] = []
        self.answer_slow = threading.Event()
        self.slow_began = threading.Event()
        self._secret = secret
        self._tries: Counter[str] = Counter()
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver")
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answer_slow.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, path: str, delivery: str, signature: str, body: bytes) -> Post:
        """Judge a request and keep it."""
        post = Post(path, delivery, signature, body, self._status(path, delivery, signature, body))
        self.posts.append(post)
        return post

    def _status(self, path: str, delivery: str, signature: str, body: bytes) -> int:
        if not is_genuine(self._secret, signature, body):
            return 401
        self._tries[delivery] += 1
        if path == "/slow":
            self.slow_began.set()
            self.answer_slow.wait(SLOW)
        if path == "/broken" or (path == "/flaky" and self._tries[delivery] <= 2):
            return 503
        return 204


class _Server(ThreadingHTTPServer):
    """``server_close`` waits for the requests in hand."""

    daemon_threads = False

    def __init__(self, address: tuple[str, int], receiver: Receiver) -> None:
        self.receiver = receiver
        super().__init__(address, _Request)


class _Request(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10.0

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length", 0)), LONGEST_BODY)
        delivery, signature = self.headers.get("Market-Delivery", ""), self.headers.get("Market-Signature", "")
        post = self.server.receiver.take(self.path, delivery, signature, self.rfile.read(length))
        self.send_response(post.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """One line for each request, with the delivery it was about."""
        del size
        print(f"{self.path} {self.headers.get('Market-Delivery', '?')}: {code}", flush=True)


if __name__ == "__main__":
    with Receiver(port=PORT) as receiver:
        print(f"receiving at {receiver.url}; Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
