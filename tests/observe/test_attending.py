"""What goes on beside runs: it begins before them, ends after them, and can neither slow nor end them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

import actorsync
from actorsync.errors import FatalError, JournalLocked, ProfileError
from actorsync.model.event import Event, Stopped, Warned
from actorsync.observe.metrics_file import MetricsFile
from actorsync.profile import Profile, Secret
from actorsync.runs.options import options_for
from actorsync.runs.profile_journal import lock_journal_of
from actorsync.runs.runner import run_once
from actorsync.service.attending import attended
from actorsync.service.jobs import Job, job_for
from tests.runs.profiles import make_profile


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").write_text("a")
    return tmp_path / "source"


def profile_of(source: Path, *keys: str) -> Profile:
    return make_profile(source, str(source.parent / "target"), *keys)


def job_of(profile: Profile, events: list[Event], name: str = "") -> Job:
    return job_for(profile, options_for(profile, observers=[events.append]), name)


async def get(port: int, path: str) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return b"".join([part async for part in stream]).partition(b"\r\n\r\n")[2]


async def test_profile_without_observe_has_a_board_and_nothing_beside_it(source: Path) -> None:
    job = job_of(profile_of(source), [])
    before = list(trio.lowlevel.current_task().child_nurseries)
    async with attended([job]) as board:
        assert trio.lowlevel.current_task().child_nurseries == before
        await run_once(job.profile, job.options)
        assert board.mirrors["profile"].condition == "idle"
        assert board.mirrors["profile"].last_success_at is not None


async def test_run_is_seen_by_all_that_its_profile_names(source: Path, port: int) -> None:
    metrics = source.parent / "a.prom"
    keys = (f'observe.listen="127.0.0.1:{port}"', f'observe.metrics-file="{metrics}"')
    job = job_of(profile_of(source, *keys), [])
    async with attended([job]):
        assert await get(port, "/readyz") == b"profile: no pass has ended yet\n"
        await run_once(job.profile, job.options)
        (mirror,) = json.loads(await get(port, "/status.json"))["mirrors"]
        assert (mirror["name"], mirror["state"], mirror["last"]["copied"]) == ("profile", "idle", 1)
        assert await get(port, "/readyz") == b"ready\n"
    with pytest.raises(OSError, match="all attempts to connect"):
        await get(port, "/healthz")
    assert 'actorsync_files_done_total{profile="profile",target="profile"} 1.0' in metrics.read_text()


async def test_history_of_earlier_processes_is_shown(source: Path, port: int) -> None:
    profile = profile_of(source, f'observe.listen="127.0.0.1:{port}"')
    await run_once(profile)
    async with attended([job_of(profile, [])]):
        assert await get(port, "/readyz") == b"ready\n"
        (mirror,) = json.loads(await get(port, "/status.json"))["mirrors"]
        assert [run["copied"] for run in mirror["runs"]] == [1]


async def test_profiles_that_listen_on_one_address_share_a_server(source: Path, port: int) -> None:
    profile = profile_of(source, f'observe.listen="127.0.0.1:{port}"')
    jobs = [job_of(profile, [], name) for name in ("berlin", "paris")]
    other = job_of(profile_of(source), [], "rome")
    async with attended([*jobs, other]) as board:
        mirrors = json.loads(await get(port, "/status.json"))["mirrors"]
        assert [mirror["name"] for mirror in mirrors] == ["berlin", "paris"]
        assert list(board.mirrors) == ["berlin", "paris", "rome"]


@pytest.mark.parametrize(
    ("keys", "every"),
    [
        ([], None),
        (['sync.every="10m"'], 600.0),
        (["sync.watch=true"], 3_600.0),
        (["sync.watch=true", 'sync.every="10m"'], 600.0),
    ],
)
def test_next_pass_over_everything_is_foreseen(source: Path, keys: list[str], every: float | None) -> None:
    assert job_of(profile_of(source, *keys), []).state.pace.every == every


async def test_two_tokens_for_one_address_are_refused(source: Path, port: int) -> None:
    profile = profile_of(source, f'observe.listen="127.0.0.1:{port}"')
    tokens = [attrs.evolve(profile, observe=attrs.evolve(profile.observe, token=it)) for it in (Secret("a"), None)]
    with pytest.raises(ProfileError, match=r"observe\.token: .* with another token; use one token, or two addresses$"):
        async with attended([job_of(it, [], str(number)) for number, it in enumerate(tokens)]):
            pass


async def test_address_in_use_is_told_before_anything_runs(source: Path, port: int) -> None:
    profile = profile_of(source, f'observe.listen="127.0.0.1:{port}"')
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(FatalError, match=rf"observe\.listen: another program listens on 127\.0\.0\.1:{port}; stop"):
            async with attended([job_of(profile, [])]):
                pytest.fail("began")


async def test_address_that_another_run_of_the_profile_uses_is_a_locked_journal(source: Path, port: int) -> None:
    profile = profile_of(source, f'observe.listen="127.0.0.1:{port}"')
    with lock_journal_of(profile):
        async with attended([job_of(profile, [])]):
            with pytest.raises(JournalLocked):
                async with attended([job_of(profile, [])]):
                    pytest.fail("began")


async def test_error_of_the_run_is_raised_as_it_is(source: Path, port: int) -> None:
    job = job_of(profile_of(source, f'observe.listen="127.0.0.1:{port}"'), [])
    with pytest.raises(KeyError, match="mine"):
        async with attended([job]):
            raise KeyError("mine")


async def test_what_fails_beside_a_run_is_one_warning_and_the_run_goes_on(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: MetricsFile) -> None:
        raise ZeroDivisionError("path/of/a/user")

    monkeypatch.setattr(MetricsFile, "finish", broken)
    events: list[Event] = []
    job = job_of(profile_of(source, f'observe.metrics-file="{source.parent}/a.prom"'), events)
    async with attended([job]):
        report = await run_once(job.profile, job.options)
    assert report.exit_code == 0
    assert [it.text for it in events if isinstance(it, Warned)] == [
        "[observe] stopped working: ZeroDivisionError; the run goes on without it, please report this"
    ]


async def test_warning_after_the_end_is_no_event_of_the_run(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    job = job_of(profile_of(source, f'observe.metrics-file="{source.parent}/missing/a.prom"'), events)

    async def wait(self: MetricsFile) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(MetricsFile, "run", wait)
    async with attended([job]):
        await run_once(job.profile, job.options)
    assert isinstance(events[-1], Stopped)
    assert [it.getMessage().partition(": ")[0] for it in caplog.records] == ["observe.metrics-file"]


async def test_observer_that_raises_does_not_stop_what_is_beside_the_run(source: Path) -> None:
    def broken(event: Event) -> None:
        raise KeyError("mine")

    profile = profile_of(source, f'observe.metrics-file="{source.parent}/missing/a.prom"')
    async with attended([job_for(profile, options_for(profile, observers=[broken]))]):
        await trio.testing.wait_all_tasks_blocked(0.02)


def test_nothing_of_it_is_imported_without_a_profile_that_asks_for_it() -> None:
    code = "import sys, actorsync.cli.foreground; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"h11", "prometheus_client", "http.client", "urllib.request", "opentelemetry"} & set(loaded)
    needless = [
        *("observe.metrics_file", "observe.ping", "runs.repeating.watched", "service.control_verbs"),
        *("service.notifying", "service.reloading", "service.targets", "endpoints.wrappers.shared_listing"),
    ]
    assert not {f"actorsync.{name}" for name in needless} & set(loaded)


async def test_end_of_a_run_does_not_wait_for_what_hangs_beside_it(
    source: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    async def hang(self: MetricsFile) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(MetricsFile, "finish", hang)
    async with attended([job_of(profile_of(source, f'observe.metrics-file="{source.parent}/a.prom"'), [])]):
        await trio.sleep(1)
        began = trio.current_time()
    assert trio.current_time() - began <= 1.5


async def test_missing_packages_for_traces_are_one_line_with_what_to_do(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "actorsync.observe.traces", None)
    job = job_of(profile_of(source, "observe.traces=true"), [])
    with pytest.raises(ProfileError, match=r'are missing; install them: pip install "actorsync\[otel\]"$'):
        async with attended([job]):
            pytest.fail("began")


async def test_metrics_file_and_socket_in_the_source_are_not_sent(source: Path) -> None:
    keys = (f'observe.metrics-file="{source}/a.prom"', f'observe.listen="unix:{source}/a.sock"')
    job = job_of(profile_of(source, *keys), [])
    async with attended([job]):
        await trio.testing.wait_all_tasks_blocked()
        report = await run_once(job.profile, job.options)
    assert (report.exit_code, report.copied) == (0, 1)
    assert os.listdir(source.parent / "target") == ["a.txt"]


async def test_program_on_trio_has_the_same(source: Path, port: int) -> None:
    profile = profile_of(source, f'observe.listen="127.0.0.1:{port}"')
    async with actorsync.open_sync(profile) as sync:
        assert b'"name":"profile"' in await get(port, "/status.json")
    assert sync.report.copied == 1


def test_script_has_the_same(source: Path) -> None:
    metrics = source.parent / "a.prom"
    assert actorsync.run(profile_of(source, f'observe.metrics-file="{metrics}"')).copied == 1
    assert "actorsync_ready{" in metrics.read_text()


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (["observe.token={ prompt = true }"], "a prompt would stop a service each time it starts"),
        (['observe.listen="0.0.0.0:9417"'], "others can reach this address, and there is no observe.token"),
    ],
)
def test_profile_that_nothing_can_attend_is_refused(source: Path, keys: list[str], reason: str) -> None:
    with pytest.raises(ProfileError, match=reason):
        profile_of(source, *keys)


def test_token_and_ping_are_not_in_the_text_of_a_profile(source: Path) -> None:
    profile = profile_of(source, 'observe.ping="https://hc-ping.com/5ca1ab1e"')
    observe = attrs.evolve(profile.observe, token=Secret("5ca1ab1e"))
    assert "5ca1ab1e" not in repr(attrs.evolve(profile, observe=observe))
