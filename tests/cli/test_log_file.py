"""``--log-file``: what is in the file, whatever is shown."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import NoReturn

import pytest

from actorsync.cli.commands import run_command
from actorsync.service import running
from actorsync.testing import EmbeddedFtpServer
from tests.support.cli_profile import CANARY, tree, write_profile

pytestmark = pytest.mark.usefixtures("password")

STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (.+)")


def logged(log: Path) -> list[str]:
    """Return the lines of a log without their times."""
    found = [STAMP.fullmatch(line) for line in log.read_text().splitlines()]
    return [match[1] if match else "a line without a time" for match in found]


@pytest.mark.parametrize("show", ["-q", "-v", "--json", "--log-file"])
def test_log_file_has_what_verbose_shows(
    show: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "run.log"
    options = [] if show == "--log-file" else [show]
    assert run_command(["run", write_profile(source, str(tmp_path / "target")), *options, "--log-file", str(log)]) == 0
    first, *changes, last = logged(log)
    assert first == f"mirroring {source} to {tmp_path / 'target'}, 4 connections"
    assert sorted(changes) == ["+ a.txt", "+ sub/", "+ sub/b.txt"]
    assert last.startswith("in sync: 2 copied (3 B), 1 directory made, 0 removed, 0 failed in ")
    assert log.stat().st_mode & 0o777 == 0o600
    out, err = capsys.readouterr()
    lines = {"-q": 0, "-v": 5, "--json": 0, "--log-file": 2}
    assert len(err.splitlines()) == lines[show]
    assert (json.loads(out.splitlines()[-1])["event"] if out else None) == ("stopped" if show == "--json" else None)


def test_log_file_of_a_plan_has_its_lines(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "plan.log"
    assert run_command(["plan", write_profile(source, str(tmp_path / "target")), "--log-file", str(log)]) == 0
    assert logged(log) == capsys.readouterr().out.splitlines()


def test_log_file_is_appended_to_and_has_errors_that_end_the_command(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile, log = write_profile(source, str(tmp_path / "target")), tmp_path / "run.log"
    assert run_command(["run", profile, "--log-file", str(log)]) == 0
    before = log.read_text()
    capsys.readouterr()
    wrong = ["--set", "sync.connections=0"]
    assert run_command(["run", profile, "--log-file", str(log), *wrong]) == 2
    assert run_command(["run", "nope.toml", "--log-file", str(log)]) == 2
    assert log.read_text().startswith(before)
    assert logged(log)[-2:] == capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/run.log", "cannot be written: No such file or directory"),
        ("folder", "cannot be written: Is a directory"),
        ("pipe", "cannot be written: No such device or address"),
        ("shop.toml", "the name is that of a profile"),
    ],
)
def test_log_file_that_cannot_be_written_ends_the_command_with_2(
    name: str, reason: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    profile = write_profile(source, str(tmp_path / "target"))
    assert run_command(["run", profile, "--log-file", str(tmp_path / name)]) == 2
    assert capsys.readouterr() == ("", f"actorsync: --log-file {tmp_path / name}: {reason}; use another path\n")
    assert not (tmp_path / "target").exists()


def test_log_file_has_no_secret(
    source: Path, server: EmbeddedFtpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "run.log"
    monkeypatch.setenv("TEST_PASSWORD", f"not {CANARY}")
    assert run_command(["run", write_profile(source, server.url), "--log-file", str(log)]) == 6
    assert logged(log)[-1].startswith(f"actorsync: {server.url}: the server refuses the login: 530 ")
    assert CANARY not in log.read_text()


def test_log_file_in_the_source_is_never_sent(source: Path, tmp_path: Path) -> None:
    options = ["run", write_profile(source, str(tmp_path / "target")), "--log-file", str(source / "run.log")]
    assert [run_command(options) for _ in range(2)] == [0, 0]
    assert logged(source / "run.log")[-1].startswith("in sync: nothing to do (2 files)")
    assert sorted(tree(tmp_path / "target")) == ["a.txt", "sub/b.txt"]


def test_log_file_has_the_traceback_of_a_bug(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object, **__: object) -> NoReturn:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(running, "run_once", broken)
    log = tmp_path / "run.log"
    assert run_command(["run", write_profile(source, str(tmp_path / "target")), "--log-file", str(log)]) == 7
    lines = logged(log)
    assert lines == capsys.readouterr().err.splitlines()
    assert lines[-2] == "ZeroDivisionError: a bug"
    assert lines[-1].startswith("actorsync: internal error in actorsync; please report it with this traceback; ")
