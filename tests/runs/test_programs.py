"""Programs that a profile names: when they are run, and what becomes of a run when one fails."""

from __future__ import annotations

import os
import select
from pathlib import Path

import pytest
import trio

from actorsync.actors.pipeline import Pipeline
from actorsync.actors.shutdown import Shutdown
from actorsync.model.report import Report
from actorsync.profile import Profile
from actorsync.runs.options import options_for
from actorsync.runs.runner import run_once
from tests.runs.profiles import make_profile, tree

BURST = 'publish.mode = "burst"'


def a_profile(tmp_path: Path, *overrides: str) -> Profile:
    source = tmp_path / "source"
    source.mkdir()
    (source / "index.html").write_text("a page")
    return make_profile(source, f"file://{tmp_path}/target", *overrides)


def test_programs_are_run_around_the_changes_and_only_if_there_are_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER", "kept")
    said = (
        "echo $1 $ACTORSYNC_PROFILE $ACTORSYNC_COPIED $ACTORSYNC_RESULT ${ACTORSYNC_TARGET_PASSWORD-none} $OTHER >> log"
    )
    (tmp_path / "say").write_text(f"#!/bin/sh\n{said}\nls target >> log\n")
    (tmp_path / "say").chmod(0o755)
    keys = [f'{key} = ["./say", "{key}"]' for key in ("hooks.before-commit", "hooks.after", "publish.check")]
    profile = a_profile(tmp_path, BURST, *keys)
    order: list[str] = []

    async def before_commit() -> None:
        order.append("own")
        assert "hooks.before-commit" in (tmp_path / "log").read_text()

    async def after_run(report: Report) -> None:
        order.append("own after")
        assert "hooks.after" not in (tmp_path / "log").read_text()

    monkeypatch.setenv("ACTORSYNC_TARGET_PASSWORD", "CANARY")
    options = options_for(profile, pipeline=Pipeline((), before_commit, after_run))
    assert trio.run(run_once, profile, options).exit_code == 0
    assert order == ["own", "own after"]
    path = tmp_path / "profile.toml"
    assert (tmp_path / "log").read_text().splitlines() == [
        f"hooks.before-commit {path} none kept",
        f"publish.check {path} none kept",
        "index.html",
        f"hooks.after {path} 1 in sync none kept",
        "index.html",
    ]
    (tmp_path / "log").unlink()
    assert trio.run(run_once, profile).exit_code == 0
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("mode", ["file", "burst"])
def test_a_program_that_fails_before_the_commit_leaves_the_target_as_it_is(tmp_path: Path, mode: str) -> None:
    (tmp_path / "fail").write_text("#!/bin/sh\necho first; echo second; printf 'a \\033[1m third'; exit 3\n")
    (tmp_path / "fail").chmod(0o755)
    profile = a_profile(tmp_path, f'publish.mode = "{mode}"', 'hooks.before-commit = ["./fail"]')
    report = trio.run(run_once, profile)
    assert report.exit_code == 1
    assert report.error == r"hooks.before-commit: ./fail failed with exit code 3: first | second | a \x1b[1m third"
    assert not [name for name in tree(tmp_path / "target") if not name.startswith(".")]


def test_a_check_that_fails_takes_everything_back(tmp_path: Path) -> None:
    profile = a_profile(tmp_path, BURST, 'publish.check = ["false"]')
    report = trio.run(run_once, profile)
    assert report.exit_code == 1
    assert report.not_published == (
        "rolled back: the check failed: publish.check: false failed with exit code 1; it wrote nothing"
    )
    assert not [name for name in tree(tmp_path / "target") if not name.startswith(".")]


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    report = trio.run(run_once, a_profile(tmp_path, 'hooks.before-commit = ["./no such thing"]'))
    assert report.exit_code == 1
    assert report.error == (
        "hooks.before-commit: ./no such thing cannot be run: No such file or directory; correct the profile"
    )


def test_a_program_is_killed_with_all_that_it_has_started_when_the_run_is_cancelled(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    profile = a_profile(tmp_path, 'hooks.before-commit = ["sh", "-c", "sleep 1000 & echo $! > pid; wait"]')
    descriptors: list[int] = []

    async def main() -> Report:
        shutdown = Shutdown()

        async def stop() -> None:
            number = int(await trio.to_thread.run_sync((tmp_path / "pid").read_text))
            descriptors.append(os.pidfd_open(number))
            shutdown.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            return await run_once(profile, options_for(profile, shutdown=shutdown))

    assert trio.run(main).exit_code == 130
    assert select.select(descriptors, [], [], 60) == (descriptors, [], []), "it has ended"
    os.close(descriptors[0])


def test_a_daemon_that_a_program_has_started_holds_nothing_up(tmp_path: Path) -> None:
    profile = a_profile(tmp_path, 'hooks.before-commit = ["sh", "-c", "sleep 30 & echo $! > pid"]')
    assert trio.run(run_once, profile).exit_code == 0
    os.kill(int((tmp_path / "pid").read_text()), 9)
