"""`actorsync.run_many`: several mirrors in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

import actorsync
from actorsync.errors import ProfileError, RunFailed, StageFailed
from actorsync.events import FromTarget, Stopped
from actorsync.journal import journal_path, open_journal, state_directory
from tests.support.site import tree


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A profile with two targets."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").write_text("a")
    targets = [f'[[target]]\nname = "{name}"\nurl = "{name}"' for name in ("berlin", "tokyo")]
    (tmp_path / "shop.toml").write_text("\n".join(['[source]\npath = "source"', *targets]))
    return tmp_path / "shop.toml"


@pytest.fixture
def blog(tmp_path: Path) -> Path:
    """A profile with one target."""
    (tmp_path / "posts").mkdir()
    (tmp_path / "posts" / "b.txt").write_text("b")
    (tmp_path / "blog.toml").write_text('[source]\npath = "posts"\n[target]\nurl = "blog"\n')
    return tmp_path / "blog.toml"


def test_all_targets_of_all_profiles_are_mirrored_and_observed_by_name(shop: Path, blog: Path) -> None:
    plain: list[str] = []
    waiting: list[str] = []

    def note(event: FromTarget) -> None:
        if isinstance(event.event, Stopped):
            plain.append(event.target)

    async def wait(event: FromTarget) -> None:
        await trio.lowlevel.checkpoint()
        if isinstance(event.event, Stopped):
            waiting.append(event.target)

    reports = actorsync.run_many(shop, actorsync.load_profile(blog), observers=[note, wait])
    assert {name: report.exit_code for name, report in reports.items()} == {
        "shop/berlin": 0,
        "shop/tokyo": 0,
        "blog": 0,
    }
    assert reports.exit_code == 0
    reports.raise_for_failures()
    assert sorted(plain) == sorted(waiting) == ["blog", "shop/berlin", "shop/tokyo"]
    assert tree(shop.parent / "berlin") == tree(shop.parent / "tokyo") == {"a.txt": b"a"}
    assert list(actorsync.run_many(shop, only=["tokyo"])) == ["tokyo"]
    assert [profile.name for profile in actorsync.load_profiles(shop)] == ["berlin", "tokyo"]


def test_mirror_that_is_locked_has_a_report_and_the_others_run(shop: Path) -> None:
    berlin, _ = actorsync.load_profiles(shop)
    assert journal_path(state_directory(), berlin.identity)
    with open_journal(state_directory(), berlin.identity, name="another run"):
        reports = actorsync.run_many(shop)
    assert {name: report.exit_code for name, report in reports.items()} == {"berlin": 8, "tokyo": 0}
    assert reports.exit_code == 8
    with pytest.raises(RunFailed, match=r"^berlin: ") as caught:
        reports.raise_for_failures()
    assert caught.value.exit_code == 8
    assert tree(shop.parent / "tokyo") == {"a.txt": b"a"}


def test_profile_that_cannot_be_used_is_raised_before_anything_runs(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no such file"):
        actorsync.run_many(shop, tmp_path / "missing.toml")
    with pytest.raises(ProfileError, match="named twice"):
        actorsync.run_many(*actorsync.load_profiles(shop, only=["tokyo"]), shop)
    assert not (tmp_path / "berlin").exists()
    with pytest.raises(TypeError, match="at least one profile"):
        actorsync.run_many()
    not_a_list: Any = print
    with pytest.raises(TypeError, match="observers="):
        actorsync.run_many(shop, observers=not_a_list)


def test_observer_that_fails_is_raised_when_the_others_have_ended(shop: Path) -> None:
    def fail(event: FromTarget) -> None:
        if event.target == "berlin":
            raise KeyError("of the program")

    with pytest.raises(StageFailed, match="fail") as caught:
        actorsync.run_many(shop, observers=[fail])
    assert isinstance(caught.value.__cause__, KeyError)
    assert tree(shop.parent / "tokyo") == {"a.txt": b"a"}


def test_stop_that_was_asked_for_stops_all(shop: Path) -> None:
    stop = actorsync.Stop()
    stop.drain()
    reports = actorsync.run_many(shop, stop=stop)
    assert [report.exit_code for report in reports.values()] == [3, 3]
    assert (reports.exit_code, tree(shop.parent / "tokyo")) == (3, {})


async def test_call_on_trio_is_refused(shop: Path) -> None:
    with pytest.raises(RuntimeError, match="trio is running in this thread"):
        actorsync.run_many(shop)
