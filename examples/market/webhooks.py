"""Webhooks: the signature, one try to deliver, and how long to wait for the next."""

import hashlib
import hmac
from typing import Final

import httpx

from examples.market.database import Delivery, Endpoint

MOST_ATTEMPTS: Final = 6
LONGEST_WAIT: Final = 3600.0
"""Seconds."""


def sign(secret: str, body: bytes) -> str:
    """The signature of a body: ``sha256=`` and HMAC-SHA256 in hex."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def is_genuine(secret: str, signature: str, body: bytes) -> bool:
    """Whether a body came from somebody who knows the secret; for receivers."""
    return hmac.compare_digest(sign(secret, body).encode(), signature.encode())


def post(http: httpx.Client, endpoint: Endpoint, delivery: Delivery) -> str | None:
    """Send it once; None when the receiver answered 2xx, else what went wrong. A redirect is not followed."""
    body = delivery.body.encode()
    headers = {
        "Content-Type": "application/json",
        "Market-Delivery": delivery.id,
        "Market-Signature": sign(endpoint.secret, body),
    }
    try:
        # Streamed, because nobody reads what is answered, however long it is.
        with http.stream("POST", endpoint.url, content=body, headers=headers) as answer:
            return None if answer.is_success else f"HTTP {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{type(error).__name__}: {error}"


def wait_after(attempts: int, first_wait: float) -> float | None:
    """Seconds from a delivery's last of so many failed tries to its next, twice as long each; None: no more."""
    return min(first_wait * 2 ** (attempts - 1), LONGEST_WAIT) if attempts < MOST_ATTEMPTS else None
