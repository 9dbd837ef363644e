"""Host keys, logins, and servers that send invalid or hostile replies.

An untrusted server receives no user name, no password and no byte of a file. A hostile server cannot name a path
outside of the root, fill the memory, or make the client accept invalid names or another version of SFTP.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import trio

from actorsync.endpoints.ssh.settings import HostTrust, SshLogin
from actorsync.errors import ConnectionLost, FatalError, LoginRefused
from actorsync.model.entry import Entry, Kind, Listing
from actorsync.testing import EmbeddedSftpServer
from actorsync.testing.network.proxy import open_wire_proxy
from actorsync.testing.servers import sftp_packets as raw
from actorsync.testing.servers.sftp_packets import SftpRequest
from tests.support.mirror import Run, contents, mirror, mirror_process, temporaries
from tests.support.root import ROOT
from tests.support.scenarios import ODD_NAMES, write
from tests.support.servers import evil_sftp
from tests.support.servers.debian_servers import PASSWORD
from tests.support.servers.ssh_keys import agent, make_key
from tests.support.servers.ssh_servers import OPENSSH, Options, fresh_folder, openssh_server, require
from tests.support.servers.ssh_target import SshTarget, endpoint_for
from tests.support.tiers import diagonals

Embedded = tuple[EmbeddedSftpServer, SshTarget]

SECONDS = 10.0
LOGINS = ("USER", "PASS", "KEY")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for number, name in enumerate(("a", "d/b", "d/e/c")):
        write(folder / name, b"%d" % number * 1_000)
    return folder


async def one_run(target: SshTarget, source: Path, *, connections: int = 1, **settings: Any) -> Run:
    endpoint = endpoint_for(target, **{"stall_seconds": 1.0, "connect_seconds": 2.0, **settings})
    return await mirror(source, endpoint, None, connections=connections, settled=True, seconds=2 * SECONDS)


async def assert_refused(target: SshTarget, **settings: Any) -> str:
    """Check that the login is refused permanently, and return the message for the user."""
    endpoint = endpoint_for(target, **settings)
    with trio.fail_after(SECONDS), pytest.raises(LoginRefused) as refused:
        async with endpoint.open_session():
            pass
    assert PASSWORD not in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


async def list_root(target: SshTarget, **settings: Any) -> Listing:
    with trio.fail_after(SECONDS):
        async with endpoint_for(target, **settings).open_session() as session:
            return await session.list_directory("")


# ---- host keys


@pytest.fixture
def other_key(tmp_path: Path) -> str:
    return make_key(tmp_path / "other_key").public_line


def knowing(target: SshTarget, folder: Path, *lines: str) -> HostTrust:
    path = folder / "other_known_hosts"
    path.write_text("".join(line.strip() + "\n" for line in lines))
    return HostTrust(path)


def where(target: SshTarget) -> str:
    return f"[{target.host}]:{target.port}"


def key_of(target: SshTarget) -> str:
    return target.known_hosts.read_text().partition(" ")[2].strip()


def fingerprint(target: SshTarget) -> str:
    return asyncssh.import_public_key(key_of(target)).get_fingerprint()


CASES: dict[str, Callable[[SshTarget, str], list[str]]] = {
    "m101_unknown": lambda target, other: [],
    "m101_known_elsewhere": lambda target, other: [f"another.example.org {key_of(target)}"],
    "m101_known_at_another_port": lambda target, other: [f"[{target.host}]:{target.port + 1} {key_of(target)}"],
    "m101_invalid_lines": lambda target, other: ["garbage", "# comment", "\x00\x01", f"{where(target)} ssh-ed25519"],
    "m102_changed": lambda target, other: [f"{where(target)} {other}"],
    "m102_revoked": lambda target, other: [
        f"@revoked {where(target)} {key_of(target)}",
        f"{where(target)} {key_of(target)}",
    ],
    "m102_revoked_everywhere": lambda target, other: [
        f"{where(target)} {key_of(target)}",
        f"@revoked * {key_of(target)}",
    ],
    "m102_negated": lambda target, other: [f"!{where(target)},[127.0.0.*]:{target.port} {key_of(target)}"],
}


@pytest.mark.parametrize("case", CASES)
async def test_untrusted_host_key_refuses_the_login_once(
    case: str, shared_sftp_server: SshTarget, other_key: str, source: Path, tmp_path: Path
) -> None:
    """One connection is made, without a retry and without credentials."""
    target = shared_sftp_server
    trust = knowing(target, tmp_path, *CASES[case](target, other_key))
    async with open_wire_proxy((target.host, target.port)) as proxy:
        where_it_is = {"host": target.host, "port": target.port}
        said = await assert_refused(target, trust=trust, login=target.password_login, **where_it_is)
        if "revoked" not in case:
            assert fingerprint(target) in said
    run = await one_run(target, source, connections=4, trust=trust, login=target.password_login)
    assert run.report.exit_code == 6
    assert run.report.reconnects == 0
    assert proxy.connections == 0


async def test_m102_untrusted_server_gets_no_credentials(
    embedded_sftp: Embedded, other_key: str, source: Path, tmp_path: Path
) -> None:
    server, target = embedded_sftp
    trust = knowing(target, tmp_path, f"{where(target)} {other_key}")
    run = await one_run(target, source, connections=8, trust=trust, login=target.password_login)
    assert run.report.exit_code == 6
    assert server.connections == 1, "one attempt was made"
    assert server.commands == [], "neither the user name nor the password was sent"


async def test_m102_untrusted_openssh_gets_no_credentials(
    server_folder: Path, other_key: str, source: Path, tmp_path: Path
) -> None:
    require(OPENSSH)
    (server_folder / "root").mkdir()
    with openssh_server(server_folder / "root", server_folder) as server:
        target = server.target
        before = server.log().count("Connection from")
        trust = knowing(target, tmp_path, f"{where(target)} {other_key}")
        run = await one_run(target, source, connections=8, trust=trust, login=target.password_login)
        assert run.report.exit_code == 6
        assert server.log().count("Connection from") - before == 1
        assert not re.search(r"(Failed|Accepted|Invalid|Postponed)", server.log())


async def test_m101_missing_known_hosts_file_trusts_no_key(shared_sftp_server: SshTarget, tmp_path: Path) -> None:
    target = shared_sftp_server
    said = await assert_refused(target, trust=HostTrust(tmp_path / "nowhere" / "known_hosts"))
    assert fingerprint(target) in said


async def test_m101_shown_line_added_to_known_hosts_trusts_the_server(
    shared_sftp_server: SshTarget, other_key: str, source: Path, tmp_path: Path
) -> None:
    target = shared_sftp_server
    lines = {
        "known": f"{where(target)} {key_of(target)}",
        "changed": f"{where(target)} {other_key}",
        "revoked": f"@revoked {where(target)} {key_of(target)}",
        "unknown": "",
    }
    for standing, line in lines.items():
        shown = await endpoint_for(target, trust=knowing(target, tmp_path, line)).show_host_key()
        assert (shown.standing, shown.algorithm) == (standing, "ssh-ed25519")
        assert shown.fingerprint == fingerprint(target)
    path = tmp_path / "other_known_hosts"
    path.write_text(shown.line.strip() + "\n")
    fresh_folder(target, "known now")
    run = await one_run(target, source, trust=HostTrust(path), path="known now")
    assert (run.report.exit_code, run.failures) == (0, {})


async def test_m101_hashed_names_and_patterns_match(shared_sftp_server: SshTarget, tmp_path: Path) -> None:
    target = shared_sftp_server
    path = tmp_path / "hashed"
    path.write_text(f"{where(target)} {key_of(target)}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", path], check=True, capture_output=True)  # noqa: ASYNC221
    assert "127.0.0.1" not in path.read_text()
    for trust in (HostTrust(path), knowing(target, tmp_path, f"[127.*]:{target.port},other {key_of(target)}")):
        assert (await list_root(target, trust=trust)).problem is None


async def test_pin_overrides_known_hosts(shared_sftp_server: SshTarget, other_key: str, tmp_path: Path) -> None:
    target = shared_sftp_server
    stranger = knowing(target, tmp_path, f"{where(target)} {other_key}").known_hosts
    assert (await list_root(target, trust=HostTrust(stranger, host_key=fingerprint(target)))).problem is None
    wrong = asyncssh.import_public_key(other_key).get_fingerprint()
    said = await assert_refused(target, trust=HostTrust(target.known_hosts, host_key=wrong))
    assert fingerprint(target) in said
    shortened = fingerprint(target)[:-1]
    await assert_refused(target, trust=HostTrust(target.known_hosts, host_key=shortened))


async def test_m103_ssh_config_is_ignored(
    shared_sftp_server: SshTarget, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = shared_sftp_server
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    (home / ".ssh" / "config").write_text(
        "Host *\n  UserKnownHostsFile none\n  StrictHostKeyChecking no\n  GlobalKnownHostsFile none\n"
        f"  User somebody-else\n  Port 1\n  HostName 192.0.2.1\n  ProxyCommand touch {tmp_path}/proxied\n"
    )
    (home / ".ssh" / "known_hosts").write_text(f"* {key_of(target)}\n")
    monkeypatch.setenv("HOME", str(home))
    await assert_refused(target, trust=knowing(target, tmp_path))
    assert (await list_root(target)).problem is None
    assert not (tmp_path / "proxied").exists()


# ---- algorithms


def test_m104_asyncssh_has_strict_key_exchange() -> None:
    """Older versions write outside of their target, and are open to Terrapin."""
    assert tuple(int(part) for part in version_of("asyncssh").split(".")[:3]) >= (2, 24, 1)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    assert any(re.match(r"asyncssh(\[.*\])?>=2\.(24\.[1-9]|2[5-9]|[3-9]\d)", line) for line in wanted)


@pytest.mark.parametrize(
    "settings",
    [
        "HostKeyAlgorithms ssh-rsa",
        "Ciphers aes128-cbc,aes256-cbc,3des-cbc",
        "KexAlgorithms diffie-hellman-group1-sha1,diffie-hellman-group14-sha1,diffie-hellman-group-exchange-sha1",
        "MACs hmac-sha1,hmac-md5\n        Ciphers aes128-ctr",
    ],
    ids=["SHA-1 signature", "CBC", "SHA-1 key exchange", "SHA-1 and MD5"],
)
async def test_m104_server_with_only_insecure_algorithms_is_refused(
    settings: str, server_folder: Path, tmp_path: Path
) -> None:
    require(OPENSSH)
    (server_folder / "root").mkdir()
    options = Options(more=settings)
    key = make_key(tmp_path / "rsa", algorithm="ssh-rsa")
    with openssh_server(server_folder / "root", server_folder, options, host_key=key) as server:
        endpoint = endpoint_for(server.target, login=server.target.password_login)
        with trio.fail_after(SECONDS), pytest.raises((LoginRefused, FatalError, ConnectionLost)):
            async with endpoint.open_session():
                raise AssertionError("connected")
        assert "Accepted" not in server.log()


async def test_m104_strict_key_exchange_is_negotiated(server_folder: Path) -> None:
    """Strict key exchange prevents an attacker from removing the first packets (Terrapin)."""
    require(OPENSSH)
    (server_folder / "root").mkdir()
    options = Options(more="LogLevel DEBUG2")
    with openssh_server(server_folder / "root", server_folder, options) as server:
        assert (await list_root(server.target)).problem is None
        chosen = re.findall(r"kex: (?:client->server|server->client) cipher: (\S+) MAC: (\S+)", server.log())
        assert chosen
        assert not any("cbc" in cipher or "sha1" in mac or "md5" in mac for cipher, mac in chosen)
        assert "kex-strict-c-v00@openssh.com" in server.log()


# ---- logins


@pytest.mark.parametrize("connections", [1, 8])
async def test_m109_wrong_password_is_sent_once(connections: int, embedded_sftp: Embedded, source: Path) -> None:
    server, target = embedded_sftp
    login = SshLogin(target.user, password=lambda: "wrong-4711")
    run = await one_run(target, source, connections=connections, login=login)
    assert run.report.exit_code == 6
    assert sum(command.verb == "PASS" for command in server.commands) == 1
    assert "4711" not in str(run)


async def test_m109_openssh_logs_one_failed_login(server_folder: Path, source: Path) -> None:
    require(OPENSSH)
    (server_folder / "root").mkdir()
    with openssh_server(server_folder / "root", server_folder) as server:
        login = SshLogin(server.target.user, password=lambda: "wrong-4711")
        run = await one_run(server.target, source, connections=8, login=login)
        assert run.report.exit_code == 6
        assert server.log().count("Failed password") == 1


async def test_m105_secret_is_requested_once_and_never_shown(embedded_sftp: Embedded, source: Path) -> None:
    _, target = embedded_sftp
    asked = 0

    def ask() -> str:
        nonlocal asked
        asked += 1
        return PASSWORD

    endpoint = endpoint_for(target, login=SshLogin(target.user, password=ask))
    run = await mirror(source, endpoint, None, connections=4)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert asked == 1
    assert PASSWORD not in repr(endpoint) + str(run) + endpoint.display


async def test_a_key_with_a_passphrase(shared_sftp_server: SshTarget, tmp_path: Path) -> None:
    target = shared_sftp_server
    locked = tmp_path / "locked"
    key = asyncssh.read_private_key(target.client_key)
    locked.touch(0o600)
    locked.write_bytes(key.export_private_key(passphrase="open sesame", rounds=1, ignore_few_rounds=True))
    asked: list[str] = []

    def ask(answer: str = "open sesame") -> str:
        asked.append(answer)
        return answer

    assert (await list_root(target, login=SshLogin(target.user, locked, passphrase=ask))).problem is None
    assert len(asked) == 1
    said = await assert_refused(target, login=SshLogin(target.user, locked, passphrase=lambda: "wrong-4711"))
    assert "4711" not in said
    said = await assert_refused(target, login=SshLogin(target.user, locked))
    assert "passphrase" in said


async def test_unusable_key_files_refuse_the_login(shared_sftp_server: SshTarget, tmp_path: Path) -> None:
    target = shared_sftp_server
    (tmp_path / "noise").write_bytes(b"\x00\x01 not a key")
    (tmp_path / "noise").chmod(0o600)
    stranger = make_key(tmp_path / "stranger").path
    for path in (tmp_path / "nowhere", tmp_path / "noise", tmp_path, stranger):
        await assert_refused(target, login=SshLogin(target.user, path))


async def test_agent_key_logs_in(
    shared_sftp_server: SshTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = shared_sftp_server
    monkeypatch.setenv("HOME", str(tmp_path))
    with agent(tmp_path, make_key(tmp_path / "other").path, target.client_key) as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        for is_asked in (True, None):
            assert (await list_root(target, login=SshLogin(target.user, agent=is_asked))).problem is None
        await assert_refused(target, login=SshLogin(target.user, password=lambda: "wrong"))
        await assert_refused(target, login=SshLogin(target.user, agent=False))
    await assert_refused(target, login=SshLogin(target.user, agent=True))


async def test_password_is_sent_after_a_rejected_key(embedded_sftp: Embedded, tmp_path: Path) -> None:
    server, target = embedded_sftp
    stranger = make_key(tmp_path / "stranger")
    login = SshLogin(target.user, stranger.path, password=lambda: PASSWORD)
    assert (await list_root(target, login=login)).problem is None
    assert [command.verb for command in server.commands if command.verb in {"KEY", "PASS"}] == ["KEY", "PASS"]


async def test_m136_nothing_is_written_to_standard_error(server_folder: Path, source: Path, tmp_path: Path) -> None:
    """No library writes its own messages when connections break."""
    require(OPENSSH)
    (server_folder / "root").mkdir()
    with openssh_server(server_folder / "root", server_folder) as server:
        for number in range(40):
            write(source / f"{number}", b"x" * 100_000)
        process = mirror_process(
            source, server.target, tmp_path / "journal", environment={"PYTHONDEVMODE": "1"}, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        lines = [await trio.to_thread.run_sync(process.stdout.readline) for _ in range(3)]
        await trio.to_thread.run_sync(server.restart)
        output, errors = await trio.to_thread.run_sync(process.communicate)
        assert errors == ""
        assert json.loads([*lines, *output.splitlines()][-1])["exit_code"] == 0


# ---- hostile listings


@pytest.mark.parametrize("name", evil_sftp.HOSTILE_NAMES)
async def test_m072_m073_m074_listing_with_a_hostile_name_is_a_problem(name: str, embedded_sftp: Embedded) -> None:
    """A single such name makes the whole listing a problem."""
    server, target = embedded_sftp
    server.instead = evil_sftp.listing([".", "..", "good", name, "also good"])
    found = await list_root(target)
    assert found.problem is not None
    assert found.entries == ()
    assert "\n" not in found.problem.reason
    assert "\0" not in found.problem.reason


async def test_m072_hostile_listing_changes_nothing(
    embedded_sftp: Embedded, source: Path, server_folder: Path, tmp_path: Path
) -> None:
    server, target = embedded_sftp
    write(server_folder / "x", b"outside of the root")
    await mirror(source, endpoint_for(target), tmp_path / "journal")
    (source / "a").unlink()
    (tmp_path / "journal").rename(tmp_path / "lost")
    server.instead = evil_sftp.listing(["../x", "a", "/etc/passwd"])
    before = len(server.commands)
    await mirror(source, endpoint_for(target), tmp_path / "journal")
    assert (server_folder / "x").read_bytes() == b"outside of the root"
    assert not any(".." in command.argument or "etc" in command.argument for command in server.commands[before:])
    assert not any(command.verb in {"REMOVE", "RMDIR"} for command in server.mutating if command.argument == "a")


async def test_m088_odd_names_are_listed_exactly(shared_sftp_server: SshTarget) -> None:
    """Newlines, escapes and backslashes in names are no separators in SFTP."""
    folder = fresh_folder(shared_sftp_server, "odd")
    names = (*ODD_NAMES, "a\n-rw-r--r-- 1 0 0 5 Jan 1 00:00 forged", "...", "\x7f", "a\rb")
    for name in names:
        (folder / name).write_bytes(b"x")
    found = await list_root(shared_sftp_server, path="odd")
    assert found.problem is None
    assert {entry.path for entry in found.entries} == set(names)


async def test_m072_duplicate_name_never_gives_two_entries(embedded_sftp: Embedded) -> None:
    server, target = embedded_sftp
    server.instead = evil_sftp.listing(["same", "other", "same"])
    found = await list_root(target)
    if found.problem is None:
        assert sorted(entry.path for entry in found.entries) == ["other", "same"]


async def test_m046_m092_endless_listing_can_be_cancelled(embedded_sftp: Embedded) -> None:
    server, target = embedded_sftp
    server.instead = evil_sftp.endless_listing()
    began = time.monotonic()
    with trio.move_on_after(0.5):
        async with endpoint_for(target).open_session() as session:
            assert (await session.list_directory("")).problem is not None
    assert time.monotonic() - began < SECONDS / 2


async def test_m061_interrupted_listing_is_a_problem(embedded_sftp: Embedded) -> None:
    server, target = embedded_sftp
    for number in range(300):
        write(target.root / f"{number}", b"")
    for code in (raw.FAILURE, raw.PERMISSION_DENIED, raw.BAD_MESSAGE, 99):
        server.instead = evil_sftp.refusal("READDIR", code=code, message="\x1b[2J\u202e\n", at=2)
        found = await list_root(target)
        assert found.problem is not None
        assert found.entries == ()
        assert not any(character in found.problem.reason for character in "\x1b\u202e\n")


async def test_entries_without_attributes_are_looked_up(embedded_sftp: Embedded) -> None:
    server, target = embedded_sftp
    write(target.root / "file", b"12345", 1_700_000_000)
    server.instead = evil_sftp.listing(["file"], attributes=raw.number(0))
    found = await list_root(target)
    if found.problem is None:
        (entry,) = found.entries
        assert entry == Entry("file", Kind.FILE, 5, 1_700_000_000 * 10**9)


# ---- false attributes, writes and renames


@pytest.mark.parametrize("verb", ["LSTAT", "STAT", "FSTAT"])
@pytest.mark.parametrize("size", [0, 999, 2**63, 2**64 - 1])
async def test_m018_wrong_sizes_publish_no_unverified_file(
    verb: str, size: int, embedded_sftp: Embedded, tmp_path: Path
) -> None:
    """An upload that cannot be verified is not published, and impossible sizes do not crash."""
    server, target = embedded_sftp
    write(tmp_path / "source" / "file", b"x" * 1_000)
    server.instead = evil_sftp.size_of(size, verb)
    run = await one_run(target, tmp_path / "source")
    if run.report.exit_code == 0:
        assert contents(target.root) == contents(tmp_path / "source")
    elif "file" in contents(target.root):
        assert (target.root / "file").stat().st_size == 1_000
    assert temporaries(target.root) == []


@pytest.mark.parametrize("old", [None, b"x" * 1_000, b"short"], ids=["nothing", "as long", "shorter"])
async def test_m034_rename_without_effect_fails_the_file(
    old: bytes | None, embedded_sftp: Embedded, tmp_path: Path
) -> None:
    server, target = embedded_sftp
    write(tmp_path / "source" / "file", b"n" * 1_000)
    if old is not None:
        write(target.root / "file", old, 1_600_000_000)
    server.instead = evil_sftp.not_executed("RENAME", "POSIX-RENAME")
    run = await one_run(target, tmp_path / "source")
    assert run.report.exit_code == 1
    assert list(run.failures) == ["file"]
    assert {path.name: path.read_bytes() for path in target.root.iterdir()} == ({} if old is None else {"file": old})


async def test_m010_removal_without_effect_is_no_success(embedded_sftp: Embedded, source: Path) -> None:
    server, target = embedded_sftp
    write(target.root / "there", b"x", 1_600_000_000)
    endpoint = endpoint_for(target)
    server.instead = evil_sftp.refusal("REMOVE", code=raw.FAILURE)
    async with endpoint.open_session() as session:
        (entry,) = [found for found in (await session.list_directory("")).entries if found.path == "there"]
        (outcome,) = await session.remove([entry])
        assert outcome is not True
        (gone,) = await session.sweep(["never there"])
        assert (target.root / "there").exists()
    assert gone is not False


@pytest.mark.parametrize(
    ("code", "verb"),
    diagonals(
        [1, 2, 4, 5, 6, 7, 8, 99, 2**32 - 1],
        ["CREATE", "WRITE", "FSETSTAT", "CLOSE", "LSTAT", "POSIX-RENAME", "MKDIR", "REALPATH"],
        every=3,
    ),
)
async def test_m039_m089_refused_request_ends_in_a_one_line_report(
    verb: str, code: int, embedded_sftp: Embedded, source: Path
) -> None:
    """Unknown codes and terminal escapes in messages: the run ends, and each report is one printable line."""
    server, target = embedded_sftp
    server.instead = evil_sftp.refusal(verb, code=code, message="\x1b[31m\r\n\x07\u202e" + "x" * 5_000, times=2)
    run = await one_run(target, source)
    told = str(run.report) + "".join(run.failures.values())
    assert not any(character in told for character in "\x1b\x07\u202e")
    assert all(len(reason) < 1_000 and "\n" not in reason for reason in run.failures.values())
    there, wanted = contents(target.root), contents(source)
    for path, digest in wanted.items():
        if path in there:
            assert there[path] == digest
        else:
            assert run.report.exit_code != 0
    assert not (run.report.exit_code == 0 and temporaries(target.root))


# ---- invalid packets


def garbage(request: SftpRequest) -> bytes:
    return b"\xff\xfe\xfd" * 50


def huge(request: SftpRequest) -> bytes:
    return raw.number(2**32 - 1) + bytes([raw.STATUS]) + raw.number(request.id)


def empty(request: SftpRequest) -> bytes:
    return raw.number(0)


def half_a_string(request: SftpRequest) -> bytes:
    return raw.packet(raw.NAME, raw.number(request.id) + raw.number(2**31) + raw.number(2**31))


def another_kind(request: SftpRequest) -> bytes:
    return raw.packet(raw.DATA, raw.number(request.id) + raw.string(b"unasked"))


def unknown_kind(request: SftpRequest) -> bytes:
    return raw.packet(250, raw.number(request.id))


def end_in_the_middle(request: SftpRequest) -> bytes:
    return raw.LastWords(raw.status(request.id)[:7])


@pytest.mark.parametrize(
    ("say", "verb"),
    diagonals(
        [garbage, huge, empty, half_a_string, another_kind, unknown_kind, end_in_the_middle],
        ["REALPATH", "OPENDIR", "READDIR", "CREATE", "WRITE", "CLOSE", "LSTAT"],
        every=3,
    ),
)
async def test_m003_m020_m091_invalid_reply_reconnects_and_completes(
    verb: str, say: Callable[[SftpRequest], bytes], embedded_sftp: Embedded, source: Path
) -> None:
    """The connection is closed at once, not after the timeout, and the next connection does the work."""
    server, target = embedded_sftp
    lie = server.instead = evil_sftp.Counted(frozenset([verb]), say, times=1)
    endpoint = endpoint_for(target, stall_seconds=2 * SECONDS, connect_seconds=2 * SECONDS)
    run = await mirror(source, endpoint, None, connections=1, settled=True, seconds=SECONDS / 2)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert contents(target.root) == contents(source)
    assert temporaries(target.root) == []
    if lie.sent and verb != "CLOSE":  # the reply to closing a directory is not waited for
        assert run.report.reconnects >= 1


@pytest.mark.parametrize("verb", ["REALPATH", "MKDIR", "CREATE", "WRITE", "CLOSE", "POSIX-RENAME"])
@pytest.mark.parametrize("distort", [evil_sftp.twice, evil_sftp.unknown_id], ids=["twice", "unknown id"])
async def test_m020_unexpected_reply_reconnects_and_completes(
    verb: str, distort: Callable[[str], evil_sftp.Distort], embedded_sftp: Embedded, source: Path
) -> None:
    server, target = embedded_sftp
    told = 0
    lie = distort(verb)

    def once(request: SftpRequest, answer: bytes) -> bytes:
        nonlocal told
        said = answer if told else lie(request, answer)
        told += said != answer
        return said

    server.distort = once
    run = await one_run(target, source)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert contents(target.root) == contents(source)
    assert temporaries(target.root) == []
    if told:
        assert run.report.reconnects >= 1, "a duplicate reply closes the connection"


@pytest.mark.parametrize(
    "instead",
    [
        evil_sftp.version(2),
        evil_sftp.version(0),
        evil_sftp.version(6),
        evil_sftp.version(3, b"\x00\x00\xff\xff"),
        evil_sftp.version(3, raw.string("posix-rename@openssh.com")),
        evil_sftp.Counted(frozenset(["INIT"]), garbage),
        evil_sftp.Counted(frozenset(["INIT"]), huge),
        evil_sftp.Counted(frozenset(["INIT"]), lambda request: b"Welcome to this shell!\r\n"),
        evil_sftp.refusal("INIT"),
        evil_sftp.Counted(frozenset(["INIT"]), lambda request: raw.LastWords(raw.status(request.id)[:7])),
    ],
    ids=["2", "0", "6", "half", "no value", "garbage", "huge", "shell output", "status", "cut short"],
)
async def test_m022_unsupported_version_is_refused(instead: evil_sftp.Counted, embedded_sftp: Embedded) -> None:
    server, target = embedded_sftp
    server.instead = instead
    began = time.monotonic()
    with trio.fail_after(SECONDS), pytest.raises((ConnectionLost, FatalError, LoginRefused)):
        async with endpoint_for(target, connect_seconds=2.0).open_session():
            raise AssertionError("connected")
    assert time.monotonic() - began < SECONDS / 2
    assert not server.mutating


def test_asyncssh_is_not_imported_before_it_is_needed() -> None:
    """The import of asyncssh takes longer than that of all other modules."""
    program = "import sys, actorsync.testing, actorsync.endpoints.ssh.settings; print('asyncssh' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
