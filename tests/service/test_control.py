"""The control socket of a run, asked by clients in the same process."""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import attrs
import pytest
import trio

from actorsync.actors.shutdown import Shutdown
from actorsync.errors import RunUnreachable
from actorsync.model.event import Changed, Event, Warned
from actorsync.observe.board import Board
from actorsync.profile import Profile
from actorsync.runs.mirror import Mirror
from actorsync.runs.options import options_for
from actorsync.runs.runner import run_once
from actorsync.service.asking.address import connectable, socket_path
from actorsync.service.asking.client import ask_run
from actorsync.service.asking.messages import Answer, Request
from actorsync.service.control import control
from actorsync.service.jobs import Job, job_for
from tests.runs.profiles import make_profile


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    (tmp_path / "source").mkdir()
    return make_profile(tmp_path / "source", str(tmp_path / "target"), "sync.every=1h")


@attrs.frozen
class Controlled:
    """A job whose journal is locked, and what its observers were shown."""

    job: Job
    events: list[Event]

    async def ask(self, verb: str, value: str = "") -> Answer:
        return await trio.to_thread.run_sync(ask_run, self.job.profile, Request(verb, value))

    @property
    def changes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Changed)]


def job_of(profile: Profile) -> Controlled:
    events: list[Event] = []
    job = job_for(profile, options_for(profile, observers=[events.append]))
    control(job, Board({job.name: job.state}))
    return Controlled(job, events)


@asynccontextmanager
async def controlled(profile: Profile) -> AsyncIterator[Controlled]:
    """Hold the journal of a profile as a run does that is between two passes."""
    it = job_of(profile)
    it.job.control.has_next_pass = True
    async with Mirror(profile, it.job.options).ready():
        yield it


async def test_pause_and_resume_change_the_run_and_are_published(profile: Profile) -> None:
    async with controlled(profile) as it:
        assert (await it.ask("pause")).text.startswith("paused")
        assert it.job.control.is_paused
        assert (await it.ask("pause")).text == "already paused"
        assert (await it.ask("resume")).text == "resumed"
        assert not it.job.control.is_paused
        assert [text.partition(":")[0] for text in it.changes] == ["paused", "resumed"]


async def test_limits_are_changed_and_wrong_values_are_refused(profile: Profile) -> None:
    async with controlled(profile) as it:
        bandwidth = it.job.options.policy.bandwidth
        assert bandwidth is not None, "a limit can be set in a run that began without one"
        assert (await it.ask("bwlimit", "2M")).code == 0
        assert bandwidth.limit == 2 << 20
        assert (await it.ask("bwlimit", "off")).text == "no bandwidth limit"
        assert bandwidth.limit is None
        assert (await it.ask("bwlimit", "fast")).code == 2
        assert (await it.ask("connections", "2")).text == "up to 2 connections"
        assert it.job.control.connections == 2
        assert "the profile allows no more" in (await it.ask("connections", "60")).text
        assert (await it.ask("connections", "auto")).code == 0
        assert it.job.control.connections is None
        for value in ("0", "65", "-1", "many", "²"):
            assert (await it.ask("connections", value)).code == 2


async def test_rescan_is_noted_and_retry_needs_a_parked_path(profile: Profile) -> None:
    async with controlled(profile) as it:
        assert (await it.ask("rescan")).code == 0
        assert it.job.control.take_rescan()
        refused = await it.ask("retry", "./a.txt")
        assert (refused.code, refused.text) == (
            2,
            "retry: a.txt is not parked; actorsync status lists the parked paths",
        )


async def test_verbs_for_later_passes_are_refused_in_a_single_run(profile: Profile) -> None:
    async with controlled(profile) as it:
        it.job.control.has_next_pass = False  # the profile has sync.every, and this run is one with --once
        for verb, value in (("rescan", ""), ("retry", "a"), ("reload", "")):
            assert (await it.ask(verb, value)).code == 2


async def test_stops_are_answered_although_they_end_the_run(profile: Profile) -> None:
    for verb in ("drain", "cancel"):
        it = job_of(profile)
        async with trio.open_nursery() as nursery:
            answers: list[Answer] = []

            async def ask(verb: str = verb, it: Controlled = it, answers: list[Answer] = answers) -> None:
                answers.append(await it.ask(verb))

            async with Mirror(profile, it.job.options).ready():
                nursery.start_soon(ask)
                await it.job.shutdown.draining.wait()
        assert [answer.code for answer in answers] == [0]
        assert it.job.shutdown.cancelling.is_set() == (verb == "cancel")


async def test_status_has_the_state_of_the_mirror(profile: Profile) -> None:
    async with controlled(profile) as it:
        await it.ask("bwlimit", "1M")
        status = (await it.ask("status")).status
        assert status is not None
        assert status["pid"] == os.getpid()
        (mirror,) = status["mirrors"]
        assert (mirror["name"], mirror["state"], mirror["bwlimit"]) == ("profile", "idle", 1 << 20)


async def test_socket_exists_during_the_run_for_its_user_only(profile: Profile) -> None:
    path = socket_path(profile)
    async with controlled(profile):
        status = path.stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o600
    assert not path.exists()
    with pytest.raises(RunUnreachable, match=r"no run of .* is going on"):
        ask_run(profile, Request("pause"))


async def test_socket_of_a_killed_run_is_replaced(profile: Profile) -> None:
    async with controlled(profile):
        pass
    path = socket_path(profile)
    with closing(socket.socket(socket.AF_UNIX)) as dead, connectable(path) as address:
        dead.bind(address)
    with pytest.raises(RunUnreachable, match="no run"):
        ask_run(profile, Request("pause"))
    async with controlled(profile) as it:
        assert (await it.ask("resume")).text == "not paused"


async def test_run_goes_on_without_a_socket_where_none_can_be(profile: Profile) -> None:
    path = socket_path(profile)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("something else")
    it = job_of(profile)
    report = await run_once(profile, it.job.options)
    assert report.exit_code == 0
    assert [event.text.partition(":")[0] for event in it.events if isinstance(event, Warned)][:1] == [
        "no control socket"
    ]
    assert path.read_text() == "something else"


async def test_state_directory_with_a_long_path_works(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ("long" * 20) / ("longer" * 20)))
    async with controlled(profile) as it:
        assert len(str(socket_path(profile))) > 200
        assert (await it.ask("pause")).code == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff\xfe\n",
        b"[" * 100_000,
        b"[" * 30_000 + b"\n",
        b'{"verb": 7}\n',
        b'{"verb": "explode"}\n',
        b'{"verb": "pause", "value": "x"}\n',
        b'{"verb": "retry"}\n',
        b"",
    ],
)
async def test_garbage_is_answered_or_dropped_and_changes_nothing(sent: bytes, profile: Profile) -> None:
    async with controlled(profile) as it:
        async with await trio.open_unix_socket(str(socket_path(profile))) as stream:
            await stream.send_all(sent)
            try:
                await stream.send_eof()
                answer = b"".join([piece async for piece in stream])
            except trio.BrokenResourceError:  # more was sent than is read
                answer = b""
        assert not answer or json.loads(answer)["code"] == 2
        assert (await it.ask("resume")).text == "not paused"
        assert it.changes == []


async def test_clients_that_neither_send_nor_read_delay_nobody(profile: Profile) -> None:
    it = job_of(profile)
    with closing(socket.socket(socket.AF_UNIX)) as silent, closing(socket.socket(socket.AF_UNIX)) as deaf:
        async with Mirror(profile, it.job.options).ready():
            for client in (silent, deaf):
                client.connect(str(socket_path(profile)))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            deaf.sendall(Request("status").encode())
            assert (await it.ask("pause")).code == 0
        silent.settimeout(10)
        assert silent.recv(1) == b"", "the end of the run does not wait for the client"


async def test_many_clients_at_once_are_all_answered(profile: Profile) -> None:
    codes: list[int] = []
    async with controlled(profile) as it:

        async def ask(verb: str) -> None:
            codes.append((await it.ask(verb)).code)

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(ask, ("pause", "resume", "status", "rescan")[number % 4])
    assert codes == [0] * 40


async def test_process_of_another_user_is_not_answered(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    def credentials(_: object) -> bytes:
        return struct.pack("3i", 1, os.geteuid() + 4711, 1)

    async with controlled(profile) as it:
        monkeypatch.setattr("actorsync.service.asking.address.peer_credentials", credentials)
        async with await trio.open_unix_socket(str(socket_path(profile))) as stream:
            await stream.send_all(Request("pause").encode())
            with suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""
        assert not it.job.control.is_paused


async def test_error_of_the_run_is_raised_unchanged(profile: Profile) -> None:
    class Bug(Exception):
        pass

    it = job_of(profile)
    with pytest.raises(Bug):
        async with Mirror(profile, it.job.options).ready():
            raise Bug
    assert not socket_path(profile).exists()


def test_follower_takes_each_step_and_takes_steps_alone() -> None:
    async def main() -> None:
        outer = Shutdown(7.0, 3.0)
        with outer.follower() as inner:
            inner.drain()
            assert not outer.draining.is_set()
        with outer.follower() as inner:
            outer.drain()
            assert inner.draining.is_set()
            outer.cancel(within=1.0)
            assert inner.cancelling.is_set()
            assert inner.cleanup_seconds == 1.0
            outer.now()
            assert inner.cleanup_seconds == 0.0
        with outer.follower() as late:
            assert late.cancelling.is_set()
            assert late.cleanup_seconds == 0.0

    trio.run(main)
