"""Where alerts go: the log, or somebody's webhook.

A webhook is posted as JSON (``Alert``) with three headers:

    Jobcast-Alert      the alert's id, the same in every try: take an id once
    Jobcast-Timestamp  when this try was sent, Unix seconds
    Jobcast-Signature  ``v1=`` and the HMAC-SHA256, in hex, of ``<timestamp>.<body>`` under JOBCAST_ALERT_SECRET

A receiver works out the signature of the bytes it got, compares in constant time, and refuses a timestamp that is more
than five minutes off: whoever recorded a post can replay it no longer, and meanwhile the id tells that it was seen.
Any 2xx is taken for delivered; everything else, and silence for ten seconds, is tried again.
"""

import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable
from typing import Final, Protocol
from urllib.parse import urlsplit

import httpx
import msgspec

from jobcast.shared import logs
from jobcast.shared.alerts.alert import Alert
from jobcast.shared.settings import Settings

REPLAY_WINDOW: Final = 300
"""Seconds that a receiver's clock and ours may be apart."""
DEADLINE: Final = 10.0
"""Seconds for one post, whole."""

_log = logs.get("alerts")


class NotDelivered(Exception):
    """The receiver did not take it; the sentence holds no address, which may be a secret."""


class Sink(Protocol):
    """Takes an alert, or raises: then it is offered again, later."""

    async def send(self, alert: Alert) -> None: ...

    async def close(self) -> None: ...


class LogSink:
    """One warning in the log for each alert."""

    async def send(self, alert: Alert) -> None:
        # The log has names of its own for these.
        shown = {"alert_id" if name == "id" else name: value for name, value in msgspec.structs.asdict(alert).items()}
        _log.warning("alert", **shown)

    async def close(self) -> None:
        return


class WebhookSink:
    """Posts to one address; see the module. ``clock`` in Unix seconds."""

    def __init__(
        self, url: str, secret: str, *, deadline: float = DEADLINE, clock: Callable[[], float] = time.time
    ) -> None:
        self._url = url
        self._secret = secret.encode()
        self._clock = clock
        # A proxy of the environment, meant for the world, cannot reach this machine.
        self._client = httpx.AsyncClient(timeout=deadline, follow_redirects=False, trust_env=not _is_loopback(url))

    async def send(self, alert: Alert) -> None:
        body, timestamp = msgspec.json.encode(alert), str(int(self._clock()))
        headers = {
            "content-type": "application/json",
            "user-agent": "jobcast",
            "jobcast-alert": alert.id,
            "jobcast-timestamp": timestamp,
            "jobcast-signature": signature(self._secret, timestamp, body),
        }
        try:
            async with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                # Its body is not read: it may be without end, and nothing in it matters.
                status = answer.status_code
        except httpx.HTTPError as error:
            raise NotDelivered(f"the receiver did not answer ({type(error).__name__})") from None
        if not httpx.codes.is_success(status):
            raise NotDelivered(f"the receiver answered {status}")

    async def close(self) -> None:
        await self._client.aclose()


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """What ``Jobcast-Signature`` holds."""
    return "v1=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def is_genuine(secret: str, timestamp: str, given: str, body: bytes, *, now: float | None = None) -> bool:
    """Whether we sent this, and not long ago: for receivers written in Python."""
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) < 15):
        return False
    if abs((time.time() if now is None else now) - int(timestamp)) > REPLAY_WINDOW:
        return False
    return hmac.compare_digest(signature(secret.encode(), timestamp, body).encode(), given.encode())


def sink_of(settings: Settings) -> Sink:
    """The webhook where one is set, else the log."""
    return WebhookSink(settings.alert_url, settings.alert_secret) if settings.alert_url else LogSink()


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
