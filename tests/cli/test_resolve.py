"""The commands of a two-way profile: ``run``, ``plan``, ``status`` and ``resolve``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from actorsync.cli.commands import run_command
from actorsync.planning.temporary_names import is_own
from actorsync.testing import EmbeddedFtpServer, EmbeddedSftpServer

_MODE = '[sync]\nmode = "two-way"\nconflict = "keep"\n'

Act = Callable[..., tuple[int, str]]


@attrs.frozen
class Sides:
    source: Path
    target: Path

    def trees(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return both trees, without what belongs to actorsync."""
        return self._tree(self.source), self._tree(self.target)

    @staticmethod
    def _tree(root: Path) -> dict[str, str]:
        files = {str(it.relative_to(root)): it for it in sorted(root.rglob("*")) if it.is_file()}
        return {path: place.read_text() for path, place in files.items() if not is_own(path)}


@pytest.fixture(params=["local", "ftp", "sftp"])
def sides(request: pytest.FixtureRequest, server_folder: Path, tmp_path: Path) -> Iterator[Sides]:
    root, source, profile = server_folder / "root", tmp_path / "source", tmp_path / "notes.toml"
    root.mkdir()
    source.mkdir()
    sides = Sides(source, root / "www")
    sides.target.mkdir()
    if request.param == "local":
        profile.write_text(f'[source]\npath = "{source}"\n[target]\nurl = "{root}/www"\n{_MODE}')
        yield sides
    else:
        kind = EmbeddedFtpServer if request.param == "ftp" else EmbeddedSftpServer
        with kind(root) as server:
            profile.write_text(server.profile(source, "www", _MODE))
            profile.chmod(0o600)
            yield sides


@pytest.fixture
def act(sides: Sides, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Act:
    (sides.source / "plan.txt").write_text("first")
    (sides.source / "list.txt").write_text("one")

    def command(name: str, *arguments: str) -> tuple[int, str]:
        code = run_command([name, str(tmp_path / "notes.toml"), *arguments])
        seen = capsys.readouterr()
        return code, seen.out + seen.err

    assert command("run")[0] == 0
    (sides.source / "plan.txt").write_text("of the source")
    (sides.target / "plan.txt").write_text("of the target!")
    (sides.source / "list.txt").write_text("one, two")
    (sides.target / "list.txt").write_text("one, two, three")
    (sides.target / "new.txt").write_text("new")
    return command


def test_conflicts_stay_and_everything_else_is_carried_over(sides: Sides, act: Act) -> None:
    code, text = act("run")
    assert code == 1
    assert "conflict: plan.txt: changed on both sides" in text
    assert "2 conflicts" in text
    source, target = sides.trees()
    assert source["new.txt"] == target["new.txt"] == "new"
    assert (source["plan.txt"], target["plan.txt"]) == ("of the source", "of the target!")
    code, text = act("status")
    assert "2 paths in conflict:" in text
    assert "actorsync resolve" in text


@pytest.mark.parametrize(("take", "winner"), [("source", "of the source"), ("target", "of the target!")])
def test_resolve_takes_one_side_and_leaves_everything_else(sides: Sides, act: Act, take: str, winner: str) -> None:
    act("run")
    (sides.source / "later.txt").write_text("later")
    code, _ = act("resolve", "plan.txt", "--take", take)
    assert code == 0
    source, target = sides.trees()
    assert source["plan.txt"] == target["plan.txt"] == winner
    assert source["list.txt"] != target["list.txt"]
    assert "later.txt" not in target
    records = [json.loads(line) for line in act("resolve", "--json")[1].splitlines()]
    assert [it["path"] for it in records] == ["list.txt"]
    assert records[0]["source"]["size"] == len("one, two")


def test_resolve_takes_both_and_the_sides_are_equal_then(sides: Sides, act: Act) -> None:
    act("run")
    code, _ = act("resolve", "--all", "--take", "both")
    assert code == 0
    source, target = sides.trees()
    assert source == target
    assert sorted(source.values()) == sorted(["of the source", "of the target!", "one, two", "one, two, three", "new"])
    assert act("resolve") == (0, "there are no conflicts\n")
    assert "nothing to do" in act("run")[1]


def test_plan_shows_both_directions_and_changes_nothing(sides: Sides, act: Act) -> None:
    before = sides.trees()
    code, text = act("plan", "--set", "sync.conflict=both")
    assert code == 0
    assert "<- + new.txt\n" in text
    assert "-> + plan.txt\n" in text
    assert "<- + plan.conflict-target-" in text
    assert "3 of them to the source" in text
    assert sides.trees() == before


def test_wrong_use_is_one_line(sides: Sides, act: Act, tmp_path: Path) -> None:
    act("run")
    assert act("resolve", "nothing.txt", "--take", "both")[0] == 2
    assert act("resolve", "plan.txt")[0] == 2
    assert act("resolve", "--take", "both")[0] == 2
    code, text = act(
        "resolve", "plan.txt", "--take", "both", "--set", "sync.mode=mirror", "--set", "sync.conflict=both"
    )
    assert (code, text.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("audit", ()),
        ("apply", ("no.plan",)),
        ("plan", ("--save", "no.plan")),
        ("undo", ()),
        ("rehearse", ()),
    ],
)
def test_command_for_mirrors_alone_is_refused_with_a_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, arguments: Sequence[str]
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    profile = tmp_path / "notes.toml"
    profile.write_text(f'[source]\npath = "source"\n[target]\nurl = "target"\n{_MODE}')
    more = [str(tmp_path / it) if it == "no.plan" else it for it in arguments]
    if command == "apply":
        as_mirror = ("--set", "sync.mode=mirror", "--set", "sync.conflict=both")
        assert run_command(["plan", str(profile), *as_mirror, "--save", more[0]]) == 0
        capsys.readouterr()
    assert run_command([command, str(profile), *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{profile}: actorsync {command}" in line
    assert 'is not possible with sync.mode = "two-way": ' in line
