"""Faults of a local tree while it is listed and read. Numbers are rows of the fault matrix."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from actorsync.endpoints.contract import Staged
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.errors import GuardRefused, OperationRefused
from actorsync.model.entry import Entry, Kind
from actorsync.model.text import display
from tests.endpoints.local.trees import BIG, as_nobody, kinds, put, staged

# The root.


async def test_m060_root_that_is_not_a_directory_is_refused(tmp_path: Path) -> None:
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
            assert not problem.vanished, "a missing root is a problem, not a removal"


async def test_m060_root_link_is_resolved_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    link = tmp_path / "link"
    link.symlink_to("one")
    endpoint = LocalEndpoint(link)
    link.unlink()
    link.symlink_to("two")
    status = (tmp_path / "one").stat()
    complete = await endpoint.identify()
    assert (complete.device, complete.entry.inode) == (status.st_dev, status.st_ino)
    async with endpoint.open_session() as session:
        assert kinds(await session.list_directory("")) == {"one": Kind.FILE}


async def test_m059_missing_root_does_not_count_as_removals(tmp_path: Path) -> None:
    async with LocalEndpoint(tmp_path / "unmounted").open_session() as session:
        results = [*await session.remove([Entry("a/b", Kind.FILE)]), *await session.sweep(["temporary"])]
    assert all(isinstance(result, OperationRefused) for result in results)


# Reading.


async def test_listing_has_size_times_and_inode(tmp_path: Path) -> None:
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
async def test_m053_change_during_a_read_is_detected(tmp_path: Path, change: str) -> None:
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
            case "rewrite":  # same size, and the old time is restored
                times = path.stat()
                path.write_bytes(b"x" * BIG)
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
            case _:
                os.utime(path)
        assert not await content.is_unchanged()


async def test_m053_small_file_is_one_version_despite_later_changes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"version 1")
    async with LocalEndpoint(tmp_path).open_session() as session, session.open("file") as content:
        path.write_bytes(b"version 2, longer")
        assert content.fileno() is None
        assert [await content.read(7), await content.read(7), await content.read(7)] == [b"version", b" 1", b""]
        assert await content.is_unchanged()


class _Found:
    """What ``os.scandir`` returns, where the file system has no status for some of the names that it lists."""

    def __init__(self, real: Any, lost: Collection[str]) -> None:
        self._real, self._lost = real, lost

    def __enter__(self) -> Iterator[Any]:
        return (_Item(item, self._lost) for item in self._real.__enter__())

    def __exit__(self, *error: object) -> None:
        self._real.close()


class _Item:
    def __init__(self, real: os.DirEntry[str], lost: Collection[str]) -> None:
        self._real, self._lost = real, lost
        self.name = real.name

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        if self.name in self._lost:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._real.stat(follow_symlinks=follow_symlinks)

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        return self._real.is_dir(follow_symlinks=follow_symlinks)


async def test_name_without_a_status_stays_in_the_listing_while_the_system_lists_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would count as gone, without a word, and would be removed from the target."""
    (tmp_path / "plain").touch()
    (tmp_path / "odd").touch()
    (tmp_path / "folder").mkdir()
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: _Found(real(path), {"odd", "folder"}))
    async with LocalEndpoint(tmp_path).open_session() as session:
        found = await session.list_directory("")
    assert kinds(found) == {"plain": Kind.FILE, "odd": Kind.FILE, "folder": Kind.DIRECTORY}
    assert {entry.path for entry in found.entries if entry.mtime_ns is None} == {"odd", "folder"}


async def test_name_that_is_removed_before_its_status_is_read_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").touch()
    (tmp_path / "gone").touch()
    real = os.scandir
    found = iter([_Found(real(tmp_path), {"gone"})])

    def scandir(path: int) -> Any:
        (tmp_path / "gone").unlink(missing_ok=True)
        return next(found, None) or real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    async with LocalEndpoint(tmp_path).open_session() as session:
        assert kinds(await session.list_directory("")) == {"plain": Kind.FILE}


async def test_m055_missing_directory_is_vanished(tmp_path: Path) -> None:
    async with LocalEndpoint(tmp_path).open_session() as session:
        problem = (await session.list_directory("gone/below")).problem
        assert problem is not None
        assert problem.vanished


async def test_m061_unreadable_directory_is_a_problem() -> None:
    with as_nobody() as root:
        for name, mode in (("unreadable", 0o311), ("unsearchable", 0o644)):
            (root / name).mkdir()
            (root / name / "file").touch()
            (root / name).chmod(mode)
        (root / "secret").touch(mode=0)
        async with LocalEndpoint(root).open_session() as session:
            for name in ("unreadable", "unsearchable"):
                listing = await session.list_directory(name)
                assert listing.entries == (), "a shorter listing would cause removals"
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
async def test_m063_links_are_listed_as_links(tmp_path: Path, links: str) -> None:
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


async def test_m063_links_inside_the_root_are_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    plant_links(root)
    walked: dict[str, Kind] = {}
    async with LocalEndpoint(root, links="follow").open_session() as session:
        frontier = [""]
        while frontier:  # this ends: links in a circle are not followed
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


async def test_m064_special_file_is_listed_and_never_opened(tmp_path: Path) -> None:
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


async def test_m067_path_longer_than_path_max_is_mirrored(tmp_path: Path) -> None:
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
async def test_m080_m081_names_are_kept_as_bytes(tmp_path: Path, raw: bytes) -> None:
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


async def test_m080_refusal_of_an_odd_name_is_one_line(tmp_path: Path) -> None:
    async with LocalEndpoint(tmp_path).open_session() as session:
        for path in ("a\n\x1b[2J\udcfe", "\ud800", "x" * 256, "a\0"):
            with pytest.raises(OperationRefused) as refused:
                async with session.open(path):
                    pass
            assert display(str(refused.value)) == str(refused.value)
