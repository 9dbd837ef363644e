"""The stop contract inside a process: three verbs, a deadline for each, and phases in which the other side hangs."""

from __future__ import annotations

import _thread
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.shutdown import GOODBYE, Shutdown
from actorsync.model.event import Connected, Event, Reconnecting, Started
from actorsync.model.report import Report
from actorsync.profile import load_profile
from actorsync.runs.options import options_for
from actorsync.runs.runner import run_once
from actorsync.runs.stop_signals import Step, StopRequests

# ---- the object


async def test_m012_a_drain_becomes_a_cancel_and_that_has_a_deadline(autojump_clock: MockClock) -> None:
    shutdown = Shutdown(drain_seconds=30, cancel_seconds=5)
    assert shutdown.longest == 35 + GOODBYE
    times: list[float] = []
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(shutdown.enforce, scope)
        shutdown.drain()
        with scope:
            try:
                await trio.sleep_forever()
            finally:
                times.append(trio.current_time())
                with shutdown.tidying():
                    await trio.sleep_forever()
                times.append(trio.current_time())
    began = times[0] - 30
    assert [round(at - began, 3) for at in times] == [30, 35]


@pytest.mark.parametrize(("verb", "ends_at"), [("cancel", 12), ("now", 10), ("nothing", 15)])
async def test_m122_a_harder_verb_shortens_the_tidying_up_that_is_going_on(
    verb: str, ends_at: float, autojump_clock: MockClock
) -> None:
    shutdown = Shutdown(cancel_seconds=5)
    began = trio.current_time()

    async def tidy() -> None:
        await trio.sleep(10)
        with shutdown.tidying():
            await trio.sleep_forever()
        assert trio.current_time() == pytest.approx(began + max(ends_at, 10.5 if verb == "now" else 0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tidy)
        await trio.sleep(10.5)
        match verb:
            case "cancel":
                shutdown.cancel(within=1.5)
            case "now":
                shutdown.now()
    assert (verb == "nothing") is not shutdown.cancelling.is_set()


@pytest.mark.parametrize("verb", ["drain", "cancel", "now"])
async def test_m012_with_no_time_at_all_nothing_is_waited_for(verb: str, autojump_clock: MockClock) -> None:
    shutdown = Shutdown(drain_seconds=0, cancel_seconds=0)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(shutdown.enforce, scope)
        getattr(shutdown, verb)()
        with scope:
            try:
                await trio.sleep_forever()
            finally:
                with shutdown.tidying():
                    await trio.sleep_forever()
    assert trio.current_time() == began


# ---- requests


def requests_of(*seconds: float, does: list[int] | None = None) -> StopRequests:
    done = [] if does is None else does
    return StopRequests([Step(lambda n=n: done.append(n), s) for n, s in enumerate(seconds, 1)])  # type: ignore[misc]


def test_m121_signals_do_one_step_each_and_the_result_comes_back() -> None:
    done: list[int] = []

    async def main() -> str:
        for n in (1, 2):
            os.kill(os.getpid(), signal.SIGTERM)
            while len(done) < n:  # noqa: ASYNC110 - what sets it is the thing under test
                await trio.sleep(0.001)
        return "result"

    before = signal.getsignal(signal.SIGTERM)
    requests = requests_of(60, 60, does=done)
    assert requests.run(main) == "result"
    assert (done, requests.forced_code) == ([1, 2], 143)
    assert signal.getsignal(signal.SIGTERM) is before


def test_m121_a_signal_that_interrupts_no_waiting_is_heard_all_the_same() -> None:
    """As one does that comes just before the main thread begins to wait: noted by Python, and no system call ends."""
    done: list[int] = []

    async def main() -> str:
        await trio.sleep(0.05)  # the main thread waits by now
        _thread.interrupt_main(signal.SIGTERM)  # takes note of a signal, and sends none
        with trio.move_on_after(10):
            while not done:  # noqa: ASYNC110 - what sets it is the thing under test
                await trio.sleep(0.001)
        return "result"

    requests = requests_of(60, does=done)
    assert requests.run(main) == "result"
    assert (done, requests.forced_code) == ([1], 143)


def test_an_error_comes_back_as_it_is() -> None:
    async def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        requests_of().run(main)


@pytest.mark.parametrize(("seconds", "stops", "least"), [((0.3,), 1, 0.3), ((60, 0.2), 2, 0.2), ((0.2, 60), 2, 0.2)])
def test_m122_when_the_time_is_over_the_process_is_left(seconds: tuple[float, ...], stops: int, least: float) -> None:
    """In a child: whatever the run does, here nothing that gives anybody else a turn."""

    def child() -> None:
        requests = requests_of(*seconds)

        async def main() -> None:
            for _ in range(stops):
                requests.stop()
            time.sleep(60)  # noqa: ASYNC251 - that is the point

        requests.run(main)

    began = time.monotonic()
    assert code_of(child) == 130
    assert least <= time.monotonic() - began < least + 5


def test_m122_one_request_more_than_there_are_steps_leaves_at_once_and_waits_for_no_last_words() -> None:
    def child() -> None:
        requests = requests_of(60)
        requests.last_words = lambda: time.sleep(60)

        async def main() -> None:
            requests.stop()
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(60)  # noqa: ASYNC251

        requests.run(main)

    began = time.monotonic()
    assert code_of(child) == 129
    assert time.monotonic() - began < 5


def test_m122_behind_the_end_of_a_program_signals_find_nothing_to_stop() -> None:
    def child() -> None:
        async def main() -> None:
            await trio.lowlevel.checkpoint()

        requests = requests_of(60)
        requests.ends_afterwards = True
        requests.run(main)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
        os._exit(7)

    assert code_of(child) == 7


def code_of(child: object) -> int:
    """Run something in a child of this process, and give its exit code."""
    assert callable(child)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of forks in a process with threads; ours uses none of them
        pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---- whatever the other side does


@attrs.frozen
class Hanging:
    """A place where a connection hangs.

    ``says``: what the other side says at once, and to each line, before it falls silent.
    """

    scheme: str
    says: Sequence[bytes] = ()


PHASES = {
    "connecting": Hanging("ftp"),
    "name": Hanging("ftp"),
    "greeting": Hanging("ftp"),
    "half a greeting": Hanging("ftp", [b"220-wel"]),
    "user": Hanging("ftp", [b"220 ready\r\n"]),
    "password": Hanging("ftp", [b"220 ready\r\n", b"331 password\r\n"]),
    "after the login": Hanging("ftp", [b"220 ready\r\n", b"331 password\r\n", b"230 in\r\n"]),
    "auth tls": Hanging("ftpes", [b"220 ready\r\n"]),
    "handshake": Hanging("ftpes", [b"220 ready\r\n", b"234 go on\r\n"]),
    "implicit handshake": Hanging("ftps"),
    "ssh banner": Hanging("sftp"),
    "ssh key exchange": Hanging("sftp", [b"SSH-2.0-OpenSSH_9.2\r\n"]),
}


@contextmanager
def hanging(phase: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """Give the address of something that hangs in this phase."""
    what = PHASES[phase]
    with ExitStack() as stack:
        if phase == "connecting":
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            address = listener.getsockname()
            for _ in range(4):  # until the kernel takes no more of them, and drops who knocks
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(address)
            yield "127.0.0.1", address[1]
            return
        if phase == "name":
            released = threading.Event()
            stack.callback(released.set)

            def look_up(*arguments: object) -> object:
                flags = arguments[5]
                assert isinstance(flags, int)
                if not flags & socket.AI_NUMERICHOST:  # which is asked for first, and where it blocks nothing
                    released.wait(10)
                raise socket.gaierror(socket.EAI_NONAME, "not known")

            monkeypatch.setattr(socket, "getaddrinfo", look_up)
            yield "nowhere.example", 21
            return
        yield stack.enter_context(saying(what.says))


@contextmanager
def saying(says: Sequence[bytes]) -> Iterator[tuple[str, int]]:
    """Serve one connection: say the first thing at once, and one more for each piece that is heard; then nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                client, _ = listener.accept()
                with client:
                    for n, piece in enumerate(says):
                        if n:
                            client.recv(4096)
                        client.sendall(piece)
                    while client.recv(4096):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("verb", ["drain", "cancel", "now"])
async def test_m002_m012_m121_m122_a_run_that_hangs_is_stopped_in_time(
    verb: str, phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("x")
    shutdown = Shutdown(drain_seconds=0.2, cancel_seconds=0.2)
    report: Report | None = None
    with hanging(phase, monkeypatch) as (host, port):
        profile = tmp_path / "profile.toml"
        profile.write_text(
            f'[source]\npath = "{source}"\n[target]\nurl = "{PHASES[phase].scheme}://me@{host}:{port}/"\n'
            'password = { env = "TEST_PASSWORD" }\n'
        )
        monkeypatch.setenv("TEST_PASSWORD", "password")
        begun, ended = trio.Event(), trio.Event()

        async def run() -> None:
            nonlocal report

            def watch(event: Event) -> None:
                assert not isinstance(event, Connected | Reconnecting)
                if isinstance(event, Started):
                    begun.set()

            loaded = load_profile(profile)
            report = await run_once(loaded, options_for(loaded, shutdown=shutdown, observers=[watch]))
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            with trio.fail_after(10):
                await begun.wait()
            await trio.sleep(0.15)
            getattr(shutdown, verb)()
            began = trio.current_time()
            with trio.fail_after(10):
                await ended.wait()
            took = trio.current_time() - began
    assert took <= shutdown.longest - (0 if verb == "drain" else shutdown.drain_seconds)
    assert report is not None
    assert report.exit_code == (3 if verb == "drain" else 130)
