"""What fsspec says of a file or a directory, as an `Entry`. Each library has its own words for times and versions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from actorsync.model.entry import Entry, Kind

__all__ = ["Info", "entry_of", "version_of"]

Info: TypeAlias = Mapping[str, Any]
"""What ``info()`` gives, and ``ls()`` for each entry."""

_SECOND_NS: Final = 10**9
#: When the content was last changed; the first of them that is there.
_TIMES: Final = ("LastModified", "last_modified", "modified", "mtime", "updated")
#: What is another for another content; the first of them that is there.
_IDENTITIES: Final = ("ETag", "etag", "generation", "md5Hash", "ino", "created")

_KINDS: Final = {"file": Kind.FILE, "directory": Kind.DIRECTORY, "link": Kind.LINK}


def entry_of(path: str, info: Info) -> Entry | None:
    """Describe ``path``; None for a file of which not even the size is told.

    A time is cut to whole seconds: some stores tell more of it in a listing than for a single file. What tells versions
    apart stands in the place of an inode, so that two versions of one second are not taken for one.
    """
    kind = Kind.LINK if info.get("islink") else _KINDS.get(str(info.get("type")), Kind.OTHER)
    if kind is not Kind.FILE:
        return Entry(path, kind)
    size = info.get("size")
    if not isinstance(size, int):
        return None
    mtime_ns = _time_ns(info)
    if mtime_ns is not None:
        mtime_ns -= mtime_ns % _SECOND_NS
    return Entry(path, kind, size, mtime_ns, inode=_identity(info))


def version_of(info: Info) -> tuple[object, ...]:
    """Give all by which one version of a file can be told from another."""
    return info.get("type"), info.get("size"), _time_ns(info), _identity(info)


def _time_ns(info: Info) -> int | None:
    return next((ns for key in _TIMES if (ns := _nanoseconds(info.get(key))) is not None), None)


def _identity(info: Info) -> int | None:
    """Give a number of 63 bits, which is what a journal has room for."""
    value = next((value for key in _IDENTITIES if (value := info.get(key)) is not None), None)
    if value is None:
        return None
    if isinstance(value, datetime | float):
        return _nanoseconds(value)
    if isinstance(value, int):
        return value & (2**63 - 1)
    return int.from_bytes(hashlib.sha256(str(value).encode()).digest()[:8]) >> 1


def _nanoseconds(value: object) -> int | None:
    """Read a time, whatever it is written as, to the microsecond; without a zone, it is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        since = aware - datetime(1970, 1, 1, tzinfo=UTC)
        return ((since.days * 86_400 + since.seconds) * 10**6 + since.microseconds) * 1_000
    if isinstance(value, int | float) and not isinstance(value, bool):
        return round(value * 10**6) * 1_000
    return None
