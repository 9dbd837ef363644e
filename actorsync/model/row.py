"""A listing as rows of plain values, made to be compared with the journal's rows by the thousand.

In an unchanged tree every row is as recorded, and no `Entry` is ever made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import attrs

from actorsync.classes import frozen
from actorsync.model.entry import Entry, Kind, Listing, Problem, join, name_of
from actorsync.model.text import display, shorten

__all__ = ["CODES", "KINDS", "ListingRows", "Row", "decode", "encode", "entries_of", "rows_of", "without_inode"]

#: Kinds by the number that stands for them in a row, and in the journal.
KINDS: Final = (None, Kind.FILE, Kind.DIRECTORY, Kind.LINK, Kind.OTHER)
CODES: Final = {kind: code for code, kind in enumerate(KINDS) if kind is not None}

#: Name, number of the kind, size, mtime_ns, ctime_ns, inode and mode: every value of an entry that is compared.
Row: TypeAlias = tuple[bytes, int, int, int | None, int | None, int | None, int | None]


@frozen
class ListingRows:
    """A `Listing` whose entries are rows, sorted by name, byte by byte."""

    directory: str
    rows: list[Row] = attrs.Factory(list)
    hidden: frozenset[str] = frozenset()
    problem: Problem | None = None


def without_inode(row: Row) -> Row:
    """Return a row without the inode and its time. A fingerprint, which is larger than any inode, stays."""
    name, code, size, mtime_ns, _, inode, mode = row
    return name, code, size, mtime_ns, None, None if inode is None or inode < 1 << 64 else inode, mode


def encode(path: str) -> bytes:
    """Return the bytes of a path, independent of the locale."""
    return path.encode("utf-8", "surrogateescape")


def decode(path: bytes) -> str:
    """Return the path of these bytes."""
    return path.decode("utf-8", "surrogateescape")


def rows_of(listing: Listing) -> ListingRows:
    """Return the rows of a listing.

    A name that no file can have makes the whole directory unknown (a `Problem`): the journal joins names to paths.
    """
    invalid = next((it.path for it in listing.entries if not _is_child(listing.directory, it.path)), None)
    if invalid is not None:
        why = f'the source lists a name that no file has: "{shorten(display(invalid), 100)}"'
        return ListingRows(listing.directory, problem=Problem(listing.directory, why))
    rows = [
        (encode(name_of(it.path)), CODES[it.kind], it.size, it.mtime_ns, it.ctime_ns, it.inode, it.mode)
        for it in listing.entries
    ]
    return ListingRows(listing.directory, sorted(rows), listing.hidden, listing.problem)


def _is_child(directory: str, path: str) -> bool:
    name = name_of(path)
    return name not in {"", ".", ".."} and "\0" not in name and path == join(directory, name)


def entries_of(directory: str, rows: Iterable[Row]) -> Iterator[Entry]:
    """Yield the entries that rows of a directory stand for."""
    kinds: tuple[Kind, ...] = (Kind.OTHER, *CODES)
    for name, code, size, mtime, ctime, inode, mode in rows:
        yield Entry(join(directory, decode(name)), kinds[code], size, mtime, ctime, inode, mode)
