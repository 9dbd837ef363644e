"""A profile that is read again while its run goes on."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actorsync.errors import ActorsyncError, JournalLocked, ProfileError
from actorsync.model.event import Changed, Event, Started, Stopped, Warned
from actorsync.model.report import Report
from actorsync.profile import Profile, load_profile
from actorsync.runs.options import options_for
from actorsync.runs.profile_journal import lock_journal_of
from actorsync.service.jobs import Job, job_for
from actorsync.service.reloading import reload_when_asked, reloading
from tests.service.test_notifying import Told


@attrs.define(eq=False)
class Loop:
    """A job whose passes begin and end when the test says so. ``seen`` has the limit of connections of each pass."""

    job: Job
    events: list[Event]
    seen: list[int] = attrs.Factory(list)
    code: int = 0
    _tick: trio.Event = attrs.Factory(trio.Event)

    async def work(self, job: Job) -> int:
        while True:
            job.state.observe(Started("source", "target", 1))
            self.seen.append(job.options.policy.connections)
            await self._tick.wait()
            self._tick = trio.Event()
            job.state.observe(Stopped(Report(self.code, 0.0, 10.0)))
            if job.shutdown.draining.is_set() or self.code:
                return self.code
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_when_drained, job, nursery.cancel_scope)
                await self._tick.wait()
                self._tick = trio.Event()
                nursery.cancel_scope.cancel()
            if job.shutdown.draining.is_set():
                return 0

    async def _cancel_when_drained(self, job: Job, scope: trio.CancelScope) -> None:
        await job.shutdown.draining.wait()
        scope.cancel()

    async def tick(self) -> None:
        """End the pass, or begin the next one."""
        self._tick.set()
        await wait_all_tasks_blocked()

    async def reload(self) -> str:
        assert self.job.reload is not None
        answer = await self.job.reload()
        await wait_all_tasks_blocked()
        return answer

    @property
    def texts(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Changed | Warned)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    path = tmp_path / "shop.toml"
    write(path, text(2))
    return path


def write(path: Path, new: str) -> None:
    path.write_text(new)


def text(connections: int, *more: str, target: str = "target") -> str:
    keys = ['every = "60s"', f"connections = {connections}", *more]
    return "\n".join(["[source]", 'path = "source"', "[target]", f'url = "./{target}"', "[sync]", *keys, ""])


def loop_of(file: Path) -> Loop:
    profile, events = load_profile(file), list[Event]()
    return Loop(job_for(profile, options_for(profile, observers=[events.append])), events)


def again(profile: Profile) -> Profile:
    return load_profile(profile.path)


async def test_new_profile_is_used_after_the_pass_in_progress(file: Path) -> None:
    it = loop_of(file)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading(it.work, again), it.job)
        await wait_all_tasks_blocked()
        write(file, text(7))
        assert "when the pass in progress has ended" in await it.reload()
        assert it.seen == [2]
        await it.tick()
        assert it.seen == [2, 7]
        assert it.job.profile.sync.most_connections == 7
        it.job.shutdown.drain()
        await it.tick()
    assert [line.partition(":")[0] for line in it.texts] == [f"going on with the profile {file} as it is now"]
    assert it.job.reload is None, "the run is over"


async def test_new_profile_is_used_at_once_between_passes(file: Path) -> None:
    it = loop_of(file)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading(it.work, again), it.job)
        await wait_all_tasks_blocked()
        await it.tick()
        write(file, text(7, 'bwlimit = "1M"'))
        bandwidth = it.job.options.policy.bandwidth
        assert bandwidth is not None
        assert (await it.reload()).endswith("is used now")
        assert it.seen == [2, 7]
        assert bandwidth.limit == 1 << 20, "the same limit, which the control socket knows"
        await it.tick()
        it.job.shutdown.drain()


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        ("[source", "not valid TOML"),
        (text(99), "sync.connections"),
        (text(2).replace('every = "60s"\n', ""), "sync.every and sync.watch are gone"),
        (text(2).replace("./target", "ftp://demo@127.0.0.1:1/x"), "target"),
    ],
)
async def test_profile_that_cannot_be_used_changes_nothing(new: str, reason: str, file: Path) -> None:
    it = loop_of(file)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading(it.work, again), it.job)
        await wait_all_tasks_blocked()
        write(file, new)
        with pytest.raises(ProfileError, match=reason) as caught:
            await it.reload()
        assert "\n" not in str(caught.value)
        await it.tick()
        await it.tick()
        assert it.seen == [2, 2]
        it.job.shutdown.drain()
        await it.tick()


async def test_new_target_needs_its_journal(file: Path) -> None:
    it = loop_of(file)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading(it.work, again), it.job)
        await wait_all_tasks_blocked()
        write(file, text(2, target="other"))
        with lock_journal_of(load_profile(file)), pytest.raises(JournalLocked):
            await it.reload()
        await it.reload()
        await it.tick()
        assert it.job.state.target.endswith("other")
        it.job.shutdown.drain()
        await it.tick()


async def test_profile_that_watches_says_how_often_everything_is_compared(file: Path) -> None:
    it = loop_of(file)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading(it.work, again), it.job)
        await wait_all_tasks_blocked()
        write(file, text(2).replace('every = "60s"', "watch = true"))
        await it.reload()
        await it.tick()
        assert it.job.state.pace.every == 3_600.0
        it.job.shutdown.drain()
        await it.tick()


async def test_unchanged_profile_is_not_begun_anew(file: Path) -> None:
    it = loop_of(file)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading(it.work, again), it.job)
        await wait_all_tasks_blocked()
        assert await it.reload() == "the profile has not changed"
        it.job.shutdown.drain()
        await it.tick()
    assert it.seen == [2]


async def test_rejected_login_ends_the_run_although_a_profile_waits(file: Path) -> None:
    it = loop_of(file)
    codes: list[int] = []

    async def run() -> None:
        codes.append(await reloading(it.work, again)(it.job))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        write(file, text(7))
        await it.reload()
        it.code = 6
        await it.tick()
    assert codes == [6]
    assert it.seen == [2]


async def test_stop_wins_over_a_profile_that_waits(file: Path) -> None:
    it = loop_of(file)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading(it.work, again), it.job)
        await wait_all_tasks_blocked()
        write(file, text(7))
        await it.reload()
        it.job.shutdown.drain()
        await it.tick()
    assert it.seen == [2]


async def test_single_run_has_no_reload(file: Path) -> None:
    write(file, text(2).replace('every = "60s"\n', ""))
    it = loop_of(file)
    it.code = 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloading(it.work, again), it.job)
        await wait_all_tasks_blocked()
        assert it.job.reload is None
        await it.tick()


async def test_hang_up_reloads_every_job_and_tells_the_service_manager(file: Path) -> None:
    told, fine, broken = Told(), loop_of(file), loop_of(file)

    async def worked() -> str:
        return "the profile has not changed"

    async def failed() -> str:
        raise ActorsyncError("shop.toml: no such file")

    fine.job.reload, broken.job.reload = worked, failed
    send, asked = trio.open_memory_channel[None](1)
    send.send_nowait(None)
    send.close()
    await reload_when_asked(asked, [broken.job, loop_of(file).job, fine.job], told)
    assert [message[0] for message in told.messages] == ["RELOADING=1", "READY=1"]
    assert fine.texts == ["the profile has not changed"]
    assert broken.texts == ["the run goes on with the profile that it has: shop.toml: no such file"]
