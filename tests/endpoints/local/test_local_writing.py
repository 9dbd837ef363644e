"""Faults of a local tree while it is changed: links, races, full disks. Numbers are rows of the fault matrix."""

from __future__ import annotations

import errno
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from actorsync.endpoints.contract import Relocation, Staged, Upload
from actorsync.endpoints.local import move
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.errors import OperationRefused, TargetFull
from actorsync.model.entry import Entry, Kind
from actorsync.testing.conformance.contents import MemoryContent
from tests.endpoints.local.trees import BIG, RACE, as_nobody, content_of, staged
from tests.support.system.disks import small_disk

# Writing.


async def test_m112_commit_syncs_before_and_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, rename, utime = os.fsync, os.rename, os.utime

    def spy_fsync(fd: int) -> None:
        calls.append("fsync " + os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    def spy_rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        calls.append(f"rename {old} {new}")
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def spy_utime(fd: int, *, ns: tuple[int, int]) -> None:
        calls.append("utime")
        utime(fd, ns=ns)

    async with LocalEndpoint(tmp_path).open_session() as session:
        await session.make_directories(["d"])
        monkeypatch.setattr(os, "fsync", spy_fsync)
        monkeypatch.setattr(os, "rename", spy_rename)
        monkeypatch.setattr(os, "utime", spy_utime)
        items = [await staged(session, f"d/{name}", f"d/{name}.tmp") for name in "ab"]
        await session.commit([item for item in items if isinstance(item, Staged)])
        (listed, _) = (await session.list_directory("d")).entries
        await session.remove([listed])
    assert calls[:4] == ["utime", "fsync a.tmp", "utime", "fsync b.tmp"]
    assert calls[4:7] == ["rename a.tmp a", "rename b.tmp b", "fsync d"], "one fsync for the directory, after both"
    assert calls[7:] == ["fsync d"]


async def test_m031_refused_write_leaves_no_temporary(tmp_path: Path) -> None:
    async with LocalEndpoint(tmp_path).open_session() as session:
        source = MemoryContent(bytes(3 << 20))
        with limited_file_size(2 << 20):
            result, _ = await session.stage(Upload("file", "temporary", source))
        assert isinstance(result, OperationRefused)
        assert str(result) == "cannot write 'file': File too large"
    assert content_of(tmp_path) == {}


@contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """Make writes beyond ``size`` fail with EFBIG, like ENOSPC on a full disk. Python ignores SIGXFSZ."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_existing_temporary_of_another_program_is_kept(tmp_path: Path) -> None:
    (tmp_path / "temporary").write_bytes(b"theirs")
    async with LocalEndpoint(tmp_path).open_session() as session:
        assert isinstance(await staged(session, "file", "temporary"), OperationRefused)
    assert content_of(tmp_path) == {"temporary": b"theirs"}


@pytest.mark.parametrize("mtime_ns", [-5 * 10**9, 0, 2**33 * 10**9, 2**62, None])
async def test_m057_any_mtime_is_committed(tmp_path: Path, mtime_ns: int | None) -> None:
    async with LocalEndpoint(tmp_path).open_session() as session:
        content = MemoryContent(b"content", entry=Entry("source", Kind.FILE, 7, mtime_ns))
        item, _ = await session.stage(Upload("file", "temporary", content))
        assert isinstance(item, Staged)
        (entry,) = await session.commit([item])
        assert isinstance(entry, Entry)
        assert (await session.list_directory("")).entries == (entry,)
        assert await session.commit([item]) == [entry]


async def test_m076_link_at_the_final_name_is_replaced_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "file").write_bytes(b"precious")
    (root / "final").symlink_to(outside / "file")
    (root / "temporary").symlink_to(outside / "made")
    (root / "parent").symlink_to(outside)
    before = content_of(outside)
    async with LocalEndpoint(root).open_session() as session:
        assert isinstance(await staged(session, "final", "temporary"), OperationRefused)
        assert isinstance(await staged(session, "parent/x", "parent/tmp"), OperationRefused)
        item = await staged(session, "final", "other")
        assert isinstance(item, Staged)
        assert isinstance((await session.commit([item]))[0], Entry)
        refused = [
            *await session.make_directories(["parent", "parent/d"]),
            *await session.remove([Entry("parent/file", Kind.FILE, 8), Entry("parent", Kind.DIRECTORY)]),
            *await session.sweep(["parent/file"]),
            *await session.move([Relocation(Entry("parent/file", Kind.FILE, 8), "moved")]),
            *await session.move([Relocation(Entry("final", Kind.FILE, 7), "parent/moved")]),
            *await session.commit([Staged("parent/file", "parent/tmp", 8, None)]),
        ]
    assert all(isinstance(result, OperationRefused) for result in refused), refused
    assert (root / "final").read_bytes() == b"content"
    assert content_of(outside) == before


@pytest.mark.parametrize("way", ["in one step", "with links", "without links"])
async def test_move_syncs_both_directories_and_replaces_nothing(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same on a system without renameat2(2), and on a file system that has no hard links either."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if way != "in one step":
        monkeypatch.setattr(move, "_rename_at_once", lambda *_: False)
    if way == "without links":
        monkeypatch.setattr(os, "link", refuse)
    synced: list[str] = []
    fsync = os.fsync

    def watch(fd: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watch)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    (tmp_path / "old/file").write_bytes(b"content")
    (tmp_path / "old/other").write_bytes(b"another")
    entries = [Entry(f"old/{name}", Kind.FILE, 7) for name in ("file", "other")]
    async with LocalEndpoint(tmp_path).open_session() as session:
        moved, refused = await session.move([Relocation(entry, "new/file") for entry in entries])
    assert isinstance(moved, Entry)
    assert isinstance(refused, OperationRefused)
    assert content_of(tmp_path) == {"new": False, "old": False, "new/file": b"content", "old/other": b"another"}
    assert sorted(synced) == ["new", "old"]


async def test_m076_parent_swapped_for_a_link_leads_nowhere_outside(tmp_path: Path) -> None:
    """A thread swaps a directory for a link to the outside and back, as fast as it can, during all operations."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for path in (root / "d", outside / "sub"):
        path.mkdir(parents=True)
    for name in ("final", "victim", "tmp-victim", "sub/file"):
        (outside / name).write_bytes(b"precious")
    before, stop, flips = content_of(outside), threading.Event(), 0

    def flip() -> None:
        nonlocal flips
        while not stop.is_set():
            os.rename(root / "d", root / "kept")
            os.symlink(outside, root / "d")
            os.unlink(root / "d")
            os.rename(root / "kept", root / "d")
            flips += 1

    done, refused = 0, 0
    thread = threading.Thread(target=flip)
    thread.start()
    try:
        async with LocalEndpoint(root).open_session() as session:
            deadline, number = time.monotonic() + RACE, 0
            while time.monotonic() < deadline:
                number += 1
                item = await staged(session, "d/final", f"d/tmp{number}")
                results: list[object] = [item]
                if isinstance(item, Staged):
                    results += await session.commit([item])
                results += await session.make_directories(["d/sub", "d/sub/new"])
                results += await session.remove([Entry("d/victim", Kind.FILE, 8), Entry("d/sub/new", Kind.DIRECTORY)])
                results += await session.sweep(["d/tmp-victim", f"d/tmp{number}"])
                (root / "mine").write_bytes(b"mine")
                out, into = Entry("d/victim", Kind.FILE, 8), Entry("mine", Kind.FILE, 4)
                results += await session.move([Relocation(out, "stolen"), Relocation(into, f"d/{number}")])
                listing = await session.list_directory("d")
                assert "d/victim" not in {entry.path for entry in listing.entries}, "the outside was listed"
                failed = sum(isinstance(result, OperationRefused) for result in results)
                refused, done = refused + failed, done + len(results) - failed
    finally:
        stop.set()
        thread.join()
    assert content_of(outside) == before
    assert min(flips, done, refused) > 10, "the race did not take place"


# A full disk, and missing permissions.


async def test_m031_full_disk_is_target_full(server_folder: Path) -> None:
    with small_disk(server_folder / "disk") as root:
        async with LocalEndpoint(root).open_session() as session:
            for number in range(3):
                item = await staged(session, f"{number}", f"tmp{number}", bytes(60_000))
                assert isinstance(item, Staged)
                assert isinstance((await session.commit([item]))[0], Entry)
            for path in ("0", "new"):
                refused = await staged(session, path, "tmp", bytes(100_000))
                assert isinstance(refused, TargetFull)
                assert "No space left on device; free space there" in str(refused)
        assert content_of(root) == {f"{number}": bytes(60_000) for number in range(3)}
    with small_disk(server_folder / "files", files=2) as root:
        async with LocalEndpoint(root).open_session() as session:
            assert isinstance((await session.make_directories(["a", "a/b"]))[1], Entry)
            assert isinstance((await session.make_directories(["c"]))[0], TargetFull)
            assert isinstance(await staged(session, "a/f", "a/tmp"), TargetFull)


async def test_m039_m082_denied_or_too_long_name_fails_alone() -> None:
    with as_nobody() as root:
        async with LocalEndpoint(root).open_session() as session:
            await session.make_directories(["shut", "open"])
            (root / "shut").chmod(0o555)
            refused = [
                await staged(session, "shut/f", "shut/tmp"),
                *await session.make_directories(["shut/d", "x" * 256]),
                *await session.commit([Staged("x" * 256, "tmp", 7, None)]),
            ]
            assert all(isinstance(one, OperationRefused) and not isinstance(one, TargetFull) for one in refused)
            assert ["Permission denied" in str(one) for one in refused] == [True, True, False, False]
            assert isinstance(await staged(session, "open/f", "open/tmp"), Staged)


# Renames and times use descriptors on both sides.


async def test_m077_renames_use_descriptors_of_both_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed: list[tuple[str, str]] = []

    def rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        assert os.readlink(f"/proc/self/fd/{src_dir_fd}") == os.readlink(f"/proc/self/fd/{dst_dir_fd}")
        renamed.append((old, new))
        real(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    real = os.rename
    monkeypatch.setattr(os, "rename", rename)
    async with LocalEndpoint(tmp_path).open_session() as session:
        await session.make_directories(["d", "d/e"])
        items = [await staged(session, f"{at}f", f"{at}tmp") for at in ("", "d/", "d/e/")]
        made = await session.commit([item for item in items if isinstance(item, Staged)])
    assert all(isinstance(entry, Entry) for entry in made)
    assert renamed == [("tmp", "f")] * 3, "names only, never a path"


async def test_m078_link_at_the_final_name_keeps_its_target_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The final name becomes a link to the outside after the rename; the link's target keeps its time and mode."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.write_bytes(b"precious")
    outside.chmod(0o600)
    os.utime(outside, ns=(10**18, 10**18))
    before = outside.stat()

    def rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        real(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        (root / new).unlink()
        (root / new).symlink_to(outside)

    real = os.rename
    monkeypatch.setattr(os, "rename", rename)
    async with LocalEndpoint(root).open_session() as session:
        item = await staged(session, "final", "temporary")
        assert isinstance(item, Staged)
        (refused,) = await session.commit([item])
        assert isinstance(refused, OperationRefused) and refused.retry, "the final file is not the uploaded one"
    after = outside.stat()
    assert (after.st_mtime_ns, after.st_mode, after.st_size) == (before.st_mtime_ns, before.st_mode, before.st_size)


# A disk that is slow.


async def test_m130_forty_slow_reads_delay_no_other_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing, opening and writing in the same tree go on, and so do other threads."""
    for number in range(40):
        (tmp_path / f"{number}").write_bytes(bytes(BIG))
    release, slow = threading.Event(), threading.Semaphore(0)
    real = os.read

    def read(fd: int, count: int) -> bytes:
        if threading.current_thread() is not threading.main_thread() and count == 1000:
            slow.release()
            release.wait(30)
        return real(fd, count)

    monkeypatch.setattr(os, "read", read)
    endpoint = LocalEndpoint(tmp_path)
    got: list[int] = []

    async def take(path: str) -> None:
        async with endpoint.open_session() as session, session.open(path) as content:
            got.append(len(await content.read(1000)))

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(take, f"{number}")
        try:
            with trio.fail_after(20):
                for _ in range(32):
                    await trio.to_thread.run_sync(slow.acquire)
                async with endpoint.open_session() as session:
                    assert len((await session.list_directory("")).entries) == 40
                    async with session.open("3") as content:
                        assert content.entry.size == BIG
                    assert await session.commit([Staged("none", "tmp", 0, None)])
                    assert isinstance((await session.make_directories(["d"]))[0], Entry)
                assert await trio.to_thread.run_sync(lambda: "others' threads") == "others' threads"
        finally:
            release.set()
    assert got == [1000] * 40
