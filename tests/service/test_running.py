"""Jobs that run at the same time: what happens to one does not happen to another."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import pytest
import trio

from actorsync.errors import JournalLocked, StageFailed
from actorsync.model.event import Event, Stopped
from actorsync.profile import load_profiles
from actorsync.service.jobs import Job, jobs_for
from actorsync.service.names import name_all
from actorsync.service.running import Ended, mirror, run_jobs
from actorsync.testing import EmbeddedFtpServer
from tests.runs.profiles import IMPATIENT
from tests.support.site import tree

PASSWORD = "demo"


def jobs_of(folder: Path, targets: Mapping[str, str], more: str = "") -> Sequence[Job]:
    """Return a job for each target, by its name and URL, with a source that all share. None retries for long."""
    source = folder / "source"
    source.mkdir()
    for number in range(12):
        (source / f"{number}.bin").write_bytes(bytes([number]) * 20_000)
    tables = []
    for name, url in targets.items():
        password = f'password = "{PASSWORD}"' if url.startswith("ftp:") else ""
        tables.append(f'[[target]]\nname = "{name}"\nurl = "{url}"\n{password}')
    path = folder / "site.toml"
    path.write_text("\n".join([f'[source]\npath = "{source}"', *tables, more]))
    path.chmod(0o600)
    jobs = jobs_for(name_all(load_profiles(path)))
    for job in jobs:
        policy = attrs.evolve(job.options.policy, backoff=IMPATIENT)
        job.options = attrs.evolve(job.options, policy=policy)
    return jobs


def free_port() -> int:
    """Return a port that refuses connections."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return int(closed.getsockname()[1])


def run(jobs: Sequence[Job]) -> dict[str, Ended]:
    return {it.name: it for it in trio.run(lambda: run_jobs(jobs, mirror(is_once=True), is_once=True))}


def test_dead_full_and_slow_targets_leave_the_good_ones(tmp_path: Path, server_folder: Path) -> None:
    roots = {name: server_folder / name for name in ("full", "slow", "good")}
    for root in roots.values():
        root.mkdir()
    order: list[str] = []
    with (
        EmbeddedFtpServer(roots["full"], password=PASSWORD, faults=["full@50KB"]) as full,
        EmbeddedFtpServer(roots["slow"], password=PASSWORD, throttle=1_000) as slow,
        EmbeddedFtpServer(roots["good"], password=PASSWORD) as good,
    ):
        servers = {"full": full, "slow": slow, "good": good}
        urls = {"dead": f"ftp://demo@127.0.0.1:{free_port()}/"} | {name: it.url for name, it in servers.items()}
        jobs = jobs_of(tmp_path, urls)
        for job in jobs:
            name = job.name

            def note(event: Event, name: str = name) -> None:
                if isinstance(event, Stopped):
                    order.append(name)
                    if name == "good":
                        slow.throttle = None

            job.add_observer(note)
        ended = run(jobs)
    assert {name: it.exit_code for name, it in ended.items()} == {"dead": 5, "full": 1, "slow": 0, "good": 0}
    assert order.index("good") < order.index("slow")
    assert tree(roots["good"]) == tree(roots["slow"]) == tree(tmp_path / "source")
    assert ended["good"].text == "in sync"
    assert ended["dead"].text.startswith("unreachable: ")


def test_what_keeps_a_job_from_beginning_and_a_bug_end_no_other(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, {name: str(tmp_path / name) for name in ("locked", "broken", "observed", "good")})
    told: list[str] = []

    async def work(job: Job) -> int:
        if job.name == "locked":
            raise JournalLocked("another run")
        if job.name == "broken":
            raise ZeroDivisionError("a bug")
        if job.name == "observed":
            raise StageFailed("an observer") from KeyError("of the program")
        await trio.sleep(0.1)
        return await mirror(is_once=True)(job)

    async def main() -> Sequence[Ended]:
        return await run_jobs(jobs, work, lambda ended: told.append(ended.name))

    ended = {it.name: it for it in trio.run(main)}
    assert {name: it.exit_code for name, it in ended.items()} == {"locked": 8, "broken": 7, "observed": 7, "good": 0}
    assert (ended["locked"].bug, ended["locked"].text) == (None, "not begun: another run")
    assert isinstance(ended["broken"].bug, ZeroDivisionError)
    assert isinstance(ended["observed"].bug, KeyError)
    assert told[-1] == "good"
    assert tree(tmp_path / "good") == tree(tmp_path / "source")


def test_job_that_is_stopped_alone_leaves_the_others(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, {"one": str(tmp_path / "one"), "two": str(tmp_path / "two")})

    async def main() -> Sequence[Ended]:
        jobs[0].shutdown.drain()
        return await run_jobs(jobs, mirror(is_once=True))

    assert [(it.exit_code, it.result) for it in trio.run(main)] == [(3, "stopped early"), (0, "in sync")]


@pytest.mark.parametrize("is_once", [True, False])
def test_repeated_job_goes_on_unless_it_is_to_run_once(is_once: bool, tmp_path: Path) -> None:
    (job,) = jobs_of(tmp_path, {"one": str(tmp_path / "one")}, '[sync]\nevery = "1s"')

    passes = 0

    def note(event: Event) -> None:
        nonlocal passes
        passes += isinstance(event, Stopped)
        if passes == 2:
            job.shutdown.drain()

    job.add_observer(note)
    (ended,) = trio.run(lambda: run_jobs([job], mirror(is_once=is_once)))
    assert (ended.exit_code, passes) == (0, 1 if is_once else 2)


def test_profiles_secrets_and_journals_of_all_are_private_to_each(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "other").mkdir(parents=True)
    (folder / "key").write_text("secret")
    (folder / "key").chmod(0o600)
    for name, source, secret in (("all", ".", ""), ("one", "other", '\npassword = { file = "key" }')):
        url = f"{tmp_path}/target-{name}" if not secret else "ftp://u@127.0.0.1/"
        (folder / f"{name}.toml").write_text(f'[source]\npath = "{source}"\n[target]\nurl = "{url}"{secret}\n')
    profiles = name_all([load_profiles(folder / f"{name}.toml")[0] for name in ("all", "one")])
    jobs = jobs_for(profiles, [folder / "run.log"])
    assert {"all.toml", "one.toml", "key", "run.log"} <= jobs[0].options.policy.selection.private
    assert [job.options.name for job in jobs] == ["all", "one"]
    back = attrs.evolve(profiles["one"], target=attrs.evolve(profiles["all"].target, path=str(folder)))
    (alone, *_) = jobs_for({"back": back, **profiles}, [folder / "run.log"])
    assert {"all.toml", "key", "run.log"} <= alone.options.policy.protected
