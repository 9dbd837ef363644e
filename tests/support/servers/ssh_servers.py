"""SFTP servers for tests: OpenSSH's sshd, run as root on loopback, and asyncssh inside this process.

Each start of sshd writes its configuration to a folder of its own, so any number of servers can run at the same time.
sshd logs in the system user of `debian_servers`, by key or by password, and uses files as that user. The root of a
server is its login directory: relative paths are below it.
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

_START = 10.0  # seconds within which the server must greet


@attrs.frozen(kw_only=True)
class Options:
    """Settings of a server. asyncssh has only the first."""

    max_connections: int | None = None
    """The most connections: before login for OpenSSH (``MaxStartups n:100:n``), in all for asyncssh."""
    max_startups: str | None = None
    """OpenSSH: the value of ``MaxStartups``, instead of ``max_connections``."""
    max_sessions: int = 10
    """OpenSSH: the most channels on one connection."""
    login_grace: int = 120
    """OpenSSH: seconds within which a connection must log in."""
    more: str = ""
    """OpenSSH: first lines of sshd_config. In sshd_config, the first value of a keyword counts."""


@attrs.define(eq=False)
class OpenSshServer:
    """An sshd process; obtained from `openssh_server`."""

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
        """Kill the server and all its sessions. Clients see closed or reset connections."""
        if self._process is not None:
            # Stop it first, so that it starts no session between the listing and the kill. Each session is a process
            # group of its own, so find sessions as descendants and not by group.
            self._process.send_signal(signal.SIGSTOP)
            sessions = debian_servers.descendants(self._process.pid)
            for pid in [self._process.pid, *sessions]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            while any(debian_servers.is_running(pid) for pid in sessions):  # a running session holds the port
                time.sleep(0.002)
            self._process = None

    def restart(self) -> None:
        """Kill the server, and start it again on the same port."""
        self.stop()
        self.start()

    def log(self) -> str:
        """Return the log of sshd so far. At LogLevel VERBOSE it has connections and logins, but no requests."""
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
    """Serve ``root`` with sshd during a ``with`` block, on a free port.

    ``folder`` is for the configuration, the keys and the log of this server only. The root is changed to belong to the
    server's user, and its parent folders are made searchable for that user.
    """
    if reason := available(OPENSSH):
        raise RuntimeError(reason)
    user = debian_servers.make_user()
    for parent in [root, *root.parents]:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o001)
    port = debian_servers.free_port()
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
    # The directory for sshd's privilege separation.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with OpenSshServer(target, folder, [_sshd(), "-D", "-e", "-f", str(config)]) as server:
        yield server


def require(name: Name) -> None:
    """Skip the test when the server cannot run here; fail it when ``CI`` is set."""
    reason = available(name)
    if reason is not None and os.environ.get("CI"):
        pytest.fail(f"{reason} (CI is set, so no test may be skipped)")
    if reason is not None:
        pytest.skip(reason)


@functools.cache
def available(name: Name) -> str | None:
    """Return why this server cannot run here, or None when it can."""
    if name == ASYNCSSH:
        return None
    binary = debian_servers.find_program("sshd")
    if binary is None:
        return "sshd is not installed; run .ci/install-servers"
    if os.geteuid() != 0:
        return "sshd needs root to log a user in; run the tests as root"
    libraries = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
    missing = re.findall(r"(\S+) => not found", libraries)
    if missing:
        return f"sshd lacks {', '.join(missing)}; run .ci/install-servers"
    said = subprocess.run(
        [binary, "-t", "-f", "/dev/null", "-h", _any_host_key()], capture_output=True, text=True, check=False
    )
    if "Privilege separation user" in said.stderr:
        return "sshd needs a system user named sshd; run .ci/install-servers"
    return None


def _any_host_key() -> str:
    return os.fspath(make_key().path)


def _sshd() -> str:
    path = debian_servers.find_program("sshd")
    assert path is not None
    return path  # absolute, as sshd requires


def _parts_of_sshd() -> str:
    """Return lines of sshd_config with the paths of the helper programs of newer versions, where unpacked with sshd."""
    folder = Path(_sshd()).parents[1] / "lib/openssh"
    parts = {"SshdSessionPath": folder / "sshd-session", "SshdAuthPath": folder / "sshd-auth"}
    return "\n".join(f"{keyword} {path}" for keyword, path in parts.items() if path.exists())


def _greets(host: str, port: int) -> bool:
    """Return whether the server greets. Wait for the end of the connection, which counts for MaxStartups until then."""
    try:
        with socket.create_connection((host, port), timeout=1) as connection, connection.makefile("rb") as lines:
            greeted = lines.readline().startswith(b"SSH-2.0-")
            connection.shutdown(socket.SHUT_WR)
            lines.read()
            return greeted
    except OSError:
        return False


# ---- either server


@contextmanager
def serving(name: Name, folder: Path, options: Options = Options()) -> Iterator[SshTarget]:
    """Serve an empty ``folder/root`` with one of the two servers. Without it, skip the test, or fail it in CI."""
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
    """Run an embedded server during a ``with`` block. The client's key and known_hosts are written to ``folder``."""
    key = make_key(folder / "client_key")
    # A port outside the kernel's range for clients: a proxy needs the same port.
    known = {"user": debian_servers.USER, "password": debian_servers.PASSWORD, "port": debian_servers.free_port()}
    settings = {**known, **settings}
    with EmbeddedSftpServer(root, authorized_keys=[key.public_line], **settings) as server:
        known_hosts = known_hosts_file(folder / "known_hosts", server.port, server.known_hosts_line.partition(" ")[2])
        password = server.password or ""
        yield (
            server,
            SshTarget(ASYNCSSH, server.host, server.port, server.user, password, key.path, known_hosts, server.root),
        )


def known_hosts_file(path: Path, port: int, public_line: str) -> Path:
    """Write a known_hosts file for this key at the port on all of 127.0.0.*, where proxies listen."""
    path.write_text(f"[127.0.0.*]:{port},[::1]:{port} {public_line.strip()}\n")
    return path


def fresh_folder(server: SshTarget, name: str) -> Path:
    """Make an empty folder below the root that the server can write to."""
    folder = server.root / name
    folder.mkdir()
    if server.uid is not None:
        os.chown(folder, server.uid, server.uid)
    return folder
