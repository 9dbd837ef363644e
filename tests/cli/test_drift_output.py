"""What the commands say about changes of others on the target: each last line is true, and no exit code 9 is silent."""

from __future__ import annotations

import shutil

import pytest

from tests.support.site import Ran, Site

WAY_OUT = 'actorsync status lists them, audit.repair = "fix" restores them'


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]) -> Site:
    """A mirror of which one file was removed on the target by another program."""
    site = Site(tmp_path_factory.mktemp("site"), capsys)
    for name in ("a.txt", "b.txt"):
        site.write(name, name)
    assert site.run() == Ran(0, [], [])
    (site.target / "a.txt").unlink()
    return site


def untimed(line: str) -> str:
    """Return the last line of a run without its duration."""
    before, _, after = line.partition(" in ")
    return f"{before} in{after.partition(' s')[2]}"


def test_audit_counts_the_root_and_shows_what_was_found_before(site: Site) -> None:
    for _ in range(2):
        ran = site.command("audit")
        assert (ran.code, ran.errors[1:-1]) == (9, ["changed on the target: a.txt is missing"])
        assert untimed(ran.errors[-1]) == (
            f"drifted: 1 directory compared, 1 entry changed on the target by other programs in; {WAY_OUT}"
        )
    quiet = site.command("audit", "--quiet")
    assert quiet == Ran(9, [], ["actorsync: changed on the target: a.txt is missing"])


def test_quiet_run_that_leaves_drift_says_so_each_time(site: Site) -> None:
    first, second = site.run(), site.run()
    assert first.errors[0] == "actorsync: changed on the target: a.txt is missing"
    for ran in (first, second):
        assert (ran.code, untimed(ran.errors[-1])) == (
            9,
            f"actorsync: drifted: 1 entry changed on the target by other programs in; {WAY_OUT}",
        )
    assert len(second.errors) == 1


@pytest.mark.parametrize("repair", ["report", "fix"])
def test_plan_warns_of_known_drift_that_it_does_not_show(site: Site, repair: str) -> None:
    assert site.command("plan").errors == []
    assert site.run().code == 9
    line = (
        "actorsync: warning: 1 entry has been changed on the target by other programs, and the plan does not show it; "
        "run: actorsync status"
    )
    ran = site.command("plan", "--set", f"audit.repair={repair}")
    assert ran == Ran(0, ["nothing to do (2 files)"], [line])


def test_audit_of_a_root_that_is_gone_does_not_promise_a_list(site: Site) -> None:
    shutil.rmtree(site.target)
    ran = site.command("audit")
    assert (ran.code, ran.errors[1]) == (
        9,
        "warning: the root of the target is missing: the next run lists the whole target",
    )
    assert untimed(ran.errors[-1]) == (
        "drifted: the target has lost what was put there in; the next run lists all of it and sends the rest"
    )
    assert site.run().code == 0


def test_audit_before_the_first_run_is_an_error_of_usage(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    new = Site(tmp_path_factory.mktemp("new"), capsys)
    line = f"actorsync: {new.profile}: nothing to compare: no run has mirrored this profile; use actorsync run"
    assert new.command("audit") == Ran(2, [], [line])


@pytest.mark.parametrize("closed", ["", "sub"])
def test_audit_that_cannot_list_a_directory_is_incomplete(
    closed: str, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    site = Site(tmp_path_factory.mktemp("site"), capsys)
    site.write("sub/a.txt", "a")
    assert site.run() == Ran(0, [], [])
    folder = site.target / closed
    folder.chmod(0o000)
    try:
        ran = site.as_user("-q", command="audit")
        shown = site.as_user(command="audit")
    finally:
        folder.chmod(0o755)
    assert ran.code == 1
    assert f"actorsync: failed: {closed or 'the root'}: Permission denied" in ran.errors
    assert shown.errors[-1].startswith("incomplete: ")
