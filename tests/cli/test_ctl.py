"""``actorsync ctl`` and ``status`` against a run in another process, and how their arguments are read."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from actorsync.cli.commands import run_command
from actorsync.cli.ctl import read_words
from actorsync.service.asking.messages import Request
from actorsync.testing import EmbeddedFtpServer
from tests.support.cli_profile import CANARY, start, write_profile


@pytest.fixture
def profile(source: Path, server: EmbeddedFtpServer, password: None) -> str:
    (source / "big").write_bytes(b"x" * 4_000_000)
    return write_profile(source, f"ftp://demo@127.0.0.1:{server.port}/site", 'every = "1h"', 'bwlimit = "64K"')


class Ctl:
    """Runs ``ctl`` for a profile in this process."""

    def __init__(self, profile: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.profile, self.capsys = profile, capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        self.capsys.readouterr()
        assert run_command(["ctl", self.profile, *words]) == code
        out, err = self.capsys.readouterr()
        return out if code == 0 else err


@pytest.fixture
def ctl(profile: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Ctl]:
    """A run that is going on, in the middle of a file."""
    with start("run", profile, "--json") as running:
        try:
            assert running.stdout is not None
            while b'"connected"' not in running.stdout.readline():
                pass
            yield Ctl(profile, capsys)
        finally:
            running.kill()


def test_every_verb_changes_a_run_in_another_process(
    ctl: Ctl, source: Path, server: EmbeddedFtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ctl("pause").startswith("paused")
    assert ctl("status").startswith("paused since ")
    assert ctl("resume") == "resumed\n"
    assert ctl("connections", "2") == "up to 2 connections\n"
    assert ctl("rescan") == "the next pass compares the whole source\n"
    assert ctl("reload") == "the profile has not changed\n"
    assert "is not parked" in ctl("retry", "big", code=2)
    status = json.loads(ctl("--json", "status"))
    (mirror,) = status["mirrors"]
    assert (mirror["state"], mirror["bwlimit"], mirror["connections_limit"]) == ("running", 65_536.0, 2)
    assert run_command(["status", ctl.profile]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("running since ")
    assert "(limit 64.0 KiB/s)" in lines[0] or "/s" not in lines[0]
    assert "at most 2 connections, as actorsync ctl has said" in lines
    assert any(line.startswith("connection 1: ") for line in lines)
    assert ctl("bwlimit", "off") == "no bandwidth limit\n"
    assert ctl("drain").startswith("stopping")


def test_stop_of_a_run_in_another_process_is_like_that_of_a_signal(
    profile: str, source: Path, server: EmbeddedFtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with start("run", profile, "--json") as running:
        assert running.stdout is not None
        while b'"connected"' not in running.stdout.readline():
            pass
        assert run_command(["ctl", profile, "cancel"]) == 0
        out, _ = running.communicate(timeout=30)
        assert running.returncode == 130
        assert b'"changed"' in out
    assert CANARY not in capsys.readouterr().out


def test_hang_up_ends_a_single_run_and_reloads_one_that_repeats(profile: str) -> None:
    """The processes have no terminal: they are in a session of their own."""
    with start("run", profile, "--json", is_session=True) as repeating:
        assert repeating.stdout is not None
        while b'"connected"' not in repeating.stdout.readline():
            pass
        repeating.send_signal(signal.SIGHUP)
        while b"the profile has not changed" not in repeating.stdout.readline():
            pass
        repeating.send_signal(signal.SIGTERM)
        repeating.send_signal(signal.SIGTERM)
        repeating.communicate(timeout=30)
    with start("run", profile, "--json", "--once", is_session=True) as single:
        assert single.stdout is not None
        while b'"connected"' not in single.stdout.readline():
            pass
        single.send_signal(signal.SIGHUP)
        while b'"draining"' not in single.stdout.readline():
            pass
        single.kill()


def test_no_run_and_a_run_that_hangs_are_one_line_and_exit_code_5(
    profile: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command(["ctl", profile, "pause"]) == 5
    assert capsys.readouterr().err == (
        f"actorsync: no run of {profile} is going on; start one with: actorsync run {profile}\n"
    )
    with start("run", profile, "--json") as running:
        assert running.stdout is not None
        while b'"connected"' not in running.stdout.readline():
            pass
        running.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, running.pid, os.WSTOPPED | os.WNOWAIT)
        monkeypatch.setattr("actorsync.service.asking.client.PATIENCE", 0.2)
        assert run_command(["ctl", profile, "pause"]) == 5
        assert "has not answered for" in capsys.readouterr().err
        running.kill()
        running.communicate()
    assert run_command(["ctl", profile, "pause"]) == 5
    assert "no run of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "path", "request_"),
    [
        (["shop.toml", "pause"], "shop.toml", Request("pause")),
        (["pause"], "actorsync.toml", Request("pause")),
        (["shop.toml", "bwlimit", "2M"], "shop.toml", Request("bwlimit", "2M")),
        (["retry", "pause"], "actorsync.toml", Request("retry", "pause")),
        (["./pause", "pause"], "pause", Request("pause")),
    ],
)
def test_profile_may_be_left_out(words: list[str], path: str, request_: Request) -> None:
    assert read_words(tuple(words)) == (Path(path), request_)


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        (["shop.toml", "stop"], "No such verb 'stop'; use drain"),
        (["shop.toml", "limit", "2M"], "No such verb 'limit'; use bwlimit, such as bwlimit 2M"),
        (["pause", "shop.toml"], "the profile comes first: actorsync ctl shop.toml pause"),
        (["retry", "a.txt", "shop.toml"], "the profile comes first: actorsync ctl shop.toml retry"),
    ],
)
def test_verb_of_another_program_and_wrong_order_say_what_to_type(words: list[str], way_out: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        read_words(tuple(words))
    assert caught.value.message == way_out


def test_answers_of_several_targets_are_a_line_each_with_the_name(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("berlin", "tokyo")
    targets = "".join(f'[[target]]\nname = "{it}"\nurl = "{tmp_path / it}"\n' for it in names)
    profile = tmp_path / "shop.toml"
    profile.write_text(f'[source]\npath = "{source}"\n[sync]\nevery = "1h"\n{targets}')
    with start("run", str(profile), "--json") as running:
        assert running.stdout is not None
        ended: set[str] = set()
        while ended != set(names):
            record = json.loads(running.stdout.readline())
            ended |= {record["mirror"]} if record["event"] == "stopped" else set()
        assert run_command(["ctl", str(profile), "bwlimit", "2M"]) == 0
        assert capsys.readouterr() == ("berlin: at most 2.0 MiB/s\ntokyo: at most 2.0 MiB/s\n", "")
        assert run_command(["ctl", str(profile), "connections", "0"]) == 2
        assert [line.partition(" '0' ")[0] for line in capsys.readouterr().err.splitlines()] == [
            f"actorsync: {it}: connections:" for it in names
        ]
        assert run_command(["ctl", "--json", str(profile), "resume"]) == 0
        assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
            {"mirror": it, "text": "not paused"} for it in names
        ]
        assert run_command(["ctl", "--json", str(profile), "status"]) == 0
        documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [[mirror["name"] for mirror in it["mirrors"]] for it in documents] == [[name] for name in names]
        running.kill()


@pytest.mark.parametrize("words", [[], ["shop.toml"], ["shop.toml", "stop"], ["pause", "now"], ["shop.toml", "retry"]])
def test_wrong_words_are_usage_errors(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        read_words(tuple(words))
