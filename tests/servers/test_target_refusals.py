"""Refusals of real servers: the right outcome, the true reason, and the old versions intact.

Servers send the same reply for different causes, so each cause is real here: full disks, quotas, directories without
permission, names that are too long. Each test runs on six servers. `tests.unit.protocols.test_upload_diagnosis` has the
decisions alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from actorsync.endpoints.contract import Relocation, Session, Staged, Upload
from actorsync.errors import ConnectionLost, OperationRefused, TargetFull
from actorsync.model.entry import Entry, join, name_of, parent_of
from actorsync.model.text import display
from actorsync.planning.temporary_names import temporary_name
from actorsync.testing.conformance.contents import MemoryContent, content_with_descriptor
from tests.support.mirror import contents, mirror, temporaries
from tests.support.scenarios import write
from tests.support.servers import any_server, debian_servers
from tests.support.servers.any_server import AnyServer
from tests.support.servers.ftp import home
from tests.support.system.disks import read_only, small_disk

ASKS_FOR_ROOM = "free space there, or raise the quota"


@pytest.fixture(scope="module", params=any_server.NAMES)
def server(request: pytest.FixtureRequest) -> Iterator[AnyServer]:
    """Start each server in turn, once for this module."""
    with home() as folder, any_server.running(request.param, folder) as started:
        yield started


_tokens = iter(range(10**6))


def upload(path: str, data: bytes) -> Upload:
    temporary = join(parent_of(path), temporary_name(name_of(path), f"{next(_tokens):08x}"))
    return Upload(path, temporary, MemoryContent(data))


async def put(session: Session, path: str, data: bytes) -> Entry | OperationRefused:
    staged, _ = await session.stage(upload(path, data))
    if isinstance(staged, OperationRefused):
        return staged
    (entry,) = await session.commit([staged])
    return entry


def reason(result: object) -> str:
    assert isinstance(result, OperationRefused), result
    assert display(str(result)) == str(result), "one line"
    return str(result)


def assert_full(result: object) -> str:
    assert isinstance(result, TargetFull), result
    assert not result.retry
    assert reason(result).startswith("the target is full: ")
    assert ASKS_FOR_ROOM in str(result)
    return str(result)


def assert_not_full(result: object) -> str:
    assert not isinstance(result, TargetFull), result
    return reason(result)


@contextmanager
def disk(server: AnyServer, name: str, size: str = "256k", files: int | None = None) -> Iterator[Path]:
    with small_disk(server.root / name, size, uid=server.uid, files=files) as folder:
        yield folder


# ---- no room


async def test_m031_disk_full_at_any_byte_means_full_target(server: AnyServer) -> None:
    """The probe shows that the target is full and not one file refused, on every server."""
    with disk(server, "bytes") as root:
        async with server.endpoint(root).open_session() as session:
            assert isinstance(await put(session, "old", b"the old version"), Entry)
            results = [await put(session, f"{number}", bytes([number]) * 60_000) for number in range(4)]
            results.append(await put(session, "old", bytes(60_000)))
            *fitted, last = results
            assert all(isinstance(result, Entry) for result in fitted[:3])
            assert_full(last)
            assert_full(await put(session, "again", bytes(100_000)))
            assert (root / "old").read_bytes() == b"the old version"
            assert temporaries(root) == []
            (root / "1").unlink()
            assert isinstance(await put(session, "old", bytes(60_000)), Entry), "there is room again"


async def test_m031_run_onto_a_full_disk_keeps_old_files_and_completes_with_room(
    server: AnyServer, tmp_path: Path
) -> None:
    source, journal = tmp_path / "source", tmp_path / "journal"
    for number in range(8):
        write(source / f"{number}", bytes([number]) * 60_000)
    is_silent = server.name == "pyftpdlib"  # sometimes, see below; and always for small files
    if not is_silent:
        write(source / "d" / "small", b"fits")
    with disk(server, "run") as root:
        for number in range(8):
            (root / f"{number}").write_bytes(b"old")
        run = await mirror(source, server.endpoint(root, stall_seconds=0.5 if is_silent else 60.0), journal)
        assert run.report.exit_code == 1
        assert temporaries(root) == []
        there, wanted = contents(root), contents(source)
        missing = {path for path in wanted if there.get(path) != wanted[path]}
        assert len(missing & set("01234567")) >= 4
        for path in missing & set("01234567"):
            assert (root / path).read_bytes() == b"old"
        assert any(path in run.failures for path in missing)
        reasons = {run.failures[path] for path in missing & run.failures.keys()}
        # The probe runs beside other uploads. Where it just fits, a full disk looks like a quota.
        likely = ["full", "stores only"]
        if is_silent:  # its own reply, where the limit on probes was reached
            likely += ["connection was lost", "transfer aborted"]
        assert [why for why in reasons if not any(text in why for text in likely)] == []
    with disk(server, "run", "2M") as root:  # a bigger one, with the same on it
        for path in wanted.keys() - missing:
            if (source / path).is_file():
                (root / path).parent.mkdir(exist_ok=True)
                shutil.copy2(source / path, root / path)
        if server.uid is not None:
            for folder, _, files in os.walk(root):
                for name in ("", *files):
                    os.chown(Path(folder) / name, server.uid, server.uid)
        run = await mirror(source, server.endpoint(root), journal)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert contents(root) == contents(source)


async def test_m031_disk_without_inodes_is_refused_with_the_reason(server: AnyServer) -> None:
    """A disk without inodes refuses new files. vsftpd sends the same reply for a directory without permission."""
    with disk(server, "inodes", "1M", files=5) as root:
        async with server.endpoint(root).open_session() as session:
            assert isinstance((await session.make_directories(["d"]))[0], Entry)
            for number in range(4):
                assert isinstance(await put(session, f"{number}", b"one"), Entry)
            why = await put(session, "5", b"one more")
            # vsftpd sends the reply for a directory without permission, so that the message names both causes.
            assert_not_full(why) if server.name == "vsftpd" else assert_full(why)
            assert "free space" in str(why)
            assert_not_full((await session.make_directories(["e"]))[0]) if server.name == "vsftpd" else assert_full(
                (await session.make_directories(["e"]))[0]
            )
            assert sorted(contents(root)) == ["0", "1", "2", "3", "d"]


async def test_m019_big_file_on_a_full_disk_is_refused_with_the_reason(server: AnyServer) -> None:
    """The write error comes first, and the reply with the reason is read afterwards."""
    with disk(server, "big") as root:
        async with server.endpoint(root).open_session() as session:
            with trio.fail_after(20), content_with_descriptor(bytes(20_000_000)) as content:
                for made in (upload("big", bytes(20_000_000)), Upload("big", ".actorsync-ff.tmp", content)):
                    assert_full((await session.stage(made))[0])
                    assert made.sent < 20_000_000 or server.name == any_server.NAMES[-1], "the upload stopped early"
            assert contents(root) == {}
            assert isinstance(await put(session, "small", b"the connection is good"), Entry)


async def test_m017_m031_silent_server_with_a_full_disk_is_found_by_a_probe() -> None:
    """pyftpdlib never answers an upload smaller than its buffer. The next connection sends a probe before the file."""
    with home() as folder, any_server.running("pyftpdlib", folder) as server, disk(server, "silent") as root:
        (root / "filler").write_bytes(bytes(256 * 1024))
        endpoint = server.endpoint(root, stall_seconds=0.5)
        async with endpoint.open_session() as session:
            with pytest.raises(ConnectionLost, match="did not confirm that it has the file"):
                await session.stage(upload("small", b"small"))
        async with endpoint.open_session() as session:
            assert_full((await session.stage(upload("small", b"small")))[0])
            assert sorted(name for name in contents(root) if "try.actorsync-" in name) == []
            (root / "filler").unlink()
            assert isinstance(await put(session, "small", b"small"), Entry)


# ---- quotas


@pytest.mark.parametrize("name", ["proftpd", "pure-ftpd"])
async def test_m032_file_over_the_quota_fails_alone_until_nothing_is_left(name: str, tmp_path: Path) -> None:
    """A file larger than the rest of the quota fails alone. When nothing is left, the target is full."""
    options = debian_servers.Options(quota=(8, 1))
    with home() as folder, any_server.running(name, folder, options) as server:
        async with server.endpoint(server.root).open_session() as session:
            assert isinstance(await put(session, "old", b"old"), Entry)
            for number in range(3):
                assert isinstance(await put(session, f"{number}", bytes(300_000)), Entry)
            why = assert_not_full(await put(session, "old", bytes(300_000)))
            assert why.startswith("the server has no room for 300000 bytes, but for small files (552")
            assert "quota" in why
            results = [await put(session, f"{number}", b"small") for number in range(3, 14)]
            assert isinstance(results[0], Entry)
            refused = [result for result in results if not isinstance(result, Entry)]
            assert refused  # Pure-FTPd frees one file of the quota with each refusal, so that the next one fits
            for result in refused:
                assert_full(result)
            assert (server.root / "old").read_bytes() == b"old"
            assert temporaries(server.root) == []


@pytest.mark.parametrize("name", ["proftpd", "pure-ftpd"])
async def test_m032_run_over_a_quota_keeps_old_files(name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(5):
        write(source / f"{number}", bytes([number]) * 300_000)
    with home() as folder, any_server.running(name, folder, debian_servers.Options(quota=(100, 1))) as server:
        for number in range(5):
            (server.root / f"{number}").write_bytes(b"old")
            os.chown(server.root / f"{number}", server.uid or 0, server.uid or 0)
        run = await mirror(source, server.endpoint(server.root), tmp_path / "journal")
        assert run.report.exit_code == 1
        assert run.failures
        assert all("quota" in why for why in run.failures.values()), run.failures
        assert temporaries(server.root) == []
        for number in range(5):
            assert (server.root / f"{number}").read_bytes() in {b"old", bytes([number]) * 300_000}


# ---- directories without permission


@contextmanager
def closed(server: AnyServer, folder: Path) -> Iterator[None]:
    """Keep the server from changing a folder: by permissions or, where it runs as root, by a read-only disk."""
    if server.uid is None:
        with read_only(folder):
            yield
        return
    folder.chmod(0o555)
    os.chown(folder, 0, 0)
    try:
        yield
    finally:
        os.chown(folder, server.uid, server.uid)
        folder.chmod(0o755)


async def test_m039_directory_without_permission_is_refused(server: AnyServer) -> None:
    root = server.fresh_folder("closed")
    async with server.endpoint(root).open_session() as session:
        await session.make_directories(["shut", "shut/d", "open"])
        entry = await put(session, "shut/old", b"old")
        assert isinstance(entry, Entry)
        with closed(server, root / "shut"):
            for name in ("new", "old"):
                why = assert_not_full(await put(session, f"shut/{name}", b"never"))
                # vsftpd accepted files before, and sends only 553.
                if server.uid is not None and server.name != "vsftpd":
                    assert "accepts no file in its directory" in why or "denied" in why, why
            for path in ("shut/e", "shut/d/e"):
                (made,) = await session.make_directories([path])
                assert isinstance(made, Entry) is (path == "shut/d/e" and server.uid is not None)
            assert_not_full((await session.remove([entry]))[0])
            assert isinstance(await put(session, "open/new", b"new"), Entry)
            assert (root / "shut/old").read_bytes() == b"old"
            assert temporaries(root) == []


async def test_m039_directories_without_permission_fail_alone(server: AnyServer, tmp_path: Path) -> None:
    source, journal = tmp_path / "source", tmp_path / "journal"
    root = server.fresh_folder("alone")
    for path in ("shut/changed", "shut/gone", "open/changed"):
        write(source / path, b"old")
    assert (await mirror(source, server.endpoint(root), journal)).report.exit_code == 0
    write(source / "shut/changed", b"a new version")
    write(source / "shut/sub/new", b"new")
    write(source / "open/changed", b"a new version")
    (source / "shut/gone").unlink()
    with closed(server, root / "shut"):
        run = await mirror(source, server.endpoint(root), journal)
    assert run.report.exit_code == 1
    assert (
        {"shut/changed", "shut/sub"} <= run.failures.keys() <= {"shut/changed", "shut/sub", "shut/sub/new", "shut/gone"}
    )
    assert not any("the target is full" in why for why in run.failures.values()), run.failures
    assert (root / "open/changed").read_bytes() == b"a new version"
    assert (root / "shut/changed").read_bytes() == b"old"
    run = await mirror(source, server.endpoint(root), journal)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert contents(root) == contents(source)


async def test_m039_m044_unlistable_directory_is_unknown(server: AnyServer, tmp_path: Path) -> None:
    """Three of the servers list such a directory as empty."""
    if server.uid is None:
        return  # root may list every directory
    source, journal = tmp_path / "source", tmp_path / "journal"
    root = server.fresh_folder("unlisted")
    for path in ("shut/a", "shut/b", "open/c"):
        write(source / path, b"content")
    assert (await mirror(source, server.endpoint(root), journal)).report.exit_code == 0
    shut = root / "shut"
    os.chown(shut, 0, 0)
    shut.chmod(0o711)
    try:
        async with server.endpoint(root).open_session() as session:
            listing = await session.list_directory("shut")
            assert listing.entries == ()
            assert listing.problem is not None
            assert not listing.problem.vanished
        shutil.rmtree(journal)  # so that the target is surveyed
        (source / "shut/a").unlink()
        run = await mirror(source, server.endpoint(root), journal)
        assert run.report.removed == 0
        assert sorted(path.name for path in shut.iterdir()) == ["a", "b"]
    finally:
        os.chown(shut, server.uid, server.uid)
        shut.chmod(0o755)


# ---- entries of another kind


async def test_m035_entry_of_another_kind_is_refused(server: AnyServer, tmp_path: Path) -> None:
    root, missing = server.fresh_folder("way"), "parent directory missing or inaccessible"
    async with server.endpoint(root).open_session() as session:
        await session.make_directories(["folder", "folder/full"])
        assert isinstance(await put(session, "file", b"theirs"), Entry)
        assert reason(await put(session, "folder", b"ours")) == "a directory is in its place"
        made = await session.make_directories(["file", "file/below", "missing/below"])
        assert reason(made[0]) == "a file is in its place"
        assert ("its parent directory is a file" if server.is_ftp else missing) in reason(made[1])
        assert missing in reason(made[2])
        assert "directory" in assert_not_full(await put(session, "file/below", b"ours"))
        why = assert_not_full(await put(session, "missing/below", b"ours"))
        assert missing in why
        assert isinstance(await put(session, "good", b"the connection is good"), Entry)
    assert contents(root).keys() == {"folder", "folder/full", "file", "good"}
    assert (root / "file").read_bytes() == b"theirs"

    source = tmp_path / "source"
    write(source / "folder", b"a file")
    write(source / "file" / "inside", b"a folder")
    write(source / "good", b"other")
    run = await mirror(source, server.endpoint(root), tmp_path / "journal")
    assert run.report.exit_code == 1
    assert run.failures.keys() == {"folder", "file", "file/inside"}
    assert run.failures["folder"] == "blocked by an existing entry that actorsync did not create"
    assert (root / "folder/full").is_dir()
    assert (root / "file").read_bytes() == b"theirs"
    assert (root / "good").read_bytes() == b"other"


async def test_m036_directory_replaced_by_a_link_is_not_changed(server: AnyServer) -> None:
    """A directory of ours is replaced by a link: nothing is written, made or removed through it."""
    if server.name == "pyftpdlib":
        return  # it shows links as their targets, so that they cannot be recognized
    root, outside = server.fresh_folder("linked"), server.fresh_folder("outside")
    async with server.endpoint(root).open_session() as session:
        await session.make_directories(["d", "d/sub", "e"])
        entry = await put(session, "d/file", b"ours")
        assert isinstance(entry, Entry)
    (root / "d").rename(root / "kept")
    (root / "d").symlink_to("../outside")
    (outside / "sub").mkdir()
    shutil.copy2(root / "kept/file", outside / "file")  # equal to the file that would be removed
    before = contents(outside)
    async with server.endpoint(root).open_session() as session:  # as in the next run
        for path in ("d/new", "d/file", "d/sub/new"):
            assert "a symbolic link is where its directory 'd' should be" in assert_not_full(
                await put(session, path, b"never")
            )
        for made in await session.make_directories(["d/new", "d/sub/new"]):
            assert "a symbolic link" in reason(made)
        if not server.is_ftp:  # FTP sends the whole batch in one flight
            link, below = await session.make_directories(["d", "d/in-one-go"])
            assert reason(link) == "a symbolic link is in its place"
            assert reason(below) == "parent directory missing or inaccessible"
        assert "a symbolic link" in reason((await session.remove([entry]))[0])
        assert "a symbolic link" in reason((await session.move([Relocation(entry, "e/file")]))[0])
        other = await put(session, "e/other", b"other")
        assert isinstance(other, Entry)
        assert "a symbolic link" in reason((await session.move([Relocation(other, "d/other")]))[0])
        assert isinstance(await put(session, "e/new", b"new"), Entry)
        assert contents(outside) == before
        (root / "d").unlink()
        (root / "kept").rename(root / "d")
        assert isinstance(await put(session, "d/sub/new", b"new"), Entry), "it is a directory again"


# ---- temporaries that others remove


class _Snatched(MemoryContent):
    """Content that removes its temporary when it has been read to its end."""

    def __init__(self, size: int, temporary: Path) -> None:
        super().__init__(os.urandom(size))
        self.temporary, self.was_there = temporary, False

    async def read(self, max_bytes: int) -> bytes:
        piece = await super().read(min(max_bytes, 100_000))
        for _ in range(100 if self.at_end else 0):
            if self.temporary.exists():
                self.temporary.unlink()
                self.was_there = True
                break
            await trio.sleep(0.01)
        return piece


async def test_m038_temporary_removed_during_the_upload_is_refused(server: AnyServer) -> None:
    root = server.fresh_folder("snatched")
    async with server.endpoint(root).open_session() as session:
        assert isinstance(await put(session, "file", b"the old version"), Entry)
        content = _Snatched(2_000_000, root / ".actorsync-0a.tmp")
        staged, _ = await session.stage(Upload("file", ".actorsync-0a.tmp", content))
        assert content.was_there
        assert isinstance(staged, OperationRefused)
        assert staged.retry, "a retry may succeed"
        staged, _ = await session.stage(upload("file", b"new"))
        assert isinstance(staged, Staged)
        (root / staged.temporary).unlink()
        (result,) = await session.commit([staged])
        assert isinstance(result, OperationRefused)
        assert result.retry
        assert reason(result).startswith("its temporary is gone")
        assert contents(root).keys() == {"file"}
        assert (root / "file").read_bytes() == b"the old version"
        assert isinstance(await put(session, "file", b"new"), Entry)


# ---- names


async def test_m082_too_long_name_fails_alone(server: AnyServer) -> None:
    root = server.fresh_folder("long")
    async with server.endpoint(root).open_session() as session:
        for name in ("x" * 256, "日" * 86):
            why = assert_not_full(await put(session, name, b"long"))
            assert "accepts another name" in why
            assert "rename or exclude it" in why
            assert_not_full((await session.make_directories([name]))[0])
        assert isinstance(await put(session, "good", b"the connection is good"), Entry)
        assert contents(root).keys() == {"good"}


async def test_m082_server_that_rejects_leading_dots_is_reported() -> None:
    """Every temporary begins with a dot, and the message says so."""
    options = debian_servers.Options(dot_files=False)
    with home() as folder, any_server.running("pure-ftpd", folder, options) as server:
        async with server.endpoint(server.root).open_session() as session:
            why = assert_not_full(await put(session, "file", b"content"))
        assert why.startswith("the server rejects names that begin with a dot, which temporary uploads need (553")
        assert contents(server.root) == {}


async def test_m082_names_prohibited_by_pure_ftpd_are_reported() -> None:
    with home() as folder, any_server.running("pure-ftpd", folder) as server:
        async with server.endpoint(server.root).open_session() as session:
            for name in ("back\\slash",):
                assert "name" in assert_not_full(await put(session, name, b"x"))
        assert contents(server.root) == {}
