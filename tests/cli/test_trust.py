"""``actorsync trust``: showing, comparing and storing a host key."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Literal

import asyncssh
import attrs
import pytest

from actorsync.cli.commands import run_command
from actorsync.cli.trust import HostKeyCheck, host_key_checks, show
from actorsync.endpoints.ssh.known_hosts import lines_about
from actorsync.endpoints.ssh.settings import ShownHostKey
from actorsync.errors import ActorsyncError, ConnectionLost, LoginRefused, ProfileError, TargetUnreachable
from actorsync.profile import load_profile
from actorsync.testing.servers.sftp import EmbeddedSftpServer
from tests.support.remote_profile import CANARY, profile_at
from tests.support.servers.ssh_keys import make_key
from tests.support.servers.ssh_ways import SshWays, serving_ways
from tests.support.system.terminal import on_terminal, without_terminal


def never(question: str) -> str:
    raise AssertionError("asked")


@pytest.fixture
def check(tmp_path: Path) -> HostKeyCheck:
    return HostKeyCheck(
        profile=Path("shop.toml"),
        host="[h.example]:2222",
        url="sftp://deploy@h.example:2222/",
        known_hosts=tmp_path / ".ssh" / "known_hosts",
        system_file=tmp_path / "ssh_known_hosts",
    )


FINGERPRINT = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"


OTHER = FINGERPRINT.replace("47", "99")


LINE = "[h.example]:2222 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"


UNKNOWN = ShownHostKey("ssh-ed25519", FINGERPRINT, LINE, "unknown")


@attrs.frozen
class Shows:
    """An endpoint that can only show its host key."""

    shown: ShownHostKey | ActorsyncError

    async def show_host_key(self, index: int, wanted: Collection[str]) -> ShownHostKey:
        assert (index, wanted) == (0, ())
        if isinstance(self.shown, ActorsyncError):
            raise self.shown
        return self.shown


def answering(answer: str) -> tuple[Callable[[str], str], list[str]]:
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return answer

    return ask, asked


def no_terminal(question: str) -> str:
    raise OSError("No such device or address")


def refusal(lines: Iterator[str]) -> str:
    with pytest.raises(LoginRefused) as caught:
        list(lines)
    assert str(caught.value).isprintable()
    assert caught.value.exit_code == 6
    return str(caught.value)


async def test_m101_unknown_key_is_shown_and_added_on_yes(check: HostKeyCheck) -> None:
    ask, asked = answering("yes")
    shown = await show(Shows(UNKNOWN), check)
    assert list(check.trust(shown, (), ask)) == [
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


async def test_show_raises_when_the_server_is_unreachable(check: HostKeyCheck) -> None:
    with pytest.raises(TargetUnreachable, match=r"cannot reach sftp://deploy@h\.example:2222/: refused"):
        await show(Shows(ConnectionLost("refused")), check)


@pytest.mark.parametrize("answer", ["", "y", "Yes", "no", "yes please"])
def test_m101_only_yes_adds_a_key(answer: str, check: HostKeyCheck) -> None:
    line = refusal(check.trust(UNKNOWN, (), answering(answer)[0]))
    assert line == "the host key of [h.example]:2222 was not confirmed; nothing was added"
    assert not check.known_hosts.parent.exists()


def test_m101_unknown_key_without_a_terminal_requires_fingerprint(check: HostKeyCheck) -> None:
    line = refusal(check.trust(UNKNOWN, (), no_terminal))
    assert line.endswith(f"if it is correct, run: actorsync trust shop.toml --fingerprint {FINGERPRINT}")
    assert not check.known_hosts.exists()
    assert list(check.trust(UNKNOWN, [FINGERPRINT], never))[-1].startswith("added to ")
    assert check.known_hosts.read_text() == f"{LINE}\n"


def standing(standing: Literal["known", "unknown", "changed", "revoked"]) -> ShownHostKey:
    return attrs.evolve(UNKNOWN, standing=standing)


KNOWN, CHANGED, REVOKED = standing("known"), standing("changed"), standing("revoked")


@pytest.mark.parametrize("shown", [UNKNOWN, KNOWN, CHANGED, REVOKED], ids=lambda shown: shown.standing)
def test_m101_different_fingerprint_adds_nothing(shown: ShownHostKey, check: HostKeyCheck) -> None:
    line = refusal(check.trust(shown, [OTHER], never))
    assert line == f"[h.example]:2222 shows {FINGERPRINT}, not {OTHER}; nothing was added"
    assert not check.known_hosts.exists()


@pytest.mark.parametrize(("before", "after"), [("a b c\n", "a b c\n"), ("a b c", "a b c\n"), ("", "")])
def test_added_key_starts_on_a_new_line(before: str, after: str, check: HostKeyCheck) -> None:
    check.known_hosts.parent.mkdir()
    check.known_hosts.write_text(before)
    check.known_hosts.chmod(0o644)
    list(check.trust(UNKNOWN, [FINGERPRINT], never))
    assert check.known_hosts.read_text() == f"{after}{LINE}\n"
    assert stat.S_IMODE(check.known_hosts.stat().st_mode) == 0o644


def test_unwritable_known_hosts_is_an_error(check: HostKeyCheck, tmp_path: Path) -> None:
    check.known_hosts.mkdir(parents=True)
    with pytest.raises(
        ProfileError, match=r"target\.known-hosts: cannot write to .*: Is a directory; name another file"
    ):
        list(check.trust(UNKNOWN, [FINGERPRINT], never))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ProfileError, match="Not a regular file"):
        list(attrs.evolve(check, known_hosts=tmp_path / "fifo").trust(UNKNOWN, [FINGERPRINT], never))


def test_known_key_changes_nothing(check: HostKeyCheck) -> None:
    check.system_file.write_text(f"# all of us\n{LINE}\n")
    lines = list(check.trust(KNOWN, (), never))
    assert lines[-1] == f"known: the key matches {check.system_file} line 2; nothing to add"
    assert not check.known_hosts.exists()


def test_m102_changed_key_is_never_added(check: HostKeyCheck) -> None:
    check.known_hosts.parent.mkdir()
    text = f"other ssh-ed25519 AAAA\n{LINE[:-1]}X\n"
    check.known_hosts.write_text(text)
    for fingerprints in ((), (FINGERPRINT,)):
        line = refusal(check.trust(CHANGED, fingerprints, never))
        assert line.startswith(
            f"the host key of [h.example]:2222 has CHANGED: see {check.known_hosts} line 2; nothing "
        )
    assert check.known_hosts.read_text() == text


def test_m102_revoked_key_is_never_added(check: HostKeyCheck) -> None:
    check.known_hosts.parent.mkdir()
    check.known_hosts.write_text(f"{LINE}\n@revoked * {LINE.partition(' ')[2]}\n")
    line = refusal(check.trust(REVOKED, [FINGERPRINT], never))
    assert line.startswith(f"the host key of [h.example]:2222 is REVOKED: see {check.known_hosts} line 2; nothing was ")


def test_pinned_key_needs_no_known_hosts(check: HostKeyCheck) -> None:
    lines = list(attrs.evolve(check, pinned=FINGERPRINT).trust(UNKNOWN, (), never))
    assert lines[-1] == "known: the key matches target.host-key; nothing to add"
    line = refusal(attrs.evolve(check, pinned=OTHER).trust(UNKNOWN, [FINGERPRINT], never))
    assert line == f"[h.example]:2222 shows {FINGERPRINT}, but target.host-key is {OTHER}; nothing was added"
    assert not check.known_hosts.exists()


def test_check_is_made_from_the_profile(tmp_path: Path) -> None:
    keys = ['known-hosts = "hosts"', f'host-key = "{FINGERPRINT}"']
    path = profile_at(tmp_path, "sftp://deploy@h.example:2222/", *keys)
    url = "sftp://deploy@h.example:2222/"
    assert host_key_checks(load_profile(path), path) == [
        HostKeyCheck(path, "[h.example]:2222", url, tmp_path / "hosts", FINGERPRINT)
    ]
    path = profile_at(tmp_path, "sftp://deploy@[2001:db8::1]/")
    assert [one.host for one in host_key_checks(load_profile(path), path)] == ["2001:db8::1"]


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


def test_invalid_fingerprint_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["trust", str(profile_at(tmp_path, "sftp://d@h/")), "--fingerprint", "yes"]) == 2
    assert '"yes" is not the fingerprint of a host key' in capsys.readouterr().err


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


def test_m101_login_requires_a_known_host_key(
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


def test_trust_needs_no_secret_of_the_login(
    ssh_profile: str, sftp_server: EmbeddedSftpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_PASSWORD")
    assert run_command(["trust", ssh_profile, "--fingerprint", sftp_server.fingerprint]) == 0


def test_m101_script_adds_a_key_by_fingerprint(
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


@pytest.fixture
def ways(tmp_path: Path) -> Iterator[tuple[SshWays, SshWays, str]]:
    """Yield a jump host, a server behind it, and a profile for them that knows no host key."""
    key = make_key(tmp_path / "key")
    (tmp_path / "root" / "www").mkdir(parents=True)
    with (
        serving_ways(SshWays(root=tmp_path, user="hop", authorized=[key.public_line], forwards=True)) as jump,
        serving_ways(SshWays(root=tmp_path / "root", authorized=[key.public_line])) as server,
    ):
        keys = [
            'known-hosts = "ssh/known_hosts"',
            'key-file = "key"',
            f'jump = ["hop@127.0.0.1:{jump.port}"]',
        ]
        yield jump, server, str(profile_at(tmp_path, f"sftp://{server.user}@127.0.0.1:{server.port}/www", *keys))


def test_trust_adds_the_key_of_each_jump_host_first(
    ways: tuple[SshWays, SshWays, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jump, server, profile = ways
    known_hosts = tmp_path / "ssh" / "known_hosts"
    with on_terminal("-m", "actorsync", "trust", profile) as program:
        program.expect(f"Type yes to add the key to {known_hosts}: ")
        assert jump.received == [], "no login at a host that is not trusted yet"
        program.type("yes\n").expect("yes\r\nDo the fingerprints match?")
        code, out, err = program.type("yes\n").end()
    assert (code, err) == (0, "")
    assert f"jump host    hop@127.0.0.1:{jump.port}\n" in out
    assert [line.split()[0] for line in known_hosts.read_text().splitlines()] == [
        f"[127.0.0.1]:{jump.port}",
        f"[127.0.0.1]:{server.port}",
    ]
    assert server.received == [], "no login at the server itself"
    assert run_command(["check", profile]) == 0
    rows = [line.partition("  ") for line in capsys.readouterr().out.splitlines()]
    (told,) = [text.strip() for label, _, text in rows if label == "jump host"]
    assert told.startswith(f"hop@127.0.0.1:{jump.port}, SSH-2.0-AsyncSSH")
    assert run_command(["run", profile, "-q"]) == 0
    assert (tmp_path / "root" / "www" / "a.txt").read_text() == "a"


def test_script_adds_the_keys_of_the_way_by_fingerprint(
    ways: tuple[SshWays, SshWays, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jump, server, profile = ways
    first, second = (one.host_keys[0].get_fingerprint() for one in (jump, server))
    assert run_command(["trust", profile, "--fingerprint", second]) == 6
    assert f"[127.0.0.1]:{jump.port} shows {first}, not {second}; nothing was added" in capsys.readouterr().err
    assert run_command(["trust", profile, "--fingerprint", first]) == 6
    assert f"[127.0.0.1]:{server.port} shows {second}, not {first}" in capsys.readouterr().err
    assert run_command(["trust", profile, "--fingerprint", second]) == 0, "the jump host is known by now"
    assert len((tmp_path / "ssh" / "known_hosts").read_text().splitlines()) == 2


def test_changed_key_of_a_jump_host_ends_every_command_before_a_login(
    ways: tuple[SshWays, SshWays, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jump, server, profile = ways
    fingerprints = [
        option for one in (jump, server) for option in ("--fingerprint", one.host_keys[0].get_fingerprint())
    ]
    assert run_command(["trust", profile, *fingerprints]) == 0
    known_hosts = tmp_path / "ssh" / "known_hosts"
    before, other = known_hosts.read_text().splitlines(), make_key(tmp_path / "other").public_line
    known_hosts.write_text(f"[127.0.0.1]:{jump.port} {other.strip()}\n{before[1]}\n")
    jump.received.clear()
    capsys.readouterr()
    for command in (["trust", profile], ["trust", profile, *fingerprints], ["check", profile], ["run", profile]):
        assert run_command(command) == 6
        assert "CHANGED" in capsys.readouterr().err
    assert jump.received == server.received == []


def test_m105_m109_rejected_login_is_one_line(
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


def test_known_hosts_lines_of_a_host(tmp_path: Path) -> None:
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
def test_known_hosts_lines_of_a_hashed_host(host: str, hashed: str, tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"other ssh-ed25519 A\n{hashed} ssh-ed25519 B\n")
    assert [one.number for one in lines_about(path, host)] == [2]
    assert list(lines_about(path, "another")) == []
