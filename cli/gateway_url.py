"""Where a gateway is, and where its doors are."""

import ipaddress
from urllib.parse import urlsplit, urlunsplit

from jobcast.shared.errors import BadSettings


def check_url(url: str) -> str:
    """``url`` without a slash at its end.

    Raises:
        BadSettings: no http or https address.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment:
        raise BadSettings(f"expected the gateway's address as http://host:port, got {url[:200]!r}")
    return url.rstrip("/")


def door(url: str, path: str, *, websocket: bool = False) -> str:
    """The address of one door; a gateway behind a proxy may stand below a path."""
    parts = urlsplit(url)
    scheme = parts.scheme.replace("http", "ws") if websocket else parts.scheme
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + path, "", ""))


def is_loopback(url: str) -> bool:
    """Whether it is on this machine: a proxy of the environment, meant for the world, cannot reach it."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
