"""Secrets that are typed on the terminal."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from actorsync.testing import EmbeddedFtpServer
from tests.support.remote_profile import CANARY, profile_at
from tests.support.system.terminal import on_terminal, without_terminal


def question(server: EmbeddedFtpServer) -> str:
    return f"password of {server.user}@127.0.0.1: "


@pytest.fixture
def asking(tmp_path: Path, server: EmbeddedFtpServer) -> str:
    return str(profile_at(tmp_path, server.url, "password = { prompt = true }"))


def passes(server: EmbeddedFtpServer) -> int:
    return [command.verb for command in server.commands].count("PASS")


@pytest.mark.parametrize("command", ["run", "check", "plan"])
def test_m105_typed_password_is_not_echoed(command: str, asking: str, server: EmbeddedFtpServer) -> None:
    with on_terminal("-m", "actorsync", command, asking) as program:
        program.expect(question(server))
        assert not program.has_echo
        program.type(f"{CANARY}\n")
        assert CANARY not in Path(f"/proc/{program.process.pid}/cmdline").read_text()
        code, out, err = program.end()
        assert program.has_echo
        assert CANARY not in program.expect("\n").shown + out + err
    assert code == 0
    assert passes(server) >= 1


def test_m105_repeated_run_asks_for_the_password_once(asking: str, server: EmbeddedFtpServer) -> None:
    with on_terminal("-m", "actorsync", "run", asking, "--json", "--set", "sync.every=0.1s") as program:
        program.expect(question(server)).type(f"{CANARY}\n")
        assert program.process.stdout is not None
        stopped = 0
        while stopped < 2:
            stopped += b'"event":"stopped"' in program.process.stdout.readline()
        program.process.send_signal(signal.SIGINT)
        assert program.end()[0] == 0
        assert program.expect("\n").shown.count("password of") == 1


def test_ctrl_c_at_the_question_exits_with_130(asking: str, server: EmbeddedFtpServer) -> None:
    with on_terminal("-m", "actorsync", "run", asking) as program:
        program.expect(question(server))
        assert not program.has_echo
        code, out, err = program.type("half a pass\x03").end()
        assert program.has_echo
    assert (code, out, err) == (130, "", "\n")
    assert server.commands == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_at_the_question_restores_the_terminal(
    number: signal.Signals, asking: str, server: EmbeddedFtpServer
) -> None:
    with on_terminal("-m", "actorsync", "check", asking) as program:
        program.expect(question(server)).process.send_signal(number)
        assert program.end() == (-number, "", "")
        assert program.has_echo


def test_ctrl_z_at_the_question_is_ignored(asking: str, server: EmbeddedFtpServer) -> None:
    with on_terminal("-m", "actorsync", "check", asking) as program:
        program.expect(question(server)).type("\x1a")
        time.sleep(0.2)
        assert program.process.poll() is None
        assert not program.has_echo
        program.type("\x03")
        assert program.end()[0] == 130


@pytest.mark.parametrize("typed", ["\n", "\x04"])
def test_empty_answer_is_an_error(typed: str, asking: str, server: EmbeddedFtpServer) -> None:
    with on_terminal("-m", "actorsync", "run", asking) as program:
        assert program.expect(question(server)).type(typed).end() == (
            2,
            "",
            f"actorsync: {asking}: target.password: no password was entered; try again\n",
        )
    assert server.commands == []


@pytest.mark.parametrize("command", ["run", "check", "plan"])
def test_prompt_without_a_terminal_is_an_error(command: str, asking: str, server: EmbeddedFtpServer) -> None:
    line = 'no terminal to ask for the password; use password = { env = "..." } instead'
    ending = (2, "", f"actorsync: {asking}: target.password: {line}\n")
    assert without_terminal("-m", "actorsync", command, asking) == ending
    assert server.commands == []


def test_command_that_does_not_connect_does_not_ask(asking: str, server: EmbeddedFtpServer) -> None:
    with on_terminal("-m", "actorsync", "run", asking) as program:
        program.expect(question(server)).type(f"{CANARY}\n")
        assert program.end()[0] == 0
    # A plan that does not connect, and a command that never does.
    for command in ("plan", "status"):
        assert without_terminal("-m", "actorsync", command, asking)[0] == 0
    # A run that another run locks out.
    with on_terminal("-m", "actorsync", "run", asking, "--set", "sync.every=1h") as program:
        program.expect(question(server)).type(f"{CANARY}\n")
        assert program.process.stderr is not None
        program.process.stderr.readline()
        assert without_terminal("-m", "actorsync", "run", asking)[0] == 8


def test_m105_passphrase_is_asked_before_the_password(tmp_path: Path) -> None:
    (tmp_path / "id").touch(0o600)
    keys = ['key-file = "id"', "passphrase = { prompt = true }", "password = { prompt = true }"]
    path = profile_at(tmp_path, "sftp://deploy@h.example/", *keys)
    code = (
        "import sys; from pathlib import Path; from actorsync.profile import load_profile\n"
        "target = load_profile(Path(sys.argv[1])).answered().target\n"
        "print(target, *(one.reveal() for one in (target.passphrase, target.password)))"
    )
    with on_terminal("-c", code, str(path)) as program:
        program.expect(f"passphrase of {tmp_path}/id for deploy@h.example: ").type("\x15one \xfc\n")
        program.expect("password of deploy@h.example: ").type("two\n")
        exit_code, out, err = program.end()
    assert (exit_code, err) == (0, "")
    assert out.endswith(" one ü two\n")
    assert out.count("***") == 2
