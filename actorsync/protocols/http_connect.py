"""HTTP's CONNECT (RFC 9110 section 9.3.6), by which a proxy joins a client with a server."""

from __future__ import annotations

import base64
import re
from typing import Final

from actorsync.classes import frozen
from actorsync.errors import ProtocolError
from actorsync.model.text import display, shorten

__all__ = ["MAX_HEAD", "Answer", "connect_request", "end_of_head", "parse_head"]

#: Bytes of the longest answer that is accepted. Honest proxies send a few hundred.
MAX_HEAD: Final = 16 * 1024

_END: Final = re.compile(rb"\r?\n\r?\n")
_STATUS: Final = re.compile(r"HTTP/1\.[0-9] ([0-9]{3})(?: (.*))?")
_SHOWN: Final = 80


@frozen
class Answer:
    """The answer of a proxy. ``reason`` is its status line without the version, such as ``403 Forbidden``."""

    status: int
    reason: str


def connect_request(target: str, user: str, password: str | None) -> bytes:
    """Return the request to be connected to ``target``, which is ``host:port``. Without a password, it has no login."""
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if password is not None:
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {credentials}")
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def end_of_head(data: bytes) -> int | None:
    """Return the length of the answer's head, None if it is not complete. The bytes after it are the server's."""
    found = _END.search(data)
    return None if found is None else found.end()


def parse_head(head: bytes) -> Answer:
    """Return the answer in a complete head.

    Raises:
        ProtocolError: it is not HTTP.
    """
    line = head.partition(b"\n")[0].decode("utf-8", "surrogateescape").rstrip("\r")
    found = _STATUS.fullmatch(line)
    if found is None:
        raise ProtocolError(f'it sent no valid HTTP answer: "{shorten(display(line), _SHOWN)}"')
    return Answer(int(found[1]), shorten(display(f"{found[1]} {found[2] or ''}".rstrip()), _SHOWN))
