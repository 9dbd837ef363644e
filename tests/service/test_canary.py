"""A canary among several targets: the others publish when it has published and passed its check, and else nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from actorsync.model.event import Event, PassBegan, Released, ReleaseEnded, Started, Stopped
from actorsync.model.report import Report
from actorsync.planning.publishing.canary import why_closed
from actorsync.service.canary import Canary
from tests.service.several import Several, a_source, one_pass

BURST = '[publish]\nmode = "burst"\n[sync]\ndelete = true\n'


def canaries(top: Path, check: Sequence[str] = (), rest: str = BURST) -> Several:
    words = ", ".join(f'"{word}"' for word in check)
    keys = f'url = "{top / "berlin"}"\ncanary = true\n' + (f"canary-check = [{words}]\n" if check else "")
    return Several(top, {"paris": "", "berlin": keys, "rome": ""}, rest)


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (Report(0, 0.0, 0.0), None),
        (Report(9, 0.0, 0.0, drifted=2), None),
        (Report(1, 0.0, 0.0, failed=2), "the canary x did not pass: 2 paths failed"),
        (Report(1, 0.0, 0.0, failed=1, not_published="no room"), "the canary x did not pass: no room"),
        (Report(1, 0.0, 0.0), "the canary x ended with exit code 1"),
        (Report(3, 0.0, 0.0, drained=True, failed=1), "the canary x was stopped"),
        (Report(130, 0.0, 0.0, cancelled=True), "the canary x was stopped"),
        (Report(4, 0.0, 0.0, refused="too many"), "the canary x did not pass: too many"),
        (Report(5, 0.0, 0.0, error="no answer\n"), "the canary x did not pass: no answer\\x0a"),
        (Report(6, 0.0, 0.0), "the canary x rejected the login"),
        (Report(7, 0.0, 0.0, error="a bug"), "the canary x did not pass: a bug"),
    ],
)
def test_only_a_canary_that_is_in_sync_lets_the_others_publish(report: Report, reason: str | None) -> None:
    assert why_closed("x", report) == reason


def test_others_publish_after_the_canary_and_its_check(tmp_path: Path) -> None:
    a_source(tmp_path)
    (tmp_path / "check").write_text(
        "#!/bin/sh\ngrep -q 'version 1' berlin/index.html || exit 1\n"
        "echo $ACTORSYNC_TARGET > checked\n[ ! -e paris/index.html ] && [ ! -e rome/index.html ]\n"
    )
    (tmp_path / "check").chmod(0o755)
    several = canaries(tmp_path, ["./check"])
    reports = several.run()
    assert {name: report.exit_code for name, report in reports.items()} == {"paris": 0, "berlin": 0, "rome": 0}
    assert (tmp_path / "checked").read_text() == "berlin\n"
    assert several.files("paris") == several.files("rome") == several.files("berlin") == several.files("source")


def test_canary_that_fails_its_check_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    a_source(tmp_path)
    several = canaries(tmp_path)
    assert {report.exit_code for report in several.run().values()} == {0}
    before = several.files("paris")
    a_source(tmp_path, "2")
    (tmp_path / "source" / "assets" / "b.css").unlink()
    several.targets = canaries(tmp_path, ["sh", "-c", "echo looks wrong; exit 3"]).targets
    reports = several.run()
    assert {name: report.exit_code for name, report in reports.items()} == {"paris": 1, "berlin": 1, "rome": 1}
    line = "target.berlin.canary-check: sh failed with exit code 3: looks wrong"
    assert reports["berlin"].error == line
    assert reports["paris"].not_published == f"nothing was published: the canary berlin did not pass: {line}"
    assert several.files("paris") == several.files("rome") == before
    assert several.files("berlin") == several.files("source")
    stopped = [event for event in several.events["berlin"] if isinstance(event, Stopped)]
    assert [event.report.exit_code for event in stopped] == [1]

    several.targets = canaries(tmp_path).targets  # what is staged is not sent again
    reports = several.run()
    assert {report.exit_code for report in reports.values()} == {0}
    assert several.files("paris") == several.files("rome") == several.files("source")
    assert reports["paris"].resumed_bytes == reports["paris"].copied_bytes > 0


def test_canary_that_has_nothing_to_do_is_checked_all_the_same(tmp_path: Path) -> None:
    a_source(tmp_path)
    several = canaries(tmp_path, ["false"])
    assert several.run(only=["berlin"])["berlin"].exit_code == 1
    reports = several.run()
    assert reports["berlin"].copied == 0
    assert {report.exit_code for report in reports.values()} == {1}
    assert several.files("paris") == {}
    several.targets = canaries(tmp_path, ["true"]).targets
    reports = several.run()
    assert reports["berlin"].copied == 0
    assert {report.exit_code for report in reports.values()} == {0}
    assert several.files("paris") == several.files("source")


def test_targets_with_nothing_to_do_do_not_wait_for_the_canary(tmp_path: Path) -> None:
    a_source(tmp_path)
    several = canaries(tmp_path)
    several.run()
    several.targets = canaries(tmp_path, ["false"]).targets
    reports = several.run()
    assert {name: report.exit_code for name, report in reports.items()} == {"paris": 0, "berlin": 1, "rome": 0}


def test_removals_alone_wait_for_the_canary_as_well(tmp_path: Path) -> None:
    a_source(tmp_path)
    several = canaries(tmp_path)
    several.run()
    before = several.files("paris")
    (tmp_path / "source" / "assets" / "b.css").unlink()
    several.targets = canaries(tmp_path, ["false"]).targets
    reports = several.run()
    assert {name: report.exit_code for name, report in reports.items()} == {"paris": 1, "berlin": 1, "rome": 1}
    assert several.files("paris") == several.files("rome") == before
    assert "assets/b.css" not in several.files("berlin")


def test_canary_whose_server_is_down_leaves_the_others_as_they_are(tmp_path: Path, free_tcp_port: int) -> None:
    a_source(tmp_path)
    several = canaries(tmp_path)
    keys = f'url = "ftp://127.0.0.1:{free_tcp_port}/"\ncanary = true'
    several.targets = {**several.targets, "berlin": keys}
    reports = several.run()
    assert {name: report.exit_code for name, report in reports.items()} == {"paris": 1, "berlin": 5, "rome": 1}
    assert several.files("paris") == {}


def test_stop_ends_the_wait_for_the_canary_and_nothing_is_published(tmp_path: Path) -> None:
    a_source(tmp_path)
    several = canaries(tmp_path, ["sleep", "60"])

    async def main() -> Mapping[str, Report]:
        jobs = {job.name: job for job in several.jobs()}
        running = {"paris", "rome"}

        def observe(name: str, event: Event) -> None:
            if isinstance(event, ReleaseEnded):  # the check of the canary begins
                jobs["paris"].shutdown.drain()
                jobs["rome"].shutdown.drain()
            elif isinstance(event, Stopped):
                running.discard(name)
                if not running:
                    jobs["berlin"].shutdown.cancel()

        for name, job in jobs.items():
            job.add_observer(partial(observe, name))
        return await one_pass([*jobs.values()])

    reports = trio.run(main)
    assert {name: report.exit_code for name, report in reports.items()} == {"paris": 3, "berlin": 130, "rome": 3}
    assert several.files("paris") == several.files("rome") == {}
    assert not [event for event in several.events["paris"] if isinstance(event, Released)]


async def test_repeated_passes_wait_for_a_pass_of_the_canary_that_is_not_older(autojump_clock: MockClock) -> None:
    asked: list[float] = []
    canary = Canary("x", lambda _: asked.append(trio.current_time()))
    answers: list[str | None] = []

    async def wait() -> None:
        answers.append(await canary.approval(trio.current_time()))

    async with trio.open_nursery() as nursery:
        canary.observe(_started())
        await trio.sleep(1)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        canary.observe(Stopped(Report(0, 0.0, 0.0)))  # it began before, so it may have seen an older source
        await trio.sleep(1)
        assert answers == []
        assert len(asked) == 2, "it is asked for again after a pass that does not count"
        canary.observe(_started())
        canary.observe(Stopped(Report(1, 0.0, 0.0, failed=1)))
    assert answers == ["the canary x did not pass: 1 path failed"]
    await trio.sleep(1)
    canary.over("the canary x has ended")
    await wait()
    assert answers[1:] == ["the canary x has ended"]


async def test_pass_of_the_canary_over_other_directories_lets_nobody_publish(autojump_clock: MockClock) -> None:
    asked: list[frozenset[str] | None] = []
    canary = Canary("x", asked.append)
    answers: list[tuple[str, str | None]] = []

    async def wait(name: str, directories: frozenset[str] | None) -> None:
        answers.append((name, await canary.approval(trio.current_time(), directories)))

    def one_pass(*directories: str, code: int = 0) -> None:
        canary.observe(PassBegan("changes", directories or None))
        canary.observe(_started())
        canary.observe(Stopped(Report(code, 0.0, 0.0, failed=code)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "all", None)
        nursery.start_soon(wait, "b", frozenset({"b"}))
        await trio.testing.wait_all_tasks_blocked()
        assert set(asked) == {None, frozenset({"b"})}
        one_pass("a")
        await trio.testing.wait_all_tasks_blocked()
        assert (answers, len(asked)) == ([], 4)
        one_pass("a", "b")
        await trio.testing.wait_all_tasks_blocked()
        assert answers == [("b", None)]
        one_pass()
        await trio.testing.wait_all_tasks_blocked()
        assert answers == [("b", None), ("all", None)]
        await trio.sleep(1)
        nursery.start_soon(wait, "c", frozenset({"c"}))
        await trio.testing.wait_all_tasks_blocked()
        one_pass("a", code=1)  # whatever failed, nothing is published after it
    assert answers[2:] == [("c", "the canary x did not pass: 1 path failed")]


def _started() -> Started:
    return Started("source", "target", 1, False)
