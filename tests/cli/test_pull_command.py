"""The commands with a remote source: their output and exit codes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from actorsync.cli.commands import run_command
from actorsync.testing import EmbeddedFtpServer
from tests.support.mirror import contents
from tests.support.servers import ssh_servers
from tests.support.servers.any_side import OLD, Side, put
from tests.support.servers.debian_servers import PASSWORD, USER
from tests.support.servers.ssh_target import SshTarget
from tests.support.site import Ran


@attrs.frozen
class Pull:
    """A profile that mirrors a server to a directory."""

    folder: Path
    source: Side
    capsys: pytest.CaptureFixture[str]

    @property
    def target(self) -> Path:
        return self.folder / "mirror"

    def write(self, source: Sequence[str], *sync: str, target: str = "mirror") -> None:
        lines = ["[source]", *source, "[target]", f'url = "{target}"', "[sync]", "delete = true", *sync]
        (self.folder / "pull.toml").write_text("\n".join(lines) + "\n")

    def command(self, *words: str) -> Ran:
        self.capsys.readouterr()
        code = run_command([*words, str(self.folder / "pull.toml")])
        out, errors = self.capsys.readouterr()
        return Ran(code, out.splitlines(), errors.splitlines())


@pytest.fixture
def server(server_folder: Path) -> Iterator[EmbeddedFtpServer]:
    (server_folder / "root" / "site").mkdir(parents=True)
    with EmbeddedFtpServer(server_folder / "root", user=USER, password=PASSWORD) as running:
        yield running


@pytest.fixture
def pull(
    server: EmbeddedFtpServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Pull:
    monkeypatch.setenv("PULL_PASSWORD", PASSWORD)
    made = Pull(tmp_path, Side(server.root / "site"), capsys)
    for path in ("a.txt", "sub/b.txt"):
        put(made.source, path, path.encode())
    made.write([f'url = "{url(server)}"', 'password = { env = "PULL_PASSWORD" }'])
    return made


def url(server: EmbeddedFtpServer, path: str = "site", port: int | None = None) -> str:
    return f"ftp://{USER}@{server.host}:{port or server.port}/{path}"


def test_check_plan_run_and_status(pull: Pull, server: EmbeddedFtpServer) -> None:
    checked = pull.command("check")
    assert (checked.code, checked.errors) == (0, [])
    assert f"source           {url(server)}" in checked.out
    assert "source listing   MLSD" in checked.out
    planned = pull.command("plan")
    assert (planned.code, planned.out) == (
        *(0, ["+ a.txt", "+ sub/", "+ sub/b.txt", "2 files to copy (14 B), 1 directory to make"]),
    )
    assert not pull.target.exists()
    ran = pull.command("run")
    assert ran.errors[0] == f"mirroring {url(server)} to {pull.target}, 4 connections"
    assert contents(pull.target) == contents(pull.source.root)
    assert pull.command("plan", "--exit-code").code == 0
    assert pull.command("run").errors[-1].startswith("in sync: nothing to do (2 files)")
    assert pull.command("status").out[-1].endswith("in sync")


def test_pull_removes_only_what_the_source_lost(pull: Pull) -> None:
    assert pull.command("run", "-q") == Ran(0, [], [])
    (pull.source.root / "sub/b.txt").unlink()
    assert pull.command("run", "-q") == Ran(0, [], [])
    assert contents(pull.target) == contents(pull.source.root)
    put(pull.source, "c.txt", b"c", time=OLD)
    assert pull.command("run", "-q") == Ran(0, [], [])
    for path in ("a.txt", "c.txt"):
        (pull.source.root / path).unlink()
    (pull.source.root / "sub").rmdir()
    before = contents(pull.target)
    ran = pull.command("run", "-q")
    assert (ran.code, ran.out) == (4, [])
    assert "the source is empty" in ran.errors[0]
    assert contents(pull.target) == before


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (lambda server: ["source.url=" + url(server, "nowhere")], 4, "cannot use the source ftp://"),
        (lambda server: ['source.password={ env = "WRONG" }'], 6, "the source ftp://"),
        (lambda server: ["sync.links=follow"], 2, "--set sync.links: links can only be followed in a source on"),
    ],
)
def test_unusable_source_is_an_error(
    pull: Pull,
    server: EmbeddedFtpServer,
    monkeypatch: pytest.MonkeyPatch,
    options: Callable[[EmbeddedFtpServer], list[str]],
    code: int,
    reason: str,
) -> None:
    monkeypatch.setenv("WRONG", "not the password")
    overrides = [word for option in options(server) for word in ("--set", option)]
    for command in (["check"], ["run", "-q"], ["plan"]):
        ran = pull.command(*command, *overrides)
        assert ran.code == code, ran
        assert reason in ran.errors[-1]
    assert not pull.target.exists() or not os.listdir(pull.target)


def test_trust_source_adds_the_host_key_of_the_source(
    pull: Pull, asyncssh_server: SshTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = pull.folder / "known_hosts"
    where = f"sftp://{asyncssh_server.user}@{asyncssh_server.host}:{asyncssh_server.port}/keyed"
    put(Side(ssh_servers.fresh_folder(asyncssh_server, "keyed")), "file", b"file")
    pull.write([f'url = "{where}"', 'password = { env = "PULL_PASSWORD" }', f'known-hosts = "{known}"'])
    refused = pull.command("run", "-q")
    assert refused.code == 6
    assert "the source sftp://" in refused.errors[-1]
    assert "run actorsync trust --source" in refused.errors[-1]
    assert pull.command("trust").errors[-1].endswith("to check the server of [source], add --source")
    (fingerprint,) = [line.split()[1] for line in pull.command("trust", "--source").out if "fingerprint  " in line]
    assert pull.command("trust", "--source", "--fingerprint", fingerprint).code == 0
    assert pull.command("run", "-q") == Ran(0, [], [])
    assert (pull.target / "file").read_bytes() == b"file"
