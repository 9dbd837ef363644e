"""Runs with several passes inside a program on trio: what starts them, changes them, and ends them."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

import actorsync
from actorsync import Event, open_sync
from actorsync.errors import JournalLocked, ProfileError, RunFailed, StageFailed
from actorsync.events import Done, PassBegan, Started, Stopped, WatchStarted
from tests.runs.profiles import tree


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    (tmp_path / "source" / "sub").mkdir(parents=True)
    (tmp_path / "source" / "a.txt").write_text("a")
    path = tmp_path / "profile.toml"
    path.write_text('[source]\npath = "source"\n[target]\nurl = "target"\n[sync]\ndelete = true\nmax-delete = "100%"\n')
    return path


def save(profile: Path, path: str, text: str) -> None:
    (profile.parent / "source" / path).write_text(text)


def target(profile: Path) -> dict[str, bytes]:
    return tree(profile.parent / "target")


async def test_a_change_during_the_block_is_mirrored_until_the_block_ends(profile: Path) -> None:
    seen: list[Event] = []
    with trio.fail_after(30):
        async with open_sync(profile, watch=True) as sync:
            async for event in sync.events:
                seen.append(event)
                if isinstance(event, Stopped) and len(target(profile)) == 1:
                    save(profile, "sub/b.txt", "b")
                elif isinstance(event, Stopped) and len(target(profile)) == 2:
                    assert sync.report is event.report
                    break
    assert sync.stopped.is_set()
    assert target(profile) == {"a.txt": b"a", "sub/b.txt": b"b"}
    passes = [event.directories for event in seen if isinstance(event, PassBegan)]
    assert passes == [None, ("sub",)]
    assert any(isinstance(event, WatchStarted) for event in seen)
    assert sync.report.exit_code in {0, 3}, "the end of the block drains a pass that goes on"
    async with open_sync(profile) as again:
        pass
    assert again.report.copied == 0, "the journal is unlocked, and knows what was done"


async def test_events_end_when_the_run_was_drained(profile: Path) -> None:
    stops = 0
    with trio.fail_after(30):
        async with open_sync(profile, watch=True) as sync:
            async for event in sync.events:
                if isinstance(event, Stopped):
                    stops += 1
                    sync.drain()
            assert sync.stopped.is_set()
    assert stops == 1


@pytest.mark.parametrize("how", ["sync.watch", "sync.every"])
async def test_a_profile_that_repeats_is_mirrored_once_unless_the_program_asks(how: str, profile: Path) -> None:
    overrides = {how: True if how == "sync.watch" else "1h"}
    with trio.fail_after(30):
        async with open_sync(profile, overrides=overrides) as sync:
            await sync.stopped.wait()
        assert sync.report.copied == 1
        with pytest.raises(RuntimeError, match=r"rescan: this run ends after its pass; open it with watch=True"):
            sync.rescan()
        save(profile, "a.txt", "newer")
        async with open_sync(profile, overrides=overrides, repeat=True) as sync:
            await sync.catch_up()
            assert target(profile) == {"a.txt": b"newer"}
            levels = sync.statistics()
            assert levels.next_full_pass is not None
            assert not sync.stopped.is_set()
        assert sync.statistics().next_full_pass is None


async def test_repeat_without_a_period_is_one_pass(profile: Path) -> None:
    with trio.fail_after(30):
        async with open_sync(profile, repeat=True) as sync:
            await sync.stopped.wait()
    assert sync.report.copied == 1


@pytest.mark.parametrize("how", ["sync.watch", "sync.every"])
async def test_after_catch_up_everything_is_on_the_target(how: str, profile: Path) -> None:
    overrides = {how: True if how == "sync.watch" else "1h"}
    with trio.fail_after(30):
        async with open_sync(profile, overrides=overrides, repeat=True) as sync:
            for text in ("1", "22", "333"):
                save(profile, "sub/b.txt", text)
                report = await sync.catch_up()
                assert report.exit_code == 0
                assert target(profile)["sub/b.txt"] == text.encode()
            sync.drain()
            with pytest.raises(RunFailed, match="the run has ended before a pass over the whole source"):
                await sync.catch_up()


@pytest.mark.parametrize("how", ["sync.watch", "sync.every"])
async def test_no_pass_begins_while_the_run_is_paused(how: str, profile: Path) -> None:
    overrides = {how: True if how == "sync.watch" else "1h"}
    began: list[Event] = []

    def note(event: Event) -> None:
        if isinstance(event, Started):
            began.append(event)

    with trio.fail_after(30):
        async with open_sync(profile, overrides=overrides, repeat=True, observers=[note]) as sync:
            await sync.catch_up()
            sync.pause()
            assert sync.is_paused
            count = len(began)
            save(profile, "a.txt", "newer")
            sync.rescan()
            with trio.move_on_after(1.5):
                await sync.catch_up()
            assert len(began) == count
            assert target(profile) == {"a.txt": b"a"}
            sync.resume()
            assert not sync.is_paused
            await sync.catch_up()
            assert target(profile) == {"a.txt": b"newer"}


async def test_a_paused_run_ends_with_its_block(profile: Path) -> None:
    with trio.fail_after(30):
        async with open_sync(profile, watch=True) as sync:
            sync.pause()
    assert sync.stopped.is_set()
    assert sync.report.exit_code in {0, 3}


async def test_limits_change_during_the_run_within_those_of_the_profile(profile: Path) -> None:
    with trio.fail_after(30):
        async with open_sync(profile, watch=True, overrides={"sync.connections": 4}) as sync:
            assert (sync.connections, sync.bwlimit) == (4, None)
            sync.connections, sync.bwlimit = 2, 1e6
            assert (sync.connections, sync.bwlimit) == (2, 1e6)
            sync.connections = 64
            assert sync.connections == 4
            with pytest.raises(ValueError, match=r"connections: 0 is not a whole number from 1"):
                sync.connections = 0
            await sync.catch_up()
    assert target(profile) == {"a.txt": b"a"}


async def test_a_path_is_retried_when_the_program_says_so(profile: Path) -> None:
    (profile.parent / "source" / "secret").symlink_to("nowhere")
    with trio.fail_after(30):
        async with open_sync(profile, watch=True, overrides={"sync.links": "error"}) as sync:
            report = await sync.catch_up()
            assert report.exit_code == 1
            (profile.parent / "source" / "secret").unlink()
            save(profile, "secret", "a file by now")
            sync.retry("./secret")
            while "secret" not in target(profile):
                await sync.catch_up()


async def test_a_reader_that_stopped_to_read_does_not_hold_up_the_end_of_the_block(profile: Path) -> None:
    for number in range(1_200):
        save(profile, f"{number}", "x")
    with trio.fail_after(60):
        async with open_sync(profile, watch=True) as sync:
            await anext(sync.events)
    assert sync.stopped.is_set()


async def test_an_error_in_the_block_ends_the_passes_and_is_raised(profile: Path) -> None:
    error = ValueError("of the block")

    async def block() -> None:
        async with open_sync(profile, watch=True) as sync, trio.open_nursery() as nursery:
            nursery.start_soon(sync.stopped.wait)
            await sync.catch_up()
            raise error

    with trio.fail_after(30), pytest.raises(ExceptionGroup) as raised:
        await block()
    assert raised.value.exceptions == (error,)
    async with open_sync(profile) as sync:
        pass
    assert sync.report.copied == 0


async def test_a_cancellation_from_outside_ends_the_passes(profile: Path) -> None:
    with trio.fail_after(30), trio.CancelScope() as scope:
        async with open_sync(profile, watch=True) as sync, trio.open_nursery() as nursery:
            nursery.start_soon(sync.stopped.wait)
            await sync.catch_up()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert sync.stopped.is_set()
    async with open_sync(profile) as again:
        pass
    assert again.report.exit_code == 0


async def test_an_observer_that_raises_ends_the_passes(profile: Path) -> None:
    def fail(event: Event) -> None:
        if isinstance(event, Done):
            raise ValueError("of the observer")

    async def block() -> None:
        async with open_sync(profile, watch=True, observers=[fail]) as sync:
            await sync.stopped.wait()

    with trio.fail_after(30), pytest.raises(StageFailed, match=r"the observer .*fail.* raised ValueError"):
        await block()


async def test_an_async_observer_has_the_events_of_all_passes(profile: Path) -> None:
    stops: list[Event] = []

    async def note(event: Event) -> None:
        await trio.lowlevel.checkpoint()
        if isinstance(event, Stopped):
            stops.append(event)

    with trio.fail_after(30):
        async with open_sync(profile, watch=True, observers=[note]) as sync:
            await sync.catch_up()
            await sync.catch_up()
    assert len(stops) >= 2


async def test_a_second_run_of_the_profile_is_refused_at_its_beginning(profile: Path) -> None:
    with trio.fail_after(30):
        async with open_sync(profile, watch=True) as sync:
            with pytest.raises(JournalLocked):
                async with open_sync(profile, watch=True):
                    pytest.fail("the journal is locked")
            assert not sync.stopped.is_set()


async def test_a_code_that_is_typed_refuses_a_run_that_repeats(profile: Path) -> None:
    keys = {"url": "sftp://me@127.0.0.1/www", "otp": {"prompt": True}, "password": {"env": "ANY"}}
    typed = actorsync.make_profile(profile.parent / "source", keys)
    with trio.fail_after(30), pytest.raises(ProfileError, match=r"target\.otp: a run that repeats"):
        async with open_sync(typed, watch=True):
            pytest.fail("it cannot log in")
