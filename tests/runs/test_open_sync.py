"""Runs inside a program on trio: the block, its events and levels, and each way to end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.abc import ReceiveChannel, SendChannel

import actorsync
from actorsync import Event, Listing, Sync, listing_stage, open_sync
from actorsync.errors import JournalLocked, ProfileError, StageFailed
from actorsync.events import Done, Started, Stopped
from actorsync.testing import EmbeddedFtpServer
from tests.support.mirror import contents
from tests.support.scenarios import write
from tests.support.system.program import intents_of, write_profile


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    for number in range(20):
        write(tmp_path / "source" / f"d{number % 3}" / f"{number}", b"%d" % number)
    return write_profile(tmp_path / "profile.toml", tmp_path / "source", tmp_path / "target")


def pair(profile: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return contents(profile.parent / "source"), contents(profile.parent / "target")


async def test_open_sync_runs_beside_its_block(profile: Path) -> None:
    seen: list[Event] = []
    async with open_sync(profile) as sync:
        seen += [event async for event in sync.events]
    assert isinstance(seen[0], Started)
    assert isinstance(seen[-1], Stopped)
    assert sync.report == seen[-1].report
    assert sync.report.exit_code == 0
    assert sync.report.copied == 20
    source, target = pair(profile)
    assert source == target


async def test_the_block_waits_for_the_run(profile: Path) -> None:
    async with open_sync(profile) as sync:
        with pytest.raises(RuntimeError, match="no report before the run has stopped"):
            _ = sync.report
    assert sync.stopped.is_set()
    assert sync.report.copied == 20
    async with open_sync(actorsync.load_profile(profile), overrides={"sync.delete": "true"}) as sync:
        with trio.fail_after(10):
            await sync.stopped.wait()
        assert sync.report.copied == 0, "what is stopped has written and unlocked its journal"
        async with open_sync(profile):
            pass


async def test_statistics_show_the_levels_of_the_run(profile: Path) -> None:
    async with open_sync(profile) as sync:
        before = sync.statistics()
        assert before.files_done <= 20
    after = sync.statistics()
    assert (after.files_found, after.files_planned, after.files_done) == (20, 20, 20)
    assert after.bytes_planned == after.bytes_done == after.bytes_sent == 30
    assert after.is_total_known
    assert [connection.number for connection in after.connections] == [1, 2, 3, 4]


def held_up(release: trio.Event) -> actorsync.ListingStage:
    @listing_stage
    async def held(receive: ReceiveChannel[Listing], send: SendChannel[Listing]) -> None:
        async for listing in receive:
            await release.wait()
            await send.send(listing)

    return held


@pytest.mark.parametrize(("verb", "code"), [("drain", 3), ("cancel", 130), ("now", 130)])
async def test_the_block_can_stop_the_run(verb: str, code: int, profile: Path) -> None:
    async with open_sync(profile, stages=[held_up(trio.Event())]) as sync:
        await anext(sync.events)
        getattr(sync, verb)()
    assert sync.report.exit_code == code
    assert intents_of(profile) == []
    async with open_sync(profile) as sync:
        pass
    assert sync.report.copied == 20


async def test_a_later_drain_never_extends_the_deadline(profile: Path) -> None:
    release = trio.Event()

    async def never() -> None:
        await release.wait()

    async with open_sync(profile, before_commit=never) as sync:
        async for event in sync.events:
            if isinstance(event, Started):
                sync.drain()
                await trio.sleep(0.1)
                assert not sync.stopped.is_set() or sync.report.left
                began = trio.current_time()
                sync.drain(deadline=began + 0.2)
    assert trio.current_time() - began < 20, "the profile allows thirty"


async def test_an_error_in_the_block_cancels_the_run_and_is_raised(profile: Path) -> None:
    syncs: list[Sync] = []
    error = ValueError("of the block")

    async def block() -> None:
        async with open_sync(profile, stages=[held_up(trio.Event())]) as sync:
            syncs.append(sync)
            raise error

    with pytest.raises(ValueError, match="of the block") as raised:
        await block()
    assert raised.value is error
    assert syncs[0].stopped.is_set()
    assert syncs[0].report.exit_code == 130


async def test_a_cancellation_from_outside_is_passed_on(profile: Path) -> None:
    syncs: list[Sync] = []
    with trio.move_on_after(0.3) as scope:
        async with open_sync(profile, stages=[held_up(trio.Event())]) as sync:
            syncs.append(sync)
            async for _ in sync.events:
                pass
    assert scope.cancelled_caught
    assert syncs[0].stopped.is_set()
    assert syncs[0].report.cancelled
    async with open_sync(profile) as sync:
        pass
    assert sync.report.copied == 20


async def test_open_sync_raises_what_prevents_the_run(profile: Path, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no such file"):
        async with open_sync(tmp_path / "none.toml"):
            pytest.fail("it has begun")
    with pytest.raises(ProfileError, match=r"sync\.delet"):
        async with open_sync(profile, overrides={"sync.delet": "true"}):
            pytest.fail("it has begun")
    release = trio.Event()
    async with open_sync(profile, stages=[held_up(release)]):
        with pytest.raises(JournalLocked):
            async with open_sync(profile):
                pytest.fail("it has begun")
        release.set()


async def test_a_stage_that_raises_makes_open_sync_raise_at_its_end(profile: Path) -> None:
    @listing_stage
    async def broken(receive: ReceiveChannel[Listing], send: SendChannel[Listing]) -> None:
        raise KeyError("x")

    seen: list[Event] = []
    with pytest.raises(StageFailed, match="KeyError") as raised:
        async with open_sync(profile, stages=[broken]) as sync:
            seen += [event async for event in sync.events]
    assert isinstance(raised.value.__cause__, KeyError)
    assert isinstance(seen[-1], Stopped)
    assert sync.report == seen[-1].report
    assert sync.report.exit_code == 7


async def test_an_unreachable_server_is_in_the_report(profile: Path, embedded: EmbeddedFtpServer) -> None:
    away = profile.with_name("away.toml")
    away.write_text(
        f'[source]\npath = "source"\n[target]\nurl = "ftp://me@127.0.0.1:{embedded.port}/"\n'
        'password = { env = "TEST_PASSWORD" }\n'
    )
    os.environ["TEST_PASSWORD"] = "wrong"
    try:
        async with open_sync(away) as sync:
            pass
    finally:
        del os.environ["TEST_PASSWORD"]
    assert sync.report.exit_code == 6
    assert sync.report.error


async def test_two_profiles_run_in_two_blocks(profile: Path, tmp_path: Path) -> None:
    second = write_profile(tmp_path / "second.toml", tmp_path / "source", tmp_path / "elsewhere")
    async with open_sync(profile) as one, open_sync(second) as two:
        copied = 0
        async for event in one.events:
            copied += isinstance(event, Done)
    assert one.report.copied == two.report.copied == 20
    assert copied >= 20


PROGRAM = """
import signal, sys, trio
from actorsync import open_sync
from actorsync.events import Stopped

async def main():
    async with open_sync(sys.argv[1], watch=sys.argv[2] == "watch", observers=[said]) as sync:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()

def said(event):
    print("pass over" if isinstance(event, Stopped) else "event", flush=True)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background
trio.run(main)
"""


@pytest.mark.parametrize("how", ["watch", "once"])
def test_an_interrupt_of_the_program_cancels_the_run_and_is_raised(how: str, profile: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, os.fspath(profile), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            errors = process.stderr.read()
            process.wait(30)
        finally:
            process.kill()
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
    assert intents_of(profile) == []
    assert actorsync.run(profile).exit_code == 0
    source, target = pair(profile)
    assert source == target, "no temporary is left"


def test_public_names_are_imported_when_first_used() -> None:
    code = (
        "import sys, actorsync; assert 'trio' not in sys.modules; "
        "assert {name for name in actorsync.__all__ if getattr(actorsync, name) is None} == set(); "
        "assert set(actorsync.__all__) <= set(dir(actorsync))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        actorsync.nonsense  # noqa: B018
