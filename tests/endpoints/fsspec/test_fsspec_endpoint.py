"""Endpoints in fsspec: the suite, whole runs, replacing in two steps, and cancelled calls."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from fsspec.implementations.local import LocalFileSystem
from trio.testing import MockClock, wait_all_tasks_blocked

from actorsync.cli.commands import run_command
from actorsync.endpoints.contract import Staged, Upload
from actorsync.endpoints.fsspec.endpoint import FsspecEndpoint
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.shared.paths import aside_of
from actorsync.errors import OperationRefused
from actorsync.journal import open_memory_journal
from actorsync.model.entry import Entry, Kind
from actorsync.model.report import Report
from actorsync.planning.selection import Selection
from actorsync.policy import Policy, RunOptions
from actorsync.profile import MaxDelete, Profile, load_profile
from actorsync.runs.runner import make_plan, run_once
from actorsync.supervisor import supervise
from actorsync.testing import CHECKS, check_endpoint
from actorsync.testing.conformance.contents import MemoryContent, StallingContent
from actorsync.testing.faulty_endpoint import Faulty, RandomFaults
from tests.endpoints.fsspec.stores import (
    KeepsOld,
    at,
    flat,
    keeps_old,
    memory,
    put,
)
from tests.support.world.memory_mirror import Mirror


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("place", [memory, at, keeps_old], ids=lambda place: place.__name__)
async def test_fsspec_endpoint_passes_the_suite(
    place: Callable[[Path], FsspecEndpoint], check: str, tmp_path: Path
) -> None:
    def with_trash() -> FsspecEndpoint:
        endpoint = place(tmp_path / "root")
        endpoint.outside = "../.trash"
        return endpoint

    (tmp_path / "root").mkdir()
    await check_endpoint(with_trash, only=check, keeps_times=False)


async def test_store_without_directories_passes_the_suite() -> None:
    async def bucket() -> FsspecEndpoint:
        endpoint = flat()
        async with endpoint.open_session() as session:  # the first session learns that there are no directories
            await session.make_directories(["", "d"])
        return endpoint

    await check_endpoint(bucket, keeps_times=False, keeps_directories=False)


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

    async def planned(profile: Profile) -> Report:
        return (await make_plan(profile)).report

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
    assert run(push, planned) == run(pull, planned) == (0, 0, 0, 0)
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
                report = await supervise(source, Faulty(target, faults), journal, RunOptions(policy))
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


async def test_names_that_change_their_spelling_are_renamed_on_a_folding_store(tmp_path: Path) -> None:
    mirror, endpoint = Mirror(), at(tmp_path, "folds")
    for path in ("Img/1.jpg", "README"):
        mirror.source.write(path, path.encode())
    assert (await mirror.run(endpoint)).exit_code == 0
    mirror.source.rename("Img", "img")
    mirror.source.rename("README", "readme")
    report = await mirror.run(endpoint)
    assert (report.exit_code, report.copied, report.removed, report.moved) == (0, 0, 0, 2)
    assert (tmp_path / "img/1.jpg").read_bytes() == b"Img/1.jpg"
    assert sorted(os.listdir(tmp_path)) == ["img", "readme"]
    mirror.source.write("IMG/2", b"2")
    report = await mirror.run(endpoint)
    assert dict(report.failures)["IMG"].startswith("'img' is in its place")
    assert os.listdir(tmp_path / "img") == ["1.jpg"]


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
    mkdir = LocalFileSystem.mkdir

    def slow(self: Any, path: str, **kwargs: Any) -> None:
        made.append(path)
        began.set()
        assert release.wait(10)
        mkdir(self, path, **kwargs)

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
        store.renames.move = lambda old, new, _: moved.append((old, new))
        assert await session.commit([staged]) == [once]
    assert moved == []
    assert (tmp_path / "a").read_text() == "new"
