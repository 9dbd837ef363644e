"""Permissions in a local tree: a temporary is never wider than its file, and a link is never followed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from actorsync.endpoints.contract import Session, Staged, Upload
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind
from actorsync.testing.conformance.contents import MemoryContent

WARNING = "permissions are not set as sync.modes says (first: "


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


class Watching(MemoryContent):
    """Content that looks at the temporary before each piece of it is read."""

    def __init__(self, data: bytes, temporary: Path) -> None:
        super().__init__(data)
        self._temporary = temporary
        self.seen: set[int] = set()

    async def read(self, max_bytes: int) -> bytes:
        if self._temporary.exists():
            self.seen.add(mode_of(self._temporary))
        return await super().read(max_bytes)


async def put(session: Session, path: str, mode: int | None, *, keeps_mode: bool = False) -> Entry:
    upload = Upload(path, f"{path}.tmp", MemoryContent(b"content"), mode=mode, keeps_mode=keeps_mode)
    staged, _ = await session.stage(upload)
    assert isinstance(staged, Staged)
    (entry,) = await session.commit([staged])
    assert isinstance(entry, Entry)
    return entry


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o444, 0o644, 0o664, 0o777, 0o000])
async def test_file_has_its_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    async with LocalEndpoint(tmp_path).open_session() as session:
        assert (await put(session, "f", mode)).mode == mode
        assert session.warnings() == ()
    assert mode_of(tmp_path / "f") == mode


@pytest.mark.parametrize(("mode", "most"), [(0o600, 0o600), (0o440, 0o440), (0o664, 0o644), (None, 0o644)])
async def test_temporary_is_never_wider_than_its_file(tmp_path: Path, mode: int | None, most: int) -> None:
    content = Watching(bytes(9 << 20), tmp_path / "f.tmp")
    async with LocalEndpoint(tmp_path).open_session() as session:
        staged, _ = await session.stage(Upload("f", "f.tmp", content, mode=mode))
    assert isinstance(staged, Staged)
    assert content.seen == {most}, "a mode that is wider for a moment can be used in that moment"


async def test_replaced_file_hands_its_mode_on(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "f").chmod(0o604)
    async with LocalEndpoint(tmp_path).open_session() as session:
        assert (await put(session, "f", 0o644, keeps_mode=True)).mode == 0o604
        assert (await put(session, "new", 0o640, keeps_mode=True)).mode == 0o640


async def test_link_hands_no_mode_on(tmp_path: Path) -> None:
    (tmp_path / "outside").touch()
    (tmp_path / "outside").chmod(0o777)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "f").symlink_to(tmp_path / "outside")
    async with LocalEndpoint(tmp_path / "root").open_session() as session:
        assert (await put(session, "f", 0o640, keeps_mode=True)).mode == 0o640


async def test_set_modes_of_files_and_directories(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").touch(0o600)
    (tmp_path / "closed").touch(0)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o3775)
    wanted = [
        Entry("d", Kind.DIRECTORY, mode=0o700),
        Entry("d/f", Kind.FILE, mode=0o755),
        Entry("closed", Kind.FILE, mode=0o640),
        Entry("shared", Kind.DIRECTORY, mode=0o755),
        Entry("gone", Kind.FILE, mode=0o755),
        Entry("d", Kind.FILE, mode=0o755),
    ]
    async with LocalEndpoint(tmp_path).open_session() as session:
        *done, gone, other_kind = await session.set_modes(wanted)
        assert session.warnings() == ()
    assert [it.mode if isinstance(it, Entry) else it for it in done] == [0o700, 0o755, 0o640, 0o755]
    assert isinstance(gone, OperationRefused)
    assert isinstance(other_kind, OperationRefused)
    assert (mode_of(tmp_path / "d"), mode_of(tmp_path / "d" / "f")) == (0o700, 0o755)
    assert mode_of(tmp_path / "shared") == 0o3755, "setgid and sticky of a directory stay"


async def test_mode_is_not_set_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").touch()
    (tmp_path / "outside").chmod(0o600)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "f").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "d").symlink_to(tmp_path)
    wanted = [Entry("f", Kind.FILE, mode=0o777), Entry("d/outside", Kind.FILE, mode=0o777)]
    async with LocalEndpoint(tmp_path / "root").open_session() as session:
        results = await session.set_modes(wanted)
    assert [type(it) for it in results] == [OperationRefused, OperationRefused]
    assert mode_of(tmp_path / "outside") == 0o600


async def test_time_and_content_stay(tmp_path: Path) -> None:
    async with LocalEndpoint(tmp_path).open_session() as session:
        before = await put(session, "f", 0o600)
        (after,) = await session.set_modes([attrs.evolve(before, mode=0o644)])
    assert isinstance(after, Entry)
    assert (after.size, after.mtime_ns) == (before.size, before.mtime_ns)


async def test_file_system_without_permissions_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As FAT is mounted for everybody: it refuses the change, and shows what the mount says."""

    def refuse(path: int | str, mode: int) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    endpoint = LocalEndpoint(tmp_path)
    monkeypatch.setattr(os, "chmod", refuse)
    async with endpoint.open_session() as session:
        assert (await put(session, "f", 0o666)).mode == 0o644
        (entry,) = await session.set_modes([Entry("f", Kind.FILE, mode=0o600)])
        assert isinstance(entry, Entry)
        assert entry.mode == 0o644, "what is reported is what there is"
    async with endpoint.open_session() as session:
        (warning,) = session.warnings()
    assert warning.startswith(f"{WARNING}f: Operation not permitted); ")


async def test_listing_shows_the_modes_of_files_and_directories(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d").chmod(0o2751)
    (tmp_path / "f").touch()
    (tmp_path / "f").chmod(0o4711)
    async with LocalEndpoint(tmp_path).open_session() as session:
        listing = await session.list_directory("")
        async with session.open("f") as content:
            assert content.entry.mode == 0o711
    assert {entry.path: entry.mode for entry in listing.entries} == {"d": 0o751, "f": 0o711}
