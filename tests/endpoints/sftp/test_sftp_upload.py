"""Uploads over SFTP to a model of a server: windows, short writes, full disks, refusals."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.endpoints.contract import Content, Staged, Upload
from actorsync.endpoints.sftp.upload import WINDOW
from actorsync.endpoints.sftp.wire.connection import PIECE
from actorsync.errors import OperationRefused, TargetFull
from actorsync.model.entry import Entry, Kind
from actorsync.protocols.sftp.replies import OK, Attributes, Reply, Status
from tests.support.servers.sftp_tree import EXTENSIONS, ROOT, Call, SftpTree, only
from tests.support.servers.sftp_tree_wire import session_with

MTIME_NS = 1_700_000_000_987_654_321
TO_DO = "; free space there, or raise the quota"
REFUSED = Status(4, "no")
SIZES = [0, 1, 32 * 1024, 32 * 1024 + 1, PIECE, PIECE + 1, 5 * PIECE, 30 * PIECE + 7]


@attrs.define
class Made(Content):
    """Content that holds ``data`` and reports ``said`` bytes; a read returns at most ``at_once`` bytes."""

    data: bytes
    said: int
    at_once: int = 1 << 30
    fails_at: int = 1 << 30
    mode: int | None = 0o640
    _given: int = 0

    @property
    def entry(self) -> Entry:
        return Entry("f", Kind.FILE, self.said, MTIME_NS, mode=self.mode)

    def fileno(self) -> int | None:
        return None

    async def read(self, max_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if self._given >= self.fails_at:
            raise OperationRefused("it cannot be read: Input/output error")
        piece = self.data[self._given : self._given + min(max_bytes, self.at_once)]
        self._given += len(piece)
        return piece

    async def is_unchanged(self) -> bool:
        return True


def content(size: int) -> bytes:
    return Random(size).randbytes(size)


def upload(data: bytes, said: int | None = None, *, at_once: int = 1 << 30, name: str = "f") -> Upload:
    content = Made(data, len(data) if said is None else said, at_once)
    return Upload(name, f".actorsync-{name}.tmp", content, mode=content.mode)


async def stage(
    tree: SftpTree, made: Upload, *, fsync: bool = False, order: Random | None = None
) -> Staged | OperationRefused:
    """Stage one file in a new session."""
    async with session_with(tree, fsync=fsync, order=order) as (opened, _):
        staged, committed = await opened.stage(made)
        assert committed == []
        await trio.sleep(1)  # for requests whose replies are not waited for
        assert tree.open_handles == 0
        return staged


def refused(staged: Staged | OperationRefused, *, retry: bool) -> str:
    assert isinstance(staged, OperationRefused)
    assert staged.retry is retry
    return str(staged)


@pytest.mark.parametrize("order", [None, 1])
@pytest.mark.parametrize("size", SIZES)
async def test_upload_sets_time_and_permissions(size: int, order: int | None, autojump_clock: MockClock) -> None:
    tree = SftpTree()
    data = content(size)
    made = upload(data)
    staged = await stage(tree, made, order=None if order is None else Random(order))
    assert staged == Staged("f", ".actorsync-f.tmp", size, 1_700_000_000 * 10**9)
    assert made.sent == size
    assert tree.files() == {f"{ROOT}/.actorsync-f.tmp": data}
    node = tree.nodes[f"{ROOT}/.actorsync-f.tmp"]
    assert (node.mtime, node.mode) == (1_700_000_000, 0o640)
    (told,) = (call for call in tree.calls if call.verb == "FSETSTAT")
    assert (told.mtime, told.mode) == (1_700_000_000, 0o640)
    verbs = tree.verbs()
    assert verbs[-3:] == ["FSETSTAT", "CLOSE", "LSTAT"] or order is not None
    assert not {"FSYNC", "STATVFS", "REMOVE"} & set(verbs)


async def test_small_file_takes_two_round_trips_and_its_rename_a_third(autojump_clock: MockClock) -> None:
    tree = SftpTree()
    async with session_with(tree, delay=1.0) as (opened, _):
        began = trio.current_time()
        staged, _ = await opened.stage(upload(b"small"))
        assert trio.current_time() - began == pytest.approx(2.0)
        assert isinstance(staged, Staged)
        _, (entry,) = await opened.stage(upload(b"next", name="g"), commit=[staged])
        assert trio.current_time() - began == pytest.approx(4.0), "the rename is in flight with the next file"
    assert entry == Entry("f", Kind.FILE, 5, 1_700_000_000 * 10**9)


async def test_ahead_is_called_when_the_last_byte_is_sent(autojump_clock: MockClock) -> None:
    tree = SftpTree()
    asked: list[tuple[int, bool]] = []
    made = upload(content(2 * PIECE))
    async with session_with(tree) as (opened, _):

        def ahead() -> bool:
            asked.append((made.sent, "CLOSE" in tree.verbs()))
            return True

        await opened.stage(made, ahead=ahead)
    assert asked == [(2 * PIECE, False)]


@pytest.mark.parametrize("at_once", [1 << 30, 20_000])
@pytest.mark.parametrize("size", [1, 32 * 1024, 30 * PIECE + 7])
async def test_bytes_without_a_reply_do_not_count_as_sent(size: int, at_once: int, autojump_clock: MockClock) -> None:
    tree, name = SftpTree(), f"{ROOT}/.actorsync-f.tmp"
    made = upload(content(size), at_once=at_once)
    shown: list[tuple[int, int]] = []

    def look() -> bool:
        shown.append((made.delivered, len(tree.files().get(name, b""))))
        return False

    async def watch() -> None:
        while True:
            look()
            await trio.sleep(0.1)

    async with session_with(tree, delay=1.0) as (opened, _), trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        staged, _ = await opened.stage(made, ahead=look)
        nursery.cancel_scope.cancel()
    assert isinstance(staged, Staged)
    assert all(delivered <= stored for delivered, stored in shown)
    assert made.delivered == size


async def test_slow_source_does_not_hide_what_the_server_has_confirmed(autojump_clock: MockClock) -> None:
    class Slow(Made):
        async def read(self, max_bytes: int) -> bytes:
            await trio.sleep(1)
            return await super().read(max_bytes)

    made = Upload("f", ".actorsync-f.tmp", Slow(content(5 * PIECE), 5 * PIECE))
    async with session_with(SftpTree(), delay=0.1) as (opened, _), trio.open_nursery() as nursery:
        nursery.start_soon(opened.stage, made)
        await trio.sleep(4.5)  # four pieces have been read, and three replies are not looked at yet
        assert (made.sent, made.delivered) == (4 * PIECE, 4 * PIECE)


@pytest.mark.parametrize(
    ("files", "size", "apart"),
    [
        (1, 40 * PIECE, 0.0),
        (2, 40 * PIECE, 0.0),
        (16, 20 * PIECE, 0.0),
        (16, 3 * PIECE, 0.001),
        (3, 30 * PIECE, 0.2),
    ],
)
async def test_unanswered_large_writes_stay_within_the_window(
    files: int, size: int, apart: float, autojump_clock: MockClock
) -> None:
    tree = SftpTree()

    async def stage_later(number: int) -> None:
        await trio.sleep(apart * number)
        await opened.stage(upload(bytes(size), name=f"f{number}"))

    async with session_with(tree) as (opened, channel):
        async with trio.open_nursery() as nursery:
            for number in range(files):
                nursery.start_soon(stage_later, number)
        assert [len(data) for data in tree.files().values()] == [size] * files
        assert 1 < channel.most <= WINDOW


async def test_window_is_free_again_after_every_kind_of_failure(autojump_clock: MockClock) -> None:
    """Otherwise uploads would wait forever once enough of them had failed."""
    tree = SftpTree()
    async with session_with(tree) as (opened, _):
        for refusal in (None, lambda call: Status(4) if call.offset > 3 * PIECE else None):
            tree.instead = only("WRITE", refusal) if refusal else lambda call: None
            for made in (
                upload(bytes(20 * PIECE)),
                upload(bytes(2 * PIECE), 20 * PIECE),
                Upload("f", "t", Made(bytes(20 * PIECE), 20 * PIECE, fails_at=7 * PIECE)),
            ):
                await opened.stage(made)
                await opened.sweep([made.temporary])
            with trio.move_on_after(0.2):
                await opened.stage(upload(bytes(40 * PIECE), name="cancelled"))
        assert opened._uploader._window.value == WINDOW


@pytest.mark.parametrize("at", [0, 1, 5, 14, 20, 29])
async def test_write_refused_in_the_middle_stops_the_upload(at: int, autojump_clock: MockClock) -> None:
    tree = SftpTree(extensions={})
    tree.instead = only("WRITE", lambda call: Status(3, "no more") if call.offset >= at * PIECE else None)
    made = upload(bytes(30 * PIECE))
    why = refused(await stage(tree, made), retry=False)
    if at:
        assert why == "the server refused the file: permission denied (no more)"
    else:
        assert "accepts no file in its directory (permission denied (no more))" in why
    assert tree.files() == {}, "the temporary was removed"
    assert made.sent <= (at + 14) * PIECE, "few bytes are sent after the refusal"


@pytest.mark.parametrize("size", [10, 20 * PIECE])
@pytest.mark.parametrize("verb", ["OPEN", "WRITE"])
async def test_m031_full_disk_is_reported(verb: str, size: int, autojump_clock: MockClock) -> None:
    tree = SftpTree()

    def fill(call: Call) -> Reply | None:
        tree.is_full = tree.is_full or call.verb == verb
        return None

    tree.instead = fill
    assert "the server's disk is full" in refused(await stage(tree, upload(content(size))), retry=False)
    assert tree.files() == {}
    (asked,) = (call.path for call in tree.calls if call.verb == "STATVFS")
    assert asked == ROOT


@pytest.mark.parametrize("extensions", [EXTENSIONS, {}], ids=["statvfs", "no statvfs"])
@pytest.mark.parametrize("size", [10, 20 * PIECE])
@pytest.mark.parametrize("verb", ["WRITE", "CLOSE"])
async def test_m031_m032_target_is_full_when_the_probe_file_fails_too(
    verb: str, size: int, extensions: dict[str, str], autojump_clock: MockClock
) -> None:
    """For a quota, or a server without statvfs, the probe file decides whether the target is full."""
    tree = SftpTree(extensions=extensions)
    tree.instead = only(verb, lambda call: (verb == "WRITE" or tree._close(call)) and Status(4, "quota"))
    result = await stage(tree, upload(content(size)))
    assert isinstance(result, TargetFull)
    doing = " to close it" if verb == "CLOSE" else ""
    assert f"not even a small file could be stored (failure (quota){doing})" in str(result)
    assert tree.files() == {}, "neither the temporary nor the probe file is left"


@pytest.mark.parametrize("verb", ["OPEN", "WRITE"])
async def test_m032_m082_only_the_file_is_refused_when_the_probe_file_fits(
    verb: str, autojump_clock: MockClock
) -> None:
    path = f"{ROOT}/.actorsync-f.tmp"
    tree = SftpTree(instead=only(verb, lambda call: None if call.offset == 0 < len(call.data) else REFUSED, path=path))
    why = refused(await stage(tree, upload(content(3 * PIECE))), retry=False)
    if verb == "OPEN":
        assert why.startswith(
            "the server rejects names that begin with a dot, which temporary uploads need (failure (no))"
        )
    else:
        assert why.startswith(
            f"the server stores only {PIECE} of {3 * PIECE} bytes, and accepts small files (failure (no))"
        )
    assert tree.files() == {}


@pytest.mark.parametrize("name", ["a\tb", "x", "日"])
async def test_m082_refused_name_is_reported(name: str, autojump_clock: MockClock) -> None:
    tree = SftpTree()
    tree.instead = lambda call: REFUSED if call.new == f"{ROOT}/{name}" else None
    async with session_with(tree) as (opened, _):
        staged, _ = await opened.stage(upload(b"content", name=name))
        assert isinstance(staged, Staged)
        (result,) = await opened.commit([staged])
    assert str(result) == (
        "the server rejects its name, and accepts another name in the same directory (failure (no)); "
        "rename or exclude it"
    )
    assert tree.files() == {}


async def test_m031_m039_many_refusals_make_few_probes(autojump_clock: MockClock) -> None:
    tree = SftpTree(instead=lambda call: Status(3) if call.verb == "OPEN" else None)
    for number in range(40):
        tree.mkdir(f"{ROOT}/{number}")
    async with session_with(tree) as (opened, _):
        for number in range(400):
            folder = f"{number % 40}"
            made = Upload(f"{folder}/f", f"{folder}/.actorsync-{number}.tmp", Made(b"x", 1))
            assert "permission denied" in refused((await opened.stage(made))[0], retry=False)
    opened_probes = [call.path for call in tree.calls if call.verb == "OPEN" and "try.actorsync-" in call.path]
    assert 10 <= len(opened_probes) <= 20 * (1 + trio.current_time() // 10)
    assert len(tree.calls) < 2_000


@pytest.mark.parametrize("size", [2, 4 * PIECE])
@pytest.mark.parametrize("is_full", [True, False])
async def test_m018_m051_acknowledged_short_write_is_refused(
    size: int, is_full: bool, autojump_clock: MockClock
) -> None:
    tree = SftpTree()

    def cut(call: Call) -> Reply | None:
        if call.verb == "STATVFS":
            tree.is_full = is_full
        return OK if call.verb == "WRITE" and call.offset + len(call.data) == size else None

    tree.instead = cut
    result = await stage(tree, upload(content(size)))
    why = refused(result, retry=not is_full)
    assert isinstance(result, TargetFull) is is_full
    known = f"the server stored {0 if size == 2 else 3 * PIECE} of {size} bytes"
    assert why == (f"the target is full: the server's disk is full{TO_DO}" if is_full else known)
    assert tree.files() == {}


@pytest.mark.parametrize("size", [9, 3 * PIECE])
@pytest.mark.parametrize("more", [-2, 2])
async def test_m018_wrong_size_is_refused(size: int, more: int, autojump_clock: MockClock) -> None:
    tree = SftpTree(extensions={}, instead=only("LSTAT", Attributes(size + more, 0o100644, 1)))
    why = refused(await stage(tree, upload(content(size))), retry=True)
    assert why == f"the server stored {size + more} of {size} bytes"
    assert tree.files() == {}


async def test_size_that_is_right_at_the_second_look_is_accepted(autojump_clock: MockClock) -> None:
    looks = iter([Attributes(0, 0o100644, 1)])
    tree = SftpTree(instead=only("LSTAT", lambda call: next(looks, None)))
    assert isinstance(await stage(tree, upload(b"content")), Staged)


@pytest.mark.parametrize(
    ("size", "said"),
    [(4, 9), (0, 1), (9, 4), (PIECE, 2 * PIECE), (0, 3 * PIECE), (20 * PIECE - 1, 20 * PIECE)],
)
async def test_m062_content_of_another_length_is_refused_for_retry(
    size: int, said: int, autojump_clock: MockClock
) -> None:
    tree = SftpTree()
    staged = await stage(tree, upload(content(size), said))
    assert refused(staged, retry=True) == "it was changed while it was read"
    assert tree.files() == {}


@pytest.mark.parametrize("size", [PIECE + 1, 20 * PIECE])
async def test_m062_growing_large_file_is_sent_to_its_first_size(size: int, autojump_clock: MockClock) -> None:
    tree = SftpTree()
    assert isinstance(await stage(tree, upload(content(size + 9), size)), Staged)
    assert [len(data) for data in tree.files().values()] == [size], "the lane checks afterwards whether it changed"


@pytest.mark.parametrize(
    ("size", "at_once"),
    [
        (5_000, 1_000),
        (32 * 1024, 32 * 1024 - 1),
        (3 * PIECE, 1_000),
        (3 * PIECE, PIECE - 1),
        (3 * PIECE, PIECE),
    ],
)
async def test_content_in_small_pieces_arrives_complete(size: int, at_once: int, autojump_clock: MockClock) -> None:
    tree = SftpTree()
    assert isinstance(await stage(tree, upload(content(size), at_once=at_once)), Staged)
    assert list(tree.files().values()) == [content(size)]


@pytest.mark.parametrize(("size", "fails_at"), [(9, 0), (20 * PIECE, 0), (20 * PIECE, PIECE), (20 * PIECE, 17 * PIECE)])
async def test_unreadable_content_is_refused_and_removed(size: int, fails_at: int, autojump_clock: MockClock) -> None:
    tree = SftpTree()
    made = Upload("f", "t", Made(bytes(size), size, fails_at=fails_at))
    assert refused(await stage(tree, made), retry=False) == "it cannot be read: Input/output error"
    assert tree.files() == {}


@pytest.mark.parametrize("size", [9, 20 * PIECE])
async def test_local_file_is_read_by_descriptor(size: int, tmp_path: Path, autojump_clock: MockClock) -> None:
    (tmp_path / "f").write_bytes(content(size))
    descriptor = os.open(tmp_path / "f", os.O_RDONLY)

    class Local(Made):
        def fileno(self) -> int:
            return descriptor

        async def read(self, max_bytes: int) -> bytes:
            raise AssertionError

    tree = SftpTree()
    made: Content = Local(b"", size)
    try:
        assert isinstance(await stage(tree, Upload("f", "t", made)), Staged)
    finally:
        os.close(descriptor)
    assert list(tree.files().values()) == [content(size)]
    refusal = refused(await stage(tree, Upload("f", "t2", Local(b"", size))), retry=False)
    assert refusal == "it cannot be read: Bad file descriptor"


@pytest.mark.parametrize("size", [0, 9, 2 * PIECE])
async def test_m052_fsync_is_sent_between_the_last_write_and_the_close(size: int, autojump_clock: MockClock) -> None:
    tree = SftpTree()
    assert isinstance(await stage(tree, upload(content(size)), fsync=True), Staged)
    assert tree.verbs()[-4:] == ["FSETSTAT", "FSYNC", "CLOSE", "LSTAT"]
    tree = SftpTree(instead=only("FSYNC", Status(4, "I/O error")))
    why = refused(await stage(tree, upload(content(size)), fsync=True), retry=False)
    assert why == "the server refused the file: failure (I/O error) to flush it to its disk"
    assert tree.files() == {}


async def test_m052_server_without_fsync_gets_none_and_the_user_a_warning(autojump_clock: MockClock) -> None:
    tree = SftpTree(extensions={name: "1" for name in EXTENSIONS if not name.startswith("fsync")})
    assert isinstance(await stage(tree, upload(b"x"), fsync=True), Staged)
    assert "FSYNC" not in tree.verbs()
    async with session_with(tree, fsync=True) as (opened, _):
        assert "no effect" in opened.warnings()[0]
    async with session_with(tree) as (opened, _):
        assert opened.warnings() == ()


@pytest.mark.parametrize("size", [0, 9, 2 * PIECE])
async def test_refused_time_is_accepted_and_refused_close_is_not(size: int, autojump_clock: MockClock) -> None:
    tree = SftpTree(instead=lambda call: Status(3) if "SETSTAT" in call.verb else None)
    staged = await stage(tree, upload(content(size)))
    assert isinstance(staged, Staged) and staged.mtime_ns != 1_700_000_000 * 10**9
    tree = SftpTree()
    tree.instead = only("CLOSE", lambda call: tree._close(call) and Status(4, "quota"))
    assert "(failure (quota) to close it)" in refused(await stage(tree, upload(content(size))), retry=False)
    assert tree.files() == {}


@pytest.mark.parametrize("name", ["a\0b", "../f", "/etc/x", "a//b", ".", "x/../y", "\ud800"])
async def test_m072_m074_paths_outside_the_root_are_refused_by_every_verb(name: str, autojump_clock: MockClock) -> None:
    tree = SftpTree()
    async with session_with(tree) as (opened, _):
        asked = len(tree.calls)
        good, _ = await opened.stage(upload(b"x"))
        assert isinstance(good, Staged)
        staged, (entry,) = await opened.stage(Upload(name, "t", Made(b"", 0)), commit=[good])
        assert isinstance(staged, OperationRefused) and isinstance(entry, Entry)
        assert isinstance((await opened.stage(Upload("f", name, Made(b"", 0))))[0], OperationRefused)
        with pytest.raises(OperationRefused):
            opened.open(name)
        assert (await opened.list_directory(name)).problem is not None
        for verb in (opened.make_directories, opened.sweep):
            (result,) = await verb([name])
            assert isinstance(result, OperationRefused)
        (removed,) = await opened.remove([Entry(name, Kind.FILE)])
        assert isinstance(removed, OperationRefused)
        for bad in (attrs.evolve(good, path=name), attrs.evolve(good, temporary=name)):
            (result,) = await opened.commit([bad])
            assert isinstance(result, OperationRefused)
    touched = {path.lower() for call in tree.calls[asked:] for path in call.touches}
    assert touched == {f"{ROOT}/f", f"{ROOT}/.actorsync-f.tmp"}
