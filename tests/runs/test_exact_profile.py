"""``delete = "everything"`` as a profile has it: the key, what a plan shows of it, and the files that it protects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actorsync import Plan, apply, plan
from actorsync.cli.commands import run_command
from actorsync.errors import PlanOutdated
from actorsync.events import Remove
from actorsync.journal import state_directory
from tests.support.site import Ran, Site, tree


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    """A mirror that is in place: of what is too much on the target, one file is ours, and one directory is foreign."""
    site = Site(tmp_path, capsys)
    site.fill()
    site.write("old/theirs.txt", "theirs", in_target=True)
    return site


def test_plan_marks_removals_of_foreign_entries(site: Site) -> None:
    before = tree(site.target)
    site.write_profile('delete = "everything"')
    ran = site.command("plan")
    assert (ran.code, ran.out) == (0, ["- gone.txt", "! old/", "! old/theirs.txt", "3 to remove"])
    records = [json.loads(line) for line in site.command("plan", "--json").out]
    removals = {it["path"]: it["foreign"] for it in records if it.get("operation") == "remove"}
    assert removals == {"gone.txt": False, "old": True, "old/theirs.txt": True}
    assert tree(site.target) == before
    changes = [line.split(" ", 2)[2] for line in site.command("run", "-v").errors[1:-1]]  # after date and time
    assert sorted(changes) == ["! old/", "! old/theirs.txt", "- gone.txt"]
    assert tree(site.target) == tree(site.source)


def test_saved_plan_removes_the_foreign_entries_that_it_lists_and_no_other(site: Site, tmp_path: Path) -> None:
    site.write_profile('delete = "everything"')
    plan(site.profile).save(tmp_path / "plan")
    saved = Plan.load(tmp_path / "plan")
    assert {it.path: it.is_foreign for it in saved.operations if isinstance(it, Remove)} == {
        "gone.txt": False,
        "old": True,
        "old/theirs.txt": True,
    }
    later = site.write("later.txt", "theirs, too", in_target=True)
    with pytest.raises(PlanOutdated, match=r'"later.txt" would be changed too'):
        apply(site.profile, saved)
    assert later.exists()
    later.unlink()
    report = apply(site.profile, saved)
    assert (report.exit_code, report.removed) == (0, 3)
    assert tree(site.target) == tree(site.source)


def test_key_can_be_overridden_and_names_its_values(site: Site) -> None:
    assert site.run("--set", "sync.delete=everything") == Ran(0, [], [])
    assert tree(site.target) == tree(site.source)
    (line,) = site.run("--set", "sync.delete=all").errors
    assert line.endswith(
        '--set sync.delete: "all" is not true or false; write it without quotes, or write "everything"'
    )


def test_profile_and_journals_in_the_target_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home directory that is restored from a copy holds both."""
    home = tmp_path / "target"
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    home.mkdir()
    (home / "conf").mkdir()
    site = Site(tmp_path, capsys)
    profile = home / "conf/site.toml"
    site.write("a.txt", "a")
    site.write_profile('delete = "everything"', 'max-delete = "100%"')
    site.profile.rename(profile)
    (home / "theirs.txt").write_text("theirs")
    for _ in range(2):
        assert run_command(["run", "-q", str(profile)]) == 0
    assert profile.exists()
    assert any(state_directory().iterdir())
    assert {path for path in tree(home) if not path.startswith("state/")} == {"a.txt", "conf/site.toml"}
