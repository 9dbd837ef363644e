"""Checks of uploads that are continued, where a session can do that."""

from __future__ import annotations

import trio

from actorsync.endpoints.contract import Session, Staged, Upload
from actorsync.endpoints.resuming import BLOCK, OpensAt, Resuming, open_at
from actorsync.errors import OperationRefused, Vanished
from actorsync.model.entry import Entry, name_of
from actorsync.testing.conformance.contents import MemoryContent, StallingContent, content_with_descriptor
from actorsync.testing.conformance.place import (
    Place,
    assert_equal,
    assert_file,
    assert_is_a,
    assert_refused,
    names_in,
    put,
    read_pieces,
    stage,
    temporary_of,
)

__all__ = [
    "check_continued_upload_is_whole",
    "check_nothing_is_continued_that_is_not_the_beginning",
    "check_open_at_reads_from_its_place",
    "check_upload_that_was_left_keeps_its_temporary",
]

_MIB = 1024 * 1024
#: Four megabytes and an odd rest, without repetitions.
_DATA = b"".join(number.to_bytes(4, "big") for number in range(_MIB)) + b"an odd rest"


async def _kept(session: Session, size: int) -> str:
    """Leave a temporary with the first bytes of the data, as an upload that was broken off does."""
    return (await stage(session, "file", _DATA[:size])).temporary


async def check_continued_upload_is_whole(place: Place) -> None:
    """An upload goes on 1 to 2 MiB before the end of its temporary, from a descriptor or in order, and is whole."""
    async with place.endpoint.open_session() as session:
        if not isinstance(session, Resuming):
            return
        for kept in (2 * _MIB - 1, 3 * _MIB, len(_DATA)):
            temporary = await _kept(session, kept)
            with content_with_descriptor(_DATA) as content:
                upload = Upload("file", temporary, content)
                upload.start = await session.continue_from(upload)
                if upload.start:
                    assert_equal(_MIB <= kept - upload.start < 2 * _MIB, True, "not 1 to 2 MiB before the end")
                    await _finish(place, session, upload)
                else:
                    assert_equal(await session.sweep([temporary]), [True])
            temporary = await _kept(session, kept)
            if at := await session.may_continue(temporary):
                upload = Upload("file", temporary, MemoryContent(_DATA, start=at))
                upload.start = await session.continue_from(upload)
                assert_equal(upload.start, at + BLOCK)
                await _finish(place, session, upload)
            else:
                assert_equal(await session.sweep([temporary]), [True])


async def _finish(place: Place, session: Session, upload: Upload) -> None:
    staged, _ = await session.stage(upload)
    staged = assert_is_a(staged, Staged)
    assert_equal((staged.size, upload.sent), (len(_DATA), len(_DATA)))
    assert_is_a((await session.commit([staged]))[0], Entry)
    await assert_file(place, session, "file", _DATA)
    assert_equal(await names_in(session), ["file"])


async def check_nothing_is_continued_that_is_not_the_beginning(place: Place) -> None:
    """A temporary that is missing, short, too long, or has other bytes at the seam is not continued."""
    async with place.endpoint.open_session() as session:
        if not isinstance(session, Resuming):
            return
        assert_equal(await session.may_continue(temporary_of("file")), 0)
        damaged = bytearray(_DATA[: 3 * _MIB])
        damaged[2 * _MIB - 1] ^= 1
        for data in (b"", b"short", _DATA[: _MIB + BLOCK], _DATA + b"x", bytes(3 * _MIB), bytes(damaged)):
            temporary = (await stage(session, "file", data)).temporary
            with content_with_descriptor(_DATA) as content:
                assert_equal(await session.continue_from(Upload("file", temporary, content)), 0)
            at = await session.may_continue(temporary)
            upload = Upload("file", temporary, MemoryContent(_DATA, start=at))
            if at:
                assert_equal(await session.continue_from(upload), 0)
            assert_equal(await session.sweep([temporary]), [True])
        assert_equal(await names_in(session), [])
        with content_with_descriptor(_DATA) as content:
            assert_equal(await session.continue_from(Upload("file", temporary_of("file"), content)), 0)
        assert_equal(await names_in(session), [])


async def check_upload_that_was_left_keeps_its_temporary(place: Place) -> None:
    """`Resuming.leave` stops an upload that was cancelled, keeps its temporary, and later sweeps remove it."""
    async with place.endpoint.open_session() as session:
        if not isinstance(session, Resuming):
            return
        content = StallingContent(2 * _MIB)
        upload = Upload("file", temporary_of("file"), content)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.stage, upload)
            await content.stalled.wait()
            nursery.cancel_scope.cancel()
        await session.leave(upload.temporary)
    async with place.endpoint.open_session() as session:
        names = await names_in(session)
        assert names in ([], [name_of(upload.temporary)]), f"other names than that of the temporary: {names}"
        assert_equal(await session.sweep([upload.temporary]), [True])
        assert_equal(await names_in(session), [])


async def check_open_at_reads_from_its_place(place: Place) -> None:
    """A file that is opened in the middle is read from there to its end, or `Content.start` is 0."""
    if not place.reads:
        return
    data = _DATA[: 3 * _MIB + 1]
    async with place.endpoint.open_session() as session:
        if not isinstance(session, OpensAt):
            return
        await put(session, "file", data)
        for start in (1, 2 * _MIB, len(data) - 1):
            async with open_at(session, "file", start) as content:
                assert_equal(content.entry.size, len(data))
                assert content.start in {0, start}, f"opened at {content.start} instead of {start}"
                found = await read_pieces(content, 1_000, 70_001)
                assert_equal(found, data[content.start :], "other bytes than from there to the end")
                assert await content.is_unchanged(), "`is_unchanged` is False for an unchanged file"
        async with open_at(session, "file", 2 * _MIB + 1) as content:
            found = await read_pieces(content, 2, 70_001)
            assert_equal(found, data[content.start :][: len(found)], "other bytes than from there on")
        try:
            async with open_at(session, "missing", 1_000):
                raise AssertionError("a missing file was opened")
        except Vanished:
            pass
        except OperationRefused as refused:
            assert_refused(refused)
