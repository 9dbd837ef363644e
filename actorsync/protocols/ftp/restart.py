"""Whether a server can go on with an upload (REST and STOR): what a probe shows, and how it is remembered.

RFC 3659 defines REST for uploads as well, and servers differ: some keep what is before the place (and some of these
drop what is behind it), some write from the beginning in silence, some fill with zeros, and ProFTPD refuses unless it
is configured. A wrong guess makes a file of the right size with the wrong content. So nothing but a probe counts.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date, timedelta
from typing import Final

__all__ = ["PROBE", "SECOND", "START", "keeps_beginning", "mark_of", "recall", "remember"]

#: The content of the probe, the place at which it is written again, and what is written there.
PROBE: Final = b"abcd"
START: Final = 2
SECOND: Final = b"x"

#: How long a finding is believed: a server can be configured otherwise.
_BELIEVED: Final = timedelta(days=7)
_NUMBER: Final = re.compile(r"[0-9]+")


def keeps_beginning(found: bytes) -> bool:
    """Return whether the bytes read back after the probe show that an upload can go on at a place.

    The rest may be dropped (Pure-FTPd) or kept (pyftpdlib, vsftpd, ProFTPD): the new end of a file is never before the
    old one.
    """
    return found in {PROBE[:START] + SECOND, PROBE[:START] + SECOND + PROBE[START + 1 :]}


def mark_of(greeting: str) -> str:
    """Return a mark of the server's software. Some greetings have a time or the number of users, which do not count."""
    return hashlib.sha256(_NUMBER.sub("", greeting).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def remember(mark: str, today: date, *, can: bool) -> str:
    """Return the text that keeps a finding for later runs."""
    return f"{'yes' if can else 'no'} {mark} {today.isoformat()}"


def recall(text: str, mark: str, today: date) -> bool | None:
    """Return what a run of the last week has found of the same software; None if nothing counts any more."""
    try:
        answer, of, day = text.split()
        age = today - date.fromisoformat(day)
    except ValueError:
        return None
    is_known = of == mark and answer in {"yes", "no"} and timedelta(0) <= age < _BELIEVED
    return answer == "yes" if is_known else None
