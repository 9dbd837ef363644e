"""What is demanded of an endpoint that is only read from: a source. See `actorsync.testing.check_source`.

Each check is an async function of one endpoint, whose tree is that which `tree_of` gives for it. Its first line of
documentation is what it demands. `SOURCE_CHECKS` has them all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias

import trio

from actorsync.endpoints.contract import Endpoint, Session, Upload
from actorsync.errors import OperationRefused, Vanished
from actorsync.model.entry import Entry, Kind, join, parent_of
from actorsync.model.text import display
from actorsync.testing.conformance.demands import MemoryContent

__all__ = ["LONG_TREE", "SOURCE_CHECKS", "TREE", "SourceCheck", "Tree", "fill", "tree_of"]

Tree: TypeAlias = Mapping[str, bytes | None]
"""Every path of a tree, parents first, with what is in it; None is a directory."""

TREE: Final[Tree] = {
    "empty file": b"",
    "big": bytes(range(251)) * 3000,
    "lines": b"\r\n\n\r" * 100,
    "Zürich.txt": b"not ASCII",
    "d": None,
    "d/e": None,
    "d/e/f": b"deep",
}
#: With a directory that is long to list.
LONG_TREE: Final[Tree] = {**TREE, "many": None, **{f"many/{number:03}": b"%d" % number for number in range(300)}}

SourceCheck: TypeAlias = Callable[[Endpoint], Awaitable[None]]
"""Raises ``AssertionError`` with the reason when its demand is not met."""

_checks: list[SourceCheck] = []


def _check(check: SourceCheck) -> SourceCheck:
    _checks.append(check)
    return check


def tree_of(check: SourceCheck) -> Tree:
    """Give the tree that a check is about."""
    return LONG_TREE if check is check_listings_are_complete else TREE


async def fill(endpoint: Endpoint, tree: Tree) -> None:
    """Put a tree into an endpoint that can be written to, by a session of its own. Raises what it refuses."""
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


async def _entries(session: Session, directory: str) -> dict[str, Entry]:
    listing = await session.list_directory(directory)
    assert listing.directory == directory, f"the listing of {directory!r} says that it is of {listing.directory!r}"
    assert listing.problem is None, f"{directory!r} is not listed: {listing.problem}"
    return {entry.path: entry for entry in listing.entries}


async def _refusal_of(session: Session, path: str) -> OperationRefused:
    try:
        async with session.open(path):
            raise AssertionError(f"{path!r} was opened")
    except OperationRefused as refused:
        return refused


@_check
async def check_root_is_identified(endpoint: Endpoint) -> None:
    """`Endpoint.identify` describes the root: a directory, with the path ``""``."""
    root = (await endpoint.identify()).entry
    assert (root.path, root.kind) == ("", Kind.DIRECTORY), f"the root is {root}"


@_check
async def check_listings_are_complete(endpoint: Endpoint) -> None:
    """Every directory is listed with all that is in it, each with its kind and size, and nothing else."""
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
            assert not extra, f"the listing of {directory!r} has what is not there, such as {extra[0]!r}"
            for path, what in expected.items():
                kind, size = found[path]
                size = 0 if kind is Kind.DIRECTORY else size  # what a directory has for one nobody looks at
                assert (kind, size) == what, f"{path!r} is listed as {(kind, size)}, instead of {what}"


@_check
async def check_no_directory_is_a_problem(endpoint: Endpoint) -> None:
    """What is no directory gives a listing with a problem, and never an empty one."""
    async with endpoint.open_session() as session:
        for path in ("missing", "missing/below", "lines", "lines/below"):
            listing = await session.list_directory(path)
            assert listing.problem is not None, f"{path!r} was listed"
            assert not listing.entries, f"{path!r} has a problem, and entries"


@_check
async def check_files_are_read_whole(endpoint: Endpoint) -> None:
    """A file is described as in its listing, and read whole in pieces of any size, by which nothing is changed."""
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
                    assert await content.read(size) == b"", "something comes behind the end"
                    assert await content.is_unchanged(), "a file that nobody changed is said to be changed"
                assert read == data, f"{path!r} reads as {len(read)} other bytes"


@_check
async def check_reading_ends_early(endpoint: Endpoint) -> None:
    """Whoever opens a file of less than a megabyte and reads a part of it leaves the session as good as before."""
    async with endpoint.open_session() as session:
        for reads in (0, 1, 3):
            async with session.open("big") as content:
                for _ in range(reads):
                    assert await content.read(1_000), "the file seems to end too early"
            assert "big" in await _entries(session, "")


@_check
async def check_no_file_is_not_opened(endpoint: Endpoint) -> None:
    """What is gone is `Vanished`, and what is no file `OperationRefused`, in one line that a terminal can show."""
    async with endpoint.open_session() as session:
        for path, error in (("missing", Vanished), ("missing/file", Vanished), ("d", OperationRefused)):
            refused = await _refusal_of(session, path)
            assert isinstance(refused, error), f"{path!r} is refused as {type(refused).__name__}"
            assert display(str(refused)) == str(refused), "a refusal is one line that a terminal can show"


@_check
async def check_paths_stay_below_the_root(endpoint: Endpoint) -> None:
    """A path that leads out of the root, or is not written the one way that paths are, is neither listed nor opened."""
    async with endpoint.open_session() as session:
        for path in ("../x", "d/../../x", "d/..", "/d", "d//e", "./d", "d/."):
            assert (await session.list_directory(path)).problem is not None, f"{path!r} was listed"
            await _refusal_of(session, join(path, "f"))


@_check
async def check_sessions_side_by_side(endpoint: Endpoint) -> None:
    """As many tasks as the endpoint has lanes read over one session at once, and two sessions are open at once."""
    lanes = min(endpoint.lanes, 16)
    assert lanes >= 1, "an endpoint has one lane at least"

    async def work(session: Session, path: str) -> None:
        assert path in await _entries(session, parent_of(path))
        async with session.open(path) as content:
            assert await content.read(1_000) == TREE[path], f"{path!r} reads as something else"

    async with endpoint.open_session() as one, endpoint.open_session() as other, trio.open_nursery() as nursery:
        for number in range(2 * lanes):
            path = ("lines", "Zürich.txt", "d/e/f")[number % 3]
            nursery.start_soon(work, one if number % 2 else other, path)


SOURCE_CHECKS: Sequence[SourceCheck] = tuple(_checks)
