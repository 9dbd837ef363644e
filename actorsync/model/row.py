"""A directory of the source at a glance: rows of plain values, made to be compared with the journal's by the thousand.

Of a tree in which nothing has changed every row is as recorded, and no `Entry` is ever made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import attrs

from actorsync.model.entry import Entry, Kind, Listing, Problem, join, name_of
from actorsync.model.text import display, shorten

__all__ = ["CODES", "KINDS", "Glance", "Row", "decode", "encode", "entries_of", "glance_of"]

#: Kinds by the number that stands for them in a row, and in the journal.
KINDS: Final = (None, Kind.FILE, Kind.DIRECTORY, Kind.LINK, Kind.OTHER)
CODES: Final = {kind: code for code, kind in enumerate(KINDS) if kind is not None}

#: Name, number of the kind, size, mtime_ns, ctime_ns and inode: all that is compared of an entry.
Row: TypeAlias = tuple[bytes, int, int, int | None, int | None, int | None]


@attrs.frozen
class Glance:
    """What a `Listing` says, in rows that are in the order of their names, byte by byte."""

    directory: str
    rows: list[Row] = attrs.Factory(list)
    hidden: frozenset[str] = frozenset()
    problem: Problem | None = None


def encode(path: str) -> bytes:
    """Give the bytes of a path, whatever the locale."""
    return path.encode("utf-8", "surrogateescape")


def decode(path: bytes) -> str:
    """Give the path of these bytes."""
    return path.decode("utf-8", "surrogateescape")


def glance_of(listing: Listing) -> Glance:
    """Give the rows of a listing. A name that no file has makes all of it unknown: rows are put together by name."""
    stray = next((it.path for it in listing.entries if not _is_child(listing.directory, it.path)), None)
    if stray is not None:
        why = f'the source lists a name that no file has: "{shorten(display(stray), 100)}"'
        return Glance(listing.directory, problem=Problem(listing.directory, why))
    rows = [
        (encode(name_of(it.path)), CODES[it.kind], it.size, it.mtime_ns, it.ctime_ns, it.inode)
        for it in listing.entries
    ]
    return Glance(listing.directory, sorted(rows), listing.hidden, listing.problem)


def _is_child(directory: str, path: str) -> bool:
    name = name_of(path)
    return name not in {"", ".", ".."} and "\0" not in name and path == join(directory, name)


def entries_of(directory: str, rows: Iterable[Row]) -> Iterator[Entry]:
    """Give the entries that rows of a directory stand for. They know no permissions, which are not compared."""
    kinds: tuple[Kind, ...] = (Kind.OTHER, *CODES)
    for name, code, size, mtime, ctime, inode in rows:
        yield Entry(join(directory, decode(name)), kinds[code], size, mtime, ctime, inode)
