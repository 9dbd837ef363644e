"""A profile that is a mirror for a while, and two-way for a while. A change of mode is a first run."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from actorsync.runs.runner import run_once
from tests.runs.profiles import make_profile, runs, tree

AGED_NS = 1_700_000_000 * 10**9


def age(top: Path) -> None:
    """Let the files be old, so that none is read again."""
    for path in top.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(AGED_NS, AGED_NS))


def ran(source: Path, target: Path, *overrides: str) -> None:
    profile = make_profile(source, str(target), *overrides)
    report = trio.run(run_once, profile)
    assert report.exit_code == 0, runs(profile)


def test_what_went_from_the_target_of_a_mirror_stays_on_the_source_when_both_may_change(
    source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    age(source)
    ran(source, target, 'sync.mode="two-way"')
    ran(source, target)
    (target / "a.txt").unlink()  # while the profile is a mirror, this is no wish to remove it from the source

    ran(source, target, 'sync.mode="two-way"')

    assert tree(source)["a.txt"] == tree(target)["a.txt"] == b"a"


def test_what_a_two_way_run_has_removed_is_not_taken_to_be_on_the_target_of_a_mirror(
    source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    age(source)
    mirror = ('sync.compare="size-time"',)
    ran(source, target, *mirror)
    ran(source, target, 'sync.mode="two-way"')
    (target / "a.txt").unlink()
    ran(source, target, 'sync.mode="two-way"', 'sync.max-delete="100%"')
    assert "a.txt" not in tree(source)
    (source / "a.txt").write_text("a")  # from a backup, with its old time
    age(source)

    ran(source, target, *mirror)

    assert tree(target)["a.txt"] == b"a"
