"""Checks of removals, and of temporaries that are swept or abandoned."""

from __future__ import annotations

import attrs
import trio

from actorsync.endpoints.contract import Upload
from actorsync.model.entry import Entry, Kind
from actorsync.testing.conformance.contents import SECOND_NS, StallingContent
from actorsync.testing.conformance.place import (
    Place,
    assert_equal,
    assert_file,
    assert_refused,
    make,
    names_in,
    put,
    stage,
    temporary_of,
)

__all__ = [
    "check_abandon_after_cancelling",
    "check_changed_file_is_not_removed",
    "check_remove",
    "check_sweep",
    "check_the_root_is_not_removed",
]


async def check_remove(place: Place) -> None:
    """Files and empty directories are removed; a missing one is True, a directory that is not empty False."""
    async with place.endpoint.open_session() as session:
        await make(session, "d", "d/empty", "full")
        entry = await put(session, "d/file", b"content")
        await put(session, "full/kept", b"not ours")
        directories = [Entry(path, Kind.DIRECTORY) for path in ("d/empty", "d", "full", "missing", "missing/below")]
        missing = Entry("missing/file", Kind.FILE, 7, entry.mtime_ns)
        results = await session.remove([entry, *directories, missing, entry])
        assert_equal(results, [True, True, True, False, True, True, True, True])
        assert_equal([await names_in(session), await names_in(session, "full")], [["full"], ["kept"]])


async def check_changed_file_is_not_removed(place: Place) -> None:
    """A file whose size, time or kind differs from its entry is not removed."""
    async with place.endpoint.open_session() as session:
        await make(session, "directory")
        entry = await put(session, "file", b"content")
        changed = [attrs.evolve(entry, size=8), Entry("file", Kind.DIRECTORY)]
        if place.keeps_times and entry.mtime_ns is not None:
            changed.append(attrs.evolve(entry, mtime_ns=entry.mtime_ns - 10 * SECOND_NS))
        for other in changed:
            assert_refused(*await session.remove([other]))
        assert_equal(await names_in(session), ["directory", "file"])
        assert_equal(await session.remove([entry]), [True])
        # A directory where the entry says file: refused, or removed.
        await session.remove([attrs.evolve(entry, path="directory")])
        assert_equal(await names_in(session), ["directory"])


async def check_the_root_is_not_removed(place: Place) -> None:
    """The root is never removed."""
    async with place.endpoint.open_session() as session:
        assert_refused(*await session.remove([Entry("", Kind.DIRECTORY)]))
        assert_equal(await names_in(session), [])


async def check_sweep(place: Place) -> None:
    """Temporaries are removed in any state; a missing one is True, also below a file."""
    async with place.endpoint.open_session() as session:
        await make(session, "d")
        staged = [await stage(session, path, b"content") for path in ("one", "d/two")]
        await put(session, "d/kept", b"kept")
        temporaries = [*(item.temporary for item in staged), "never-there", "missing/never-there"]
        temporaries += ["d/kept/never-there", "d/kept/deep/never-there"]
        for _ in range(2):
            assert_equal(await session.sweep(temporaries), [True] * 6)
        assert_equal([await names_in(session), await names_in(session, "d")], [["d"], ["kept"]])


async def check_abandon_after_cancelling(place: Place) -> None:
    """Abandoning a cancelled upload removes its temporary and keeps the old file."""
    content = StallingContent(300_000)
    upload = Upload("file", temporary_of("file"), content)
    with trio.fail_after(10):
        async with place.endpoint.open_session() as session:
            await put(session, "file", b"old")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.stage, upload)
                await content.stalled.wait()
                nursery.cancel_scope.cancel()
            assert await session.abandon(upload.temporary), "the temporary is still there"
        async with place.endpoint.open_session() as session:
            assert_equal(await names_in(session), ["file"])
            await assert_file(place, session, "file", b"old")
