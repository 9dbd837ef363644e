"""Mirror once, and plan, from a profile."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from actorsync.actors.backoff import Backoff
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.statistics import Statistics
from actorsync.endpoints.contract import Session
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.base import EndpointWrapper
from actorsync.endpoints.wrappers.dry_run import DryRun
from actorsync.errors import ConnectionLost, FatalError, JournalLocked, ProfileError
from actorsync.journal import (
    journal_path,
    open_journal,
    open_memory_journal,
    state_directory,
)
from actorsync.model.event import Event, Started, Stopped
from actorsync.planning.selection import Selection
from actorsync.policy import Policy, RunOptions
from actorsync.profile import MaxDelete, Profile, load_profile
from actorsync.runs.options import options_for, policy_of
from actorsync.runs.repeating.repeat import run_forever
from actorsync.runs.runner import make_plan, run_once
from actorsync.supervisor import supervise
from actorsync.testing import EmbeddedFtpServer
from tests.runs.profiles import IMPATIENT, drain_after, make_profile, replaced, runs, tree


async def test_run_once_mirrors_and_the_journal_remembers_it(profile: Profile, source: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    report = await run_once(profile, options_for(profile, observers=[events.append]))
    assert (report.exit_code, report.copied) == (0, 2)
    assert tree(tmp_path / "target") == tree(source)
    assert isinstance(events[0], Started)
    assert events[-1] == Stopped(report)
    assert runs(profile) == [report]

    (source / "a.txt").write_text("changed")
    (source / "new.txt").write_text("new")
    events.clear()
    await run_once(profile, options_for(profile, observers=[events.append]))
    assert replaced(events) == {"a.txt"}


async def test_statistics_begin_at_zero_in_each_run(profile: Profile) -> None:
    statistics = Statistics()
    await run_once(profile, options_for(profile, statistics=statistics))
    assert (statistics.files_planned, statistics.files_done, statistics.bytes_done) == (2, 2, 3)
    await run_once(profile, options_for(profile, statistics=statistics))
    assert (statistics.files_planned, statistics.files_done, statistics.bytes_done) == (0, 0, 0)
    assert len(statistics.connections) == 4


async def test_m119_a_locked_journal_refuses_the_run(profile: Profile) -> None:
    with open_journal(state_directory(), profile.identity), pytest.raises(JournalLocked):
        await run_once(profile)
    await run_once(profile)


async def test_a_server_that_is_down_ends_the_run_after_the_last_retry(
    source: Path, embedded: EmbeddedFtpServer
) -> None:
    profile = make_profile(source, embedded.url)
    embedded.stop()
    policy = attrs.evolve(policy_of(profile), backoff=IMPATIENT, connections=2)
    report = await run_once(profile, options_for(profile, policy=policy))
    assert report.exit_code == 5
    assert report.error is not None
    assert "could not be reached" in report.error
    assert report.reconnects >= 2
    assert runs(profile) == [report]


async def test_a_missing_password_prevents_the_connection(source: Path, embedded: EmbeddedFtpServer) -> None:
    profile = make_profile(source, embedded.url, 'target.password={ env = "NOT_SET" }')
    with pytest.raises(ProfileError, match="NOT_SET is not set"):
        await run_once(profile)
    assert embedded.commands == []
    with pytest.raises(ProfileError):
        await run_forever(attrs.evolve(profile, sync=attrs.evolve(profile.sync, every=1.0)))


async def test_a_drain_before_the_run_changes_nothing(profile: Profile, tmp_path: Path) -> None:
    shutdown = Shutdown()
    shutdown.drain()
    events: list[Event] = []
    report = await run_once(profile, options_for(profile, shutdown=shutdown, observers=[events.append]))
    assert (report.exit_code, report.drained) == (3, True)
    assert events == [Stopped(report)]
    assert not (tmp_path / "target").exists()


async def test_a_drain_ends_the_lookup_of_a_password(source: Path, embedded: EmbeddedFtpServer, tmp_path: Path) -> None:
    released = threading.Event()

    @attrs.frozen
    class Slow:
        def resolve(self) -> None:
            released.wait(10)

    profile = make_profile(source, embedded.url)
    profile = attrs.evolve(profile, target=attrs.evolve(profile.target, password=Slow()))  # type: ignore[arg-type]
    shutdown = Shutdown()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain_after, shutdown, 0.1)
            report = await run_once(profile, options_for(profile, shutdown=shutdown))
    released.set()
    assert report.exit_code == 3
    assert embedded.commands == []


async def test_a_bug_is_raised_alone_and_its_report_recorded(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("actorsync.actors.scanner.select", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await run_once(profile)
    (report,) = runs(profile)
    assert report is not None
    assert report.exit_code == 7


async def test_the_report_of_a_cancelled_run_is_recorded(source: Path, server_folder: Path) -> None:
    (source / "big").write_bytes(bytes(16 << 20))
    (server_folder / "root").mkdir()
    with EmbeddedFtpServer(server_folder / "root", throttle=1 << 20) as server:
        profile = make_profile(source, server.url)
        with trio.move_on_after(0.5) as scope:
            await run_once(profile, options_for(profile, shutdown=Shutdown(cancel_seconds=0.5)))
    assert scope.cancelled_caught
    (report,) = runs(profile)
    assert report is not None


async def test_m133_a_plan_changes_neither_journal_nor_target(profile: Profile, source: Path, tmp_path: Path) -> None:
    report = (await make_plan(profile)).report
    assert (report.exit_code, report.copied, report.directories_made) == (0, 2, 1)
    assert not (tmp_path / "target").exists()
    assert not state_directory().exists()

    await run_once(profile)
    journal = journal_path(state_directory(), profile.identity)
    before = journal.read_bytes()
    (source / "a.txt").unlink()
    (source / "sub" / "b.txt").write_text("changed")
    with open_journal(state_directory(), profile.identity):  # also while a run is going on
        events: list[Event] = []
        profile = attrs.evolve(profile, sync=attrs.evolve(profile.sync, delete=True))
        report = (await make_plan(profile, options_for(profile, observers=[events.append]))).report
    assert (report.copied, report.removed, replaced(events)) == (1, 1, {"sub/b.txt"})
    assert journal.read_bytes() == before
    assert tree(tmp_path / "target") == {"a.txt": b"a", "sub/b.txt": b"bb"}


async def test_a_plan_adopts_equal_files_on_the_target(source: Path, embedded: EmbeddedFtpServer) -> None:
    profile = make_profile(source, embedded.url)
    await run_once(profile)
    (embedded.root / "foreign.txt").write_text("foreign")
    journal_path(state_directory(), profile.identity).unlink()
    past = time.time() - 3600
    for path in (source / "a.txt", source / "sub" / "b.txt"):
        os.utime(path, (past, past))
    await run_once(profile)
    journal_path(state_directory(), profile.identity).unlink()
    before = list(embedded.mutating)
    report = (await make_plan(profile)).report
    assert (report.copied, report.adopted, report.directories_made, report.removed) == (0, 2, 0, 0)
    assert embedded.mutating == before


async def test_a_plan_looks_the_password_up_only_to_list_the_target(source: Path, embedded: EmbeddedFtpServer) -> None:
    profile = make_profile(source, embedded.url)
    hidden = attrs.evolve(profile, target=load_profile(profile.path, ['target.password={ env = "NOT_SET" }']).target)
    with pytest.raises(ProfileError):
        await make_plan(hidden)
    await run_once(profile)
    assert (await make_plan(hidden)).report.exit_code == 0


async def test_a_dry_run_takes_a_missing_root_for_an_empty_target() -> None:
    source, target = MemoryEndpoint("source"), MemoryEndpoint("target", exists=False)
    source.write("a", b"1")
    report = await supervise(
        source, DryRun(target), open_memory_journal(), RunOptions(Policy(Selection(), MaxDelete(50, is_percent=True)))
    )
    assert (report.exit_code, report.copied, report.skipped) == (0, 1, 0)
    assert target.log == []
    assert target.find("") is None


@attrs.define(eq=False)
class Closed(EndpointWrapper[MemoryEndpoint]):
    """A target that refuses connections."""

    is_closed: bool = True

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        async with self.real.open_session() as session:
            if self.is_closed:
                raise ConnectionLost("Connection refused")
            yield session


@pytest.mark.parametrize("is_read", [True, False])
async def test_a_dry_run_over_an_unreachable_target_ends_as_a_run_does(
    is_read: bool, autojump_clock: trio.testing.MockClock
) -> None:
    source, target = MemoryEndpoint("source"), Closed(MemoryEndpoint("target"))
    source.write("a", b"1")
    policy = Policy(Selection(), MaxDelete(50, is_percent=True), backoff=Backoff(tries=3))
    dry = DryRun(target, is_read=is_read)
    report = await supervise(source, dry, open_memory_journal(), RunOptions(policy))
    assert (report.exit_code, report.copied, report.failed) == (5, 0, 0)
    assert (report.error or "").startswith("target could not be reached after 3 attempts: Connection refused")


async def test_an_unusable_journal_is_fatal(profile: Profile) -> None:
    journal = journal_path(state_directory(), profile.identity)
    journal.parent.mkdir(parents=True)
    journal.write_text("not a journal")
    for begin in (run_once, make_plan):
        with pytest.raises(FatalError):
            await begin(profile)
    assert journal.read_text() == "not a journal"
