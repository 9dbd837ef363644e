"""What is demanded of an endpoint: the suite that every one of ours passes. See `actorsync.testing.check_endpoint`.

Each check is an async function of one `Place`: an endpoint rooted in an empty directory that exists, fresh for this
check. Its first line of documentation is what it demands. `CHECKS` has them all.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import unicodedata
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeAlias, TypeVar

import attrs
import trio

from actorsync.endpoints.contract import Content, Endpoint, Relocation, Session, Staged, Upload
from actorsync.errors import ConnectionLost, OperationRefused, Vanished
from actorsync.model.entry import Entry, Kind, join, name_of, parent_of
from actorsync.model.text import display, shorten
from actorsync.planning.temporary_names import temporary_name
from actorsync.testing.faulty_endpoint import Faulty, When

__all__ = [
    "CHECKS",
    "OF_DIRECTORIES",
    "Check",
    "FailingContent",
    "GatedContent",
    "MemoryContent",
    "Place",
    "StallingContent",
    "UnsizedContent",
    "asked_of",
    "content_with_descriptor",
]

#: 2024-02-29 12:34:56 UTC and a fraction that many servers cannot hold.
MTIME_NS: Final = 1_709_210_096_123_456_789
SECOND_NS: Final = 10**9

#: Names that have gone wrong on some server: each is to arrive exactly, or to be refused.
ODD_NAMES: Final = (
    *(
        "two  words",
        " lead",
        "trail ",
        "a\tb",
        "a\x01b",
        "a\x7fb",
        ".hidden",
        "..twice",
        "trailing.",
        "-rf",
        "%41",
        "*",
    ),
    *(
        "[a]",
        "?",
        "~",
        "~root",
        '"',
        'quo"te',
        "'",
        ";",
        "|",
        "$(id)",
        "a;type=i",
        "a:b",
        "a\\b",
        "CON",
        "#",
        "&",
        "{x}",
    ),
    *(unicodedata.normalize("NFC", "Zürich é"), unicodedata.normalize("NFD", "Zürich é"), "日本語", "\N{PILE OF POO}"),
    *("x" * 255, "日" * 85, "x" * 256),
)
#: Names that the wire, or any store, has every right to refuse.
HOSTILE_NAMES: Final = ("a\nb", "a\rb", "a\r\nDELE kept", "a\0b", "a\n-rw-r--r-- 1 0 0 5 Jan 1 00:00 forged", "x\udcff")


@attrs.frozen
class Place:
    """An endpoint rooted in an empty directory, and what may be asked of it."""

    endpoint: Endpoint
    keeps_times: bool = True
    """A committed file has its source's time, to the second."""
    reads: bool = True
    """`Session.open` works."""
    keeps_directories: bool = True
    """A directory without anything in it is there; it is not in an object store, where there are only names."""


Check: TypeAlias = Callable[[Place], Awaitable[None]]
"""Raises ``AssertionError`` with the reason when its demand is not met."""

_checks: list[Check] = []


# Content to send.


class MemoryContent:
    """A source file that is in memory. With a descriptor (see `content_with_descriptor`) it is on disk as well."""

    def __init__(self, data: bytes, *, mtime_ns: int | None = MTIME_NS, descriptor: int | None = None) -> None:
        self.entry = Entry("source", Kind.FILE, len(data), mtime_ns)
        self.at_end = not data
        self._data, self._offset, self._descriptor = data, 0, descriptor

    def fileno(self) -> int | None:
        """Give the descriptor, if there is one."""
        return self._descriptor

    async def read(self, max_bytes: int) -> bytes:
        """Read on; ``at_end`` tells that the last byte was given out."""
        await trio.lowlevel.checkpoint()
        piece = self._data[self._offset : self._offset + max_bytes]
        self._offset += len(piece)
        self.at_end = self._offset == len(self._data)
        return piece

    async def is_unchanged(self) -> bool:
        """Nobody changes it."""
        await trio.lowlevel.checkpoint()
        return True


class StallingContent(MemoryContent):
    """Content that comes to a halt in the middle, for good, and says so with ``stalled``."""

    def __init__(self, size: int) -> None:
        super().__init__(bytes(size))
        self.stalled = trio.Event()

    async def read(self, max_bytes: int) -> bytes:
        """Give the first half."""
        rest = self.entry.size // 2 - self._offset
        if rest <= 0:
            self.stalled.set()
            await trio.sleep_forever()
        return await super().read(min(max_bytes, rest))


class FailingContent(MemoryContent):
    """Content that cannot be read beyond the middle."""

    def __init__(self, size: int) -> None:
        super().__init__(bytes(size))

    async def read(self, max_bytes: int) -> bytes:
        """Give the first half."""
        rest = self.entry.size // 2 - self._offset
        if rest <= 0:
            raise OperationRefused("cannot read 'source': Input/output error")
        return await super().read(min(max_bytes, rest))


@contextmanager
def content_with_descriptor(data: bytes) -> Iterator[MemoryContent]:
    """Give content that may be sent by ``os.sendfile``."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        yield MemoryContent(data, descriptor=file.fileno())


# What the checks are made of.

_ValueT = TypeVar("_ValueT")

_tokens: Final = itertools.count(1)

_keeps_directories: ContextVar[bool] = ContextVar("_keeps_directories", default=True)


@contextmanager
def asked_of(place: Place) -> Iterator[Place]:
    """Give what a check is to be called with, and have the checks in the block know what the place can do."""
    token = _keeps_directories.set(place.keeps_directories)
    try:
        yield place
    finally:
        _keeps_directories.reset(token)


def _equal(found: object, expected: object, reason: str = "") -> None:
    """Find what is expected, or say what there is instead: the suite also runs where no asserts are rewritten."""
    assert found == expected, f"{reason or 'not as expected'}: {_short(found)}, instead of {_short(expected)}"


def _is(value: object, kind: type[_ValueT], reason: str = "") -> _ValueT:
    assert isinstance(value, kind), f"{reason or f'{kind.__name__} expected'}: {type(value).__name__} {_short(value)}"
    return value


def _short(value: object) -> str:
    return shorten(repr(value), 200)


def _check(check: Check) -> Check:
    _checks.append(check)
    return check


def _upload(path: str, data: bytes) -> Upload:
    return Upload(path, _temporary(path), MemoryContent(data))


def _temporary(path: str) -> str:
    return join(parent_of(path), temporary_name(name_of(path), f"{next(_tokens):08x}"))


async def _staged(session: Session, path: str, data: bytes) -> Staged:
    staged, committed = await session.stage(_upload(path, data))
    staged = _is(staged, Staged)
    _equal(committed, [])
    return staged


async def _put(session: Session, path: str, data: bytes) -> Entry:
    (entry,) = await session.commit([await _staged(session, path, data)])
    return _is(entry, Entry)


async def _made(session: Session, *paths: str) -> None:
    results = await session.make_directories(paths)
    _equal(len(results), len(paths), "not one result for each directory")
    for path, entry in zip(paths, results, strict=True):
        entry = _is(entry, Entry)
        _equal((entry.path, entry.kind), (path, Kind.DIRECTORY))


def _arrived(results: Sequence[object]) -> list[str]:
    """Give the paths of what was not refused."""
    return [result.path for result in results if isinstance(result, Entry)]


async def _names(session: Session, directory: str = "") -> list[str]:
    listing = await session.list_directory(directory)
    _equal(listing.directory, directory)
    if listing.problem is not None and listing.problem.vanished and not _keeps_directories.get():
        return []
    assert listing.problem is None, f"{directory!r} is not listed: {listing.problem}"
    return sorted(name_of(entry.path) for entry in listing.entries)


async def _assert_file(place: Place, session: Session, path: str, data: bytes) -> None:
    """Find ``path`` whole: by its parent's listing, and by reading it back where that works."""
    listing = await session.list_directory(parent_of(path))
    (found,) = (entry for entry in listing.entries if entry.path == path)
    _equal((found.kind, found.size), (Kind.FILE, len(data)))
    if place.reads:
        async with session.open(path) as content:
            _equal(content.entry.size, len(data))
            got = b""
            while piece := await content.read(100_000):
                got += piece
            _equal(got, data, f"{path!r} reads back as {len(got)} other bytes")
            assert await content.is_unchanged(), "a file that nobody changed is said to be changed"


async def _read(session: Session, path: str, size: int) -> bytes:
    """Read a file to its end, in pieces of at most ``size`` bytes."""
    data = b""
    async with session.open(path) as content:
        while piece := await content.read(size):
            assert len(piece) <= size, f"{len(piece)} bytes were read where {size} were asked for"
            data += piece
        _equal(await content.read(size), b"")
        assert await content.is_unchanged(), "a file that nobody changed is said to be changed"
    return data


async def _read_some(content: Content, count: int) -> bytes:
    """Read so many pieces of 1,000 bytes at most; what is refused ends it."""
    data = b""
    for _ in range(count):
        try:
            piece = await content.read(1_000)
        except OperationRefused:
            break
        data += piece
    return data


def _assert_refused(*results: object) -> None:
    for result in results:
        _is(result, OperationRefused)
        _equal(display(str(result)), str(result), "a refusal is one line that a terminal can show")


# Directories.


@_check
async def check_empty_listing(place: Place) -> None:
    """An empty root is listed as empty."""
    async with place.endpoint.open_session() as session:
        _equal(await _names(session), [])


@_check
async def check_identify(place: Place) -> None:
    """`Endpoint.identify` describes the root: a directory, with the path ``""``."""
    root = (await place.endpoint.identify()).entry
    _equal((root.path, root.kind), ("", Kind.DIRECTORY))


@_check
async def check_describe(place: Place) -> None:
    """What is told of the place is one line for a terminal each, as pairs of label and text."""
    _equal(display(place.endpoint.display), place.endpoint.display)
    async with place.endpoint.open_session() as session:
        for label, text in session.describe():
            assert label, "a label is empty"
            _is(text, str)


@_check
async def check_list_what_is_missing_or_a_file(place: Place) -> None:
    """What is no directory gives a listing with a problem, and never an empty one."""
    async with place.endpoint.open_session() as session:
        await _put(session, "file", b"not a directory")
        for directory in ("missing", "missing/below", "file", "file/below"):
            listing = await session.list_directory(directory)
            assert listing.problem is not None, f"{directory!r} was listed"
            _equal((listing.directory, listing.problem.path, listing.entries), (directory, directory, ()))


@_check
async def check_long_listing_is_complete(place: Place) -> None:
    """A listing of 300 entries has all of them."""
    names = [f"{number:03}" for number in range(300)]
    async with place.endpoint.open_session() as session:
        await _made(session, *names)
        _equal(await _names(session), names)


@_check
async def check_make_nested_directories(place: Place) -> None:
    """Directories are made in one batch, parents before children."""
    async with place.endpoint.open_session() as session:
        await _made(session, "a", "a/b", "a/b/c", "d")
        found = [await _names(session, path) for path in ("", "a", "a/b", "a/b/c")]
        _equal(found, [["a", "d"], ["b"], ["c"], []])


@_check
async def check_make_directories_again(place: Place) -> None:
    """To make a directory that exists is no failure, and changes nothing in it."""
    async with place.endpoint.open_session() as session:
        await _made(session, "", "a", "a/b")
        await _put(session, "a/kept", b"kept")
        await _made(session, "", "a", "a/b", "a/c")
        _equal(await _names(session, "a"), ["b", "c", "kept"])


@_check
async def check_refused_directories_do_not_hide_the_others(place: Place) -> None:
    """One result for each directory, in order: a refusal is a value, and the others are made."""
    async with place.endpoint.open_session() as session:
        await _put(session, "file", b"in the way")
        results = await session.make_directories(["before", "file", "file/below", "missing/below", "after"])
        _assert_refused(*results[1:4])
        _equal(_arrived(results), ["before", "after"])
        _equal(await _names(session), ["after", "before", "file"])


# Files.


@_check
async def check_stage_leaves_the_final_name_alone(place: Place) -> None:
    """`Session.stage` writes the temporary and nothing else: the final name is not there yet."""
    async with place.endpoint.open_session() as session:
        await _made(session, "d")
        staged = await _staged(session, "d/file", b"content")
        _equal((staged.path, staged.size), ("d/file", 7))
        _equal(await _names(session, "d"), [name_of(staged.temporary)])


@_check
async def check_commit_puts_the_whole_file_in_place(place: Place) -> None:
    """A commit gives the temporary its final name, with the content and the time of the source."""
    async with place.endpoint.open_session() as session:
        await _made(session, "d")
        entry = await _put(session, "d/file", b"content")
        _equal((entry.path, entry.kind, entry.size), ("d/file", Kind.FILE, 7))
        _equal(await _names(session, "d"), ["file"])
        await _assert_file(place, session, "d/file", b"content")
        if place.keeps_times:
            difference = abs(_is(entry.mtime_ns, int, "the time of the file is not told") - MTIME_NS)
            assert difference < SECOND_NS, f"the time of the file is {difference / SECOND_NS:.0f} seconds off"


@_check
async def check_commit_and_listing_describe_alike(place: Place) -> None:
    """A commit gives the very entry that the next listing has."""
    async with place.endpoint.open_session() as session:
        entry = await _put(session, "file", b"content")
        listing = await session.list_directory("")
        _equal(listing.entries, (entry,), "what was recorded would look changed in the next run")


@_check
async def check_commit_replaces(place: Place) -> None:
    """A commit replaces the file of that name, which is the old one until then."""
    async with place.endpoint.open_session() as session:
        await _put(session, "file", b"the old, and longer, content")
        staged = await _staged(session, "file", b"new")
        await _assert_file(place, session, "file", b"the old, and longer, content")
        (entry,) = await session.commit([staged])
        entry = _is(entry, Entry)
        await _assert_file(place, session, "file", b"new")
        _equal(await _names(session), ["file"])


@_check
async def check_commits_ride_with_the_next_stage(place: Place) -> None:
    """A stage does the commits that it takes along; one that is refused does not hide the others."""
    async with place.endpoint.open_session() as session:
        await _made(session, "directory", "directory/full")
        good = [await _staged(session, name, name.encode()) for name in ("one", "two")]
        missing = Staged("three", _temporary("three"), 5, MTIME_NS)
        blocked = await _staged(session, "directory", b"a directory is in the way")
        batch = [good[0], missing, blocked, good[1]]
        staged, committed = await session.stage(_upload("four", b"four"), commit=batch)
        staged = _is(staged, Staged)
        _equal(_arrived(committed), ["one", "two"])
        _assert_refused(*committed[1:3])
        await _assert_file(place, session, "one", b"one")
        _equal(await session.sweep([blocked.temporary, staged.temporary]), [True, True])
        _equal(await _names(session), ["directory", "one", "two"])


@_check
async def check_refused_stage_does_not_hide_the_commits(place: Place) -> None:
    """A stage that is refused has done the commits that it took along."""
    async with place.endpoint.open_session() as session:
        one = await _staged(session, "one", b"one")
        staged, committed = await session.stage(_upload("missing/file", b"content"), commit=[one])
        _assert_refused(staged)
        _equal(_arrived(committed), ["one"])
        _equal(await _names(session), ["one"])


@_check
async def check_commit_twice(place: Place) -> None:
    """A commit that was done before, over another session, is done: it gives the same entry."""
    async with place.endpoint.open_session() as session:
        staged = [await _staged(session, name, name.encode()) for name in ("one", "two")]
        once = await session.commit(staged[:1])
    async with place.endpoint.open_session() as session:  # a connection was lost, and nobody knows how far it came
        again = await session.commit(staged)
        _equal(again[0], once[0])
        _equal(_arrived(again), ["one", "two"])
        await _assert_file(place, session, "two", b"two")


@_check
async def check_commit_of_what_was_never_staged(place: Place) -> None:
    """A commit without a temporary is refused, and touches nothing."""
    async with place.endpoint.open_session() as session:
        await _put(session, "file", b"somebody else's")
        batch = [Staged(path, _temporary(path), 5, MTIME_NS) for path in ("file", "other", "missing/file")]
        _assert_refused(*await session.commit(batch))
        await _assert_file(place, session, "file", b"somebody else's")
        _equal(await _names(session), ["file"])


@_check
async def check_empty_file(place: Place) -> None:
    """A file without content arrives."""
    async with place.endpoint.open_session() as session:
        _equal((await _put(session, "empty", b"")).size, 0)
        await _assert_file(place, session, "empty", b"")


@_check
async def check_every_byte_arrives(place: Place) -> None:
    """Every byte arrives as it is, line breaks too."""
    data = bytes(range(256)) * 8 + b"\r\n\n\r" * 1024
    async with place.endpoint.open_session() as session:
        await _put(session, "bytes", data)
        await _assert_file(place, session, "bytes", data)


@_check
async def check_big_file(place: Place) -> None:
    """A file of a megabyte arrives whole."""
    data = bytes(range(251)) * 4178 + b"one megabyte, and an odd rest"
    async with place.endpoint.open_session() as session:
        await _put(session, "big", data)
        await _assert_file(place, session, "big", data)


@_check
async def check_file_by_descriptor(place: Place) -> None:
    """Content that has a descriptor arrives, whether it is sent by it or read."""
    data = bytes(range(251)) * 4178
    async with place.endpoint.open_session() as session:
        for name, size in (("empty", 0), ("small", 1), ("big", len(data))):
            with content_with_descriptor(data[:size]) as content:
                upload = Upload(name, _temporary(name), content)
                staged, _ = await session.stage(upload)
                staged = _is(staged, Staged)
            _equal((staged.size, upload.sent), (size, size))
            _is((await session.commit([staged]))[0], Entry)
            await _assert_file(place, session, name, data[:size])


@_check
async def check_ahead_is_asked_once_at_the_end(place: Place) -> None:
    """``ahead`` is called once, when the last byte was handed over."""
    async with place.endpoint.open_session() as session:
        for number, size in enumerate((0, 1, 300_000)):
            content = MemoryContent(bytes(size))
            upload = Upload(f"file{number}", _temporary("file"), content)
            asked: list[tuple[int, bool]] = []

            def ahead(
                upload: Upload = upload, content: MemoryContent = content, asked: list[tuple[int, bool]] = asked
            ) -> bool:
                asked.append((upload.sent, content.at_end))
                return True

            staged, _ = await session.stage(upload, ahead=ahead)
            staged = _is(staged, Staged)
            _equal(asked, [(size, True)])
            _is((await session.commit([staged]))[0], Entry, "the way was prepared, and nothing came")


@_check
async def check_source_that_shrinks_is_refused(place: Place) -> None:
    """Content that is shorter than was announced is refused, with ``retry``, and leaves no temporary."""
    async with place.endpoint.open_session() as session:
        content = MemoryContent(b"less than was announced")
        content.entry = attrs.evolve(content.entry, size=1000)
        upload = Upload("file", _temporary("file"), content)
        staged, _ = await session.stage(upload)
        _assert_refused(staged)
        assert _is(staged, OperationRefused).retry, "it may pass when it is done again: `retry` is to say so"
        _equal(await session.sweep([upload.temporary]), [True])
        _equal(await _names(session), [])


@_check
async def check_source_that_cannot_be_read_is_refused(place: Place) -> None:
    """Content that cannot be read is refused, and leaves no temporary."""
    async with place.endpoint.open_session() as session:
        upload = Upload("file", _temporary("file"), FailingContent(300_000))
        staged, _ = await session.stage(upload)
        _assert_refused(staged)
        _equal(await session.sweep([upload.temporary]), [True])
        _equal(await _names(session), [])


@_check
async def check_open_what_is_no_file(place: Place) -> None:
    """What is no file is not opened: `OperationRefused`."""
    async with place.endpoint.open_session() as session:
        await _made(session, "directory")
        for path in ("missing", "missing/file", "directory") if place.reads else ():
            try:
                async with session.open(path):
                    raise AssertionError(f"{path!r} was opened")
            except OperationRefused as refused:
                _assert_refused(refused)


@_check
async def check_reading(place: Place) -> None:
    """A file is described as in its listing, and read whole in pieces of any size; one that is gone has vanished."""
    if not place.reads:
        return
    data = bytes(range(251)) * 1200
    async with place.endpoint.open_session() as session:
        await _made(session, "d")
        await _put(session, "d/file", data)
        (entry,) = (await session.list_directory("d")).entries
        async with session.open("d/file") as content:
            _equal(content.entry, entry, "what was sent would look changed in the next run")
            assert await content.is_unchanged(), "a file that nobody changed is said to be changed"
        for size in (1_000, 70_001, 1 << 20):
            _equal(await _read(session, "d/file", size), data)
        for path in ("missing", "missing/file"):
            try:
                async with session.open(path):
                    raise AssertionError(f"{path!r} was opened")
            except Vanished:
                pass


@_check
async def check_reading_can_be_stopped(place: Place) -> None:
    """Whoever reads a part of a file of less than a megabyte leaves the session as good as before."""
    if not place.reads:
        return
    data = bytes(range(251)) * 3000
    async with place.endpoint.open_session() as session:
        await _put(session, "file", data)
        await _put(session, "empty", b"")
        for path, reads in (("file", 0), ("file", 1), ("file", 3), ("empty", 0)):
            async with session.open(path) as content:
                for _ in range(reads):
                    assert await content.read(1_000), "the file seems to end too early"
            _equal(await _names(session), ["empty", "file"])
        _equal(await _read(session, "file", 1 << 20), data)


@_check
async def check_what_was_read_is_one_version(place: Place) -> None:
    """What was read to its end is the version that was opened, or `Content.is_unchanged` says that it is not."""
    if not place.reads:
        return
    old, new = b"old " * 50_000, b"new " * 40_000
    async with place.endpoint.open_session() as session, place.endpoint.open_session() as other:
        for reads in (0, 1, 1_000):  # before it is changed
            await _put(other, "file", old)
            async with session.open("file") as content:
                data = await _read_some(content, reads)
                await _put(other, "file", new)
                data += await _read_some(content, 1_000)
                assert data == old or not await content.is_unchanged(), "a mixture of versions passes for one"
            _equal(await _read(session, "file", 1 << 20), new)
        (entry,) = (await session.list_directory("")).entries
        async with session.open("file") as content:
            data = await _read_some(content, 1)
            _equal(await other.remove([entry]), [True])
            data += await _read_some(content, 1_000)
            assert data == new or not await content.is_unchanged(), "half of a file that was removed passes for one"
        _equal(await _names(session), [])


@_check
async def check_reading_over_a_connection_that_is_cut(place: Place) -> None:
    """Whoever reads is told, and another session has the file whole."""
    if not place.reads:
        return
    data = bytes(range(251)) * 3000
    reads = itertools.count()

    def cut(verb: str, when: When) -> None:
        if verb == "read" and when == "before" and next(reads) == 3:
            raise ConnectionLost("cut")

    async with place.endpoint.open_session() as session:
        await _put(session, "file", data)
    async with Faulty(place.endpoint, cut).open_session() as session:
        received = b""
        try:
            async with session.open("file") as content:
                while piece := await content.read(1_000):
                    received += piece
            raise AssertionError("it was read to its end")
        except ConnectionLost:
            _equal(len(received), 3_000)
    async with place.endpoint.open_session() as session:
        _equal(await _read(session, "file", 1 << 20), data)


# Names.


async def _arrives_or_is_refused(session: Session, directory: str, name: str) -> bool:
    """Send a file of that name into an empty directory; nothing else may ever stand there afterwards."""
    await _made(session, directory)
    path = join(directory, name)
    upload = _upload(path, b"named")
    result: object
    result, _ = await session.stage(upload)
    if isinstance(result, Staged):
        (result,) = await session.commit([result])
    if isinstance(result, Entry):
        _equal(result.path, path)
        _equal(await _names(session, directory), [name])
        return True
    _assert_refused(result)
    await session.sweep([upload.temporary])
    _equal(await _names(session, directory), [], f"{name!r} was refused, and something arrived")
    return False


@_check
async def check_odd_names(place: Place) -> None:
    """A name that has gone wrong somewhere arrives exactly, or is refused, and nothing else arrives."""
    async with place.endpoint.open_session() as session:
        for number, name in enumerate(ODD_NAMES):
            await _arrives_or_is_refused(session, f"d{number}", name)
        assert await _arrives_or_is_refused(session, "spaces", "two words"), "a space inside is not odd"


@_check
async def check_hostile_names(place: Place) -> None:
    """A name that could be a command arrives exactly, or is refused, and nothing else is touched."""
    async with place.endpoint.open_session() as session:
        await _put(session, "kept", b"kept")
        for number, name in enumerate(HOSTILE_NAMES):
            await _arrives_or_is_refused(session, f"d{number}", name)
        await _assert_file(place, session, "kept", b"kept")


@_check
async def check_odd_directory_names(place: Place) -> None:
    """The same of the names of directories, which are removed by that name as well."""
    async with place.endpoint.open_session() as session:
        for number, name in enumerate((*ODD_NAMES, *HOSTILE_NAMES)):
            parent = f"d{number}"
            await _made(session, parent)
            (result,) = await session.make_directories([join(parent, name)])
            if isinstance(result, OperationRefused):
                _assert_refused(result)
            _equal(await _names(session, parent), ([name] if isinstance(result, Entry) else []))
            if isinstance(result, Entry):
                _equal(await session.remove([result]), [True])
                _equal(await _names(session, parent), [])


@_check
async def check_composed_and_decomposed_names(place: Place) -> None:
    """Two names that look alike never get each other's content."""
    async with place.endpoint.open_session() as session:
        sent = {unicodedata.normalize(form, "Zürich"): form.encode() for form in ("NFC", "NFD")}
        for name, data in sent.items():
            result: object
            result, _ = await session.stage(_upload(name, data))
            if isinstance(result, Staged):
                (result,) = await session.commit([result])
            if isinstance(result, Entry):
                await _assert_file(place, session, name, data)
            else:
                _assert_refused(result)


@_check
async def check_paths_never_leave_the_root(place: Place) -> None:
    """A path that leads out of the root, or is not written the one way that paths are, is refused."""
    async with place.endpoint.open_session() as session:
        await _made(session, "d")
        await _put(session, "d/kept", b"kept")
        for path in ("../out", "d/../../out", "d/../in", "/out", "d//in", "./in", "d/.", "d/.."):
            upload = Upload(path, join(parent_of(path), "temporary"), MemoryContent(b"x"))
            result: object
            result, _ = await session.stage(upload)
            if isinstance(result, Staged):
                (result,) = await session.commit([result])
            await session.sweep([upload.temporary])
            _assert_refused(result, *await session.make_directories([path]))
        _equal([await _names(session), await _names(session, "d")], [["d"], ["kept"]])


# Removing.


@_check
async def check_move(place: Place) -> None:
    """A file gets another name, in another directory as well, and is what it was."""
    async with place.endpoint.open_session() as session:
        await _made(session, "d", "e", "e/f")
        entries = [await _put(session, path, path.encode()) for path in ("one", "d/two", "d/three")]
        pairs = zip(entries, ("uno", "e/f/two", "d/tres"), strict=True)
        moved = await session.move([Relocation(entry, path) for entry, path in pairs])
        assert [entry.path for entry in moved if isinstance(entry, Entry)] == ["uno", "e/f/two", "d/tres"]
        assert [await _names(session, path) for path in ("", "d", "e/f")] == [["d", "e", "uno"], ["tres"], ["two"]]
        await _assert_file(place, session, "e/f/two", b"d/two")
        listing = await session.list_directory("e/f")
        assert listing.entries == (moved[1],), "what was recorded would look changed in the next run"
        assert isinstance(moved[1], Entry)
        assert moved[1].mtime_ns == entries[1].mtime_ns


@_check
async def check_many_moves(place: Place) -> None:
    """As many as there are, in one call."""
    async with place.endpoint.open_session() as session:
        await _made(session, "d", "e")
        entries = [await _put(session, f"d/{number:02}", b"%d" % number) for number in range(40)]
        moved = await session.move([Relocation(it, f"e/{name_of(it.path)}") for it in entries])
        assert all(isinstance(entry, Entry) for entry in moved), moved
        assert (await _names(session, "d"), await _names(session, "e")) == ([], [f"{n:02}" for n in range(40)])
        await _assert_file(place, session, "e/17", b"17")


@_check
async def check_move_twice(place: Place) -> None:
    """A move that is asked for again, over another connection, is done, or is what it was the first time."""
    async with place.endpoint.open_session() as session:
        await _made(session, "d")
        moves = [Relocation(await _put(session, name, name.encode()), f"d/{name}") for name in ("one", "two")]
        once = await session.move(moves[:1])
    async with place.endpoint.open_session() as session:  # a connection was lost, and nobody knows how far it came
        again = await session.move(moves)
        assert again[0] == once[0]
        assert [entry.path for entry in again if isinstance(entry, Entry)] == ["d/one", "d/two"]
        assert await _names(session, "d") == ["one", "two"]


@_check
async def check_what_was_changed_is_not_moved(place: Place) -> None:
    """A file that is not as its entry says stays where it is, and is refused."""
    async with place.endpoint.open_session() as session:
        await _made(session, "directory")
        entry = await _put(session, "file", b"content")
        changed = [attrs.evolve(entry, size=8), attrs.evolve(entry, path="directory")]
        if place.keeps_times and entry.mtime_ns is not None:
            changed.append(attrs.evolve(entry, mtime_ns=entry.mtime_ns - 10 * SECOND_NS))
        for other in changed:
            _assert_refused(*await session.move([Relocation(other, "new")]))
        assert await _names(session) == ["directory", "file"]


@_check
async def check_a_move_replaces_nothing(place: Place) -> None:
    """What has the new name keeps it, and the file its old one."""
    async with place.endpoint.open_session() as session:
        await _made(session, "directory", "directory/full", "empty")
        entry = await _put(session, "file", b"content")
        await _put(session, "other", b"another")
        await _put(session, "alike", b"CONTENT")
        for path in ("other", "alike", "directory", "empty", "file"):
            _assert_refused(*await session.move([Relocation(entry, path)]))
        assert await _names(session) == ["alike", "directory", "empty", "file", "other"]
        for path, data in (("file", b"content"), ("other", b"another"), ("alike", b"CONTENT")):
            await _assert_file(place, session, path, data)


@_check
async def check_refused_moves_do_not_hide_the_others(place: Place) -> None:
    """Each move has a result of its own."""
    async with place.endpoint.open_session() as session:
        entries = [await _put(session, name, name.encode()) for name in ("one", "two", "three", "four", "five")]
        missing = Entry("missing/file", Kind.FILE, 7, entries[0].mtime_ns)
        paths = ("uno", "missing/two", "../three", "one/four", "cinco")
        batch = [Relocation(entry, path) for entry, path in zip(entries, paths, strict=True)]
        results = await session.move([*batch[:1], Relocation(missing, "new"), *batch[1:]])
        _assert_refused(*results[1:5])
        assert [entry.path for entry in results if isinstance(entry, Entry)] == ["uno", "cinco"]
        assert await _names(session) == ["cinco", "four", "three", "two", "uno"]
        await _assert_file(place, session, "cinco", b"five")


@_check
async def check_move_to_odd_names(place: Place) -> None:
    """A file has its new name exactly, or keeps the old one."""
    async with place.endpoint.open_session() as session:
        for number, name in enumerate((*ODD_NAMES, *HOSTILE_NAMES)):
            if not name or "/" in name:
                continue
            directory = f"d{number}"
            await _made(session, directory)
            entry = await _put(session, f"{directory}/plain", b"content")
            (result,) = await session.move([Relocation(entry, f"{directory}/{name}")])
            expected = name if isinstance(result, Entry) else "plain"
            assert await _names(session, directory) == [expected], f"{name!r} became something else"


@_check
async def check_remove(place: Place) -> None:
    """Files and empty directories are removed; what is gone is True, and what is not empty False."""
    async with place.endpoint.open_session() as session:
        await _made(session, "d", "d/empty", "full")
        entry = await _put(session, "d/file", b"content")
        await _put(session, "full/kept", b"not ours")
        directories = [Entry(path, Kind.DIRECTORY) for path in ("d/empty", "d", "full", "missing", "missing/below")]
        missing = Entry("missing/file", Kind.FILE, 7, entry.mtime_ns)
        results = await session.remove([entry, *directories, missing, entry])
        _equal(results, [True, True, True, False, True, True, True, True])
        _equal([await _names(session), await _names(session, "full")], [["full"], ["kept"]])


@_check
async def check_what_was_changed_is_not_removed(place: Place) -> None:
    """A file whose size, time or kind is not what the entry says is not removed."""
    async with place.endpoint.open_session() as session:
        await _made(session, "directory")
        entry = await _put(session, "file", b"content")
        changed = [attrs.evolve(entry, size=8), Entry("file", Kind.DIRECTORY)]
        if place.keeps_times and entry.mtime_ns is not None:
            changed.append(attrs.evolve(entry, mtime_ns=entry.mtime_ns - 10 * SECOND_NS))
        for other in changed:
            _assert_refused(*await session.remove([other]))
        _equal(await _names(session), ["directory", "file"])
        _equal(await session.remove([entry]), [True])
        await session.remove([attrs.evolve(entry, path="directory")])  # a file, and now a directory: refused, or gone
        _equal(await _names(session), ["directory"])


@_check
async def check_the_root_is_not_removed(place: Place) -> None:
    """The root is never removed."""
    async with place.endpoint.open_session() as session:
        _assert_refused(*await session.remove([Entry("", Kind.DIRECTORY)]))
        _equal(await _names(session), [])


@_check
async def check_sweep(place: Place) -> None:
    """Temporaries are removed, whatever their state; what is gone is True."""
    async with place.endpoint.open_session() as session:
        await _made(session, "d")
        staged = [await _staged(session, path, b"content") for path in ("one", "d/two")]
        await _put(session, "d/kept", b"kept")
        temporaries = [*(item.temporary for item in staged), "never-there", "missing/never-there"]
        for _ in range(2):
            _equal(await session.sweep(temporaries), [True] * 4)
        _equal([await _names(session), await _names(session, "d")], [["d"], ["kept"]])


@_check
async def check_abandon_after_cancelling(place: Place) -> None:
    """An upload that is cancelled in the middle is abandoned: its temporary goes, the old file stays."""
    content = StallingContent(300_000)
    upload = Upload("file", _temporary("file"), content)
    with trio.fail_after(10):
        async with place.endpoint.open_session() as session:
            await _put(session, "file", b"old")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.stage, upload)
                await content.stalled.wait()
                nursery.cancel_scope.cancel()
            assert await session.abandon(upload.temporary), "the temporary is not gone"
        async with place.endpoint.open_session() as session:
            _equal(await _names(session), ["file"])
            await _assert_file(place, session, "file", b"old")


# Content that has more to say than most.


class UnsizedContent(MemoryContent):
    """Content whose size only its end tells, and whose file has another; ``fails`` where it cannot be made of it."""

    size = None

    def __init__(self, data: bytes, *, fails: bool = False) -> None:
        super().__init__(data)
        self.entry = attrs.evolve(self.entry, size=len(data) * 3 + 7)
        self._fails = fails

    async def read(self, max_bytes: int) -> bytes:
        """Read on; in the end it may be refused."""
        piece = await super().read(max_bytes)
        if self._fails and not piece:
            raise OperationRefused("it cannot be made of its file")
        return piece


class GatedContent(MemoryContent):
    """Content that lets bytes pass a few at a time, and counts them: those that are read, and those it is asked for."""

    admitted = 0

    async def read(self, max_bytes: int) -> bytes:
        """Read on, some of it."""
        piece = await super().read(min(max_bytes, 10_000))
        self.admitted += len(piece)
        return piece

    async def admit(self, max_bytes: int) -> int:
        """Let at most 10,000 bytes pass."""
        await trio.lowlevel.checkpoint()
        self.admitted += (count := min(max_bytes, 10_000))
        return count


@_check
async def check_content_of_unknown_size_arrives(place: Place) -> None:
    """Content whose size only its end tells arrives whole, and what was handed over is what counts."""
    async with place.endpoint.open_session() as session:
        held: list[Staged] = []
        sent: list[bytes] = []
        for number, size in enumerate((0, 1, 5_000, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 1_500_000)):
            sent.append(bytes(range(250)) * (size // 250) + bytes(size % 250))
            upload = Upload(f"file{number}", _temporary(f"file{number}"), UnsizedContent(sent[-1]))
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
            await _assert_file(place, session, f"file{number}", data)


@_check
async def check_content_of_unknown_size_that_fails_is_refused(place: Place) -> None:
    """Content that cannot be had to its end is refused, and leaves no temporary."""
    async with place.endpoint.open_session() as session:
        for number, size in enumerate((0, 1_000, 300_000)):
            upload = Upload("file", _temporary("file"), UnsizedContent(bytes(size), fails=True))
            staged, _ = await session.stage(upload)
            assert str(staged) == "it cannot be made of its file", f"what is wrong with file {number}"
        assert await _names(session) == []


@_check
async def check_a_gate_is_asked_for_what_is_taken_by_descriptor(place: Place) -> None:
    """Who takes bytes by a descriptor asks the content first, where it wants to be asked."""
    data = bytes(range(256)) * 1000
    with content_with_descriptor(data) as on_disk:
        content = GatedContent(data, descriptor=on_disk.fileno())
        async with place.endpoint.open_session() as session:
            staged, _ = await session.stage(Upload("file", _temporary("file"), content))
            assert isinstance(staged, Staged), staged
            assert isinstance((await session.commit([staged]))[0], Entry)
            await _assert_file(place, session, "file", data)
    assert content.admitted == len(data), "some was taken by the descriptor unasked, or asked for and not taken"


# Side by side.


@_check
async def check_lanes_side_by_side(place: Place) -> None:
    """As many tasks as the endpoint has lanes use one session at once, and two sessions are open at once."""
    lanes = min(place.endpoint.lanes, 16)
    assert lanes >= 1, "an endpoint has one lane at least"

    async def work(session: Session, name: str) -> None:
        for number in range(3):
            data = f"{name} {number}".encode() * 1_000
            entry = await _put(session, f"{name}/file", data)
            _equal(entry.size, len(data))
            await _assert_file(place, session, f"{name}/file", data)
        _equal(await session.remove([entry]), [True])

    async with place.endpoint.open_session() as one, place.endpoint.open_session() as other:
        work_of = {f"{number}{letter}": it for number in range(lanes) for letter, it in (("a", one), ("b", other))}
        await _made(one, *work_of)
        async with trio.open_nursery() as nursery:
            for name, session in work_of.items():
                nursery.start_soon(work, session, name)
        for name in work_of:
            _equal(await _names(one, name), [])


CHECKS: Sequence[Check] = tuple(_checks)

#: What cannot be demanded of a place that has no directories.
OF_DIRECTORIES: frozenset[Check] = frozenset(
    {
        check_long_listing_is_complete,
        check_make_nested_directories,
        check_make_directories_again,
        check_refused_directories_do_not_hide_the_others,
        check_commits_ride_with_the_next_stage,
        check_refused_stage_does_not_hide_the_commits,
        check_odd_directory_names,
        check_what_was_changed_is_not_removed,
        check_what_was_changed_is_not_moved,
        check_a_move_replaces_nothing,
        check_refused_moves_do_not_hide_the_others,
    }
)
