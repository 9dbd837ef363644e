"""Checks of releases: files that are published together, and taken back; and of the directory beside the root."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import attrs

from actorsync.endpoints.contract import Relocation, Session, Staged
from actorsync.endpoints.releases import Publication, Published, publish, put_back
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, join, name_of, parent_of
from actorsync.planning.temporary_names import aside_name
from actorsync.testing.conformance.contents import SECOND_NS
from actorsync.testing.conformance.place import (
    Place,
    assert_equal,
    assert_file,
    assert_is_a,
    assert_refused,
    make,
    names_in,
    put,
    read_file,
    stage,
)

__all__ = [
    "check_directory_beside_the_root_takes_old_files",
    "check_directory_in_the_way_of_a_release_refuses_one_file",
    "check_files_move_to_the_directory_beside_the_root_and_back",
    "check_interrupted_publication_continues",
    "check_interrupted_taking_back_continues",
    "check_old_file_stays_when_it_cannot_be_set_aside",
    "check_publish_replaces_without_an_aside",
    "check_publish_sets_old_files_aside",
    "check_publish_twice",
    "check_publish_what_was_never_staged",
    "check_put_back_leaves_what_another_program_wrote",
    "check_put_back_restores_every_byte",
    "check_put_back_twice",
]


def _aside_of(staged: Staged) -> str:
    return join(parent_of(staged.temporary), aside_name(name_of(staged.temporary)))


async def _publications(session: Session, paths: Sequence[str], *, aside: bool = True) -> list[Publication]:
    """Stage a new version of each file, with its path and an exclamation mark as content."""
    staged = [await stage(session, path, f"{path}!".encode()) for path in paths]
    return [Publication(item, _aside_of(item) if aside else None) for item in staged]


async def _published(session: Session, items: Sequence[Publication]) -> list[Published]:
    results = await publish(session, items)
    assert_equal(len(results), len(items), "not one result for each file")
    return [assert_is_a(result, Published) for result in results]


async def check_publish_sets_old_files_aside(place: Place) -> None:
    """Staged files get their names; an old file of the same name gets the name aside, with content and time."""
    async with place.endpoint.open_session() as session:
        await make(session, "d")
        old = await put(session, "d/old", b"before")
        items = await _publications(session, ["d/old", "d/new"])
        results = await _published(session, items)
        assert_equal([(it.entry.path, it.has_old) for it in results], [("d/old", True), ("d/new", False)])
        await assert_file(place, session, "d/old", b"d/old!")
        await assert_file(place, session, "d/new", b"d/new!")
        aside = items[0].aside or ""
        await assert_file(place, session, aside, b"before")
        assert_equal(await names_in(session, "d"), sorted(["old", "new", name_of(aside)]), "a temporary is left")
        shown = {entry.path: entry for entry in (await session.list_directory("d")).entries}
        assert_equal([shown["d/old"], shown["d/new"]], [it.entry for it in results], "the next run sees a change")
        if place.keeps_times:
            assert_equal(shown[aside].mtime_ns, old.mtime_ns)


async def check_publish_replaces_without_an_aside(place: Place) -> None:
    """Without a name for the old file it is replaced."""
    async with place.endpoint.open_session() as session:
        await put(session, "file", b"before")
        (result,) = await _published(session, await _publications(session, ["file"], aside=False))
        assert_equal(result.has_old, False)
        await assert_file(place, session, "file", b"file!")
        assert_equal(await names_in(session), ["file"])


async def check_publish_twice(place: Place) -> None:
    """A release that is repeated on another session succeeds, and no file replaces the old one that is set aside."""
    async with place.endpoint.open_session() as session:
        for name in ("one", "two", "three"):
            await put(session, name, b"before")
        items = await _publications(session, ["one", "two", "three", "four"])
        once = await _published(session, items[:2])
    async with place.endpoint.open_session() as session:  # as after a lost connection, with an unknown outcome
        again = await _published(session, items)
        assert_equal(again[:2], once)
        assert_equal([it.has_old for it in again], [True, True, True, False])
        for name, item in zip(("one", "two", "three"), items, strict=False):
            await assert_file(place, session, name, f"{name}!".encode())
            await assert_file(place, session, item.aside or "", b"before")


async def check_interrupted_publication_continues(place: Place) -> None:
    """An old file that was set aside stays there when the rest is done later."""
    async with place.endpoint.open_session() as session:
        old = await put(session, "file", b"before")
        (item,) = await _publications(session, ["file"])
        (moved,) = await session.move([Relocation(old, item.aside or "")])
        assert_is_a(moved, Entry)
    async with place.endpoint.open_session() as session:
        (result,) = await _published(session, [item])
        assert_equal(result.has_old, True)
        await assert_file(place, session, "file", b"file!")
        await assert_file(place, session, item.aside or "", b"before")


async def check_directory_in_the_way_of_a_release_refuses_one_file(place: Place) -> None:
    """A directory with the name of a file refuses that file and keeps its content; the others are published."""
    async with place.endpoint.open_session() as session:
        await put(session, "one", b"before")
        await make(session, "taken", "taken/below")
        await put(session, "taken/kept", b"kept")
        items = await _publications(session, ["one", "taken", "two"])
        results = await publish(session, items)
        assert_is_a(results[0], Published)
        assert_refused(results[1])
        assert_is_a(results[2], Published)
        await assert_file(place, session, "taken/kept", b"kept")
        assert_equal(await put_back(session, items[1:2]), [None], "there was no file")
        await assert_file(place, session, "taken/kept", b"kept")


async def check_old_file_stays_when_it_cannot_be_set_aside(place: Place) -> None:
    """Without a directory for the old file, or with its name taken, the file is refused and all stays as it was."""
    async with place.endpoint.open_session() as session:
        for name in ("one", "two", "three"):
            await put(session, name, b"before")
        await put(session, "taken", b"by another program")
        items = await _publications(session, ["one", "two", "three"])
        items[0] = attrs.evolve(items[0], aside="missing/one")
        items[1] = attrs.evolve(items[1], aside="taken")
        results = await publish(session, items)
        assert_refused(*results[:2])
        assert_is_a(results[2], Published)
        await assert_file(place, session, "one", b"before")
        await assert_file(place, session, "two", b"before")
        await assert_file(place, session, "taken", b"by another program")
        await assert_file(place, session, items[0].staged.temporary, b"one!")
        await assert_file(place, session, items[1].staged.temporary, b"two!")


async def check_publish_what_was_never_staged(place: Place) -> None:
    """A file without its temporary is refused, and the file in place stays."""
    async with place.endpoint.open_session() as session:
        await put(session, "file", b"before")
        (item,) = await _publications(session, ["file"])
        assert_equal(await session.sweep([item.staged.temporary]), [True])
        results = await publish(session, [item])
        assert_refused(*results)
        await assert_file(place, session, "file", b"before")
        assert_equal(await names_in(session), ["file"])


async def check_put_back_restores_every_byte(place: Place) -> None:
    """A release of 70 files that is taken back leaves names, contents and times as they were."""
    async with place.endpoint.open_session() as session:
        await make(session, "d", "d/e")
        names = [join("d" if number % 2 else "d/e", f"{number:02}") for number in range(70)]
        old = {name: await put(session, name, f"before {name}".encode()) for name in names[::3]}
        items = await _publications(session, names)
        await _published(session, items)
        back = await put_back(session, [*reversed(items)])
        assert_equal(len(back), len(items), "not one result for each file")
        for name, entry in zip(reversed(names), back, strict=True):
            if name not in old:
                assert_equal(entry, None, "a new file is still there")
                continue
            entry = assert_is_a(entry, Entry)
            assert_equal((entry.path, entry.size), (name, old[name].size))
            if place.keeps_times:
                assert_equal(entry.mtime_ns, old[name].mtime_ns)
        for directory in ("d", "d/e"):
            left = {entry.path: entry for entry in (await session.list_directory(directory)).entries}
            temporaries = {item.staged.temporary for item in items if parent_of(item.staged.path) == directory}
            kept = {path for path in old if parent_of(path) == directory}
            assert_equal({path for path, it in left.items() if it.kind is Kind.FILE}, kept | temporaries)
        if place.reads:
            for name in (names[0], names[69]):
                assert_equal(await read_file(session, name, 100), f"before {name}".encode())
        # What was taken back is still whole: it can be published again.
        again = await _published(session, items[:1])
        assert_equal(again[0].has_old, True)
        await assert_file(place, session, names[0], f"{names[0]}!".encode())


async def check_put_back_twice(place: Place) -> None:
    """Taking back is repeated with the same result, and does nothing to what was never published."""
    async with place.endpoint.open_session() as session:
        await put(session, "one", b"before")
        await put(session, "two", b"second")
        items = await _publications(session, ["one", "two", "three", "four"])
        await _published(session, [items[0], items[2]])
        once = await put_back(session, items)
    async with place.endpoint.open_session() as session:
        assert_equal(await put_back(session, items), once)
        assert_equal([None if it is None else assert_is_a(it, Entry).path for it in once], ["one", "two", None, None])
        await assert_file(place, session, "one", b"before")
        await assert_file(place, session, "two", b"second")
        assert_equal(len(await names_in(session)), 6, "two files and four temporaries")


async def check_interrupted_taking_back_continues(place: Place) -> None:
    """A new file that has its temporary name again stays there when the old one gets its name later."""
    async with place.endpoint.open_session() as session:
        await put(session, "file", b"before")
        (item,) = await _publications(session, ["file"])
        (result,) = await _published(session, [item])
        (moved,) = await session.move([Relocation(result.entry, item.staged.temporary)])
        assert_is_a(moved, Entry)
    async with place.endpoint.open_session() as session:
        (entry,) = await put_back(session, [item])
        assert_equal(assert_is_a(entry, Entry).size, len(b"before"))
        await assert_file(place, session, "file", b"before")
        await assert_file(place, session, item.staged.temporary, b"file!")


async def check_put_back_leaves_what_another_program_wrote(place: Place) -> None:
    """A file that was changed after it was published is not taken back."""
    async with place.endpoint.open_session() as session:
        await put(session, "file", b"before")
        (item,) = await _publications(session, ["file"])
        await _published(session, [item])
        await put(session, "file", b"by another program")
        assert_refused(*await put_back(session, [item]))
        await assert_file(place, session, "file", b"by another program")
        await assert_file(place, session, item.aside or "", b"before")


# The directory beside the root.


async def check_directory_beside_the_root_takes_old_files(place: Place) -> None:
    """Old files are set aside in the directory beside the root, and come back from there."""
    if not place.outside:
        return
    trash = join(place.outside, secrets.token_hex(8))
    async with place.endpoint.open_session() as session:
        await make(session, place.outside, trash, join(trash, "d"), "d")
        old = await put(session, "d/file", b"before")
        staged = await stage(session, "d/file", b"after")
        item = Publication(staged, join(trash, "d/1"))
        (result,) = await _published(session, [item])
        assert_equal(result.has_old, True)
        assert_equal((await names_in(session, "d"), await names_in(session, join(trash, "d"))), (["file"], ["1"]))
        await assert_file(place, session, join(trash, "d/1"), b"before")
        (entry,) = await put_back(session, [item])
        assert_equal(assert_is_a(entry, Entry).size, old.size)
        assert_equal(await names_in(session, join(trash, "d")), [])
        await assert_file(place, session, "d/file", b"before")


async def check_files_move_to_the_directory_beside_the_root_and_back(place: Place) -> None:
    """Files move across the border in both directions, and are listed and removed there; no other path leads out."""
    if not place.outside:
        return
    trash = join(place.outside, secrets.token_hex(8))
    async with place.endpoint.open_session() as session:
        await make(session, place.outside, trash)
        entries = [await put(session, name, name.encode()) for name in ("one", "two")]
        moved = await session.move([Relocation(it, join(trash, it.path)) for it in entries])
        there = [assert_is_a(entry, Entry) for entry in moved]
        assert_equal((await names_in(session), await names_in(session, trash)), ([], ["one", "two"]))
        changed = attrs.evolve(there[0], size=99)
        assert_refused(*await session.move([Relocation(changed, "one")]), *await session.remove([changed]))
        (back,) = await session.move([Relocation(there[0], "one")])
        assert_equal(assert_is_a(back, Entry).path, "one")
        if place.keeps_times and entries[0].mtime_ns is not None:
            assert abs((assert_is_a(back, Entry).mtime_ns or 0) - entries[0].mtime_ns) < SECOND_NS, "other time"
        await assert_file(place, session, "one", b"one")
        assert_equal(await session.remove([there[1], Entry(trash, Kind.DIRECTORY)]), [True, True])
        assert_refused(
            *await session.move([Relocation(attrs.evolve(entries[0], path="one"), f"../{name_of(trash)}")]),
            *[it for it in await session.remove([Entry("..", Kind.DIRECTORY)]) if isinstance(it, OperationRefused)],
        )
        assert_equal(await names_in(session), ["one"])
