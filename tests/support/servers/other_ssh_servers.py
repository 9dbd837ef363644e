"""SFTP servers that behave unlike OpenSSH, or are built unlike it: Erlang's ssh, a server on npm's ssh2, dropbear.

Each start writes its configuration to a folder of its own, so any number of servers can run at the same time.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from actorsync.endpoints.sftp.endpoint import SftpEndpoint
from tests.support.servers import debian_servers
from tests.support.servers.ssh_keys import make_key
from tests.support.servers.ssh_servers import fresh_folder, known_hosts_file
from tests.support.servers.ssh_target import SshTarget, endpoint_for

__all__ = ["DROPBEAR", "ERLANG", "NPM", "OTHERS", "OtherServer", "serving_other"]

#: Erlang's own SSH daemon. It gives open files the same handle, once three are open.
ERLANG: Final = "erlang-ssh"
#: A server on npm's ssh2, written as its documentation shows: it runs requests at the same time.
NPM: Final = "npm-ssh2"
#: dropbear with OpenSSH's sftp-server.
DROPBEAR: Final = "dropbear"
OTHERS: Final = (ERLANG, NPM, DROPBEAR)

_START = 20.0  # seconds within which the server must greet
_SCRIPT = Path(__file__).with_name("npm_ssh2_server.js")


@attrs.frozen
class OtherServer:
    """A running server. ``target.name`` is one of `OTHERS`."""

    target: SshTarget

    @property
    def root(self) -> Path:
        """The directory that is served."""
        return self.target.root

    def fresh_folder(self, name: str) -> Path:
        """Make an empty folder below the root that the server can write to."""
        return fresh_folder(self.target, name)

    def endpoint(self, path: str = "", **settings: Any) -> SftpEndpoint:
        """Return an endpoint for a path below the root."""
        if self.target.name == DROPBEAR:  # the login directory is that of the system user
            settings = {"login": self.target.password_login, **settings}
            path = f"{self.root}/{path}".rstrip("/")
        return endpoint_for(self.target, path, **settings)


@contextmanager
def serving_other(name: str, folder: Path) -> Iterator[OtherServer]:
    """Serve an empty ``folder/root`` with one of `OTHERS`. Where it cannot run, skip the test, or fail it in CI."""
    if reason := _missing(name):
        if os.environ.get("CI"):
            pytest.fail(f"{reason} (CI is set, so no test may be skipped)")
        pytest.skip(reason)
    root = folder / "root"
    root.mkdir()
    port = debian_servers.free_port()
    host_key, client_key = make_key(folder / "ssh_host_ed25519_key"), make_key(folder / "client_key")
    (folder / "authorized_keys").write_text(client_key.public_line)
    known_hosts = known_hosts_file(folder / "known_hosts", port, host_key.public_line)
    argv, environment, uid = _COMMANDS[name](folder, port, client_key.public_line.strip())
    user, password = debian_servers.USER, debian_servers.PASSWORD
    target = SshTarget(name, "127.0.0.1", port, user, password, client_key.path, known_hosts, root, uid)
    target.adopt()
    with open(folder / "output", "ab") as output:
        process = subprocess.Popen(
            argv, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder
        )
    try:
        _wait_until_it_greets(name, port, process, folder / "output")
        yield OtherServer(target)
    finally:
        _kill(process)


def _missing(name: str) -> str | None:
    program = {ERLANG: "erl", NPM: "node", DROPBEAR: "dropbear"}[name]
    if shutil.which(program) is None or (name == NPM and not (_modules() / "ssh2").is_dir()):
        return f"{name} is not installed; run .ci/install-servers"
    if name == DROPBEAR and os.geteuid() != 0:
        return "dropbear needs root to log a user in; run the tests as root"
    return None


def _modules() -> Path:
    servers = Path(os.environ.get("ACTORSYNC_SERVERS") or Path.home() / ".cache" / "actorsync-servers")
    return servers / "node" / "node_modules"


_Command = tuple[list[str], dict[str, str], int | None]


def _erlang(folder: Path, port: int, client_key: str) -> _Command:
    start = (
        "{ok, _} = application:ensure_all_started(ssh), "
        f'{{ok, _}} = ssh:daemon({{127,0,0,1}}, {port}, [{{system_dir, "{folder}"}}, {{user_dir, "{folder}"}}, '
        '{auth_methods, "publickey"}, {parallel_login, true}, {max_sessions, 50}, '
        f'{{subsystems, [ssh_sftpd:subsystem_spec([{{root, "{folder}/root"}}])]}}]).'
    )
    return ["erl", "-noshell", "-noinput", "+S", "1", "-eval", start], {"HOME": str(folder)}, None


def _npm(folder: Path, port: int, client_key: str) -> _Command:
    argv = ["node", str(_SCRIPT), str(port), str(folder / "root"), str(folder / "ssh_host_ed25519_key"), client_key]
    return argv, {"NODE_PATH": str(_modules())}, None


def _dropbear(folder: Path, port: int, client_key: str) -> _Command:
    user = debian_servers.make_user()
    key = folder / "dropbear_key"
    subprocess.run(
        ["dropbearconvert", "openssh", "dropbear", str(folder / "ssh_host_ed25519_key"), str(key)],
        check=True,
        capture_output=True,
    )
    return ["dropbear", "-F", "-E", "-r", str(key), "-p", f"127.0.0.1:{port}", "-P", f"{folder}/pid"], {}, user.pw_uid


_COMMANDS: Final[Mapping[str, Callable[[Path, int, str], _Command]]] = {ERLANG: _erlang, NPM: _npm, DROPBEAR: _dropbear}


def _wait_until_it_greets(name: str, port: int, process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + _START
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            if connection.recv(4) == b"SSH-":
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{name} did not start:\n{output.read_text(errors='replace')}")
        time.sleep(0.02)


def _kill(process: subprocess.Popen[bytes]) -> None:
    for pid in [process.pid, *debian_servers.descendants(process.pid)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
