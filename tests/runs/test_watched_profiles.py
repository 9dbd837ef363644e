"""Profiles that are watched: the real hints of the system, real sessions, and the loop between them."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.wrappers import warm
from actorsync.journal import journal_path, state_directory
from actorsync.model.event import Event, PassBegan, Stopped
from actorsync.model.operation import Done, Remove
from actorsync.model.report import Report
from actorsync.policy import Clock, Policy
from actorsync.profile import Profile
from actorsync.runs.options import options_for, policy_of
from actorsync.runs.repeating.repeat import run_forever
from actorsync.runs.runner import run_once
from actorsync.testing import EmbeddedFtpServer
from tests.runs.profiles import IMPATIENT, make_profile, runs, tree
from tests.support import editors

WATCH = ("sync.watch=true", "sync.delete=true", "sync.max-delete=100%")


@attrs.define(eq=False)
class Watch:
    """A run that watches, and the reports of its passes."""

    profile: Profile
    wall_ns: Callable[[], int] = time.time_ns
    policy: Policy | None = None
    observer: Callable[[Event], object] = bool
    shutdown: Shutdown = attrs.Factory(Shutdown)
    reports: list[Report] = attrs.Factory(list)
    began: list[PassBegan] = attrs.Factory(list)
    code: int = -1
    _ended: trio.Event = attrs.Factory(trio.Event)

    def observe(self, event: Event) -> None:
        if isinstance(event, PassBegan):
            self.began.append(event)
        if isinstance(event, Stopped):
            self.reports.append(event.report)
            self._ended.set()

    async def run(self) -> None:
        options = options_for(
            self.profile, policy=self.policy, shutdown=self.shutdown, observers=[self.observer, self.observe]
        )
        self.code = await run_forever(self.profile, attrs.evolve(options, clock=Clock(wall_ns=self.wall_ns)))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds at the end of a pass."""
        while not condition():
            await self._ended.wait()
            self._ended = trio.Event()


@asynccontextmanager
async def watching(
    profile: Profile,
    wall_ns: Callable[[], int] = time.time_ns,
    *,
    policy: Policy | None = None,
    code: int = 0,
    observer: Callable[[Event], object] = bool,
) -> AsyncIterator[Watch]:
    """Watch during the block, whose first pass has ended. The run ends with ``code``."""
    watch = Watch(profile, wall_ns, policy, observer)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            await watch.until(lambda: bool(watch.reports))
            yield watch
            watch.shutdown.drain()
    assert watch.code == code


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.mark.parametrize("save", editors.SAVES.values(), ids=editors.SAVES.keys())
async def test_each_way_of_saving_is_mirrored(
    save: Callable[[Path, str, str], None], source: Path, target: Path
) -> None:
    profile = make_profile(source, str(target), *WATCH)
    async with watching(profile) as watch:
        for text in ("new", "newer and longer"):
            save(source / "sub", "page.html", text)
            await watch.until(lambda: tree(target) == tree(source))
            assert (target / "sub" / "page.html").read_text() == text
        assert all(report.exit_code == 0 for report in watch.reports)
        assert [began.directories for began in watch.began[:1]] == [None]
        assert {began.directories for began in watch.began[1:]} == {("sub",)}


async def test_a_pass_without_a_change_costs_no_login_and_no_write_to_the_journal(
    source: Path, embedded: EmbeddedFtpServer
) -> None:
    profile = make_profile(source, embedded.url, *WATCH, "watch.idle=0s")
    journal = journal_path(state_directory(), profile.identity)
    # A minute later: a file that was just written is read once more in each pass.
    async with watching(profile, lambda: time.time_ns() + 60 * 10**9) as watch:
        commands = len(embedded.commands)

        async def change_nothing() -> list[int]:
            """Let a pass begin, and return the sizes of the journal's files at its end."""
            passes = len(watch.reports)
            (source / "sub" / ".b.txt.swp").write_text("x")
            (source / "sub" / ".b.txt.swp").unlink()
            await watch.until(lambda: len(watch.reports) > passes)
            files = journal.parent.glob(f"{journal.name}*")
            return [file.stat().st_size for file in sorted(files) if not file.name.endswith("-shm")]

        before = await change_nothing()  # the end of the first pass is recorded after its report
        assert (await change_nothing(), len(embedded.commands)) == (before, commands)
    assert runs(profile) == watch.reports[:1]


async def said_goodbye(server: EmbeddedFtpServer) -> None:
    """Wait until the server has noted QUIT, in its own thread."""

    def wait() -> None:
        while server.commands[-1].verb != "QUIT":
            time.sleep(0.01)

    with trio.fail_after(10):
        await trio.to_thread.run_sync(wait, abandon_on_cancel=True)


async def test_changes_go_over_the_session_that_is_open(
    source: Path, embedded: EmbeddedFtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "_FRESH", 0.0)
    profile = make_profile(source, embedded.url, *WATCH, "sync.connections=1")
    async with watching(profile) as watch:
        for number in range(3):
            (source / f"{number}.txt").write_text("new")
            await watch.until(lambda: tree(embedded.root) == tree(source))
        assert [command.verb for command in embedded.commands].count("PASS") == 1
        assert [command.verb for command in embedded.commands].count("NOOP") == 3
    await said_goodbye(embedded)
    assert sum(report.reconnects for report in watch.reports) == 0


async def test_a_server_that_was_restarted_between_passes_costs_one_quiet_login(
    source: Path, embedded: EmbeddedFtpServer
) -> None:
    profile = make_profile(source, embedded.url, *WATCH, "sync.connections=1")
    async with watching(profile) as watch:
        await trio.to_thread.run_sync(embedded.restart)
        await trio.sleep(warm._FRESH)
        (source / "new.txt").write_text("new")
        await watch.until(lambda: tree(embedded.root) == tree(source))
        assert sum(report.reconnects for report in watch.reports) == 0


def impatient(profile: Profile) -> Policy:
    return attrs.evolve(policy_of(profile), backoff=IMPATIENT)


async def test_changes_during_an_outage_are_live_after_it(
    source: Path, embedded: EmbeddedFtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = make_profile(source, embedded.url, *WATCH)
    async with watching(profile, policy=impatient(profile)) as watch:
        await trio.to_thread.run_sync(embedded.stop)
        (source / "new.txt").write_text("new")
        await watch.until(lambda: watch.reports[-1].exit_code == 5)
        await trio.to_thread.run_sync(embedded.start)
        await watch.until(lambda: tree(embedded.root) == tree(source))
        assert {began.directories for began in watch.began[1:]} == {("",)}


async def test_a_password_that_was_changed_ends_the_run_after_a_few_logins(
    source: Path, embedded: EmbeddedFtpServer
) -> None:
    profile = make_profile(source, embedded.url, *WATCH, "sync.connections=1")
    async with watching(profile, policy=impatient(profile), code=6) as watch:
        embedded.password = "another"
        await trio.to_thread.run_sync(embedded.restart)
        (source / "new.txt").write_text("new")
        await watch.until(lambda: watch.reports[-1].exit_code == 6)
    assert [report.exit_code for report in watch.reports] == [0, 5, 6]
    assert [command.verb for command in embedded.commands].count("PASS") <= 6


@pytest.mark.parametrize("moment", [0.0, 0.25, 0.35])
@pytest.mark.parametrize("stop", ["drain", "cancel"])
async def test_a_stop_at_any_moment_leaves_nothing_half_done(
    stop: str, moment: float, source: Path, embedded: EmbeddedFtpServer
) -> None:
    profile = make_profile(source, embedded.url, *WATCH)
    watch = Watch(profile)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            await watch.until(lambda: bool(watch.reports))
            for number in range(32):
                (source / f"{number}.txt").write_text("new")
            await trio.sleep(moment)
            getattr(watch.shutdown, stop)()
    assert watch.code in {0, 3, 130}
    shown = tree(embedded.root)
    final = {path: content for path, content in shown.items() if ".actorsync-" not in path}
    assert final.items() <= tree(source).items()
    if stop == "drain":
        assert final == shown
    assert (await run_once(profile)).exit_code == 0
    assert tree(embedded.root) == tree(source)


async def test_every_says_how_often_a_watched_source_is_compared_as_a_whole(source: Path, target: Path) -> None:
    profile = make_profile(source, str(target), *WATCH, "sync.every=500ms")
    async with watching(profile) as watch:
        await watch.until(lambda: len(watch.reports) > 2)
        assert [began.reason for began in watch.began[:3]] == ["start", "reconcile", "reconcile"]


async def test_a_source_behind_a_link_is_followed_when_the_link_changes(source: Path, target: Path) -> None:
    (source.parent / "link").symlink_to(source)
    other = source.parent / "other"
    other.mkdir()
    (other / "a.txt").write_text("of the other one")
    profile = make_profile(source.parent / "link", str(target), *WATCH)
    async with watching(profile) as watch:
        (source.parent / "new").symlink_to(other)
        (source.parent / "new").rename(source.parent / "link")
        await watch.until(lambda: (target / "a.txt").read_text() == "of the other one")
        assert watch.began[-1].directories is None


async def test_a_build_that_empties_its_output_and_fills_it_again_removes_nothing_that_comes_back(
    source: Path, target: Path
) -> None:
    profile = make_profile(source, str(target), *WATCH, "watch.delete-settle=1s")
    removed: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, Done) and isinstance(event.operation, Remove):
            removed.append(event.operation.path)

    async with watching(profile, observer=observe) as watch:
        passes = len(watch.reports)
        shutil.rmtree(source / "sub")
        await watch.until(lambda: len(watch.reports) > passes)  # a pass sees it gone
        assert (target / "sub" / "b.txt").exists()
        (source / "sub").mkdir()
        (source / "sub" / "b.txt").write_text("built anew")
        await watch.until(lambda: (target / "sub" / "b.txt").read_text() == "built anew")
        assert removed == []
        (source / "sub" / "b.txt").unlink()
        await watch.until(lambda: tree(target) == tree(source))
        assert removed == ["sub/b.txt"]
