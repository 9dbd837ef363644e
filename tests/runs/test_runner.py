"""From a profile to runs: one, many, and a plan."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.connections.backoff import Backoff
from actorsync.actors.messages import inline
from actorsync.actors.shutdown import Shutdown
from actorsync.actors.statistics import Statistics
from actorsync.cli.status import status
from actorsync.endpoints.ftp.certificates import TlsPolicy
from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.sftp.endpoint import LANES, SftpEndpoint
from actorsync.endpoints.ssh.settings import HostTrust
from actorsync.endpoints.wrappers.dry_run import DryRun
from actorsync.errors import FatalError, JournalLocked, ProfileError
from actorsync.journal import (
    journal_path,
    open_journal,
    open_memory_journal,
    read_runs,
    read_troubles,
    state_directory,
)
from actorsync.model.event import Event, Report, Started, Stopped
from actorsync.model.operation import Copy, Done
from actorsync.planning.selection import Selection
from actorsync.profile import BothSecrets, MaxDelete, Profile, Secret, Secrets, load_profile
from actorsync.runs import runner
from actorsync.runs.runner import BREATH, open_endpoints, plan_once, policy_of, repeat, run_forever, run_once
from actorsync.supervisor import Clock, Policy, supervise
from actorsync.testing import EmbeddedFtpServer
from tests.support.root import ROOT

CANARY = "CANARY-4711"
IMPATIENT = Backoff(initial=0.01, tries=3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "sub" / "b.txt").write_text("bb")
    return source


@pytest.fixture
def profile(source: Path, tmp_path: Path) -> Profile:
    return make_profile(source, str(tmp_path / "target"))


def make_profile(source: Path, url: str, *overrides: str, password: str = "demo") -> Profile:
    path = source.parent / "profile.toml"
    secret = f'password = "{password}"' if url.startswith("ftp:") else ""
    path.write_text(f'[source]\npath = "{source}"\n[target]\nurl = "{url}"\n{secret}\n')
    path.chmod(0o600)
    return load_profile(path, overrides)


def tree(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def runs(profile: Profile) -> list[Report | None]:
    return [run.report for run in read_runs(state_directory(), profile.identity, 10)]


# From the profile.


def test_endpoints_are_those_of_the_profile(source: Path) -> None:
    profile = make_profile(source, "ftp://demo@example.com:2121//srv/www", "sync.links=follow")
    local, server = open_endpoints(profile)
    assert isinstance(local, LocalEndpoint)
    assert (local.root, local.links) == (source, "follow")
    assert isinstance(server, FtpEndpoint)
    assert (server.host, server.port, server.user, server.path) == ("example.com", 2121, "demo", "/srv/www")
    assert server.password() == "demo"
    assert "demo" not in repr(server).replace("user='demo'", "")


@pytest.mark.parametrize(("scheme", "is_implicit", "port"), [("ftpes", False, 21), ("ftps", True, 990)])
def test_endpoints_with_tls_are_those_of_the_profile(
    source: Path, scheme: str, is_implicit: bool, port: int, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").touch()
    keys = ["ca-file=ca.pem", "certificate-sha256=" + "AB" * 32, "tls-min-version=1.3"]
    profile = make_profile(source, f"{scheme}://example.com/www", *(f"target.{key}" for key in keys))
    _, server = open_endpoints(profile)
    assert isinstance(server, FtpEndpoint)
    assert (server.host, server.port, server.user, server.path) == ("example.com", port, "anonymous", "www")
    assert server.tls == TlsPolicy(is_implicit, tmp_path / "ca.pem", "ab" * 32, "1.3")
    _, clear = open_endpoints(make_profile(source, "ftp://example.com/www"))
    assert isinstance(clear, FtpEndpoint)
    assert clear.tls is None


def test_m105_an_sftp_endpoint_is_that_of_the_profile(source: Path, tmp_path: Path) -> None:
    (tmp_path / "id").touch(0o600)
    pin = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
    keys = ['target.passphrase={ env = "P" }', "target.agent=true", f"target.host-key={pin}"]
    keys += ["target.key-file=id", "target.known-hosts=hosts", "target.lanes=3", "target.fsync=true"]
    keys += ['target.password={ env = "W" }']
    profile = make_profile(source, "sftp://demo@example.com:2222//srv/www", *keys)
    _, server = open_endpoints(profile, BothSecrets(target=Secrets(Secret(CANARY), Secret(f"{CANARY}-P"))))
    assert isinstance(server, SftpEndpoint)
    assert (server.host, server.port, server.path, server.lanes, server.fsync) == (
        *("example.com", 2222, "/srv/www", 3, True),
    )
    assert (server.login.user, server.login.key_file, server.login.agent) == ("demo", tmp_path / "id", True)
    assert server.trust == HostTrust(tmp_path / "hosts", pin)
    assert server.login.password is not None
    assert server.login.passphrase is not None
    assert (server.login.password(), server.login.passphrase()) == (CANARY, f"{CANARY}-P")
    assert CANARY not in f"{server!r}{server.login!r}{attrs.asdict(server.login)}"
    _, plain = open_endpoints(make_profile(source, "sftp://demo@example.com/"))
    assert isinstance(plain, SftpEndpoint)
    assert plain.lanes == LANES
    assert f"default {LANES}." in (ROOT / "docs" / "profile.md").read_text()
    assert (plain.login.password, plain.login.passphrase, plain.login.agent, plain.fsync) == (None, None, None, False)


def test_what_is_slow_to_import_is_imported_only_for_sftp() -> None:
    code = (
        "import sys, actorsync.cli.commands, actorsync.cli.foreground, actorsync.cli.check; "
        "import actorsync.endpoints.ftp.endpoint; "
        "slow = {'asyncssh', 'rich', 'pathspec', 'keyring', 'cryptography', 'pyftpdlib'} & set(sys.modules); "
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_policy_is_that_of_the_profile(source: Path) -> None:
    profile = make_profile(
        source,
        "t",
        "sync.connections=7",
        "sync.delete=true",
        "sync.max-delete=5",
        "sync.links=error",
        "sync.max-depth=2",
    )
    assert policy_of(profile) == Policy(
        Selection(max_depth=2), MaxDelete(5, is_percent=False), delete=True, connections=7, links_are_errors=True
    )
    automatic = policy_of(make_profile(source, "t", "sync.connections=auto", "sync.max-connections=9"))
    assert (automatic.connections, automatic.is_automatic) == (9, True)


# Once.


def replaced(events: Sequence[Event]) -> set[str]:
    copies = [event.operation for event in events if isinstance(event, Done) and isinstance(event.operation, Copy)]
    return {copy.path for copy in copies if copy.replaces}


async def test_once_mirrors_and_is_remembered(profile: Profile, source: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    report = await run_once(profile, observers=[events.append])
    assert (report.exit_code, report.copied) == (0, 2)
    assert tree(tmp_path / "target") == tree(source)
    assert isinstance(events[0], Started)
    assert events[-1] == Stopped(report)
    assert runs(profile) == [report]

    (source / "a.txt").write_text("changed")
    (source / "new.txt").write_text("new")
    events.clear()
    await run_once(profile, observers=[events.append])
    assert replaced(events) == {"a.txt"}


async def test_statistics_begin_at_nothing_in_each_run(profile: Profile) -> None:
    statistics = Statistics()
    await run_once(profile, statistics=statistics)
    assert (statistics.files_planned, statistics.files_done, statistics.bytes_done) == (2, 2, 3)
    await run_once(profile, statistics=statistics)
    assert (statistics.files_planned, statistics.files_done, statistics.bytes_done) == (0, 0, 0)
    assert len(statistics.connections) == 4


async def test_m119_the_lock_is_held_for_the_whole_run(profile: Profile) -> None:
    with open_journal(state_directory(), profile.identity), pytest.raises(JournalLocked):
        await run_once(profile)
    await run_once(profile)


async def test_a_server_that_is_down_is_given_up_after_the_back_off(source: Path, embedded: EmbeddedFtpServer) -> None:
    profile = make_profile(source, embedded.url)
    embedded.stop()
    report = await run_once(profile, policy=attrs.evolve(policy_of(profile), backoff=IMPATIENT, connections=2))
    assert report.exit_code == 5
    assert report.error is not None
    assert "stayed away" in report.error
    assert report.reconnects >= 2
    assert runs(profile) == [report]


async def test_a_password_that_cannot_be_had_connects_to_nothing(source: Path, embedded: EmbeddedFtpServer) -> None:
    profile = make_profile(source, embedded.url, 'target.password={ env = "NOT_SET" }')
    with pytest.raises(ProfileError, match="NOT_SET is not set"):
        await run_once(profile)
    assert embedded.commands == []
    with pytest.raises(ProfileError):
        await run_forever(attrs.evolve(profile, sync=attrs.evolve(profile.sync, every=1.0)))


async def test_a_drain_before_the_first_step_does_nothing(profile: Profile, tmp_path: Path) -> None:
    shutdown = Shutdown()
    shutdown.drain()
    events: list[Event] = []
    report = await run_once(profile, shutdown=shutdown, observers=[events.append])
    assert (report.exit_code, report.drained) == (3, True)
    assert events == [Stopped(report)]
    assert not (tmp_path / "target").exists()


async def test_a_drain_ends_the_wait_for_a_password(source: Path, embedded: EmbeddedFtpServer, tmp_path: Path) -> None:
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
            report = await run_once(profile, shutdown=shutdown)
    released.set()
    assert report.exit_code == 3
    assert embedded.commands == []


async def drain_after(shutdown: Shutdown, seconds: float) -> None:
    await trio.sleep(seconds)
    shutdown.drain()


async def test_a_bug_is_raised_alone_and_remembered(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("actorsync.actors.scanner.select", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await run_once(profile)
    (report,) = runs(profile)
    assert report is not None
    assert report.exit_code == 7


async def test_a_run_that_is_cancelled_from_outside_is_remembered(source: Path, server_folder: Path) -> None:
    (source / "big").write_bytes(bytes(16 << 20))
    (server_folder / "root").mkdir()
    with EmbeddedFtpServer(server_folder / "root", throttle=1 << 20) as server:
        profile = make_profile(source, server.url)
        with trio.move_on_after(0.5) as scope:
            await run_once(profile, shutdown=Shutdown(cancel_seconds=0.5))
    assert scope.cancelled_caught
    (report,) = runs(profile)
    assert report is not None


# A plan.


async def test_m133_a_plan_touches_neither_journal_nor_target(profile: Profile, source: Path, tmp_path: Path) -> None:
    report = await plan_once(profile)
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
        report = await plan_once(profile, observers=[events.append])
    assert (report.copied, report.removed, replaced(events)) == (1, 1, {"sub/b.txt"})
    assert journal.read_bytes() == before
    assert tree(tmp_path / "target") == {"a.txt": b"a", "sub/b.txt": b"bb"}


async def test_a_plan_adopts_what_is_there(source: Path, embedded: EmbeddedFtpServer) -> None:
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
    report = await plan_once(profile)
    assert (report.copied, report.adopted, report.directories_made, report.removed) == (0, 2, 0, 0)
    assert embedded.mutating == before


async def test_a_plan_asks_for_the_password_only_when_the_target_must_be_listed(
    source: Path, embedded: EmbeddedFtpServer
) -> None:
    profile = make_profile(source, embedded.url)
    hidden = attrs.evolve(profile, target=load_profile(profile.path, ['target.password={ env = "NOT_SET" }']).target)
    with pytest.raises(ProfileError):
        await plan_once(hidden)
    await run_once(profile)
    assert (await plan_once(hidden)).exit_code == 0


async def test_a_dry_run_of_a_root_that_cannot_be_listed_is_one_of_an_empty_target() -> None:
    source, target = MemoryEndpoint("source"), MemoryEndpoint("target", exists=False)
    source.write("a", b"1")
    report = await supervise(
        source, DryRun(target), open_memory_journal(), Policy(Selection(), MaxDelete(50, is_percent=True))
    )
    assert (report.exit_code, report.copied, report.skipped) == (0, 1, 0)
    assert target.log == []
    assert target.find("") is None


# Again and again.

Pass = Callable[[], Awaitable[Report]]


def passes(shutdown: Shutdown, *script: tuple[float, int], drains: bool = True) -> tuple[Pass, list[float]]:
    """Give a pass that takes as long and ends as scripted; at the end of the last, a drain is asked for."""
    started: list[float] = []

    async def one_pass() -> Report:
        seconds, code = script[len(started)]
        started.append(trio.current_time())
        await trio.sleep(seconds)
        if len(started) == len(script) and drains:
            shutdown.drain()
        return Report(code, 0.0, seconds)

    return one_pass, started


async def test_the_period_counts_from_start_to_start(autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, started = passes(shutdown, (1, 0), (9, 0), (2, 0))
    began = trio.current_time()
    assert await repeat(one_pass, 10, shutdown) == 0
    assert [at - began for at in started] == pytest.approx([0, 10, 20])


async def test_a_pass_that_takes_too_long_is_followed_after_a_breath(autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, started = passes(shutdown, (25, 0), (1, 0), (0, 0))
    began = trio.current_time()
    await repeat(one_pass, 10, shutdown)
    assert [at - began for at in started] == pytest.approx([0, 25 + BREATH, 35 + BREATH])


async def test_a_period_of_nothing_still_breathes(autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, started = passes(shutdown, (0, 0), (0, 0), (0, 0))
    began = trio.current_time()
    await repeat(one_pass, 0, shutdown)
    assert [at - began for at in started] == pytest.approx([0, BREATH, 2 * BREATH])


@pytest.mark.parametrize("code", [1, 4, 5])
async def test_a_pass_that_failed_is_followed_by_another(code: int, autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, started = passes(shutdown, (1, code), (1, 0))
    assert await repeat(one_pass, 10, shutdown) == 0
    assert len(started) == 2


@pytest.mark.parametrize("code", [6, 7, 130])
async def test_what_another_pass_cannot_mend_ends_it(code: int, autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, started = passes(shutdown, (1, code), (1, 0))
    assert await repeat(one_pass, 10, shutdown) == code
    assert len(started) == 1


@pytest.mark.parametrize("code", [0, 1, 3])
async def test_a_drain_during_a_pass_ends_as_the_pass_does(code: int, autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, started = passes(shutdown, (1, 0), (5, code))
    assert await repeat(one_pass, 10, shutdown) == code
    assert len(started) == 2


async def test_a_drain_between_passes_ends_at_once_and_well(autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, _ = passes(shutdown, (1, 1), drains=False)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain_after, shutdown, 30)
        assert await repeat(one_pass, 3600, shutdown) == 0
    assert trio.current_time() - began == pytest.approx(30)


async def test_every_pass_sees_the_source_as_it_is_then(autojump_clock: MockClock) -> None:
    source, target, journal = MemoryEndpoint("source"), MemoryEndpoint("target"), open_memory_journal()
    source.write("a", b"1")
    shutdown = Shutdown()
    reports: list[Report] = []

    async def one_pass() -> Report:
        policy = Policy(Selection(), MaxDelete(50, is_percent=True))
        report = await supervise(source, target, journal, policy, shutdown=shutdown, clock=Clock(blocking=inline))
        reports.append(report)
        return report

    async def meanwhile() -> None:
        await trio.sleep(15)
        source.write("b", b"2")
        await trio.sleep(20)
        shutdown.drain()

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(meanwhile)
        assert await repeat(one_pass, 10, shutdown) == 0
    assert [report.copied for report in reports] == [1, 0, 1, 0]
    assert trio.current_time() - began == pytest.approx(35)
    assert target.files() == {"a": b"1", "b": b"2"}


async def test_forever_asks_for_the_password_once_and_keeps_the_lock(source: Path, embedded: EmbeddedFtpServer) -> None:
    profile = make_profile(source, embedded.url, "sync.every=1s")
    asked: list[str] = []

    @attrs.frozen
    class Asked:
        def resolve(self) -> Asked:
            asked.append("resolve")
            return self

        def reveal(self) -> str:
            return "demo"

    profile = attrs.evolve(profile, target=attrs.evolve(profile.target, password=Asked()))  # type: ignore[arg-type]
    shutdown = Shutdown()
    stopped: list[Report] = []

    def watch(event: Event) -> None:
        if isinstance(event, Stopped):
            stopped.append(event.report)
            (source / f"new-{len(stopped)}").write_text("new")
            if len(stopped) == 1:
                with pytest.raises(JournalLocked), open_journal(state_directory(), profile.identity):
                    pass
            else:
                shutdown.drain()

    with trio.fail_after(10):
        assert await run_forever(profile, shutdown=shutdown, observers=[watch]) == 0
    assert [report.copied for report in stopped] == [2, 1]
    assert runs(profile) == stopped[::-1]
    assert asked == ["resolve"]
    with open_journal(state_directory(), profile.identity):
        pass


async def test_each_secret_is_looked_up_once_for_all_passes(profile: Profile) -> None:
    asked: list[str] = []

    @attrs.frozen
    class Asked:
        name: str

        def resolve(self) -> Secret:
            asked.append(self.name)
            return Secret(self.name)

    places: Any = {"password": Asked("password"), "passphrase": Asked("passphrase")}
    profile = attrs.evolve(profile, target=attrs.evolve(profile.target, **places))
    every = attrs.evolve(profile, sync=attrs.evolve(profile.sync, every=0.01))
    shutdown = Shutdown()
    stopped: list[Event] = []

    def watch(event: Event) -> None:
        stopped.extend([event] if isinstance(event, Stopped) else [])
        if len(stopped) == 2:
            shutdown.drain()

    with trio.fail_after(10):
        assert await run_forever(every, shutdown=shutdown, observers=[watch]) == 0
    assert sorted(asked) == ["passphrase", "password"]


async def test_the_first_pass_tries_what_the_others_leave_alone(
    profile: Profile, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "target" / "a.txt" / "theirs").mkdir(parents=True)  # where a file is wanted
    monkeypatch.setattr(runner, "BREATH", 0.0)
    every = attrs.evolve(profile, sync=attrs.evolve(profile.sync, every=0.001))

    async def passes(count: int) -> list[tuple[int, int]]:
        shutdown = Shutdown()
        stopped: list[Report] = []

        def watch(event: Event) -> None:
            if isinstance(event, Stopped):
                stopped.append(event.report)
                if len(stopped) == count:
                    shutdown.drain()

        with trio.fail_after(20):
            assert await run_forever(every, shutdown=shutdown, observers=[watch]) == 1
        return [(report.failed, report.parked) for report in stopped]

    assert await passes(5) == [(1, 0), (1, 0), (1, 0), (1, 1), (1, 1)]
    assert await passes(2) == [(1, 0), (1, 1)]
    assert (await run_once(profile)).parked == 0
    (trouble,) = read_troubles(state_directory(), profile.identity)
    assert (trouble.path, trouble.failures) == ("a.txt", 5)
    heading, columns, line = list(status(profile))[-3:]
    assert heading == "1 path parked; the next run that you start retries them at once:"
    assert columns.split() == ["FAILING", "SINCE", "FAILURES", "NEXT", "TRY", "PATH", "AND", "REASON"]
    assert re.search(r"  5  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  a\.txt: ", line)


async def test_a_journal_that_cannot_be_used_is_fatal(profile: Profile) -> None:
    journal = journal_path(state_directory(), profile.identity)
    journal.parent.mkdir(parents=True)
    journal.write_text("not a journal")
    for begin in (run_once, plan_once):
        with pytest.raises(FatalError):
            await begin(profile)
    assert journal.read_text() == "not a journal"
