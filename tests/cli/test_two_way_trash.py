"""The trash of a two-way profile, from the command line: both sides have one, and it is shown and emptied."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actorsync.cli.commands import run_command


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Return a profile whose sides have agreed, and then were both changed."""
    for side in ("here/notes", "there/notes"):
        (tmp_path / side).mkdir(parents=True)
    (tmp_path / "here/notes/a.txt").write_text("old a")
    (tmp_path / "here/notes/b.txt").write_text("old b")
    profile = tmp_path / "notes.toml"
    profile.write_text(
        f'[source]\npath = "{tmp_path}/here/notes"\n[target]\nurl = "{tmp_path}/there/notes"\n'
        '[sync]\nmode = "two-way"\nconflict = "source"\n[trash]\npath = "../.trash"\n'
    )
    assert run_command(["run", str(profile)]) == 0
    (tmp_path / "here/notes/a.txt").write_text("a, changed")
    (tmp_path / "there/notes/b.txt").write_text("b, changed")
    assert run_command(["run", str(profile)]) == 0
    return profile


def kept(tmp_path: Path, side: str) -> list[str]:
    return [it.read_text() for it in (tmp_path / side / ".trash").rglob("*") if it.is_file()]


def test_trash_of_both_sides_is_listed_and_emptied(
    profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (kept(tmp_path, "here"), kept(tmp_path, "there")) == (["old b"], ["old a"])
    capsys.readouterr()
    assert run_command(["trash", "list", str(profile), "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(it["path"], it["side"], it["size"]) for it in records} == {("a.txt", "target", 5), ("b.txt", "source", 5)}
    run_command(["trash", "list", str(profile)])
    assert "SIDE" in capsys.readouterr().out

    assert run_command(["trash", "empty", str(profile)]) == 0

    assert "2 files of 2 runs deleted" in capsys.readouterr().out
    assert kept(tmp_path, "here") == kept(tmp_path, "there") == []


def test_undo_is_refused_with_a_way_out(profile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run_command(["undo", str(profile)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "take a version out of the trash yourself" in said
    run_command(["history", str(profile), "--json"])
    assert {json.loads(line)["changes_to_undo"] for line in capsys.readouterr().out.splitlines()} == {0}


def test_what_is_old_leaves_the_trash_of_both_sides_at_the_end_of_a_run(profile: Path, tmp_path: Path) -> None:
    for content in ("x" * 3_000, "last"):
        (tmp_path / "here/notes/a.txt").write_text(content)
        assert run_command(["run", str(profile), "--set", "trash.max-size=1K"]) == 0
    assert kept(tmp_path, "here") == kept(tmp_path, "there") == []


def test_plan_makes_no_trash(profile: Path, tmp_path: Path) -> None:
    (tmp_path / "here/notes/a.txt").write_text("a, changed again")
    assert run_command(["plan", str(profile), "--set", "trash.path=../.other"]) == 0
    assert not (tmp_path / "here/.other").exists()
    assert not (tmp_path / "there/.other").exists()
