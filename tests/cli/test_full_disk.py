"""Commands whose output cannot be written: a full disk, a reader that goes away, files that this user cannot use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from actorsync.cli.commands import run_command
from tests.support.cli_profile import write_profile
from tests.support.site import Ran, Site


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]) -> Site:
    site = Site(tmp_path_factory.mktemp("site"), capsys)
    site.write("a.txt", "a")
    assert site.run() == Ran(0, [], [])
    return site


@pytest.mark.parametrize("command", [["status"], ["check"], ["plan"], ["plan", "--json"], ["init", "new.toml"], ["-h"]])
def test_full_disk_under_a_result_is_one_line(command: Sequence[str], site: Site) -> None:
    words = [*command] if command[0] in {"init", "-h"} else [*command, str(site.profile)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "actorsync", *words],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=site.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )  # fmt: skip
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(
        r"actorsync: (standard output cannot be written|the plan cannot be written to standard output): "
        r"No space left on device; free some space, or write it elsewhere",
        line,
    )
    assert done.returncode == 7


def test_status_whose_reader_has_gone_away_succeeds(site: Site) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        words = [sys.executable, "-m", "actorsync", "status", str(site.profile)]
        done = subprocess.run(words, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_log_file_on_a_full_disk_is_a_warning(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "target"
    assert run_command(["run", "-q", write_profile(source, str(target)), "--log-file", "/dev/full"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "actorsync: --log-file /dev/full: lines are missing: No space left on device; free some space there"
    ]
    assert (target / "a.txt").exists()


def test_unreadable_source_names_the_key(site: Site) -> None:
    site.source.chmod(0o300)
    try:
        ran = site.as_user("-q")
    finally:
        site.source.chmod(0o700)
    line = (
        f"actorsync: {site.profile}: source.path: cannot read {site.source}: Permission denied; give this user "
        "access to it (chmod u+rx), or run as another user"
    )
    assert ran == Ran(2, [], [line])


def test_unreadable_profile_says_what_to_do(site: Site) -> None:
    site.profile.chmod(0o000)
    ran = site.as_user("-q")
    assert ran == Ran(
        2, [], [f"actorsync: {site.profile}: cannot be read: Permission denied; name a profile that can be read"]
    )


def test_log_of_the_journal_that_cannot_be_written_is_named(site: Site) -> None:
    journal = site.journal
    for suffix in ("-shm", "-wal"):
        log = journal.with_name(journal.name + suffix)
        log.touch()
        log.chmod(0o400)
        ran = site.as_user("-q")
        line = (
            f"actorsync: journal {journal}: no permission to write {log}; make it writable, or set XDG_STATE_HOME "
            "to another directory"
        )
        assert ran == Ran(7, [], [line])
        log.unlink()


@pytest.mark.parametrize("below", ["", "/www"])
def test_file_in_the_place_of_the_target_is_not_ready(site: Site, below: str) -> None:
    file = site.write("file", "x", in_target=True)
    ran = site.command("check", "--set", f"target.url={file}{below}")
    line = (
        f"actorsync: cannot use {file}{below}: {file} is not a directory; correct the path in target.url, or give "
        "this user access to the directory"
    )
    assert (ran.code, ran.errors) == (7, [line])
    ran = site.command("run", "-q", "--set", f"target.url={file}{below}")
    assert ran.code == 7
    assert ran.errors[-1].startswith(
        "actorsync: the root of the target cannot be made: cannot make directory the root: "
    )
    assert ran.errors[-1].endswith("; correct the path in target.url")
