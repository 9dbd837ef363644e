"""Endpoints in fsspec: its memory, a directory through it, and stores that imitate object stores and SMB."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import fsspec
import pytest
import trio
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from trio.testing import MockClock, wait_all_tasks_blocked

from actorsync.cli.commands import run_command
from actorsync.endpoints.contract import Staged, Upload
from actorsync.endpoints.fsspec.endpoint import FsspecEndpoint, open_fsspec
from actorsync.endpoints.fsspec.entries import entry_of, version_of
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.plugins import Location, Reveal, Unusable
from actorsync.endpoints.shared.paths import aside_of
from actorsync.errors import (
    ConnectionLost,
    GuardRefused,
    LoginRefused,
    OperationRefused,
    OwnLimit,
    ProfileError,
    TargetFull,
)
from actorsync.journal import open_memory_journal
from actorsync.model.entry import Entry, Kind, join, parent_of
from actorsync.model.event import Report
from actorsync.planning.selection import Selection
from actorsync.profile import MaxDelete, Profile, load_profile
from actorsync.runs.runner import plan_once, run_once
from actorsync.supervisor import Policy, supervise
from actorsync.testing import CHECKS, check_endpoint
from actorsync.testing.conformance.contents import MemoryContent, StallingContent
from actorsync.testing.faulty_endpoint import Faulty, RandomFaults

_numbers = itertools.count()


class Flat(MemoryFileSystem):  # type: ignore[misc]
    """An object store: names with slashes, no directories, no rename."""

    protocol = "flat"
    store: dict[str, Any] = {}  # noqa: RUF012 - as in its base
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("flat://"))  # type: ignore[no-any-return]

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Accept the call and make nothing, as S3 does."""


class KeepsOld(LocalFileSystem):  # type: ignore[misc]
    """A rename that cannot replace a file, as over SMB."""

    protocol = "keepsold"

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return LocalFileSystem._strip_protocol(str(path).removeprefix("keepsold://"))  # type: ignore[no-any-return]

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        if os.path.lexists(self._strip_protocol(path2)):
            raise OSError(errno.EEXIST, "it is there")
        super().mv(path1, path2)


class Folds(LocalFileSystem):  # type: ignore[misc]
    """A store that ignores upper and lower case."""

    protocol = "folds"

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        path = LocalFileSystem._strip_protocol(str(path).removeprefix("folds://"))
        above, _, name = path.rpartition("/")
        if os.path.isdir(above) and name not in os.listdir(above):
            name = next((one for one in os.listdir(above) if one.casefold() == name.casefold()), name)
        return f"{above}/{name}"


@pytest.fixture(autouse=True, scope="module")
def stores() -> Iterator[None]:
    for kind in (Flat, KeepsOld, Folds):
        fsspec.register_implementation(kind.protocol, kind, clobber=True)
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


def memory(_: Path) -> FsspecEndpoint:
    bucket = f"bucket{next(_numbers)}"
    fsspec.filesystem("memory").makedirs(f"/{bucket}/site")
    return open_fsspec(Location(scheme="memory", host=bucket, path="site"))


def at(path: Path, protocol: str = "file") -> FsspecEndpoint:
    return open_fsspec(Location(scheme=f"fsspec+{protocol}", path=str(path).lstrip("/")))


def keeps_old(path: Path) -> FsspecEndpoint:
    return at(path, "keepsold")


def flat() -> FsspecEndpoint:
    return open_fsspec(Location(scheme="fsspec+flat", host=f"bucket{next(_numbers)}", path="site"))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("place", [memory, at, keeps_old], ids=lambda place: place.__name__)
async def test_fsspec_endpoint_passes_the_suite(
    place: Callable[[Path], FsspecEndpoint], check: str, tmp_path: Path
) -> None:
    await check_endpoint(lambda: place(tmp_path), only=check, keeps_times=False)


async def test_store_without_directories_passes_the_suite() -> None:
    async def bucket() -> FsspecEndpoint:
        endpoint = flat()
        async with endpoint.open_session() as session:  # the first session learns that there are no directories
            await session.make_directories(["", "d"])
        return endpoint

    await check_endpoint(bucket, keeps_times=False, keeps_directories=False)


async def put(endpoint: FsspecEndpoint, path: str, data: bytes) -> Entry | OperationRefused:
    upload = Upload(path, join(parent_of(path), f".actorsync-{next(_numbers):08}.tmp"), MemoryContent(data))
    async with endpoint.open_session() as session:
        staged, _ = await session.stage(upload)
        if isinstance(staged, OperationRefused):
            return staged
        (entry,) = await session.commit([staged])
        return entry


async def listed(endpoint: FsspecEndpoint, directory: str = "") -> list[str]:
    async with endpoint.open_session() as session:
        listing = await session.list_directory(directory)
        assert listing.problem is None
        return sorted(entry.path for entry in listing.entries)


# Whole runs.


@pytest.mark.parametrize("url", ["memory://bucket/www", "fsspec+file://{}/mirror", "fsspec+keepsold://{}/mirror"])
def test_push_and_pull_mirror_the_tree(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    url = url.format(tmp_path)
    public, back = tmp_path / "public", tmp_path / "back"
    (public / "d" / "e").mkdir(parents=True)
    (public / "d" / "a.html").write_text("hello")
    (public / "index.html").write_text("index")
    (public / "big").write_bytes(bytes(range(256)) * 40_000)
    sync = "[sync]\ndelete = true\nmax-delete = '100%'\n"
    push, pull = tmp_path / "push.toml", tmp_path / "pull.toml"
    push.write_text(f'[source]\npath = "public"\n[target]\nurl = "{url}"\n{sync}')
    pull.write_text(f'[source]\nurl = "{url}"\n[target]\nurl = "back"\n{sync}')

    def tree(root: Path) -> dict[str, bytes | None]:
        return {str(it.relative_to(root)): it.read_bytes() if it.is_file() else None for it in root.rglob("*")}

    def run(profile: Path, once: Callable[[Profile], Awaitable[Report]] = run_once) -> tuple[int, int, int, int]:
        # Files whose time proves nothing are compared again after three seconds, here of a fast clock.
        report = trio.run(once, load_profile(profile), clock=MockClock(rate=30))
        assert (report.exit_code, report.failures) == (0, ())
        return report.copied, report.directories_made, report.removed, report.left

    assert run_command(["check", str(push)]) == 0
    assert "of the upload, not of the source" in capsys.readouterr().out
    made = run(push)
    assert made[0] == 3
    assert run(pull) == made
    assert tree(back) == tree(public)
    assert run(push, plan_once) == run(pull, plan_once) == (0, 0, 0, 0)
    assert run(push) == run(pull) == (0, 0, 0, 0)
    (public / "d" / "a.html").write_text("olleh")
    (public / "index.html").unlink()
    (public / "d" / "e").rmdir()
    assert run(push) == run(pull) == (1, 0, 2, 0)
    assert tree(back) == tree(public)
    assert not [name for name in tree(back) if "actorsync" in name]


def test_file_found_with_equal_size_and_time_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The equal time is a coincidence: times cannot be set through fsspec."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for folder, text in (("public", "ours "), ("mirror", "other")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a").write_text(text)
        os.utime(tmp_path / folder / "a", (1_700_000_000, 1_700_000_000))
    profile = tmp_path / "shop.toml"
    profile.write_text(f'[source]\npath = "public"\n[target]\nurl = "fsspec+file://{tmp_path}/mirror"\n')
    assert run_command(["plan", "--exit-code", str(profile)]) == 9
    assert run_command(["run", "--quiet", str(profile)]) == 0
    assert (tmp_path / "mirror" / "a").read_text() == "ours "


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("place", [memory, at, keeps_old], ids=lambda place: place.__name__)
def test_run_with_lost_connections_mirrors_the_tree(
    place: Callable[[Path], FsspecEndpoint], seed: int, tmp_path: Path
) -> None:
    """The target equals the source in the end, and no temporary is left."""
    source = MemoryEndpoint("source")
    for number in range(40):
        source.write(f"d{number % 5}/{number}", b"%d " % number * (1 if number % 10 else 2_000_000))

    async def mirrored() -> list[tuple[str, bytes]]:
        target = place(tmp_path)
        faults = RandomFaults(random.Random(seed), 0.03, kinds=("lose", "wait"), longest_wait=0.5)
        with contextlib.closing(open_memory_journal("fsspec")) as journal:
            policy = Policy(selection=Selection(), max_delete=MaxDelete.parse("100%"))
            reconnects = 0
            for _ in range(10):
                report = await supervise(source, Faulty(target, faults), journal, policy)
                reconnects += report.reconnects
                if report.exit_code == 0:
                    break
            assert reconnects
            assert report.exit_code == 0, report
        files = []
        async with target.open_session() as session:
            for directory in ["", *(f"d{number}" for number in range(5))]:
                for entry in (await session.list_directory(directory)).entries:
                    if entry.kind is Kind.FILE:
                        async with session.open(entry.path) as content:
                            files.append((entry.path, await content.read(1 << 30)))
        return sorted(files)

    assert trio.run(mirrored, clock=MockClock(rate=100)) == sorted(source.files().items())


# Replacing in two steps.


async def test_sweep_after_interrupted_commit_restores_the_old_file(tmp_path: Path) -> None:
    """The first run was killed between the two renames."""
    endpoint = keeps_old(tmp_path)
    aside = tmp_path / aside_of(".actorsync-0001.tmp")
    for final_is_there in (False, True):
        (tmp_path / ".actorsync-0001.tmp").write_text("new")
        aside.write_text("old")
        if final_is_there:
            (tmp_path / "file").write_text("newer")
        async with endpoint.open_session() as session:
            assert await session.sweep([".actorsync-0001.tmp"], {".actorsync-0001.tmp": "file"}) == [True]
        assert os.listdir(tmp_path) == ["file"]
        assert (tmp_path / "file").read_text() == ("newer" if final_is_there else "old")


async def test_failed_rename_restores_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await put(keeps_old(tmp_path), "file", b"old")
    move = KeepsOld.mv

    def fails(self: KeepsOld, path1: str, path2: str) -> None:
        if ".actorsync-" in path1 and not os.path.lexists(path2):
            raise PermissionError(errno.EACCES, "no")
        move(self, path1, path2)

    monkeypatch.setattr(KeepsOld, "mv", fails)
    refused = await put(keeps_old(tmp_path), "file", b"new")
    assert str(refused) == "cannot put in place 'file': Permission denied"
    assert (tmp_path / "file").read_text() == "old"


async def test_second_name_on_folding_store_is_refused(tmp_path: Path) -> None:
    endpoint = at(tmp_path, "folds")
    entry = await put(endpoint, "Readme", b"one")
    assert isinstance(entry, Entry), entry
    refused = await put(endpoint, "README", b"two")
    assert isinstance(refused, OperationRefused)
    assert "'Readme' is in its place" in str(refused)
    assert (tmp_path / "Readme").read_bytes() == b"one"


# Facts from a library, and the entries made from them.


@pytest.mark.parametrize(
    ("info", "entry"),
    [
        ({"type": "directory", "size": 0, "mtime": 3.0}, Entry("p", Kind.DIRECTORY)),
        ({"type": "file", "size": 3, "islink": True}, Entry("p", Kind.LINK)),
        ({"type": "link", "size": 3}, Entry("p", Kind.LINK)),
        ({"type": "other", "size": 3}, Entry("p", Kind.OTHER)),
        ({"type": "file", "size": 3}, Entry("p", Kind.FILE, 3)),
        ({"type": "file", "size": 3, "mtime": 12.75, "ino": 7}, Entry("p", Kind.FILE, 3, 12 * 10**9, inode=7)),
        ({"type": "file", "size": 3, "created": 1.5}, Entry("p", Kind.FILE, 3, inode=1_500_000_000)),
        ({"type": "file", "size": 3, "modified": "1970-01-01T00:01:00Z"}, Entry("p", Kind.FILE, 3, 60 * 10**9)),
        ({"type": "file", "size": 3, "modified": "yesterday"}, Entry("p", Kind.FILE, 3)),
        (
            {"type": "file", "size": 3, "LastModified": datetime(1970, 1, 1, 1, 0, 2, 9, timezone(timedelta(hours=1)))},
            Entry("p", Kind.FILE, 3, 2 * 10**9),
        ),
        ({"type": "file", "size": 3, "modified": "1970-01-01 00:00:05"}, Entry("p", Kind.FILE, 3, 5 * 10**9)),
        ({"type": "file", "size": None}, None),
    ],
)
def test_info_becomes_an_entry(info: dict[str, Any], entry: Entry | None) -> None:
    assert entry_of("p", info) == entry


def test_version_changes_with_each_fact() -> None:
    base = {"type": "file", "size": 3, "ETag": '"a"', "LastModified": datetime(2024, 1, 1, tzinfo=UTC)}
    other = entry_of("p", {**base, "ETag": '"b"'})
    assert other is not None
    assert other != entry_of("p", base), "two versions of one second differ"
    assert 0 <= (other.inode or -1) < 2**63
    later = {**base, "LastModified": datetime(2024, 1, 1, 0, 0, 0, 5, tzinfo=UTC)}
    assert entry_of("p", later) == entry_of("p", base)
    assert version_of(later) != version_of(base)


class Lies(MemoryFileSystem):  # type: ignore[misc]
    """A store that returns a given listing, or raises a given error."""

    def __init__(self, given: list[dict[str, Any]] | Exception) -> None:
        super().__init__(skip_instance_cache=True)
        self.given = given

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[dict[str, Any]]:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


async def session_of(fs: Any, endpoint: FsspecEndpoint) -> FsspecEndpoint:
    async with endpoint.open_session():
        assert endpoint._store is not None
        endpoint._store.tree.fs = fs
    return endpoint


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([("a", "file", 1), ("a", "directory", 0)], "a file and a directory are both called 'a'"),
        ([("../b", "file", 1)], "the store lists '"),
        ([("..", "file", 1)], "the store lists '"),
        ([("e/f", "file", 1)], "the store lists '"),
        ([("a", "file", None)], "the store does not report the size of 'a'"),
        (PermissionError(errno.EACCES, "x"), "cannot list 'd': Permission denied"),
        (KeyError("a"), "cannot list 'd': KeyError: 'a'"),
    ],
)
async def test_unusable_listing_is_a_problem(given: Any, problem: str) -> None:
    infos = given
    if isinstance(given, list):
        infos = [{"name": f"/b/site/d/{name}", "type": kind, "size": size} for name, kind, size in given]
    endpoint = await session_of(Lies(infos), open_fsspec(Location(scheme="memory", host="b", path="site")))
    async with endpoint.open_session() as session:
        listing = await session.list_directory("d")
    assert listing.entries == ()
    assert listing.problem is not None
    assert problem in listing.problem.reason


async def test_marker_of_an_empty_directory_is_not_listed() -> None:
    infos = [{"name": "/b/site/d/", "type": "directory", "size": 0}, {"name": "/b/site/d/a", "type": "file", "size": 1}]
    endpoint = await session_of(Lies(infos), open_fsspec(Location(scheme="memory", host="b", path="site")))
    assert await listed(endpoint, "d") == ["d/a"]


class ClientConnectionError(Exception):
    """Named as in aiohttp."""


class NoCredentialsError(Exception):
    """Named as in botocore."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError(errno.ECONNRESET, "x"), ConnectionLost),
        (TimeoutError(), ConnectionLost),
        (OSError(errno.EHOSTUNREACH, "x"), ConnectionLost),
        (ClientConnectionError("x"), ConnectionLost),
        (OSError(errno.EMFILE, "x"), OwnLimit),
    ],
)
async def test_error_of_a_library_becomes_an_error_of_the_contract(error: Exception, kind: type[Exception]) -> None:
    endpoint = await session_of(Lies(error), open_fsspec(Location(scheme="memory", host="b", path="site")))
    async with endpoint.open_session() as session:
        with pytest.raises(kind):
            await session.list_directory("")


async def test_full_disk_is_target_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, path: str, value: bytes, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "x")

    monkeypatch.setattr(LocalFileSystem, "pipe_file", full)
    refused = await put(at(tmp_path), "a", b"x")
    assert isinstance(refused, TargetFull)
    assert str(refused) == "cannot write 'a': No space left on device"


async def test_short_upload_is_refused_with_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalFileSystem, "pipe_file", lambda self, path, value: Path(path).write_bytes(value[:-1]))
    refused = await put(at(tmp_path), "a", b"four")
    assert isinstance(refused, OperationRefused)
    assert (str(refused), refused.retry) == ("cannot write 'a': 3 of 4 bytes arrived", True)
    assert os.listdir(tmp_path) == []


# Connecting.


def opened_with(error: Exception, secret: Reveal) -> FsspecEndpoint:
    class Closed(LocalFileSystem):  # type: ignore[misc]
        protocol = "closed"

        def __init__(self, password: str = "", **kwargs: Any) -> None:
            super().__init__(**kwargs)

        def info(self, path: str, **kwargs: Any) -> Any:
            raise error

    fsspec.register_implementation("closed", Closed, clobber=True)
    return open_fsspec(Location(scheme="fsspec+closed", host="h", path="srv", password=secret))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError("bad key hunter2"), LoginRefused),
        (NoCredentialsError("bad key hunter2"), LoginRefused),
        (RuntimeError("bad key hunter2"), ConnectionLost),
    ],
)
async def test_error_while_connecting_becomes_an_error_of_the_contract(error: Exception, kind: type[Exception]) -> None:
    asked: list[str] = []

    def secret() -> str:
        asked.append("x")
        return "hunter2"

    endpoint = opened_with(error, secret)
    for _ in range(2):
        with pytest.raises(kind, match=r"bad key \*\*\*"):
            async with endpoint.open_session():
                pass
    assert len(asked) == (1 if kind is LoginRefused else 2), "a rejected login is not tried again"


async def test_option_that_the_library_rejects_is_a_profile_error(tmp_path: Path) -> None:
    class Plain(LocalFileSystem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

    fsspec.register_implementation("plain", Plain, clobber=True)
    endpoint = open_fsspec(Location(scheme="fsspec+plain", path="x", options={"region": "eu"}))
    with pytest.raises(ProfileError, match=r"target\.options: TypeError: .*'region'"):
        async with endpoint.open_session():
            pass


@pytest.mark.parametrize(
    ("location", "line"),
    [
        (Location(scheme="fsspec"), "url: names no protocol; write fsspec+NAME://"),
        (Location(scheme="fsspec+https", host="h"), "url: https:// has no complete listings"),
        (Location(scheme="fsspec+nosuch", host="h"), "url: fsspec has no protocol 'nosuch'"),
        (Location(scheme="s3", host="h"), "url: s3:// needs a library: ImportError: Install s3fs to access S3"),
        (Location(scheme="memory", user="u"), "url: memory:// has no user, password or port"),
        (Location(scheme="fsspec+file", host="h"), "url: fsspec+file:// has no user, password or port"),
        (Location(scheme="memory", options={"siz": 1}), "options.siz: unknown option; known: "),
        (
            Location(scheme="fsspec+flat", host="h", path="a?b"),
            "url: has a ? in its path, which fsspec does not",
        ),
    ],
)
def test_unusable_location_is_refused(location: Location, line: str) -> None:
    with pytest.raises(Unusable) as caught:
        open_fsspec(location)
    assert str(caught.value).startswith(line)


async def test_missing_source_root_is_refused() -> None:
    endpoint = open_fsspec(Location(scheme="memory", host="missing", path="x", table="source"))
    with pytest.raises(GuardRefused, match="memory://missing/x cannot be listed: the root does not exist"):
        await endpoint.identify()


# Threads left behind by a cancelled call.


async def test_cancel_returns_at_once_and_abandon_waits_for_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, release = threading.Event(), threading.Event()
    pipe = LocalFileSystem.pipe_file

    def slow(self: Any, path: str, value: bytes) -> None:
        began.set()
        assert release.wait(10)
        pipe(self, path, value)

    monkeypatch.setattr(LocalFileSystem, "pipe_file", slow)
    endpoint = at(tmp_path)
    upload = Upload("a", ".tmp", MemoryContent(b"x"))
    async with endpoint.open_session() as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.stage, upload)
            await trio.to_thread.run_sync(began.wait)
            nursery.cancel_scope.cancel()
        assert not (tmp_path / ".tmp").exists(), "the cancel came back while the thread was still at it"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.abandon, ".tmp")
            await wait_all_tasks_blocked()
            release.set()
        assert os.listdir(tmp_path) == [], "what it wrote in the end was removed"


async def test_cancelled_batch_begins_no_further_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, release, made = threading.Event(), threading.Event(), list[str]()

    def slow(self: Any, path: str, **kwargs: Any) -> None:
        made.append(path)
        began.set()
        assert release.wait(10)

    monkeypatch.setattr(LocalFileSystem, "mkdir", slow)
    endpoint = at(tmp_path)
    async with endpoint.open_session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(session.make_directories, ["a", "b", "c"])
        await trio.to_thread.run_sync(began.wait)
        nursery.cancel_scope.cancel()
    release.set()
    await endpoint._threads.settled()
    assert made == [f"{tmp_path}/a"]


async def test_failed_big_upload_leaves_no_temporary(tmp_path: Path) -> None:
    endpoint = at(tmp_path)
    content = StallingContent(20_000_000)
    async with endpoint.open_session() as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.stage, Upload("a", ".tmp", content))
            await content.stalled.wait()
            nursery.cancel_scope.cancel()
        assert await session.abandon(".tmp")
    assert os.listdir(tmp_path) == []


async def test_commit_of_an_unknown_missing_temporary_is_refused(tmp_path: Path) -> None:
    """The temporary is gone and the size fits, but the file may be the old one."""
    endpoint = at(tmp_path)
    (tmp_path / "a").write_text("old")
    async with endpoint.open_session() as session:
        found = (await session.list_directory("")).entries[0]
        (result,) = await session.commit([Staged("a", ".tmp", 3, found.mtime_ns)])
    assert isinstance(result, OperationRefused)
    assert result.retry


async def test_repeated_commit_does_not_set_the_new_file_aside(tmp_path: Path) -> None:
    """The connection was lost after the first commit. The final file never disappears."""
    endpoint = keeps_old(tmp_path)
    (tmp_path / "a").write_text("old")
    async with endpoint.open_session() as session:
        staged, _ = await session.stage(Upload("a", ".actorsync-0002.tmp", MemoryContent(b"new")))
        assert isinstance(staged, Staged)
        (once,) = await session.commit([staged])
        store = endpoint._store
        assert store is not None
        moved: list[tuple[str, str]] = []
        store.move = lambda old, new: moved.append((old, new))
        assert await session.commit([staged]) == [once]
    assert moved == []
    assert (tmp_path / "a").read_text() == "new"
