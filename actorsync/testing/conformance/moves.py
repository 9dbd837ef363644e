"""Checks of moves on the target."""

from __future__ import annotations

import attrs

from actorsync.endpoints.contract import Relocation
from actorsync.model.entry import Entry, Kind, name_of
from actorsync.testing.conformance.contents import SECOND_NS
from actorsync.testing.conformance.names import HOSTILE_NAMES, ODD_NAMES
from actorsync.testing.conformance.place import Place, assert_file, assert_refused, make, names_in, put

__all__ = [
    "check_changed_file_is_not_moved",
    "check_many_moves",
    "check_move",
    "check_move_replaces_nothing",
    "check_move_to_odd_names",
    "check_move_twice",
    "check_refused_moves_do_not_hide_the_others",
]


async def check_move(place: Place) -> None:
    """A file moves to another name, also in another directory, with its content and time."""
    async with place.endpoint.open_session() as session:
        await make(session, "d", "e", "e/f")
        entries = [await put(session, path, path.encode()) for path in ("one", "d/two", "d/three")]
        pairs = zip(entries, ("uno", "e/f/two", "d/tres"), strict=True)
        moved = await session.move([Relocation(entry, path) for entry, path in pairs])
        assert [entry.path for entry in moved if isinstance(entry, Entry)] == ["uno", "e/f/two", "d/tres"]
        assert [await names_in(session, path) for path in ("", "d", "e/f")] == [["d", "e", "uno"], ["tres"], ["two"]]
        await assert_file(place, session, "e/f/two", b"d/two")
        listing = await session.list_directory("e/f")
        assert listing.entries == (moved[1],), "the next run would see a changed file"
        assert isinstance(moved[1], Entry)
        if place.keeps_times:  # a store that copies may give the copy the time of the move
            assert moved[1].mtime_ns == entries[1].mtime_ns


async def check_many_moves(place: Place) -> None:
    """One call moves 40 files."""
    async with place.endpoint.open_session() as session:
        await make(session, "d", "e")
        entries = [await put(session, f"d/{number:02}", b"%d" % number) for number in range(40)]
        moved = await session.move([Relocation(it, f"e/{name_of(it.path)}") for it in entries])
        assert all(isinstance(entry, Entry) for entry in moved), moved
        assert (await names_in(session, "d"), await names_in(session, "e")) == ([], [f"{n:02}" for n in range(40)])
        await assert_file(place, session, "e/17", b"17")


async def check_move_twice(place: Place) -> None:
    """A move that is repeated on another session succeeds and returns the same entry."""
    async with place.endpoint.open_session() as session:
        await make(session, "d")
        moves = [Relocation(await put(session, name, name.encode()), f"d/{name}") for name in ("one", "two")]
        once = await session.move(moves[:1])
    async with place.endpoint.open_session() as session:  # as after a lost connection, with an unknown outcome
        again = await session.move(moves)
        assert again[0] == once[0]
        assert [entry.path for entry in again if isinstance(entry, Entry)] == ["d/one", "d/two"]
        assert await names_in(session, "d") == ["one", "two"]


async def check_changed_file_is_not_moved(place: Place) -> None:
    """A file that differs from its entry keeps its name, and its move is refused."""
    async with place.endpoint.open_session() as session:
        await make(session, "directory")
        entry = await put(session, "file", b"content")
        changed = [attrs.evolve(entry, size=8), attrs.evolve(entry, path="directory")]
        if place.keeps_times and entry.mtime_ns is not None:
            changed.append(attrs.evolve(entry, mtime_ns=entry.mtime_ns - 10 * SECOND_NS))
        for other in changed:
            assert_refused(*await session.move([Relocation(other, "new")]))
        assert await names_in(session) == ["directory", "file"]


async def check_move_replaces_nothing(place: Place) -> None:
    """A move to a name in use is refused; both keep their names and contents."""
    async with place.endpoint.open_session() as session:
        await make(session, "directory", "directory/full", "empty")
        entry = await put(session, "file", b"content")
        await put(session, "other", b"another")
        await put(session, "alike", b"CONTENT")
        for path in ("other", "alike", "directory", "empty", "file"):
            assert_refused(*await session.move([Relocation(entry, path)]))
        assert await names_in(session) == ["alike", "directory", "empty", "file", "other"]
        for path, data in (("file", b"content"), ("other", b"another"), ("alike", b"CONTENT")):
            await assert_file(place, session, path, data)


async def check_refused_moves_do_not_hide_the_others(place: Place) -> None:
    """Each move has one result, in order; a refusal is a value, and the others are done."""
    async with place.endpoint.open_session() as session:
        entries = [await put(session, name, name.encode()) for name in ("one", "two", "three", "four", "five")]
        missing = Entry("missing/file", Kind.FILE, 7, entries[0].mtime_ns)
        paths = ("uno", "missing/two", "../three", "one/four", "cinco")
        batch = [Relocation(entry, path) for entry, path in zip(entries, paths, strict=True)]
        results = await session.move([*batch[:1], Relocation(missing, "new"), *batch[1:]])
        assert_refused(*results[1:5])
        assert [entry.path for entry in results if isinstance(entry, Entry)] == ["uno", "cinco"]
        assert await names_in(session) == ["cinco", "four", "three", "two", "uno"]
        await assert_file(place, session, "cinco", b"five")


async def check_move_to_odd_names(place: Place) -> None:
    """A moved file has exactly its new name, or keeps the old one."""
    async with place.endpoint.open_session() as session:
        for number, name in enumerate((*ODD_NAMES, *HOSTILE_NAMES)):
            if not name or "/" in name:
                continue
            directory = f"d{number}"
            await make(session, directory)
            entry = await put(session, f"{directory}/plain", b"content")
            (result,) = await session.move([Relocation(entry, f"{directory}/{name}")])
            expected = name if isinstance(result, Entry) else "plain"
            assert await names_in(session, directory) == [expected], f"{name!r} became something else"
