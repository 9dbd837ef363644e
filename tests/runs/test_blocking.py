"""Runs for scripts: what they return and raise, and Ctrl-C at any moment, also under asyncio through a thread."""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.abc import ReceiveChannel, SendChannel

import actorsync
from actorsync import Event, Listing, listing_stage
from actorsync.cli.commands import run_command
from actorsync.errors import JournalLocked, ProfileError, StageFailed
from actorsync.events import Started, Stopped
from actorsync.testing.network.faults import Throttle
from actorsync.testing.network.ftp_proxy import FaultProxy, fault_proxy
from tests.support import FtpTarget
from tests.support.mirror import contents, temporaries
from tests.support.root import ROOT
from tests.support.scenarios import write
from tests.support.servers import ftp
from tests.support.system.program import intents_of, run_again, write_profile
from tests.support.tiers import IS_FULL, amount, diagonals

ROUNDS = amount("ROUNDS", short=1, full=3)
EXAMPLES = ROOT / "examples"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    for number in range(20):
        write(tmp_path / "source" / f"{number}", b"%d" % number)
    return write_profile(tmp_path / "profile.toml", tmp_path / "source", tmp_path / "target")


@listing_stage
async def hanging(receive: ReceiveChannel[Listing], send: SendChannel[Listing]) -> None:
    await trio.sleep_forever()


def test_run_returns_the_report(profile: Path) -> None:
    seen: list[Event] = []
    report = actorsync.run(profile, observers=[seen.append])
    assert (report.exit_code, report.copied) == (0, 20)
    assert isinstance(seen[0], Started)
    assert seen[-1] == Stopped(report)
    assert contents(profile.parent / "target") == contents(profile.parent / "source")
    assert actorsync.run(actorsync.load_profile(profile)).copied == 0
    assert actorsync.run(os.fspath(profile), overrides={"sync.connections": "1"}).copied == 0


def test_run_raises_the_documented_errors(profile: Path, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no such file"):
        actorsync.run(tmp_path / "none.toml")

    @listing_stage
    async def broken(receive: ReceiveChannel[Listing], send: SendChannel[Listing]) -> None:
        raise ZeroDivisionError

    with pytest.raises(StageFailed, match="ZeroDivisionError") as raised:
        actorsync.run(profile, stages=[broken])
    assert isinstance(raised.value.__cause__, ZeroDivisionError)

    def second(event: Event) -> None:
        if isinstance(event, Started):
            errors.append(in_thread(lambda: actorsync.run(profile)))

    errors: list[BaseException | None] = []
    assert actorsync.run(profile, observers=[second]).exit_code == 0
    assert [type(error) for error in errors] == [JournalLocked]


def in_thread(work: Any) -> BaseException | None:
    raised: list[BaseException | None] = [None]

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed over
            raised[0] = error

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0]


async def test_run_inside_trio_names_open_sync(profile: Path) -> None:
    for function in (actorsync.run, actorsync.plan):
        with pytest.raises(RuntimeError, match=r"use actorsync\.open_sync"):
            function(profile)
    report = await trio.to_thread.run_sync(lambda: actorsync.run(profile))
    assert report.copied == 20


def test_run_in_a_thread_of_asyncio_mirrors(profile: Path) -> None:
    report = asyncio.run(asyncio.to_thread(actorsync.run, profile))
    assert report.copied == 20


@pytest.mark.parametrize(("verb", "code"), [("drain", 3), ("cancel", 130), ("now", 130)])
def test_stop_from_another_thread_ends_the_run(verb: str, code: int, profile: Path) -> None:
    stop = actorsync.Stop()
    began = threading.Event()

    def ask() -> None:
        began.wait()
        getattr(stop, verb)()

    def tell(event: Event) -> None:
        began.set()

    thread = threading.Thread(target=ask)
    thread.start()
    report = actorsync.run(profile, stages=[hanging], stop=stop, observers=[tell])
    thread.join()
    assert report.exit_code == code
    assert stop.is_asked
    assert actorsync.run(profile, stop=stop).exit_code == code, "a stop that was asked for stays"
    assert actorsync.run(profile).copied == 20


def test_stop_escalates_and_never_softens(profile: Path) -> None:
    stop = actorsync.Stop()
    assert not stop.is_asked
    stop.ask()
    stop.ask()
    stop.drain()
    assert actorsync.run(profile, stop=stop).exit_code == 130
    with pytest.raises(KeyboardInterrupt):
        actorsync.plan(profile, stop=stop)


def test_signal_handlers_are_restored_after_the_run(profile: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    actorsync.run(profile)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_run_that_cannot_be_stopped_is_abandoned_at_the_third_signal(profile: Path) -> None:
    code = (
        "import actorsync, sys, threading, time\n"
        "def stuck(event):\n"
        "    print('stuck', flush=True)\n"
        "    time.sleep(60)\n"
        "try:\n"
        "    actorsync.run(sys.argv[1], observers=[stuck])\n"
        "except KeyboardInterrupt as error:\n"
        "    print(error)\n"
        "    sys.exit(5)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, profile], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        assert process.stdout.read() == "the run could not be stopped, and continues in a background thread\n"
        assert process.wait(30) == 5


# ---- Ctrl-C at random moments


@contextmanager
def slow_server(folder: Path) -> Iterator[tuple[FtpTarget, FaultProxy]]:
    with ftp.serving("proftpd" if IS_FULL else ftp.PYFTPDLIB, folder) as server:
        (server.root / "site").mkdir()
        server.adopt()
        with fault_proxy((server.host, server.port), Throttle(100_000)) as proxy:
            yield server, proxy


@pytest.mark.scaled
@pytest.mark.parametrize(("script", "presses"), diagonals(["deploy.py", "deploy_asyncio.py"], [1, 2, 3], every=2))
def test_ctrl_c_at_random_moments_leaves_a_consistent_target(
    script: str, presses: int, server_folder: Path, tmp_path: Path
) -> None:
    rng = random.Random(f"{script} {presses}")
    source = tmp_path / "source"
    for number in range(30):
        write(source / f"d{number % 4}" / f"{number}", rng.randbytes(rng.randrange(60_000)))
    with slow_server(server_folder) as (server, proxy):
        profile = write_profile(
            tmp_path / "profile.toml", source, server, "site", "[sync]", "connections = 2", host=proxy.host
        )
        root = server.root / "site"
        codes = []
        for _ in range(ROUNDS):
            command: list[str | Path] = [sys.executable, EXAMPLES / script, profile]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                wait_until_it_listens(process)
                time.sleep(rng.uniform(0, 1.5))
                for _ in range(presses):
                    if not has_said_something(process):  # else the run is over, and Ctrl-C is Python's again
                        process.send_signal(signal.SIGINT)
                    time.sleep(rng.uniform(0, 0.3))
                out, err = process.communicate(timeout=60)
            codes.append(process.returncode)
            assert err == "", err
            assert "files sent" in out
            assert process.returncode in ({3} if presses == 1 else {3, 130})
            assert set(temporaries(root)) <= set(intents_of(profile)), "a temporary that the journal does not know"
            write(source / "more" / f"{rng.randrange(1_000)}", rng.randbytes(50_000))
        proxy._rate = 0
        assert run_again(profile) == 0
        assert contents(root) == contents(source)
        assert temporaries(root) == []
        assert intents_of(profile) == []
    assert len(codes) == ROUNDS


def has_said_something(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0)[0])


def wait_until_it_listens(process: subprocess.Popen[str]) -> None:
    """Wait until the run has its thread. Before that, Ctrl-C acts as in any script."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if len(os.listdir(f"/proc/{process.pid}/task")) > 1:
            return
        time.sleep(0.005)


def test_the_examples_run_unchanged(profile: Path) -> None:
    for script in ("deploy.py", "deploy_asyncio.py"):
        done = subprocess.run([sys.executable, EXAMPLES / script, profile], capture_output=True, text=True, check=True)
        assert "files sent" in done.stdout
        assert done.stderr == ""
    assert run_command(["status", os.fspath(profile)]) == 0
