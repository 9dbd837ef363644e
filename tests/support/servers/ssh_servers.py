"""SFTP servers for tests: OpenSSH's own sshd, run as root on loopback, and asyncssh inside this process.

Each start of sshd makes its own configuration in a folder of its own, so any number can run beside each other and
beside an installed one. It logs in the system user of `debian_servers`, by key or by password, and touches files as
that user. The root of a server is where its logins lead: paths that do not begin with a slash are below it.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import attrs
import pytest

from actorsync.testing.servers.sftp import EmbeddedSftpServer
from tests.support.servers import debian_servers
from tests.support.servers.ssh_keys import Key, make_key
from tests.support.servers.ssh_target import ASYNCSSH, NAMES, OPENSSH, Name, SshTarget, endpoint_for

__all__ = [
    "ASYNCSSH",
    "NAMES",
    "OPENSSH",
    "Name",
    "OpenSshServer",
    "Options",
    "SshTarget",
    "available",
    "embedded_server",
    "endpoint_for",
    "fresh_folder",
    "known_hosts_file",
    "openssh_server",
    "require",
    "serving",
]

_START = 10.0  # seconds until the greeting must be there


@attrs.frozen(kw_only=True)
class Options:
    """Settings that a test may choose. asyncssh has only the first."""

    max_connections: int | None = None
    """Connections that are not logged in yet (OpenSSH, as ``MaxStartups n:100:n``), or at all (asyncssh)."""
    max_startups: str | None = None
    """OpenSSH: ``MaxStartups`` in its own words, instead of that."""
    max_sessions: int = 10
    """OpenSSH: channels of one connection."""
    login_grace: int = 120
    """OpenSSH: seconds until a connection must be logged in."""
    more: str = ""
    """OpenSSH: lines of sshd_config that come before ours, and so count instead of them."""


@attrs.define(eq=False)
class OpenSshServer:
    """An sshd. Obtained from `openssh_server`, running."""

    target: SshTarget
    folder: Path
    argv: list[str]
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it has greeted a client."""
        with open(self.folder / "output", "ab") as output:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START
        while not _greets(self.target.host, self.target.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"sshd did not start:\n{self.log()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Kill the server with all its sessions, which clients see as closed or reset connections."""
        if self._process is not None:
            # Stopped first, so that no session is born between the count and the kill. Each is a process group of its
            # own, hence by descent and not by group.
            self._process.send_signal(signal.SIGSTOP)
            sessions = debian_servers._descendants(self._process.pid)
            for pid in [self._process.pid, *sessions]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            while any(debian_servers._is_running(pid) for pid in sessions):  # those that still are hold the port
                time.sleep(0.002)
            self._process = None

    def restart(self) -> None:
        """Kill it, and start it again on the same port."""
        self.stop()
        self.start()

    def log(self) -> str:
        """What sshd said so far, at LogLevel VERBOSE: connections, logins and refusals, and no requests."""
        return (self.folder / "output").read_text(errors="replace")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def openssh_server(
    root: Path, folder: Path, options: Options = Options(), *, host: str = "127.0.0.1", host_key: Key | None = None
) -> Iterator[OpenSshServer]:
    """Serve ``root`` with sshd for the length of a ``with`` block, on a free port.

    ``folder`` takes the configuration, the keys and the log; one server each. The root is given to the server's user,
    and its parent folders are made passable for that user.
    """
    if reason := available(OPENSSH):
        raise RuntimeError(reason)
    user = debian_servers._make_user()
    for parent in [root, *root.parents]:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)
    port = debian_servers._free_port()
    host_key = host_key or make_key(folder / "host_key")
    client_key = make_key(folder / "client_key")
    known_hosts = known_hosts_file(folder / "known_hosts", port, host_key.public_line)
    target = SshTarget(
        OPENSSH,
        host,
        port,
        debian_servers.USER,
        debian_servers.PASSWORD,
        client_key.path,
        known_hosts,
        root,
        user.pw_uid,
    )
    target.adopt()
    authorized = folder / "authorized_keys"
    authorized.write_text(client_key.public_line)
    authorized.chmod(0o644)
    most = options.max_connections or 200
    startups = options.max_startups or f"{most}:100:{most}"
    config = folder / "sshd_config"
    config.write_text(
        f"""
        {options.more}
        ListenAddress {host}
        Port {port}
        HostKey {host_key.path}
        PidFile none
        AuthorizedKeysFile {authorized}
        StrictModes no
        UsePAM no
        UseDNS no
        PasswordAuthentication yes
        KbdInteractiveAuthentication no
        PermitUserEnvironment no
        AllowUsers {debian_servers.USER}
        MaxStartups {startups}
        MaxSessions {options.max_sessions}
        LoginGraceTime {options.login_grace}
        PrintMotd no
        PrintLastLog no
        LogLevel VERBOSE
        Subsystem sftp internal-sftp -d {root} -u 0022
        ForceCommand internal-sftp -d {root} -u 0022
        {_parts_of_sshd()}
        """
    )
    # Where sshd and its unprivileged half live while nobody is logged in.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with OpenSshServer(target, folder, [_sshd(), "-D", "-e", "-f", str(config)]) as server:
        yield server


def require(name: Name) -> None:
    """Go on if the server can run here; else skip the test, or fail it where ``CI`` is set: there it must run."""
    reason = available(name)
    if reason is not None and os.environ.get("CI"):
        pytest.fail(f"{reason} (and CI is set: nothing may be skipped here)")
    if reason is not None:
        pytest.skip(reason)


@functools.cache
def available(name: Name) -> str | None:
    """Return why this server cannot run here, or None when it can."""
    if name == ASYNCSSH:
        return None
    binary = debian_servers._find("sshd")
    if binary is None:
        return "sshd is not there; .ci/install-servers fetches it"
    if os.geteuid() != 0:
        return "sshd needs root, to log in a user"
    libraries = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    missing = re.findall(r"(\S+) => not found", libraries)
    if missing:
        return f"sshd lacks {', '.join(missing)}; .ci/install-servers installs them"
    said = subprocess.run(
        [binary, "-t", "-f", "/dev/null", "-h", _any_host_key()], capture_output=True, text=True, check=False
    )
    if "Privilege separation user" in said.stderr:
        return "sshd wants a system user sshd; .ci/install-servers makes it"
    return None


def _any_host_key() -> str:
    return os.fspath(make_key().path)


def _sshd() -> str:
    path = debian_servers._find("sshd")
    assert path is not None
    return path  # sshd insists on an absolute one


def _parts_of_sshd() -> str:
    """Say where the programs are that newer versions consist of, when they were unpacked with sshd."""
    folder = Path(_sshd()).parents[1] / "lib/openssh"
    parts = {"SshdSessionPath": folder / "sshd-session", "SshdAuthPath": folder / "sshd-auth"}
    return "\n".join(f"{keyword} {path}" for keyword, path in parts.items() if path.exists())


def _greets(host: str, port: int) -> bool:
    """Look for a greeting, and wait for the end: until then this is one of the connections that are logging in."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection, connection.makefile("rb") as lines:
            greeted = lines.readline().startswith(b"SSH-2.0-")
            connection.shutdown(socket.SHUT_WR)
            lines.read()
            return greeted
    except OSError:
        return False


# ---- any of the two


@contextmanager
def serving(name: Name, folder: Path, options: Options = Options()) -> Iterator[SshTarget]:
    """Serve an empty ``folder/root`` with one of the two; skip, or fail in CI, where it cannot run."""
    root = folder / "root"
    root.mkdir()
    require(name)
    if name == OPENSSH:
        with openssh_server(root, folder, options) as started:
            yield started.target
    else:
        with embedded_server(root, folder, max_connections=options.max_connections) as (_, target):
            yield target


@contextmanager
def embedded_server(root: Path, folder: Path, **settings: Any) -> Iterator[tuple[EmbeddedSftpServer, SshTarget]]:
    """Run an embedded server for the length of a ``with`` block; ``folder`` takes what a client needs to reach it."""
    key = make_key(folder / "client_key")
    # The port is none of those that are given to clients: a proxy needs the same.
    known = {"user": debian_servers.USER, "password": debian_servers.PASSWORD, "port": debian_servers._free_port()}
    settings = {**known, **settings}
    with EmbeddedSftpServer(root, authorized_keys=[key.public_line], **settings) as server:
        known_hosts = known_hosts_file(folder / "known_hosts", server.port, server.known_hosts_line.partition(" ")[2])
        password = server.password or ""
        yield (
            server,
            SshTarget(ASYNCSSH, server.host, server.port, server.user, password, key.path, known_hosts, server.root),
        )


def known_hosts_file(path: Path, port: int, public_line: str) -> Path:
    """Write a file that knows this key at the port on all of loopback, so that a proxy may stand before the server."""
    path.write_text(f"[127.0.0.*]:{port},[::1]:{port} {public_line.strip()}\n")
    return path


def fresh_folder(server: SshTarget, name: str) -> Path:
    """Make an empty folder below the root, which the server may write to."""
    folder = server.root / name
    folder.mkdir()
    if server.uid is not None:
        os.chown(folder, server.uid, server.uid)
    return folder
