"""The command ``plan``: the errors that end it, and what it lists."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from actorsync.cli.commands import run_command
from actorsync.runs import runner
from actorsync.testing import EmbeddedFtpServer
from tests.support.cli_profile import tree, write_profile

pytestmark = pytest.mark.usefixtures("password")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses connections: it is bound, and nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_plan_for_an_unreachable_server_prints_its_error_alone(
    source: Path, closed_port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PLAN_TRIES", 1)
    url = f"ftp://demo@127.0.0.1:{closed_port}/"
    assert run_command(["plan", write_profile(source, url)]) == 5
    out, err = capsys.readouterr()
    assert out == ""
    reason = f"127.0.0.1:{closed_port}: Connection refused; check the port, and that the server is running"
    assert err.splitlines() == [f"actorsync: {url} could not be reached after 1 attempt: {reason}"]


def test_plan_for_a_server_that_rejects_the_login_prints_its_error_alone(
    source: Path, server: EmbeddedFtpServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_PASSWORD", "another one")
    assert run_command(["plan", write_profile(source, server.url)]) == 6
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"actorsync: {server.url}: the server refuses the login: 530 ")


@pytest.fixture
def shrunk(source: Path, tmp_path: Path) -> str:
    """The profile of a source that has lost most of what the target has from it."""
    profile = write_profile(source, str(tmp_path / "target"), "max-delete = 1")
    assert run_command(["run", "-q", profile]) == 0
    (source / "sub" / "b.txt").unlink()
    (source / "sub").rmdir()
    (source / "new.txt").write_text("new")
    return profile


def test_plan_lists_the_removals_that_a_guard_refuses(shrunk: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["plan", shrunk]) == 4
    out, err = capsys.readouterr()
    assert out.splitlines() == ["+ new.txt", "- sub/", "- sub/b.txt", "1 file to copy (3 B), 2 removals refused"]
    (line,) = err.splitlines()
    assert line.startswith("actorsync: 2 of 4 entries would be removed, more than max-delete allows (1): ")


def test_json_plan_has_a_record_for_each_removal_that_a_guard_refuses(
    shrunk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["plan", shrunk, "--json"]) == 4
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    refused = [it["path"] for it in records if (it["event"], it.get("operation")) == ("returned", "remove")]
    assert sorted(refused) == ["sub", "sub/b.txt"]
    assert [it["removals"] for it in records if it["event"] == "removals_refused"] == [2]


def test_saved_plan_with_refused_removals_is_not_applied(
    shrunk: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, before = str(tmp_path / "saved"), tree(tmp_path / "target")
    assert run_command(["plan", shrunk, "--save", saved]) == 4
    capsys.readouterr()
    assert run_command(["apply", shrunk, saved]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("actorsync: the plan is not applied, and nothing was changed: 2 of 4 entries would be ")
    assert tree(tmp_path / "target") == before
    allowed = ["--set", "sync.max-delete=100%"]
    assert run_command(["plan", shrunk, "--save", saved, *allowed]) == 0
    assert run_command(["apply", shrunk, saved]) == 4  # the same keys are needed again
    assert run_command(["apply", shrunk, saved, *allowed]) == 0
    assert tree(tmp_path / "target") == tree(source)


@pytest.mark.parametrize("command", ["run", "plan"])
def test_first_run_of_an_empty_source_warns(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    profile = write_profile(source, str(tmp_path / "target"))
    assert run_command([command, profile]) == 0
    warning = f"warning: the source is empty: {source}; if this is not intended, check its path"
    assert sum(line.endswith(warning) for line in capsys.readouterr().err.splitlines()) == 1
    (source / "hidden").touch()
    assert run_command([command, profile, "--set", 'sync.exclude=["*"]', "--set", "target.url=./other"]) == 0
    warning = f"warning: nothing in {source} is mirrored: all is left out (1 entry); check the patterns and links"
    assert sum(line.endswith(warning) for line in capsys.readouterr().err.splitlines()) == 1


def test_later_run_of_an_empty_source_does_not_warn_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    profile = write_profile(source, str(tmp_path / "target"))
    assert [run_command(["run", profile]), run_command(["run", profile])] == [0, 0]
    assert capsys.readouterr().err.count("warning:") == 1


@pytest.fixture
def site(source: Path, tmp_path: Path) -> str:
    """The profile of a source with files of three ranks, one of which the target has in an older version."""
    profile = write_profile(source, str(tmp_path / "target"), "")
    (source / "a.css").write_text("css")
    assert run_command(["run", "-q", profile]) == 0
    (source / "a.css").write_text("newer")
    (source / "b.html").write_text("page")
    (source / "index.html").write_text("first page")
    (source / "sub" / "b.txt").unlink()
    return profile


def test_plan_shows_the_order_in_which_files_arrive(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["plan", site]) == 0
    changes = ["* a.css", "+ b.html", "+ index.html", "- sub/b.txt"]
    order = "order: assets: 1 file (5 B), then pages: 1 file (4 B), then entrances: 1 file (10 B)"
    assert capsys.readouterr().out.splitlines() == [*changes, order, "3 files to copy (19 B), 1 to remove"]


def test_json_plan_has_the_forecast_of_a_burst(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["plan", site, "--json", "--set", "publish.mode=burst", "--set", "trash.path=../old"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    outline, last = records[-2:]
    assert (outline["event"], last["event"]) == ("outline", "stopped")
    assert [(it["name"], it["files"]) for it in outline["ranks"]] == [("assets", 1), ("pages", 1), ("entrances", 1)]
    assert (outline["aside"], outline["trashed"], outline["round_trip"]) == (1, 2, 0.05)
    assert outline["seconds"] == pytest.approx(3 * 2 * 0.05 + 4 * 0.0009)


def test_saved_plan_leaves_what_stays_for_a_while(
    site: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = ["--set", "publish.remove-after=1h"]
    saved = str(tmp_path / "saved")
    assert run_command(["plan", site, "--save", saved, *later]) == 0
    assert "~ sub/b.txt" in capsys.readouterr().out.splitlines()
    assert run_command(["apply", site, saved, *later]) == 0
    assert set(tree(source)) | {"sub/b.txt"} == set(tree(tmp_path / "target"))
