"""The checks of a place that is only read: a source. See `actorsync.testing.check_source`.

Each check is an async function of one source, whose root holds the tree that `tree_of` returns for the check. The first
line of its documentation states what it checks. `SOURCE_CHECK_FUNCTIONS` has them all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias

import trio

from actorsync.endpoints.contract import Endpoint, ReadSession, Source, Upload
from actorsync.errors import OperationRefused, Vanished
from actorsync.model.entry import Entry, Kind, join, parent_of
from actorsync.model.text import display
from actorsync.testing.conformance.contents import MemoryContent

__all__ = ["LONG_TREE", "SOURCE_CHECK_FUNCTIONS", "TREE", "SourceCheck", "Tree", "fill", "tree_of"]

Tree: TypeAlias = Mapping[str, bytes | None]
"""Each path of a tree with its content, or None for a directory; parents first."""

TREE: Final[Tree] = {
    "empty file": b"",
    "big": bytes(range(251)) * 3000,
    "lines": b"\r\n\n\r" * 100,
    "Zürich.txt": b"not ASCII",
    "d": None,
    "d/e": None,
    "d/e/f": b"deep",
}
#: The same, and a directory with many entries.
LONG_TREE: Final[Tree] = {**TREE, "many": None, **{f"many/{number:03}": b"%d" % number for number in range(300)}}

SourceCheck: TypeAlias = Callable[[Source], Awaitable[None]]
"""Raises ``AssertionError`` with the reason if the check fails."""

_checks: list[SourceCheck] = []


def _check(check: SourceCheck) -> SourceCheck:
    _checks.append(check)
    return check


def tree_of(check: SourceCheck) -> Tree:
    """Return the tree that a check reads."""
    return LONG_TREE if check is check_listings_are_complete else TREE


async def fill(endpoint: Endpoint, tree: Tree) -> None:
    """Write a tree into an endpoint. Raises what the endpoint refuses."""
    async with endpoint.open_session() as session:
        for result in await session.make_directories([path for path, data in tree.items() if data is None]):
            _raise_refused(result)
        for number, (path, data) in enumerate(tree.items()):
            if data is not None:
                temporary = join(parent_of(path), f".actorsync-{number:08}.tmp")
                staged, _ = await session.stage(Upload(path, temporary, MemoryContent(data)))
                for result in [staged] if isinstance(staged, OperationRefused) else await session.commit([staged]):
                    _raise_refused(result)


def _raise_refused(result: object) -> None:
    if isinstance(result, OperationRefused):
        raise result


async def _entries(session: ReadSession, directory: str) -> dict[str, Entry]:
    listing = await session.list_directory(directory)
    assert listing.directory == directory, f"the listing of {directory!r} says that it is of {listing.directory!r}"
    assert listing.problem is None, f"{directory!r} is not listed: {listing.problem}"
    return {entry.path: entry for entry in listing.entries}


async def _refusal_of(session: ReadSession, path: str) -> OperationRefused:
    try:
        async with session.open(path):
            raise AssertionError(f"{path!r} was opened")
    except OperationRefused as refused:
        return refused


@_check
async def check_root_is_identified(endpoint: Source) -> None:
    """`Source.identify` describes the root: a directory, with the path ``""``."""
    root = (await endpoint.identify()).entry
    assert (root.path, root.kind) == ("", Kind.DIRECTORY), f"the root is {root}"


@_check
async def check_listings_are_complete(endpoint: Source) -> None:
    """Every directory is listed with all its entries, each with its kind and size, and nothing else."""
    async with endpoint.open_session() as session:
        for directory in ("", *(path for path, data in LONG_TREE.items() if data is None)):
            found = {path: (it.kind, it.size) for path, it in (await _entries(session, directory)).items()}
            expected = {
                path: (Kind.DIRECTORY, 0) if data is None else (Kind.FILE, len(data))
                for path, data in LONG_TREE.items()
                if parent_of(path) == directory
            }
            lost, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
            assert not lost, f"the listing of {directory!r} is shorter than the directory: {lost[0]!r} is missing"
            assert not extra, f"the listing of {directory!r} has an entry that does not exist: {extra[0]!r}"
            for path, what in expected.items():
                kind, size = found[path]
                size = 0 if kind is Kind.DIRECTORY else size  # the size of a directory means nothing
                assert (kind, size) == what, f"{path!r} is listed as {(kind, size)}, instead of {what}"


@_check
async def check_listing_of_no_directory_is_a_problem(endpoint: Source) -> None:
    """Listing a missing path or a file returns a listing with a problem, never an empty one."""
    async with endpoint.open_session() as session:
        for path in ("missing", "missing/below", "lines", "lines/below"):
            listing = await session.list_directory(path)
            assert listing.problem is not None, f"{path!r} was listed"
            assert not listing.entries, f"{path!r} has a problem, and entries"


@_check
async def check_files_are_read_whole(endpoint: Source) -> None:
    """A file opens with the entry of its listing, and reads whole in pieces of any size."""
    async with endpoint.open_session() as session:
        for path in ("empty file", "big", "lines", "Zürich.txt", "d/e/f"):
            listed, data = (await _entries(session, parent_of(path)))[path], TREE[path]
            for size in (1 << 20, 70_001):
                read = b""
                async with session.open(path) as content:
                    assert content.entry == listed, f"{path!r} is opened as {content.entry}, and listed as {listed}"
                    while piece := await content.read(size):
                        assert len(piece) <= size, f"{len(piece)} bytes were read where {size} were asked for"
                        read += piece
                    assert await content.read(size) == b"", "a read after the end returned bytes"
                    assert await content.is_unchanged(), "`is_unchanged` is False for an unchanged file"
                assert read == data, f"{path!r} reads as {len(read)} other bytes"


@_check
async def check_reading_ends_early(endpoint: Source) -> None:
    """A reader that stops early in a file under one megabyte leaves the session usable."""
    async with endpoint.open_session() as session:
        for reads in (0, 1, 3):
            async with session.open("big") as content:
                for _ in range(reads):
                    assert await content.read(1_000), "the file ends too early"
            assert "big" in await _entries(session, "")


@_check
async def check_open_of_no_file_is_refused(endpoint: Source) -> None:
    """Opening a missing path raises `Vanished`, a directory `OperationRefused`: one line that a terminal can show."""
    async with endpoint.open_session() as session:
        for path, error in (("missing", Vanished), ("missing/file", Vanished), ("d", OperationRefused)):
            refused = await _refusal_of(session, path)
            assert isinstance(refused, error), f"{path!r} is refused as {type(refused).__name__}"
            assert display(str(refused)) == str(refused), "a refusal must be one line that a terminal can show"


@_check
async def check_paths_stay_below_the_root(endpoint: Source) -> None:
    """A path that leads out of the root, or is not normalized, is neither listed nor opened."""
    async with endpoint.open_session() as session:
        for path in ("../x", "d/../../x", "d/..", "/d", "d//e", "./d", "d/."):
            assert (await session.list_directory(path)).problem is not None, f"{path!r} was listed"
            await _refusal_of(session, join(path, "f"))


@_check
async def check_sessions_side_by_side(endpoint: Source) -> None:
    """One session serves as many readers at once as the place has lanes, and two sessions can be open at once."""
    lanes = min(endpoint.capabilities.lanes, 16)
    assert lanes >= 1, "an endpoint has at least one lane"

    async def work(session: ReadSession, path: str) -> None:
        assert path in await _entries(session, parent_of(path))
        async with session.open(path) as content:
            assert await content.read(1_000) == TREE[path], f"{path!r} reads as something else"

    async with endpoint.open_session() as one, endpoint.open_session() as other, trio.open_nursery() as nursery:
        for number in range(2 * lanes):
            path = ("lines", "Zürich.txt", "d/e/f")[number % 3]
            nursery.start_soon(work, one if number % 2 else other, path)


SOURCE_CHECK_FUNCTIONS: Sequence[SourceCheck] = tuple(_checks)
