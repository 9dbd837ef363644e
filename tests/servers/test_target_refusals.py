"""What real servers refuse, and what we make of it: the right outcome, the true reason, and the old versions intact.

Servers say the same for different things, so each of these is set up for real: disks that are full, quotas, directories
that are closed, names that are too long. The six servers take turns; `tests.unit.protocols.test_upload_diagnosis` has
the decisions alone.
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
    """Each server in turn, started once."""
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


async def test_m031_the_disk_is_full_at_some_byte(server: AnyServer) -> None:
    """It is about the target and not about one file: found by looking, and the same for every server."""
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


async def test_m031_a_run_onto_a_disk_that_is_full(server: AnyServer, tmp_path: Path) -> None:
    source, journal = tmp_path / "source", tmp_path / "journal"
    for number in range(8):
        write(source / f"{number}", bytes([number]) * 60_000)
    is_silent = server.name == "pyftpdlib"  # now and then, see below; and for small files always
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
        # Whether a small file fits is tried while others come and go: where it just does, it looks like a quota.
        likely = ["full", "too little left"]
        if is_silent:  # its own words, where the trials that are allowed in so short a time were used up
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


async def test_m031_the_disk_is_full_at_opening(server: AnyServer) -> None:
    """A disk without inodes refuses to make a file: what vsftpd also says of a directory that is closed to us."""
    with disk(server, "inodes", "1M", files=5) as root:
        async with server.endpoint(root).open_session() as session:
            assert isinstance((await session.make_directories(["d"]))[0], Entry)
            for number in range(4):
                assert isinstance(await put(session, f"{number}", b"one"), Entry)
            why = await put(session, "5", b"one more")
            # vsftpd says what it says of a directory that is closed to us; so that is what can be known, and is said.
            assert_not_full(why) if server.name == "vsftpd" else assert_full(why)
            assert "room" in str(why)
            assert_not_full((await session.make_directories(["e"]))[0]) if server.name == "vsftpd" else assert_full(
                (await session.make_directories(["e"]))[0]
            )
            assert sorted(contents(root)) == ["0", "1", "2", "3", "d"]


async def test_m019_a_full_disk_cuts_a_big_file_off_and_the_server_has_said_why(server: AnyServer) -> None:
    """The write error comes first, and the reason waits on the control connection."""
    with disk(server, "big") as root:
        async with server.endpoint(root).open_session() as session:
            with trio.fail_after(20), content_with_descriptor(bytes(20_000_000)) as content:
                for made in (upload("big", bytes(20_000_000)), Upload("big", ".actorsync-ff.tmp", content)):
                    assert_full((await session.stage(made))[0])
                    assert made.sent < 20_000_000 or server.name == any_server.NAMES[-1], "it noticed"
            assert contents(root) == {}
            assert isinstance(await put(session, "small", b"the connection is good"), Entry)


async def test_m017_m031_a_server_that_says_nothing_when_its_disk_is_full() -> None:
    """pyftpdlib never answers an upload of less than its buffer; the next connection finds out why before it sends."""
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
async def test_m032_a_quota_is_used_up(name: str, tmp_path: Path) -> None:
    """A file that is too big for what is left fails alone; when nothing is left, the target is full."""
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
            assert refused  # Pure-FTPd forgets a file with each that it refused: there is room again for the next
            for result in refused:
                assert_full(result)
            assert (server.root / "old").read_bytes() == b"old"
            assert temporaries(server.root) == []


@pytest.mark.parametrize("name", ["proftpd", "pure-ftpd"])
async def test_m032_a_run_over_a_quota(name: str, tmp_path: Path) -> None:
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


# ---- closed directories


@contextmanager
def closed(server: AnyServer, folder: Path) -> Iterator[None]:
    """Let the server change nothing in a folder: by permissions, or, where it is root, by a disk that is read-only."""
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


async def test_m039_a_directory_that_is_closed_to_us(server: AnyServer) -> None:
    root = server.fresh_folder("closed")
    async with server.endpoint(root).open_session() as session:
        await session.make_directories(["shut", "shut/d", "open"])
        entry = await put(session, "shut/old", b"old")
        assert isinstance(entry, Entry)
        with closed(server, root / "shut"):
            for name in ("new", "old"):
                why = assert_not_full(await put(session, f"shut/{name}", b"never"))
                if (
                    server.uid is not None and server.name != "vsftpd"
                ):  # it took files before, and says no more than 553
                    assert "accepts no file in its directory" in why or "denied" in why, why
            for path in ("shut/e", "shut/d/e"):
                (made,) = await session.make_directories([path])
                assert isinstance(made, Entry) is (path == "shut/d/e" and server.uid is not None)
            assert_not_full((await session.remove([entry]))[0])
            assert isinstance(await put(session, "open/new", b"new"), Entry)
            assert (root / "shut/old").read_bytes() == b"old"
            assert temporaries(root) == []


async def test_m039_what_is_closed_fails_alone_in_a_run(server: AnyServer, tmp_path: Path) -> None:
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


async def test_m039_m044_a_directory_that_may_not_be_listed_is_unknown(server: AnyServer, tmp_path: Path) -> None:
    """Three of the servers list such a directory as if it were empty."""
    if server.uid is None:
        return  # nothing is closed to root
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
        shutil.rmtree(journal)  # so that the target has to be looked at
        (source / "shut/a").unlink()
        run = await mirror(source, server.endpoint(root), journal)
        assert run.report.removed == 0
        assert sorted(path.name for path in shut.iterdir()) == ["a", "b"]
    finally:
        os.chown(shut, server.uid, server.uid)
        shut.chmod(0o755)


# ---- what stands in the way


async def test_m035_a_directory_where_a_file_is_wanted_and_the_reverse(server: AnyServer, tmp_path: Path) -> None:
    root = server.fresh_folder("way")
    async with server.endpoint(root).open_session() as session:
        await session.make_directories(["folder", "folder/full"])
        assert isinstance(await put(session, "file", b"theirs"), Entry)
        assert reason(await put(session, "folder", b"ours")) == "a directory is in its place"
        made = await session.make_directories(["file", "file/below", "missing/below"])
        assert reason(made[0]) == "a file is in its place"
        assert "above it" in reason(made[1])
        assert "above it is not there" in reason(made[2])
        assert "directory" in assert_not_full(await put(session, "file/below", b"ours"))
        assert "its directory is not there" in assert_not_full(await put(session, "missing/below", b"ours"))
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
    assert "not ours" in run.failures["folder"]
    assert (root / "folder/full").is_dir()
    assert (root / "file").read_bytes() == b"theirs"
    assert (root / "good").read_bytes() == b"other"


async def test_m036_a_directory_that_became_a_link(server: AnyServer) -> None:
    """Somebody replaces a directory of ours by a link: nothing is written, made or removed through it."""
    if server.name == "pyftpdlib":
        return  # it shows links as what they lead to, and has no other word for them
    root, outside = server.fresh_folder("linked"), server.fresh_folder("outside")
    async with server.endpoint(root).open_session() as session:
        await session.make_directories(["d", "d/sub", "e"])
        entry = await put(session, "d/file", b"ours")
        assert isinstance(entry, Entry)
    (root / "d").rename(root / "kept")
    (root / "d").symlink_to("../outside")
    (outside / "sub").mkdir()
    shutil.copy2(root / "kept/file", outside / "file")  # just what would be removed
    before = contents(outside)
    async with server.endpoint(root).open_session() as session:  # of the next run
        for path in ("d/new", "d/file", "d/sub/new"):
            assert "a symbolic link is where its directory 'd' should be" in assert_not_full(
                await put(session, path, b"never")
            )
        for made in await session.make_directories(["d/new", "d/sub/new"]):
            assert "a symbolic link" in reason(made)
        if not server.is_ftp:  # in FTP all of a batch is under way at once
            link, below = await session.make_directories(["d", "d/in-one-go"])
            assert reason(link) == "a symbolic link is in its place"
            assert reason(below) == "the directory above it is not there"
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


# ---- temporaries that others take away


class _Snatched(MemoryContent):
    """Content that is read for a while, and then loses its temporary."""

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


async def test_m038_the_temporary_is_taken_away_while_it_is_sent(server: AnyServer) -> None:
    root = server.fresh_folder("snatched")
    async with server.endpoint(root).open_session() as session:
        assert isinstance(await put(session, "file", b"the old version"), Entry)
        content = _Snatched(2_000_000, root / ".actorsync-0a.tmp")
        staged, _ = await session.stage(Upload("file", ".actorsync-0a.tmp", content))
        assert content.was_there
        assert isinstance(staged, OperationRefused)
        assert staged.retry, "it may go well the next time"
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


async def test_m082_a_name_that_is_too_long_for_the_server_fails_alone(server: AnyServer) -> None:
    root = server.fresh_folder("long")
    async with server.endpoint(root).open_session() as session:
        for name in ("x" * 256, "日" * 86):
            why = assert_not_full(await put(session, name, b"long"))
            assert "accepts another name" in why
            assert "rename or exclude it" in why
            assert_not_full((await session.make_directories([name]))[0])
        assert isinstance(await put(session, "good", b"the connection is good"), Entry)
        assert contents(root).keys() == {"good"}


async def test_m082_a_server_that_allows_no_dot_at_the_beginning() -> None:
    """Every temporary has one, and the user has to be told just that."""
    options = debian_servers.Options(dot_files=False)
    with home() as folder, any_server.running("pure-ftpd", folder, options) as server:
        async with server.endpoint(server.root).open_session() as session:
            why = assert_not_full(await put(session, "file", b"content"))
        assert why.startswith("the server rejects names that begin with a dot, which temporary uploads need (553")
        assert contents(server.root) == {}


async def test_m082_names_that_pure_ftpd_prohibits() -> None:
    with home() as folder, any_server.running("pure-ftpd", folder) as server:
        async with server.endpoint(server.root).open_session() as session:
            for name in ("back\\slash",):
                assert "name" in assert_not_full(await put(session, name, b"x"))
        assert contents(server.root) == {}
