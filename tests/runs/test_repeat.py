"""Repeated passes, in virtual time where no server takes part."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.control import Control
from actorsync.actors.messages import inline
from actorsync.actors.shutdown import Shutdown
from actorsync.cli.status import status
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.errors import JournalLocked
from actorsync.journal import (
    open_journal,
    open_memory_journal,
    read_troubles,
    state_directory,
)
from actorsync.model.event import Event, Stopped
from actorsync.model.report import Report
from actorsync.planning.selection import Selection
from actorsync.policy import Clock, Policy, RunOptions
from actorsync.profile import MaxDelete, Profile, Secret
from actorsync.runs.options import options_for
from actorsync.runs.repeating import repeat as repeat_module
from actorsync.runs.repeating.repeat import BREATH, Wishes, repeat, run_forever
from actorsync.runs.runner import run_once
from actorsync.supervisor import supervise
from actorsync.testing import EmbeddedFtpServer
from tests.runs.profiles import drain_after, make_profile, runs

Pass = Callable[[], Awaitable[Report]]


def passes(shutdown: Shutdown, *script: tuple[float, int], drains: bool = True) -> tuple[Pass, list[float]]:
    """Return a pass that takes as long and ends as scripted. The last one requests a drain at its end."""
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


async def test_a_pass_longer_than_the_period_is_followed_after_a_breath(autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, started = passes(shutdown, (25, 0), (1, 0), (0, 0))
    began = trio.current_time()
    await repeat(one_pass, 10, shutdown)
    assert [at - began for at in started] == pytest.approx([0, 25 + BREATH, 35 + BREATH])


async def test_a_period_of_zero_still_waits_a_breath(autojump_clock: MockClock) -> None:
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
async def test_a_permanent_failure_ends_the_repetition(code: int, autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, started = passes(shutdown, (1, code), (1, 0))
    assert await repeat(one_pass, 10, shutdown) == code
    assert len(started) == 1


@pytest.mark.parametrize("code", [0, 1, 3])
async def test_a_drain_during_a_pass_ends_with_its_exit_code(code: int, autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, started = passes(shutdown, (1, 0), (5, code))
    assert await repeat(one_pass, 10, shutdown) == code
    assert len(started) == 2


async def test_a_drain_between_passes_ends_at_once_with_0(autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, _ = passes(shutdown, (1, 1), drains=False)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain_after, shutdown, 30)
        assert await repeat(one_pass, 3600, shutdown) == 0
    assert trio.current_time() - began == pytest.approx(30)


async def test_each_pass_sees_the_current_source(autojump_clock: MockClock) -> None:
    source, target, journal = MemoryEndpoint("source"), MemoryEndpoint("target"), open_memory_journal()
    source.write("a", b"1")
    shutdown = Shutdown()
    reports: list[Report] = []

    async def one_pass() -> Report:
        policy = Policy(Selection(), MaxDelete(50, is_percent=True))
        options = RunOptions(policy, shutdown=shutdown, clock=Clock(blocking=inline))
        report = await supervise(source, target, journal, options)
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


async def test_run_forever_prompts_once_and_keeps_the_lock(source: Path, embedded: EmbeddedFtpServer) -> None:
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
        assert await run_forever(profile, options_for(profile, shutdown=shutdown, observers=[watch])) == 0
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
        assert await run_forever(every, options_for(every, shutdown=shutdown, observers=[watch])) == 0
    assert sorted(asked) == ["passphrase", "password"]


async def test_only_the_first_pass_tries_parked_paths(
    profile: Profile, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "target" / "a.txt" / "theirs").mkdir(parents=True)  # where a file is wanted
    monkeypatch.setattr(repeat_module, "BREATH", 0.0)
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
            assert await run_forever(every, options_for(every, shutdown=shutdown, observers=[watch])) == 1
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


# What a user wants meanwhile.


async def test_rescan_and_retry_begin_the_next_pass_before_its_period(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeat_module, "BREATH", 0.0)
    every = attrs.evolve(profile, sync=attrs.evolve(profile.sync, every=3600.0))
    control, shutdown = Control(), Shutdown()
    wishes = iter([control.rescan, lambda: control.retry("a.txt"), control.rescan, shutdown.drain])

    def watch(event: Event) -> None:
        if isinstance(event, Stopped):
            next(wishes)()

    options = attrs.evolve(options_for(every, shutdown=shutdown, observers=[watch]), control=control)
    with trio.fail_after(20):
        assert await run_forever(every, options) == 0
    assert next(wishes, None) is None
    assert not control.is_rescan_due
    assert not control.retries


async def test_path_that_a_pass_could_not_try_does_not_begin_another_one(autojump_clock: MockClock) -> None:
    control, shutdown = Control(), Shutdown()
    wishes = Wishes(control)
    one_pass, started = passes(shutdown, (1, 5), (1, 5), (1, 0))

    async def passing() -> Report:
        wishes.take()
        return await one_pass()

    async def retry() -> None:
        await trio.sleep(10)
        control.retry("a")

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(retry)
        await repeat(passing, 100, shutdown, wishes.until_any)
    assert [at - began for at in started] == pytest.approx([0, 10, 110])


async def test_no_pass_begins_during_a_pause(autojump_clock: MockClock) -> None:
    control, shutdown = Control(), Shutdown()
    one_pass, started = passes(shutdown, (1, 0), (1, 0), (1, 0))

    async def pause() -> None:
        await trio.sleep(5)
        control.pause()
        await trio.sleep(60)
        control.resume()

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pause)
        await repeat(one_pass, 10, shutdown, until_resumed=control.until_resumed)
    assert [at - began for at in started] == pytest.approx([0, 65, 75])


async def test_drain_ends_a_pause_between_passes(autojump_clock: MockClock) -> None:
    control, shutdown = Control(), Shutdown()
    one_pass, _ = passes(shutdown, (1, 0), drains=False)
    control.pause()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain_after, shutdown, 30)
        assert await repeat(one_pass, 10, shutdown, until_resumed=control.until_resumed) == 0


# Woken up before the period is over.


@attrs.define(eq=False)
class Alarms:
    """A wake-up that returns at given moments after the start, and counts its calls and cancellations."""

    at: list[float]
    calls: int = 0
    cancelled: int = 0
    began: float = attrs.Factory(trio.current_time)

    async def wake_up(self) -> None:
        self.calls += 1
        try:
            await trio.sleep_until(self.began + self.at[0])
        except trio.Cancelled:
            self.cancelled += 1
            raise
        del self.at[0]


async def test_a_wake_up_begins_the_next_pass_before_its_period(autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, started = passes(shutdown, (1, 0), (1, 0), (1, 0))
    alarms = Alarms([5, 1_000])
    assert await repeat(one_pass, 100, shutdown, alarms.wake_up) == 0
    assert [at - alarms.began for at in started] == pytest.approx([0, 5, 105])
    assert (alarms.calls, alarms.cancelled) == (2, 1)


async def test_a_wake_up_at_once_still_waits_a_breath(autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, started = passes(shutdown, (3, 0), (3, 0))
    alarms = Alarms([0])
    assert await repeat(one_pass, 100, shutdown, alarms.wake_up) == 0
    assert [at - alarms.began for at in started] == pytest.approx([0, 3 + BREATH])


async def test_a_wake_up_just_before_the_period_ends_does_not_delay_the_pass(autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, started = passes(shutdown, (1, 0), (1, 0))
    alarms = Alarms([9.9])
    await repeat(one_pass, 10, shutdown, alarms.wake_up)
    assert [at - alarms.began for at in started] == pytest.approx([0, 9.9])


async def test_a_drain_while_the_wake_up_waits_ends_at_once(autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, started = passes(shutdown, (1, 0), drains=False)
    alarms = Alarms([1_000])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain_after, shutdown, 30)
        assert await repeat(one_pass, 3600, shutdown, alarms.wake_up) == 0
    assert trio.current_time() - alarms.began == pytest.approx(30)
    assert (len(started), alarms.cancelled) == (1, 1)


async def test_a_drain_during_the_breath_after_a_wake_up_begins_no_pass(autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, started = passes(shutdown, (1, 0), drains=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain_after, shutdown, 1 + BREATH / 2)
        assert await repeat(one_pass, 3600, shutdown, Alarms([0]).wake_up) == 0
    assert len(started) == 1


async def test_a_permanent_failure_calls_no_wake_up(autojump_clock: MockClock) -> None:
    shutdown = Shutdown()
    one_pass, _ = passes(shutdown, (1, 6), drains=False)
    alarms = Alarms([0])
    assert await repeat(one_pass, 10, shutdown, alarms.wake_up) == 6
    assert alarms.calls == 0


async def test_what_a_wake_up_raises_is_raised_alone(autojump_clock: MockClock) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("a bug")

    shutdown = Shutdown()
    one_pass, _ = passes(shutdown, (1, 0), drains=False)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await repeat(one_pass, 10, shutdown, broken)
