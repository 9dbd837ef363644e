"""Readers of the values that only a service has: where it listens, and what it requests."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from actorsync.classes import frozen
from actorsync.profile.values.readers import Site, read_path, takes
from actorsync.profile.values.units import shown

__all__ = ["Listen", "read_listen", "read_name", "read_ping"]

_EXAMPLE = '"127.0.0.1:9417" or "unix:/run/actorsync/shop.sock"'
_NAME_LENGTH = 64


@frozen
class Listen:
    """Where a server listens: an IP address and a port, or the path of a socket."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return self.path is not None or ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@takes("address, or path of a socket")
def read_listen(value: object, site: Site) -> Listen:
    """Return where to listen. A host name is refused: it may stand for an address that others can reach."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{shown(value)} is not an address; write it like {_EXAMPLE}")
    if value.startswith("unix:"):
        return Listen(path=read_path(value.removeprefix("unix:"), site))
    host, colon, port = value.rpartition(":")
    host = "127.0.0.1" if host in {"", "localhost"} else host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{shown(value)} has no IP address; write it like {_EXAMPLE}") from None
    if not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port) <= 65_535:
        raise ValueError(f"{shown(value)} has no port from 1 to 65535; write it like {_EXAMPLE}")
    return Listen(str(address), int(port))


@takes("URL")
def read_ping(value: object, _: Site) -> str:
    """Return a URL for requests over HTTP."""
    if isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value:
        parts = urlsplit(value)
        if parts.scheme in {"http", "https"} and parts.hostname and not parts.fragment:
            return value
    raise ValueError('is not a URL of http:// or https://; write it like "https://hc-ping.com/your-uuid"')


@takes("name")
def read_name(value: object, _: Site) -> str:
    """Return the name of a target: letters, digits, ``-`` and ``_``, as it becomes part of variables and options."""
    if (
        not isinstance(value, str)
        or not value
        or len(value) > _NAME_LENGTH
        or not value.isascii()
        or not value.replace("-", "").replace("_", "").isalnum()
    ):
        raise ValueError(
            f"{shown(value)} is not a name of at most {_NAME_LENGTH} letters, digits, - and _; write it like "
            'name = "berlin"'
        )
    return value
