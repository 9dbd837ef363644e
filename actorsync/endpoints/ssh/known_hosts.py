"""The lines of a known_hosts file about one host, to show them to the user.

`host_keys` decides whether a key is trusted.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path

from actorsync.classes import frozen

__all__ = ["KnownHostsLine", "lines_about"]


@frozen
class KnownHostsLine:
    """One line of a file. ``marker`` is ``@revoked``, ``@cert-authority`` or ``""``; ``blob`` is the key as base64."""

    path: Path
    number: int
    marker: str
    blob: str


def lines_about(path: Path, host: str) -> Iterator[KnownHostsLine]:
    """Yield the lines about ``host``, which is written as ssh writes it: ``host``, or ``[host]:port``.

    A file that cannot be read has no lines. Lines that are not entries are skipped.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) >= 3 and not words[0].startswith("#") and _is_about(words[0], host.lower()):
            yield KnownHostsLine(path, number, marker, words[2])


def _is_about(names: str, host: str) -> bool:
    if names.startswith("|1|"):
        return _is_hash_of(names, host)
    patterns = [one.lower() for one in names.split(",")]
    if any(one.startswith("!") and _matches(one[1:], host) for one in patterns):
        return False
    return any(_matches(one, host) for one in patterns)


def _matches(pattern: str, host: str) -> bool:
    # In fnmatch, brackets enclose a character class; in known_hosts, they belong to [host]:port.
    return fnmatch.fnmatchcase(host, pattern.replace("[", "[[]"))


def _is_hash_of(text: str, host: str) -> bool:
    """Compare a host with a hashed name as ``ssh-keygen -H`` writes it, which uses HMAC-SHA1."""
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in text[3:].split("|"))
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.digest(salt, host.encode(), hashlib.sha1), digest)
