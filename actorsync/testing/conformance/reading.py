"""Checks of reading files."""

from __future__ import annotations

import itertools

from actorsync.errors import ConnectionLost, OperationRefused, Vanished
from actorsync.testing.conformance.place import (
    Place,
    assert_equal,
    assert_refused,
    make,
    names_in,
    put,
    read_file,
    read_pieces,
)
from actorsync.testing.faulty_endpoint import Faulty, When

__all__ = [
    "check_content_read_to_its_end_is_one_version",
    "check_open_of_a_directory_or_missing_path_is_refused",
    "check_reading",
    "check_reading_can_be_stopped",
    "check_reading_over_a_lost_connection_raises",
]


async def check_open_of_a_directory_or_missing_path_is_refused(place: Place) -> None:
    """Opening a directory or a missing path raises `OperationRefused`."""
    async with place.endpoint.open_session() as session:
        await make(session, "directory")
        for path in ("missing", "missing/file", "directory") if place.reads else ():
            try:
                async with session.open(path):
                    raise AssertionError(f"{path!r} was opened")
            except OperationRefused as refused:
                assert_refused(refused)


async def check_reading(place: Place) -> None:
    """A file opens with the entry of its listing and reads whole in pieces of any size; a missing one is `Vanished`."""
    if not place.reads:
        return
    data = bytes(range(251)) * 1200
    async with place.endpoint.open_session() as session:
        await make(session, "d")
        await put(session, "d/file", data)
        (entry,) = (await session.list_directory("d")).entries
        async with session.open("d/file") as content:
            assert_equal(content.entry, entry, "the next run would see a changed file")
            assert await content.is_unchanged(), "`is_unchanged` is False for an unchanged file"
        for size in (1_000, 70_001, 1 << 20):
            assert_equal(await read_file(session, "d/file", size), data)
        for path in ("missing", "missing/file"):
            try:
                async with session.open(path):
                    raise AssertionError(f"{path!r} was opened")
            except Vanished:
                pass


async def check_reading_can_be_stopped(place: Place) -> None:
    """A reader that stops early in a file under one megabyte leaves the session usable."""
    if not place.reads:
        return
    data = bytes(range(251)) * 3000
    async with place.endpoint.open_session() as session:
        await put(session, "file", data)
        await put(session, "empty", b"")
        for path, reads in (("file", 0), ("file", 1), ("file", 3), ("empty", 0)):
            async with session.open(path) as content:
                for _ in range(reads):
                    assert await content.read(1_000), "the file ends too early"
            assert_equal(await names_in(session), ["empty", "file"])
        assert_equal(await read_file(session, "file", 1 << 20), data)


async def check_content_read_to_its_end_is_one_version(place: Place) -> None:
    """What was read to the end is one version of the file, or `Content.is_unchanged` is False."""
    if not place.reads:
        return
    old, new = b"old " * 50_000, b"new " * 40_000
    async with place.endpoint.open_session() as session, place.endpoint.open_session() as other:
        for reads in (0, 1, 1_000):  # before the file is changed
            await put(other, "file", old)
            async with session.open("file") as content:
                data = await read_pieces(content, reads)
                await put(other, "file", new)
                data += await read_pieces(content, 1_000)
                assert data == old or not await content.is_unchanged(), "a mixture of versions is reported as unchanged"
            assert_equal(await read_file(session, "file", 1 << 20), new)
        (entry,) = (await session.list_directory("")).entries
        async with session.open("file") as content:
            data = await read_pieces(content, 1)
            assert_equal(await other.remove([entry]), [True])
            data += await read_pieces(content, 1_000)
            assert data == new or not await content.is_unchanged(), "half of a removed file is reported as unchanged"
        assert_equal(await names_in(session), [])


async def check_reading_over_a_lost_connection_raises(place: Place) -> None:
    """A lost connection raises in the reader, and another session reads the file whole."""
    if not place.reads:
        return
    data = bytes(range(251)) * 3000
    reads = itertools.count()

    def cut(verb: str, when: When) -> None:
        if verb == "read" and when == "before" and next(reads) == 3:
            raise ConnectionLost("cut")

    async with place.endpoint.open_session() as session:
        await put(session, "file", data)
    async with Faulty(place.endpoint, cut).open_session() as session:
        received = b""
        try:
            async with session.open("file") as content:
                while piece := await content.read(1_000):
                    received += piece
            raise AssertionError("the file was read to its end")
        except ConnectionLost:
            assert_equal(len(received), 3_000)
    async with place.endpoint.open_session() as session:
        assert_equal(await read_file(session, "file", 1 << 20), data)
