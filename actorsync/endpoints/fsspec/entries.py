"""Turn what fsspec reports of a path into an `Entry`. Each library has its own keys for times and versions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from actorsync.model.entry import Entry, Kind

__all__ = ["Info", "entry_of", "version_of"]

Info: TypeAlias = Mapping[str, Any]
"""The result of ``info()``, and of ``ls()`` for each entry."""

_SECOND_NS: Final = 10**9
#: Keys for the time of the last change, in order of preference.
_TIMES: Final = ("LastModified", "last_modified", "modified", "mtime", "updated")
#: Keys whose value differs for different content, in order of preference.
_IDENTITIES: Final = ("ETag", "etag", "generation", "md5Hash", "ino", "created")

_KINDS: Final = {"file": Kind.FILE, "directory": Kind.DIRECTORY, "link": Kind.LINK}


def entry_of(path: str, info: Info) -> Entry | None:
    """Return the entry for ``path``; None for a file without a size.

    Times are rounded down to seconds: some stores are more precise in a listing than for a single file. The version of
    the content takes the place of the inode, so that two versions of one second differ.
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
    """Return all facts that distinguish one version of a file from another."""
    return info.get("type"), info.get("size"), _time_ns(info), _identity(info)


def _time_ns(info: Info) -> int | None:
    return next((ns for key in _TIMES if (ns := _nanoseconds(info.get(key))) is not None), None)


def _identity(info: Info) -> int | None:
    """Return the version of the content as a number of 63 bits, which fits a journal."""
    value = next((value for key in _IDENTITIES if (value := info.get(key)) is not None), None)
    if value is None:
        return None
    if isinstance(value, datetime | float):
        return _nanoseconds(value)
    if isinstance(value, int):
        return value & (2**63 - 1)
    # A server may call a young version weak, and the same version strong a second later (RFC 9110, 8.8.1; Apache).
    return int.from_bytes(hashlib.sha256(str(value).removeprefix("W/").encode()).digest()[:8]) >> 1


def _nanoseconds(value: object) -> int | None:
    """Return a time of any type in nanoseconds, precise to the microsecond. A time without a zone is UTC."""
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
