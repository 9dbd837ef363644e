"""Commands on servers behind a jump host, and on servers with a second factor."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actorsync.cli.commands import run_command
from tests.support.remote_profile import CANARY
from tests.support.servers.debian_servers import USER
from tests.support.servers.ssh_keys import make_key
from tests.support.servers.ssh_ways import SshWays, known_hosts, serving_ways
from tests.support.system.terminal import on_terminal, without_terminal

CODE = "X837261"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshWays]:
    """A server that asks for a password and a code, and takes a code once."""
    (tmp_path / "root" / "www").mkdir(parents=True)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.txt").write_text("a")
    ways = SshWays(
        root=tmp_path / "root",
        password=CANARY,
        steps=["keyboard-interactive"],
        rounds=[[("Password: ", False, CANARY), ("Verification code: ", False, CODE)]],
        is_reusable=False,
    )
    with serving_ways(ways):
        yield ways


def profile(folder: Path, server: SshWays, *keys: str, table: str = "target", more: str = "") -> str:
    """Write a profile with the server as one side, and return its path."""
    known_hosts(folder / "known", server)
    url = f'url = "sftp://{USER}@127.0.0.1:{server.port}/www"'
    remote = [url, 'known-hosts = "known"', f'password = "{CANARY}"', *keys]
    tables = {"source": ['path = "source"'], "target": remote}
    if table == "source":
        tables = {"source": remote, "target": ['url = "copy"']}
    lines = [line for name, of_table in tables.items() for line in (f"[{name}]", *of_table)]
    path = folder / "shop.toml"
    path.write_text("\n".join(lines) + f"\n{more}")
    path.chmod(0o600)
    return str(path)


def command_printing(folder: Path, *codes: str) -> str:
    """Return the key ``otp`` with a command that prints these codes, one in each call."""
    left = folder / "codes"
    left.write_text("\n".join(codes))
    program = (
        f"import pathlib; p = pathlib.Path({str(left)!r}); first, _, rest = p.read_text().partition(chr(10)); "
        "p.write_text(rest); print(first)"
    )
    return f'otp = {{ command = ["{sys.executable}", "-I", "-S", "-c", "{program}"] }}'


def arrived(folder: Path) -> bool:
    return (folder / "root" / "www" / "a.txt").exists()


def test_run_asks_for_one_code_and_logs_in_once(server: SshWays, tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / "source" / f"f{number}").write_bytes(b"%d" % number * 9_000)
    path = profile(tmp_path, server, "otp = { prompt = true }")
    with on_terminal("-m", "actorsync", "run", path) as program:
        program.expect(f"one-time code for {USER}@127.0.0.1: ")
        assert not program.has_echo
        code, out, err = program.type(f"{CODE}\n").end()
    assert (code, server.count("login")) == (0, 1), err
    assert arrived(tmp_path)
    assert CODE not in out + err + program.shown


def test_check_asks_for_one_code(server: SshWays, tmp_path: Path) -> None:
    with on_terminal("-m", "actorsync", "check", profile(tmp_path, server, "otp = { prompt = true }")) as program:
        code, out, _ = program.expect("one-time code for ").type(f"{CODE}\n").end()
    assert code == 0
    assert "ready: " in out


def test_apply_logs_in_once(server: SshWays, tmp_path: Path) -> None:
    """It connects three times: for a new plan, for a look at the target, and for the changes."""
    server.rounds = [[("Password: ", False, CANARY), ("Verification code: ", False, CODE)]]
    path = profile(tmp_path, server, command_printing(tmp_path, CODE))
    assert run_command(["plan", path, "--save", str(tmp_path / "saved")]) == 0
    assert server.count("login") == 1
    server.used.clear()
    path = profile(tmp_path, server, "otp = { prompt = true }")
    with on_terminal("-m", "actorsync", "apply", path, str(tmp_path / "saved")) as program:
        code, _, err = program.expect("one-time code for ").type(f"{CODE}\n").end()
    assert code == 0, err
    assert arrived(tmp_path)
    assert server.count("login") == 2


def test_rejected_code_is_one_line(server: SshWays, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["check", profile(tmp_path, server, command_printing(tmp_path, "wrong-4711"))]) == 6
    err = capsys.readouterr().err
    assert "rejected the login" in err and "4711" not in err
    assert len(err.splitlines()) == 1
    assert server.count("answer") == 2


def test_server_that_asks_for_a_code_names_the_key_otp(
    server: SshWays, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["check", profile(tmp_path, server)]) == 6
    assert 'it asks "Verification code:"; if that is a second factor, set target.otp' in capsys.readouterr().err
    assert server.count("answer") == 0


def test_code_without_a_terminal_names_the_command(server: SshWays, tmp_path: Path) -> None:
    code, _, err = without_terminal("-m", "actorsync", "run", profile(tmp_path, server, "otp = { prompt = true }"))
    assert code == 2
    assert 'target.otp: no terminal to ask for the otp; use otp = { command = ["..."] } instead' in err
    assert server.received == []


def test_repetition_with_typed_codes_is_refused_before_the_question(
    server: SshWays, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = profile(tmp_path, server, "otp = { prompt = true }", more='[sync]\nevery = "1m"\n')
    assert run_command(["run", path]) == 2
    assert "target.otp: a run that repeats needs new codes for its logins" in capsys.readouterr().err
    assert server.received == []


@pytest.mark.parametrize("table", ["source", "target"])
def test_mirror_through_a_jump_host_with_a_code(table: str, server: SshWays, tmp_path: Path) -> None:
    """In both directions: to the server, and back from it."""
    (tmp_path / "root" / "www" / "b.txt").write_text("b")
    key = make_key(tmp_path / "key")
    with serving_ways(SshWays(root=tmp_path, user="hop", authorized=[key.public_line], forwards=True)) as jump:
        keys = ['key-file = "key"', f'jump = ["hop@127.0.0.1:{jump.port}"]', command_printing(tmp_path, CODE)]
        path = profile(tmp_path, server, *keys, table=table)
        known_hosts(tmp_path / "known", jump, server)
        assert run_command(["run", path, "-q"]) == 0
        assert jump.count("password") == jump.count("answer") == 0
    assert server.count("login") == 1
    assert (tmp_path / "copy" / "b.txt").exists() if table == "source" else arrived(tmp_path)
