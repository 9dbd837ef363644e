"""What every check of the conformance suite is made of: the place, uploads, and assertions that explain themselves."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeAlias, TypeVar

from actorsync.classes import frozen
from actorsync.endpoints.contract import Content, Endpoint, Session, Staged, Upload
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, join, name_of, parent_of
from actorsync.model.text import display, shorten
from actorsync.planning.temporary_names import temporary_name
from actorsync.testing.conformance.contents import MemoryContent

__all__ = [
    "Check",
    "Place",
    "accepted",
    "assert_equal",
    "assert_file",
    "assert_is_a",
    "assert_refused",
    "checking",
    "make",
    "names_in",
    "put",
    "read_file",
    "read_pieces",
    "stage",
    "temporary_of",
    "upload_of",
]


@frozen
class Place:
    """An endpoint rooted in an empty directory, and what it can do."""

    endpoint: Endpoint
    keeps_times: bool = True
    """Whether a committed file has the time of its source, to the second."""
    reads: bool = True
    """Whether `ReadSession.open` works."""
    keeps_directories: bool = True
    """Whether an empty directory exists. In an object store, which has only names, it does not."""
    outside: str = ""
    """The directory beside the root that the endpoint was told of, as a path (``../.trash``); ``""`` if it has none."""


Check: TypeAlias = Callable[[Place], Awaitable[None]]
"""Raises ``AssertionError`` with the reason if the check fails."""

_ValueT = TypeVar("_ValueT")

_tokens: Final = itertools.count(1)

_keeps_directories: ContextVar[bool] = ContextVar("_keeps_directories", default=True)


@contextmanager
def checking(place: Place) -> Iterator[Place]:
    """Yield the place for a check, and tell the helpers in the block whether it keeps empty directories."""
    token = _keeps_directories.set(place.keeps_directories)
    try:
        yield place
    finally:
        _keeps_directories.reset(token)


def assert_equal(found: object, expected: object, reason: str = "") -> None:
    """Assert equality with a message that shows both values: the suite also runs without pytest."""
    assert found == expected, f"{reason or 'not as expected'}: {_short(found)}, instead of {_short(expected)}"


def assert_is_a(value: object, kind: type[_ValueT], reason: str = "") -> _ValueT:
    """Return ``value``, asserted to be an instance of ``kind``."""
    assert isinstance(value, kind), f"{reason or f'{kind.__name__} expected'}: {type(value).__name__} {_short(value)}"
    return value


def _short(value: object) -> str:
    return shorten(repr(value), 200)


def upload_of(path: str, data: bytes) -> Upload:
    """Return an upload of ``data`` to ``path``, with a new temporary."""
    return Upload(path, temporary_of(path), MemoryContent(data))


def temporary_of(path: str) -> str:
    """Return the path of a new temporary beside ``path``."""
    return join(parent_of(path), temporary_name(name_of(path), f"{next(_tokens):08x}"))


async def stage(session: Session, path: str, data: bytes) -> Staged:
    """Stage ``data`` for ``path``."""
    staged, committed = await session.stage(upload_of(path, data))
    staged = assert_is_a(staged, Staged)
    assert_equal(committed, [])
    return staged


async def put(session: Session, path: str, data: bytes) -> Entry:
    """Stage and commit ``data`` as ``path``, and return its entry."""
    (entry,) = await session.commit([await stage(session, path, data)])
    return assert_is_a(entry, Entry)


async def make(session: Session, *paths: str) -> None:
    """Make directories, and assert that each was made."""
    results = await session.make_directories(paths)
    assert_equal(len(results), len(paths), "not one result for each directory")
    for path, entry in zip(paths, results, strict=True):
        entry = assert_is_a(entry, Entry)
        assert_equal((entry.path, entry.kind), (path, Kind.DIRECTORY))


def accepted(results: Sequence[object]) -> list[str]:
    """Return the paths of the entries among results."""
    return [result.path for result in results if isinstance(result, Entry)]


async def names_in(session: Session, directory: str = "") -> list[str]:
    """Return the sorted names in a directory."""
    listing = await session.list_directory(directory)
    assert_equal(listing.directory, directory)
    if listing.problem is not None and listing.problem.vanished and not _keeps_directories.get():
        return []
    assert listing.problem is None, f"{directory!r} is not listed: {listing.problem}"
    return sorted(name_of(entry.path) for entry in listing.entries)


async def assert_file(place: Place, session: Session, path: str, data: bytes) -> None:
    """Assert that ``path`` is whole: in the listing of its parent, and by reading it back where that works."""
    listing = await session.list_directory(parent_of(path))
    (found,) = (entry for entry in listing.entries if entry.path == path)
    assert_equal((found.kind, found.size), (Kind.FILE, len(data)))
    if place.reads:
        async with session.open(path) as content:
            assert_equal(content.entry.size, len(data))
            got = b""
            while piece := await content.read(100_000):
                got += piece
            assert_equal(got, data, f"{path!r} reads back as {len(got)} other bytes")
            assert await content.is_unchanged(), "`is_unchanged` is False for an unchanged file"


async def read_file(session: Session, path: str, size: int) -> bytes:
    """Read a file to its end in pieces of at most ``size`` bytes, and return its content."""
    data = b""
    async with session.open(path) as content:
        while piece := await content.read(size):
            assert len(piece) <= size, f"{len(piece)} bytes were read where {size} were asked for"
            data += piece
        assert_equal(await content.read(size), b"")
        assert await content.is_unchanged(), "`is_unchanged` is False for an unchanged file"
    return data


async def read_pieces(content: Content, count: int, size: int = 1_000) -> bytes:
    """Read ``count`` pieces of at most ``size`` bytes; a refusal ends it."""
    data = b""
    for _ in range(count):
        try:
            piece = await content.read(size)
        except OperationRefused:
            break
        data += piece
    return data


def assert_refused(*results: object) -> None:
    """Assert that every result is a refusal whose text fits on one line of a terminal."""
    for result in results:
        assert_is_a(result, OperationRefused)
        assert_equal(display(str(result)), str(result), "a refusal must be one line that a terminal can show")
