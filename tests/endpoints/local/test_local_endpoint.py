"""What a local tree can do to us: links, races, special files, odd names. Numbers are rows of the fault matrix."""

from __future__ import annotations

import errno
import os
import resource
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from actorsync.endpoints.contract import Relocation, Session, Staged, Upload
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.errors import GuardRefused, OperationRefused, TargetFull
from actorsync.model.entry import Entry, Kind, Listing
from actorsync.model.text import display
from actorsync.testing.conformance.demands import MemoryContent
from tests.support.system.disks import small_disk

BIG = 400_000  # more than what is read whole while it is opened
RACE = 1.5  # seconds


def kinds(listing: Listing) -> dict[str, Kind]:
    assert listing.problem is None, listing.problem
    return {entry.path: entry.kind for entry in listing.entries}


def content_of(root: Path) -> dict[str, object]:
    """Everything below ``root``: what links say, and what files hold."""
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.is_file() and path.read_bytes()
        for path in root.rglob("*")
    }


def put(path: bytes) -> None:
    with open(path, "wb") as file:
        file.write(b"content")


@contextmanager
def as_nobody() -> Iterator[Path]:
    """Be an ordinary user for a while, who owns a directory."""
    with tempfile.TemporaryDirectory() as name:
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(name, 65534, -1)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if is_root:
                os.seteuid(0)


async def staged(session: Session, path: str, temporary: str, data: bytes = b"content") -> Staged | OperationRefused:
    result, _ = await session.stage(Upload(path, temporary, MemoryContent(data)))
    return result


# The root.


async def test_m060_root_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "gone").mkdir()
    swapped = LocalEndpoint(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    (tmp_path / "gone").symlink_to(tmp_path)
    for endpoint in (LocalEndpoint(tmp_path / "file"), LocalEndpoint(tmp_path / "missing"), swapped):
        with pytest.raises(GuardRefused) as refused:
            await endpoint.identify()
        assert str(refused.value).isprintable()
        async with endpoint.open_session() as session:
            problem = (await session.list_directory("")).problem
            assert problem is not None
            assert not problem.vanished, "a root that is gone is never nobody's fault"


async def test_m060_root_by_way_of_a_link_is_resolved_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    link = tmp_path / "link"
    link.symlink_to("one")
    endpoint = LocalEndpoint(link)
    link.unlink()
    link.symlink_to("two")
    status = (tmp_path / "one").stat()
    root = await endpoint.identify()
    assert (root.device, root.entry.inode) == (status.st_dev, status.st_ino)
    async with endpoint.open_session() as session:
        assert kinds(await session.list_directory("")) == {"one": Kind.FILE}


async def test_m059_nothing_counts_as_removed_when_the_root_is_gone(tmp_path: Path) -> None:
    async with LocalEndpoint(tmp_path / "unmounted").open_session() as session:
        results = [*await session.remove([Entry("a/b", Kind.FILE)]), *await session.sweep(["temporary"])]
    assert all(isinstance(result, OperationRefused) for result in results)


# Reading.


async def test_listing_tells_size_times_and_inode(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "file").write_bytes(b"content")
    status = (tmp_path / "d" / "file").stat()
    async with LocalEndpoint(tmp_path).open_session() as session:
        (entry,) = (await session.list_directory("d")).entries
        async with session.open("d/file") as content:
            assert content.entry == entry
    expected = Entry("d/file", Kind.FILE, 7, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    assert entry == expected


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite", "touch"])
async def test_m053_change_while_read_is_seen(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(BIG))
    await trio.sleep(0.02)  # older kernels count time in steps of up to 10 ms
    async with LocalEndpoint(tmp_path).open_session() as session, session.open("file") as content:
        assert content.fileno() is not None
        assert await content.read(1000) == bytes(1000)
        assert await content.is_unchanged()
        match change:
            case "grow":
                with path.open("ab") as file:
                    file.write(b"more")
            case "shrink":
                os.truncate(path, 10)
            case "rewrite":  # same size, and the time is put back
                times = path.stat()
                path.write_bytes(b"x" * BIG)
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            case _:
                os.utime(path)
        assert not await content.is_unchanged()


async def test_m053_a_small_file_is_one_version_whatever_happens_later(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"version 1")
    async with LocalEndpoint(tmp_path).open_session() as session, session.open("file") as content:
        path.write_bytes(b"version 2, longer")
        assert content.fileno() is None
        assert [await content.read(7), await content.read(7), await content.read(7)] == [b"version", b" 1", b""]
        assert await content.is_unchanged()


async def test_m055_a_directory_that_is_gone_has_vanished(tmp_path: Path) -> None:
    async with LocalEndpoint(tmp_path).open_session() as session:
        problem = (await session.list_directory("gone/below")).problem
        assert problem is not None
        assert problem.vanished


async def test_m061_unreadable_is_unknown() -> None:
    with as_nobody() as root:
        for name, mode in (("unreadable", 0o311), ("unsearchable", 0o644)):
            (root / name).mkdir()
            (root / name / "file").touch()
            (root / name).chmod(mode)
        (root / "secret").touch(mode=0)
        async with LocalEndpoint(root).open_session() as session:
            for name in ("unreadable", "unsearchable"):
                listing = await session.list_directory(name)
                assert listing.entries == (), "a shorter listing would be taken for removals"
                assert listing.problem is not None
                assert not listing.problem.vanished
                (root / name).chmod(0o755)
            with pytest.raises(OperationRefused, match="cannot open 'secret': Permission denied"):
                async with session.open("secret"):
                    pass
        root.chmod(0o311)
        with pytest.raises(GuardRefused, match="Permission denied"):
            await LocalEndpoint(root).identify()
        root.chmod(0o755)


def plant_links(root: Path) -> None:
    for name in ("d", "d/deep", "../outside"):
        (root / name).mkdir()
    for name in ("file", "d/below", "../outside/secret"):
        (root / name).write_bytes(name.encode())
    links = {
        "to_file": "file",
        "to_dir": "d",
        "absolute": str(root / "d"),
        "d/up": "..",
        "d/self": ".",
        "d/deep/loop": "..",
    }
    links |= {
        "out": "../outside",
        "out_file": "../outside/secret",
        "dangling": "nowhere",
        "circle": "circle",
        "etc": "/etc",
    }
    for name, leads_to in links.items():
        (root / name).symlink_to(leads_to)


@pytest.mark.parametrize("links", ["skip", "error"])
async def test_m063_links_are_links(tmp_path: Path, links: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    plant_links(root)
    async with LocalEndpoint(root, links="skip" if links == "skip" else "error").open_session() as session:
        found = kinds(await session.list_directory(""))
        assert {path for path, kind in found.items() if kind is not Kind.LINK} == {"file", "d"}
        for path in found.keys() - {"file", "d"}:
            assert (await session.list_directory(path)).problem is not None
            with pytest.raises(OperationRefused):
                async with session.open(path):
                    pass
        for path in ("to_dir/below", "out/secret", "absolute/below"):
            with pytest.raises(OperationRefused):
                async with session.open(path):
                    pass


async def test_m063_links_are_followed_inside_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    plant_links(root)
    walked: dict[str, Kind] = {}
    async with LocalEndpoint(root, links="follow").open_session() as session:
        frontier = [""]
        while frontier:  # it ends: no link leads round in a circle
            found = kinds(await session.list_directory(frontier.pop()))
            walked |= found
            frontier.extend(path for path, kind in found.items() if kind is Kind.DIRECTORY)
        for path in ("to_file", "to_dir/below", "absolute/below", "d/below"):
            assert walked[path] is Kind.FILE
            async with session.open(path) as content:
                assert content.entry.path == path
                assert await content.read(100) == (b"file" if path == "to_file" else b"d/below")
        for path in ("out", "out_file", "dangling", "circle", "etc", "d/up", "d/self", "d/deep/loop", "to_dir/up"):
            assert walked[path] is Kind.LINK, path
        for path in ("out/secret", "out_file", "dangling", "circle"):
            with pytest.raises(OperationRefused):
                async with session.open(path):
                    pass
        assert (await session.list_directory("out")).problem is not None


async def test_m064_what_is_special_is_listed_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with trio.fail_after(5):
            async with LocalEndpoint(tmp_path).open_session() as session:
                assert kinds(await session.list_directory("")) == {"fifo": Kind.OTHER, "socket": Kind.OTHER}
                for path in ("fifo", "socket"):
                    with pytest.raises(OperationRefused, match="not a regular file"):
                        async with session.open(path):
                            pass


async def test_m067_a_path_longer_than_the_system_takes(tmp_path: Path) -> None:
    names = ["x" * 200] * 30
    path = "/".join(names)
    async with LocalEndpoint(tmp_path).open_session() as session:
        made = await session.make_directories(["/".join(names[:depth]) for depth in range(1, 31)])
        assert all(isinstance(entry, Entry) for entry in made)
        item = await staged(session, f"{path}/file", f"{path}/temporary")
        assert isinstance(item, Staged)
        (entry,) = await session.commit([item])
        assert (await session.list_directory(path)).entries == (entry,)
        async with session.open(f"{path}/file") as content:
            assert await content.read(100) == b"content"
        await session.remove([Entry(f"{path}/file", Kind.FILE, 7)])
        directories = [Entry("/".join(names[:depth]), Kind.DIRECTORY) for depth in range(30, 0, -1)]
        assert await session.remove(directories) == [True] * 30


# Names.


@pytest.mark.parametrize("raw", [b"x\xfe", b"\xff\xfe", b"a\nb", "日".encode() * 85, b"x" * 255])
async def test_m080_m081_names_are_bytes(tmp_path: Path, raw: bytes) -> None:
    put(os.fsencode(tmp_path) + b"/" + raw)
    async with LocalEndpoint(tmp_path).open_session() as session:
        (found,) = (await session.list_directory("")).entries
        async with session.open(found.path) as content:
            assert await content.read(100) == b"content"
        assert await session.remove([found]) == [True]
        item = await staged(session, found.path, "temporary")
        assert isinstance(item, Staged)
        await session.commit([item])
    assert os.listdir(os.fsencode(tmp_path)) == [raw]


async def test_m080_refusals_are_one_line_whatever_the_name(tmp_path: Path) -> None:
    async with LocalEndpoint(tmp_path).open_session() as session:
        for path in ("a\n\x1b[2J\udcfe", "\ud800", "x" * 256, "a\0"):
            with pytest.raises(OperationRefused) as refused:
                async with session.open(path):
                    pass
            assert display(str(refused.value)) == str(refused.value)


# Writing.


async def test_m112_synced_before_and_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_m031_a_write_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    async with LocalEndpoint(tmp_path).open_session() as session:
        source = MemoryContent(bytes(3 << 20))
        with limited_file_size(2 << 20):
            result, _ = await session.stage(Upload("file", "temporary", source))
        assert isinstance(result, OperationRefused)
        assert str(result) == "cannot write 'file': File too large"
    assert content_of(tmp_path) == {}


@contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """Have writing beyond ``size`` fail with EFBIG, as ENOSPC would on a full disk. Python ignores SIGXFSZ."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_temporary_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "temporary").write_bytes(b"theirs")
    async with LocalEndpoint(tmp_path).open_session() as session:
        assert isinstance(await staged(session, "file", "temporary"), OperationRefused)
    assert content_of(tmp_path) == {"temporary": b"theirs"}


@pytest.mark.parametrize("mtime_ns", [-5 * 10**9, 0, 2**33 * 10**9, 2**62, None])
async def test_m057_any_time_is_a_time(tmp_path: Path, mtime_ns: int | None) -> None:
    async with LocalEndpoint(tmp_path).open_session() as session:
        item, _ = await session.stage(Upload("file", "temporary", MemoryContent(b"content", mtime_ns=mtime_ns)))
        assert isinstance(item, Staged)
        (entry,) = await session.commit([item])
        assert isinstance(entry, Entry)
        assert (await session.list_directory("")).entries == (entry,)
        assert await session.commit([item]) == [entry]


async def test_m076_a_link_as_final_name_is_replaced_not_followed(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("has_links", [True, False])
async def test_a_move_is_durable_on_both_sides_and_replaces_nothing(
    tmp_path: Path, has_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the file system knows no second name for a file."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not has_links:
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


async def test_m076_symlink_planted_as_parent(tmp_path: Path) -> None:
    """A thread swaps a directory for a link to the outside, and back, as fast as it can, while everything is tried."""
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


# No room, and no permission: the system says which.


async def test_m031_a_full_disk_is_a_full_target(server_folder: Path) -> None:
    with small_disk(server_folder / "disk") as root:
        async with LocalEndpoint(root).open_session() as session:
            for number in range(3):
                item = await staged(session, f"{number}", f"tmp{number}", bytes(60_000))
                assert isinstance(item, Staged)
                assert isinstance((await session.commit([item]))[0], Entry)
            for path in ("0", "new"):
                refused = await staged(session, path, "tmp", bytes(100_000))
                assert isinstance(refused, TargetFull)
                assert "No space left on device; make room there" in str(refused)
        assert content_of(root) == {f"{number}": bytes(60_000) for number in range(3)}
    with small_disk(server_folder / "files", files=2) as root:
        async with LocalEndpoint(root).open_session() as session:
            assert isinstance((await session.make_directories(["a", "a/b"]))[1], Entry)
            assert isinstance((await session.make_directories(["c"]))[0], TargetFull)
            assert isinstance(await staged(session, "a/f", "a/tmp"), TargetFull)


async def test_m039_m082_what_is_denied_or_named_too_long_fails_alone() -> None:
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


# Renames and times go by descriptor, on both sides.


async def test_m077_both_sides_of_every_rename_are_below_an_open_directory(
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
    assert renamed == [("tmp", "f")] * 3, "names, and never a path"


async def test_m078_nothing_is_set_by_name_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The final name becomes a link to the outside at the worst moment: what it leads to keeps its time and mode."""
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
        assert isinstance(refused, OperationRefused) and refused.retry, "what is there is not what was sent"
    after = outside.stat()
    assert (after.st_mtime_ns, after.st_mode, after.st_size) == (before.st_mtime_ns, before.st_mode, before.st_size)


# A disk that is slow.


async def test_m130_forty_slow_reads_keep_nobody_else_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither whoever lists, opens and writes in the same tree, nor the threads that others use."""
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
