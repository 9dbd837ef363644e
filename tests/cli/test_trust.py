"""What is asked on the terminal: passwords that are typed, and whether a host key is the right one."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import asyncssh
import attrs
import pytest

from actorsync.cli.commands import run_command
from actorsync.cli.trust import HostKeyCheck, host_key_check, show
from actorsync.endpoints.ssh.known_hosts import lines_about
from actorsync.endpoints.ssh.settings import ShownHostKey
from actorsync.errors import ActorsyncError, ConnectionLost, LoginRefused, ProfileError, TargetUnreachable
from actorsync.profile import load_profile
from actorsync.testing import EmbeddedFtpServer
from actorsync.testing.servers.sftp import EmbeddedSftpServer
from tests.support.system.terminal import on_terminal, without_terminal

CANARY = "CANARY-4711"
FINGERPRINT = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
OTHER = FINGERPRINT.replace("47", "99")
LINE = "[h.example]:2222 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"
UNKNOWN = ShownHostKey("ssh-ed25519", FINGERPRINT, LINE, "unknown")


def profile_at(folder: Path, url: str, *keys: str) -> Path:
    (folder / "source").mkdir(exist_ok=True)
    (folder / "source" / "a.txt").write_text("a")
    path = folder / "shop.toml"
    path.write_text("\n".join(["[source]", 'path = "source"', "[target]", f'url = "{url}"', *keys]))
    path.chmod(0o600)
    return path


# A password that is typed.


@pytest.fixture
def server(server_folder: Path) -> Iterator[EmbeddedFtpServer]:
    root = server_folder / "root"
    root.mkdir()
    with EmbeddedFtpServer(root, password=CANARY) as server:
        yield server


@pytest.fixture
def asking(tmp_path: Path, server: EmbeddedFtpServer) -> str:
    return str(profile_at(tmp_path, server.url, "password = { prompt = true }"))


def question(server: EmbeddedFtpServer) -> str:
    return f"password of {server.user}@127.0.0.1: "


def passes(server: EmbeddedFtpServer) -> int:
    return [command.verb for command in server.commands].count("PASS")


@pytest.mark.parametrize("command", ["run", "check", "plan"])
def test_m105_a_typed_password_is_not_shown(command: str, asking: str, server: EmbeddedFtpServer) -> None:
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


def test_m105_a_typed_password_is_asked_for_once_in_a_loop(asking: str, server: EmbeddedFtpServer) -> None:
    with on_terminal("-m", "actorsync", "run", asking, "--json", "--set", "sync.every=0.1s") as program:
        program.expect(question(server)).type(f"{CANARY}\n")
        assert program.process.stdout is not None
        stopped = 0
        while stopped < 2:
            stopped += b'"event":"stopped"' in program.process.stdout.readline()
        program.process.send_signal(signal.SIGINT)
        assert program.end()[0] == 0
        assert program.expect("\n").shown.count("password of") == 1


def test_ctrl_c_at_the_question_ends_with_130(asking: str, server: EmbeddedFtpServer) -> None:
    with on_terminal("-m", "actorsync", "run", asking) as program:
        program.expect(question(server))
        assert not program.has_echo
        code, out, err = program.type("half a pass\x03").end()
        assert program.has_echo
    assert (code, out, err) == (130, "", "\n")
    assert server.commands == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_the_question_leaves_the_terminal_as_it_was(
    number: signal.Signals, asking: str, server: EmbeddedFtpServer
) -> None:
    with on_terminal("-m", "actorsync", "check", asking) as program:
        program.expect(question(server)).process.send_signal(number)
        assert program.end() == (-number, "", "")
        assert program.has_echo


def test_ctrl_z_does_not_leave_the_question(asking: str, server: EmbeddedFtpServer) -> None:
    with on_terminal("-m", "actorsync", "check", asking) as program:
        program.expect(question(server)).type("\x1a")
        time.sleep(0.2)
        assert program.process.poll() is None
        assert not program.has_echo
        program.type("\x03")
        assert program.end()[0] == 130


@pytest.mark.parametrize("typed", ["\n", "\x04"])
def test_nothing_typed_is_an_error(typed: str, asking: str, server: EmbeddedFtpServer) -> None:
    with on_terminal("-m", "actorsync", "run", asking) as program:
        assert program.expect(question(server)).type(typed).end() == (
            2,
            "",
            f"actorsync: {asking}: target.password: no password was entered; try again\n",
        )
    assert server.commands == []


@pytest.mark.parametrize("command", ["run", "check", "plan"])
def test_without_a_terminal_nobody_is_asked(command: str, asking: str, server: EmbeddedFtpServer) -> None:
    line = 'no terminal to ask for the password; use password = { env = "..." } instead'
    ending = (2, "", f"actorsync: {asking}: target.password: {line}\n")
    assert without_terminal("-m", "actorsync", command, asking) == ending
    assert server.commands == []


def test_nobody_is_asked_in_vain(asking: str, server: EmbeddedFtpServer) -> None:
    with on_terminal("-m", "actorsync", "run", asking) as program:
        program.expect(question(server)).type(f"{CANARY}\n")
        assert program.end()[0] == 0
    # A plan that need not connect, and what never does.
    for command in ("plan", "status"):
        assert without_terminal("-m", "actorsync", command, asking)[0] == 0
    # A run that another one locks out.
    with on_terminal("-m", "actorsync", "run", asking, "--set", "sync.every=1h") as program:
        program.expect(question(server)).type(f"{CANARY}\n")
        assert program.process.stderr is not None
        program.process.stderr.readline()
        assert without_terminal("-m", "actorsync", "run", asking)[0] == 8


def test_m105_a_passphrase_is_asked_for_before_the_password(tmp_path: Path) -> None:
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


# A host key.


@attrs.frozen
class Shows:
    """An endpoint of which nothing is known but its host key."""

    shown: ShownHostKey | ActorsyncError

    async def show_host_key(self) -> ShownHostKey:
        if isinstance(self.shown, ActorsyncError):
            raise self.shown
        return self.shown


@pytest.fixture
def check(tmp_path: Path) -> HostKeyCheck:
    return HostKeyCheck(
        profile=Path("shop.toml"),
        host="[h.example]:2222",
        url="sftp://deploy@h.example:2222/",
        known_hosts=tmp_path / ".ssh" / "known_hosts",
        system_file=tmp_path / "ssh_known_hosts",
    )


def answering(answer: str) -> tuple[Callable[[str], str], list[str]]:
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return answer

    return ask, asked


def nobody(question: str) -> str:
    raise OSError("No such device or address")


def never(question: str) -> str:
    raise AssertionError("asked")


def refusal(lines: Iterator[str]) -> str:
    with pytest.raises(LoginRefused) as caught:
        list(lines)
    assert str(caught.value).isprintable()
    assert caught.value.exit_code == 6
    return str(caught.value)


async def test_m101_an_unknown_key_is_shown_and_added_on_yes(check: HostKeyCheck) -> None:
    ask, asked = answering("yes")
    shown = await show(Shows(UNKNOWN), check.url)
    assert list(check.trust(shown, None, ask)) == [
        "server       sftp://deploy@h.example:2222/",
        "algorithm    ssh-ed25519",
        f"fingerprint  {FINGERPRINT}",
        "unknown: compare this fingerprint with the one from your administrator",
        f"added to {check.known_hosts}; next, run: actorsync check shop.toml",
    ]
    assert asked == [f"Do the fingerprints match? Type yes to add the key to {check.known_hosts}: "]
    assert check.known_hosts.read_text() == f"{LINE}\n"
    assert stat.S_IMODE(check.known_hosts.stat().st_mode) == 0o600
    assert stat.S_IMODE(check.known_hosts.parent.stat().st_mode) == 0o700


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(TargetUnreachable, match="cannot reach sftp://h/: refused"):
        await show(Shows(ConnectionLost("refused")), "sftp://h/")


@pytest.mark.parametrize("answer", ["", "y", "Yes", "no", "yes please"])
def test_m101_nothing_but_yes_adds_a_key(answer: str, check: HostKeyCheck) -> None:
    line = refusal(check.trust(UNKNOWN, None, answering(answer)[0]))
    assert line == "the host key of [h.example]:2222 was not confirmed; nothing was added"
    assert not check.known_hosts.parent.exists()


def test_m101_without_a_terminal_the_fingerprint_has_to_be_given(check: HostKeyCheck) -> None:
    line = refusal(check.trust(UNKNOWN, None, nobody))
    assert line.endswith(f"if it is correct, run: actorsync trust shop.toml --fingerprint {FINGERPRINT}")
    assert not check.known_hosts.exists()
    assert list(check.trust(UNKNOWN, FINGERPRINT, never))[-1].startswith("added to ")
    assert check.known_hosts.read_text() == f"{LINE}\n"


def standing(standing: Literal["known", "unknown", "changed", "revoked"]) -> ShownHostKey:
    return attrs.evolve(UNKNOWN, standing=standing)


KNOWN, CHANGED, REVOKED = standing("known"), standing("changed"), standing("revoked")


@pytest.mark.parametrize("shown", [UNKNOWN, KNOWN, CHANGED, REVOKED], ids=lambda shown: shown.standing)
def test_m101_another_fingerprint_adds_nothing(shown: ShownHostKey, check: HostKeyCheck) -> None:
    line = refusal(check.trust(shown, OTHER, never))
    assert line == f"[h.example]:2222 shows {FINGERPRINT}, not {OTHER}; nothing was added"
    assert not check.known_hosts.exists()


@pytest.mark.parametrize(("before", "after"), [("a b c\n", "a b c\n"), ("a b c", "a b c\n"), ("", "")])
def test_a_key_begins_on_a_new_line(before: str, after: str, check: HostKeyCheck) -> None:
    check.known_hosts.parent.mkdir()
    check.known_hosts.write_text(before)
    check.known_hosts.chmod(0o644)
    list(check.trust(UNKNOWN, FINGERPRINT, never))
    assert check.known_hosts.read_text() == f"{after}{LINE}\n"
    assert stat.S_IMODE(check.known_hosts.stat().st_mode) == 0o644


def test_a_file_that_cannot_be_added_to(check: HostKeyCheck, tmp_path: Path) -> None:
    check.known_hosts.mkdir(parents=True)
    with pytest.raises(
        ProfileError, match=r"target\.known-hosts: cannot write to .*: Is a directory; name another file"
    ):
        list(check.trust(UNKNOWN, FINGERPRINT, never))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ProfileError, match="Not a regular file"):
        list(attrs.evolve(check, known_hosts=tmp_path / "fifo").trust(UNKNOWN, FINGERPRINT, never))


def test_a_known_key_is_left_alone(check: HostKeyCheck) -> None:
    check.system_file.write_text(f"# all of us\n{LINE}\n")
    lines = list(check.trust(KNOWN, None, never))
    assert lines[-1] == f"known: the key matches {check.system_file} line 2; nothing to add"
    assert not check.known_hosts.exists()


def test_m102_a_changed_key_is_never_added(check: HostKeyCheck) -> None:
    check.known_hosts.parent.mkdir()
    text = f"other ssh-ed25519 AAAA\n{LINE[:-1]}X\n"
    check.known_hosts.write_text(text)
    for fingerprint in (None, FINGERPRINT):
        line = refusal(check.trust(CHANGED, fingerprint, never))
        assert line.startswith(
            f"the host key of [h.example]:2222 has CHANGED: see {check.known_hosts} line 2; nothing "
        )
    assert check.known_hosts.read_text() == text


def test_m102_a_revoked_key_is_never_added(check: HostKeyCheck) -> None:
    check.known_hosts.parent.mkdir()
    check.known_hosts.write_text(f"{LINE}\n@revoked * {LINE.partition(' ')[2]}\n")
    line = refusal(check.trust(REVOKED, FINGERPRINT, never))
    assert line.startswith(f"the host key of [h.example]:2222 is REVOKED: see {check.known_hosts} line 2; nothing was ")


def test_a_pinned_key_needs_no_file(check: HostKeyCheck) -> None:
    lines = list(attrs.evolve(check, pinned=FINGERPRINT).trust(UNKNOWN, None, never))
    assert lines[-1] == "known: the key matches target.host-key; nothing to add"
    line = refusal(attrs.evolve(check, pinned=OTHER).trust(UNKNOWN, FINGERPRINT, never))
    assert line == f"[h.example]:2222 shows {FINGERPRINT}, but target.host-key is {OTHER}; nothing was added"
    assert not check.known_hosts.exists()


def test_a_visit_is_that_of_the_profile(tmp_path: Path) -> None:
    keys = ['known-hosts = "hosts"', f'host-key = "{FINGERPRINT}"']
    path = profile_at(tmp_path, "sftp://deploy@h.example:2222/", *keys)
    url = "sftp://deploy@h.example:2222/"
    assert host_key_check(load_profile(path), path) == HostKeyCheck(
        path, "[h.example]:2222", url, tmp_path / "hosts", FINGERPRINT
    )
    path = profile_at(tmp_path, "sftp://deploy@[2001:db8::1]/")
    assert host_key_check(load_profile(path), path).host == "2001:db8::1"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftps://h/", "FTPS servers have certificates: see target.ca-file and target.certificate-sha256"),
        ("ftpes://h/", "FTPS servers have certificates: see target.ca-file and target.certificate-sha256"),
        ("ftp://h/", "plain FTP cannot identify its server; use sftp:// or ftpes:// if the server supports it"),
        ("mirror", "this side is a local directory"),
    ],
)
def test_only_sftp_has_a_host_key(url: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = profile_at(tmp_path, url)
    assert run_command(["trust", str(path)]) == 2
    line = f"actorsync: {path}: target.url: only sftp:// servers have a host key; {reason}\n"
    assert capsys.readouterr() == ("", line)


def test_a_fingerprint_looks_like_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["trust", str(profile_at(tmp_path, "sftp://d@h/")), "--fingerprint", "yes"]) == 2
    assert '"yes" is not the fingerprint of a host key' in capsys.readouterr().err


# From end to end.


@pytest.fixture
def sftp_server(server_folder: Path) -> Iterator[EmbeddedSftpServer]:
    root = server_folder / "root"
    (root / "www").mkdir(parents=True)
    with EmbeddedSftpServer(root, password=CANARY) as server:
        yield server


@pytest.fixture
def ssh_profile(tmp_path: Path, sftp_server: EmbeddedSftpServer, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TEST_PASSWORD", CANARY)
    keys = ['known-hosts = "ssh/known_hosts"', 'password = { env = "TEST_PASSWORD" }', "agent = false"]
    return str(profile_at(tmp_path, f"{sftp_server.url}www", *keys))


def test_m101_a_server_is_known_before_it_is_logged_in_to(
    ssh_profile: str, sftp_server: EmbeddedSftpServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known_hosts = tmp_path / "ssh" / "known_hosts"
    for command in ("check", "run"):
        assert run_command([command, ssh_profile]) == 6
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("actorsync: ")]
        assert sftp_server.fingerprint in line
        assert "actorsync trust" in line
    assert [command.verb for command in sftp_server.commands] == []

    with on_terminal("-m", "actorsync", "trust", ssh_profile) as program:
        program.expect(f"Type yes to add the key to {known_hosts}: ")
        assert program.has_echo
        code, out, err = program.type("yes\n").end()
    assert (code, err) == (0, "")
    assert f"fingerprint  {sftp_server.fingerprint}\n" in out
    assert known_hosts.read_text().split()[:3] == sftp_server.known_hosts_line.split()[:3]

    before = known_hosts.read_bytes()
    assert run_command(["trust", ssh_profile]) == 0
    assert f"known: the key matches {known_hosts} line 1" in capsys.readouterr().out
    assert known_hosts.read_bytes() == before
    assert run_command(["check", ssh_profile]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("ready: ")
    assert run_command(["run", ssh_profile, "-q"]) == 0
    assert (sftp_server.root / "www" / "a.txt").read_text() == "a"


def test_m101_a_script_names_the_fingerprint(
    ssh_profile: str, sftp_server: EmbeddedSftpServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known_hosts = tmp_path / "ssh" / "known_hosts"
    code, _, err = without_terminal("-m", "actorsync", "trust", ssh_profile)
    assert code == 6
    assert err.endswith(f"run: actorsync trust {ssh_profile} --fingerprint {sftp_server.fingerprint}\n")
    assert run_command(["trust", ssh_profile, "--fingerprint", OTHER]) == 6
    assert not known_hosts.exists()
    assert run_command(["trust", ssh_profile, "--fingerprint", sftp_server.fingerprint]) == 0
    assert known_hosts.read_text().split()[:3] == sftp_server.known_hosts_line.split()[:3]
    assert sftp_server.commands == []

    sftp_server.stop()
    assert run_command(["trust", ssh_profile]) == 5
    sftp_server.host_key = asyncssh.generate_private_key("ssh-ed25519").export_private_key()
    sftp_server.start()
    capsys.readouterr()
    for command in ("trust", "check", "run"):
        assert run_command([command, ssh_profile]) == 6
        err = capsys.readouterr().err
        assert "CHANGED" in err
        assert err.count("actorsync: ") == 1
    assert sftp_server.commands == []


def test_m105_m109_a_refused_login_is_one_line(
    ssh_profile: str,
    sftp_server: EmbeddedSftpServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["trust", ssh_profile, "--fingerprint", sftp_server.fingerprint]) == 0
    monkeypatch.setenv("TEST_PASSWORD", f"not {CANARY}")
    capfd.readouterr()
    assert run_command(["check", ssh_profile]) == 6
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert CANARY not in err
    assert [command.verb for command in sftp_server.commands].count("PASS") == 1


# The lines about a host.


def test_lines_about_a_host(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(
        "\n".join(
            [
                "# h ssh-ed25519 A",
                "h,other ssh-ed25519 A comment",
                "*.example,!no.example ssh-rsa B",
                "@revoked * ssh-rsa C",
                "[h]:2222 ssh-rsa D",
                "h ssh-rsa",
                "|1|not base64|x ssh-rsa E",
                "|1|AAAA ssh-rsa F",
            ]
        )
    )

    def found(host: str) -> list[tuple[int, str, str]]:
        return [(one.number, one.marker, one.blob) for one in lines_about(path, host)]

    revoked = (4, "@revoked", "C")
    assert found("h") == [(2, "", "A"), revoked]
    assert found("H.Example") == [(3, "", "B"), revoked]
    assert found("no.example") == [revoked]
    assert found("[h]:2222") == [revoked, (5, "", "D")]
    assert list(lines_about(tmp_path / "none", "h")) == []


@pytest.mark.parametrize(
    ("host", "hashed"),
    [
        ("h.example", "|1|Hml/0Dlceo0KINjV8cH/12zS7rg=|lzXnaLlmYd4wLHo4cmiHhDhIoB8="),
        ("[h.example]:2222", "|1|YxlSSvVNlYhSTCD/OuAyxhO0p8s=|Qbcg75/6IaiewwuXW2XyPm/nLfk="),
    ],
)
def test_lines_about_a_host_whose_name_is_hashed(host: str, hashed: str, tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"other ssh-ed25519 A\n{hashed} ssh-ed25519 B\n")
    assert [one.number for one in lines_about(path, host)] == [2]
    assert list(lines_about(path, "another")) == []
