"""Which lines of a known_hosts file are about a host: to be shown to a user.

Whether a key is believed is decided elsewhere, by the endpoint.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path

import attrs

__all__ = ["Place", "places_of"]


@attrs.frozen
class Place:
    """A line about a host: its marker (``@revoked``, ``@cert-authority`` or none), and its key as base64."""

    path: Path
    number: int
    marker: str
    blob: str


def places_of(path: Path, host: str) -> Iterator[Place]:
    """Give the lines about ``host``, written as ssh does it: ``host``, or ``[host]:port``.

    None in a file that cannot be read. Lines that are no entries are passed over.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) >= 3 and not words[0].startswith("#") and _is_about(words[0], host.lower()):
            yield Place(path, number, marker, words[2])


def _is_about(names: str, host: str) -> bool:
    if names.startswith("|1|"):
        return _is_hash_of(names, host)
    patterns = [one.lower() for one in names.split(",")]
    if any(one.startswith("!") and _matches(one[1:], host) for one in patterns):
        return False
    return any(_matches(one, host) for one in patterns)


def _matches(pattern: str, host: str) -> bool:
    # In fnmatch, brackets are a class; in known_hosts, they are those of [host]:port.
    return fnmatch.fnmatchcase(host, pattern.replace("[", "[[]"))


def _is_hash_of(text: str, host: str) -> bool:
    """Compare with what ``ssh-keygen -H`` has made of a name: HMAC-SHA1, because that is what it writes."""
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in text[3:].split("|"))
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.digest(salt, host.encode(), hashlib.sha1), digest)
