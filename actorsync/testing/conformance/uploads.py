"""Checks of uploads: stage, verify, commit."""

from __future__ import annotations

import trio

from actorsync.endpoints.contract import Session, Staged, Upload
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, name_of
from actorsync.testing.conformance.contents import (
    MTIME_NS,
    SECOND_NS,
    FailingContent,
    MemoryContent,
    RateLimitedContent,
    UnsizedContent,
    content_with_descriptor,
)
from actorsync.testing.conformance.place import (
    Place,
    accepted,
    assert_equal,
    assert_file,
    assert_is_a,
    assert_refused,
    make,
    names_in,
    put,
    stage,
    temporary_of,
    upload_of,
)

__all__ = [
    "check_ahead_is_called_once_at_the_end",
    "check_big_file",
    "check_commit_and_listing_describe_alike",
    "check_commit_puts_the_whole_file_in_place",
    "check_commit_replaces",
    "check_commit_twice",
    "check_commit_without_a_temporary_is_refused",
    "check_commits_ride_with_the_next_stage",
    "check_content_of_unknown_size_arrives",
    "check_content_of_unknown_size_that_fails_is_refused",
    "check_empty_file",
    "check_every_byte_arrives",
    "check_file_by_descriptor",
    "check_lanes_side_by_side",
    "check_rate_limit_applies_to_reads_by_descriptor",
    "check_refused_stage_does_not_hide_the_commits",
    "check_source_that_cannot_be_read_is_refused",
    "check_source_that_shrinks_is_refused",
    "check_stage_leaves_the_final_name_alone",
]


async def check_stage_leaves_the_final_name_alone(place: Place) -> None:
    """`Session.stage` writes the temporary and nothing else: the final name does not exist yet."""
    async with place.endpoint.open_session() as session:
        await make(session, "d")
        staged = await stage(session, "d/file", b"content")
        assert_equal((staged.path, staged.size), ("d/file", 7))
        assert_equal(await names_in(session, "d"), [name_of(staged.temporary)])


async def check_commit_puts_the_whole_file_in_place(place: Place) -> None:
    """A commit renames the temporary to its final name, with the content and the time of the source."""
    async with place.endpoint.open_session() as session:
        await make(session, "d")
        entry = await put(session, "d/file", b"content")
        assert_equal((entry.path, entry.kind, entry.size), ("d/file", Kind.FILE, 7))
        assert_equal(await names_in(session, "d"), ["file"])
        await assert_file(place, session, "d/file", b"content")
        if place.keeps_times:
            difference = abs(assert_is_a(entry.mtime_ns, int, "the entry has no mtime") - MTIME_NS)
            assert difference < SECOND_NS, f"the time of the file is {difference / SECOND_NS:.0f} seconds off"


async def check_commit_and_listing_describe_alike(place: Place) -> None:
    """A commit returns the same entry as the next listing."""
    async with place.endpoint.open_session() as session:
        entry = await put(session, "file", b"content")
        listing = await session.list_directory("")
        assert_equal(listing.entries, (entry,), "the next run would see a changed file")


async def check_commit_replaces(place: Place) -> None:
    """A commit replaces an existing file, whose old content stays readable until then."""
    async with place.endpoint.open_session() as session:
        await put(session, "file", b"the old, and longer, content")
        staged = await stage(session, "file", b"new")
        await assert_file(place, session, "file", b"the old, and longer, content")
        (entry,) = await session.commit([staged])
        entry = assert_is_a(entry, Entry)
        await assert_file(place, session, "file", b"new")
        assert_equal(await names_in(session), ["file"])


async def check_commits_ride_with_the_next_stage(place: Place) -> None:
    """A stage performs the commits it is given; a refused commit does not hide the others."""
    async with place.endpoint.open_session() as session:
        await make(session, "directory", "directory/full")
        good = [await stage(session, name, name.encode()) for name in ("one", "two")]
        missing = Staged("three", temporary_of("three"), 5, MTIME_NS)
        blocked = await stage(session, "directory", b"a directory is in the way")
        batch = [good[0], missing, blocked, good[1]]
        staged, committed = await session.stage(upload_of("four", b"four"), commit=batch)
        staged = assert_is_a(staged, Staged)
        assert_equal(accepted(committed), ["one", "two"])
        assert_refused(*committed[1:3])
        await assert_file(place, session, "one", b"one")
        assert_equal(await session.sweep([blocked.temporary, staged.temporary]), [True, True])
        assert_equal(await names_in(session), ["directory", "one", "two"])


async def check_refused_stage_does_not_hide_the_commits(place: Place) -> None:
    """A refused stage has still performed the commits it was given."""
    async with place.endpoint.open_session() as session:
        one = await stage(session, "one", b"one")
        staged, committed = await session.stage(upload_of("missing/file", b"content"), commit=[one])
        assert_refused(staged)
        assert_equal(accepted(committed), ["one"])
        assert_equal(await names_in(session), ["one"])


async def check_commit_twice(place: Place) -> None:
    """A commit that is repeated on another session succeeds and returns the same entry."""
    async with place.endpoint.open_session() as session:
        staged = [await stage(session, name, name.encode()) for name in ("one", "two")]
        once = await session.commit(staged[:1])
    async with place.endpoint.open_session() as session:  # as after a lost connection, with an unknown outcome
        again = await session.commit(staged)
        assert_equal(again[0], once[0])
        assert_equal(accepted(again), ["one", "two"])
        await assert_file(place, session, "two", b"two")


async def check_commit_without_a_temporary_is_refused(place: Place) -> None:
    """A commit without a temporary is refused and changes nothing."""
    async with place.endpoint.open_session() as session:
        await put(session, "file", b"another program's")
        batch = [Staged(path, temporary_of(path), 5, MTIME_NS) for path in ("file", "other", "missing/file")]
        assert_refused(*await session.commit(batch))
        await assert_file(place, session, "file", b"another program's")
        assert_equal(await names_in(session), ["file"])


async def check_empty_file(place: Place) -> None:
    """An empty file arrives."""
    async with place.endpoint.open_session() as session:
        assert_equal((await put(session, "empty", b"")).size, 0)
        await assert_file(place, session, "empty", b"")


async def check_every_byte_arrives(place: Place) -> None:
    """Every byte arrives unchanged, line breaks too."""
    data = bytes(range(256)) * 8 + b"\r\n\n\r" * 1024
    async with place.endpoint.open_session() as session:
        await put(session, "bytes", data)
        await assert_file(place, session, "bytes", data)


async def check_big_file(place: Place) -> None:
    """A file of one megabyte arrives whole."""
    data = bytes(range(251)) * 4178 + b"one megabyte, and an odd rest"
    async with place.endpoint.open_session() as session:
        await put(session, "big", data)
        await assert_file(place, session, "big", data)


async def check_file_by_descriptor(place: Place) -> None:
    """Content with a descriptor arrives, whether the session uses the descriptor or reads."""
    data = bytes(range(251)) * 4178
    async with place.endpoint.open_session() as session:
        for name, size in (("empty", 0), ("small", 1), ("big", len(data))):
            with content_with_descriptor(data[:size]) as content:
                upload = Upload(name, temporary_of(name), content)
                staged, _ = await session.stage(upload)
                staged = assert_is_a(staged, Staged)
            assert_equal((staged.size, upload.sent), (size, size))
            assert_is_a((await session.commit([staged]))[0], Entry)
            await assert_file(place, session, name, data[:size])


async def check_ahead_is_called_once_at_the_end(place: Place) -> None:
    """``ahead`` is called once, after the last byte was sent."""
    async with place.endpoint.open_session() as session:
        for number, size in enumerate((0, 1, 300_000)):
            content = MemoryContent(bytes(size))
            upload = Upload(f"file{number}", temporary_of("file"), content)
            asked: list[tuple[int, bool]] = []

            def ahead(
                upload: Upload = upload, content: MemoryContent = content, asked: list[tuple[int, bool]] = asked
            ) -> bool:
                asked.append((upload.sent, content.at_end))
                return True

            staged, _ = await session.stage(upload, ahead=ahead)
            staged = assert_is_a(staged, Staged)
            assert_equal(asked, [(size, True)])
            assert_is_a(
                (await session.commit([staged]))[0],
                Entry,
                "the commit failed after the upload",
            )


async def check_source_that_shrinks_is_refused(place: Place) -> None:
    """Content that is shorter than announced is refused, with ``retry``, and leaves no temporary."""
    async with place.endpoint.open_session() as session:
        content = MemoryContent(b"less than was announced", entry=Entry("source", Kind.FILE, 1000, MTIME_NS))
        upload = Upload("file", temporary_of("file"), content)
        staged, _ = await session.stage(upload)
        assert_refused(staged)
        assert assert_is_a(staged, OperationRefused).retry, "`retry` must be True: a second attempt may succeed"
        assert_equal(await session.sweep([upload.temporary]), [True])
        assert_equal(await names_in(session), [])


async def check_source_that_cannot_be_read_is_refused(place: Place) -> None:
    """Content that cannot be read is refused and leaves no temporary."""
    async with place.endpoint.open_session() as session:
        upload = Upload("file", temporary_of("file"), FailingContent(300_000))
        staged, _ = await session.stage(upload)
        assert_refused(staged)
        assert_equal(await session.sweep([upload.temporary]), [True])
        assert_equal(await names_in(session), [])


async def check_content_of_unknown_size_arrives(place: Place) -> None:
    """Content whose size is known only at its end arrives whole; the number of bytes sent is its size."""
    async with place.endpoint.open_session() as session:
        held: list[Staged] = []
        sent: list[bytes] = []
        for number, size in enumerate((0, 1, 5_000, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 1_500_000)):
            sent.append(bytes(range(250)) * (size // 250) + bytes(size % 250))
            upload = Upload(f"file{number}", temporary_of(f"file{number}"), UnsizedContent(sent[-1]))
            asked: list[int] = []

            def ahead(upload: Upload = upload, asked: list[int] = asked) -> bool:
                asked.append(upload.sent)
                return upload.sent < 1_500_000

            staged, committed = await session.stage(upload, commit=held, ahead=ahead)
            assert isinstance(staged, Staged), staged
            assert (staged.size, upload.sent, asked) == (size, size, [size])
            assert [entry.size for entry in committed if isinstance(entry, Entry)] == [item.size for item in held]
            held = [staged]
        assert isinstance((await session.commit(held))[0], Entry)
        for number, data in enumerate(sent):
            await assert_file(place, session, f"file{number}", data)


async def check_content_of_unknown_size_that_fails_is_refused(place: Place) -> None:
    """Content of unknown size that fails before its end is refused and leaves no temporary."""
    async with place.endpoint.open_session() as session:
        for number, size in enumerate((0, 1_000, 300_000)):
            upload = Upload("file", temporary_of("file"), UnsizedContent(bytes(size), fails=True))
            staged, _ = await session.stage(upload)
            assert str(staged) == "it cannot be transformed", f"the refusal of file {number} does not say why"
        assert await names_in(session) == []


async def check_rate_limit_applies_to_reads_by_descriptor(place: Place) -> None:
    """A session that reads by descriptor calls the rate-limit hook of the content for every byte."""
    data = bytes(range(256)) * 1000
    with content_with_descriptor(data) as on_disk:
        content = RateLimitedContent(data, descriptor=on_disk.fileno())
        async with place.endpoint.open_session() as session:
            staged, _ = await session.stage(Upload("file", temporary_of("file"), content))
            assert isinstance(staged, Staged), staged
            assert isinstance((await session.commit([staged]))[0], Entry)
            await assert_file(place, session, "file", data)
    assert content.admitted == len(data), "bytes read by descriptor and bytes admitted differ"


async def check_lanes_side_by_side(place: Place) -> None:
    """One session serves as many tasks at once as the endpoint has lanes, and two sessions can be open at once."""
    lanes = min(place.endpoint.capabilities.lanes, 16)
    assert lanes >= 1, "an endpoint has at least one lane"

    async def work(session: Session, name: str) -> None:
        for number in range(3):
            data = f"{name} {number}".encode() * 1_000
            entry = await put(session, f"{name}/file", data)
            assert_equal(entry.size, len(data))
            await assert_file(place, session, f"{name}/file", data)
        assert_equal(await session.remove([entry]), [True])

    async with place.endpoint.open_session() as one, place.endpoint.open_session() as other:
        work_of = {f"{number}{letter}": it for number in range(lanes) for letter, it in (("a", one), ("b", other))}
        await make(one, *work_of)
        async with trio.open_nursery() as nursery:
            for name, session in work_of.items():
                nursery.start_soon(work, session, name)
        for name in work_of:
            assert_equal(await names_in(one, name), [])
