"""Real FTP servers, one at a time, in the far namespace.

Debian's vsftpd, ProFTPD and Pure-FTPd conflict with each other as packages, so they may also be unpacked side by
side into a folder (``$ACTORSYNC_SERVERS``, see docs/performance.md). A server sees user, password and PAM rules of
its own: a small /etc is laid over the machine's in a mount namespace.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from bench.link import Link, Unusable, end_processes, inside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["OWNER", "PASSWORD", "PORT", "SERVERS", "USER", "Server", "round_trip", "serve"]

USER: Final = "mirror"
PASSWORD: Final = "mirror"
HASHED: Final = "$6$actorsync$n5IyBBovsxfz8tEqtdoSqPisoLmPPyyZuGyS45dD39ctqTmcpm2WnKCF/lXNd8b4g.RBJ7UjEgjlvVz5yKk4H."
OWNER: Final = 60_077
PORT: Final = 2121

VSFTPD: Final = """\
listen=YES
listen_address={address}
listen_port={port}
background=NO
anonymous_enable=NO
local_enable=YES
local_root={home}
local_umask=022
write_enable=YES
mdtm_write=YES
chroot_local_user=YES
allow_writeable_chroot=YES
secure_chroot_dir={own}/empty
pam_service_name=vsftpd
seccomp_sandbox=NO
max_clients=0
max_per_ip=0
xferlog_enable=NO
pasv_min_port=30000
pasv_max_port=60000
"""

PROFTPD: Final = """\
ServerName bench
ServerType standalone
DefaultAddress {address}
Port {port}
SocketBindTight on
UseReverseDNS off
MaxInstances none
User nobody
Group nogroup
DefaultRoot {home}
AuthPAM off
AuthOrder mod_auth_unix.c
RequireValidShell off
AllowOverwrite on
AllowStoreRestart on
DelayEngine off
WtmpLog off
TransferLog none
PidFile {own}/proftpd.pid
ScoreboardFile {own}/proftpd.scoreboard
"""

PYFTPDLIB: Final = """\
import logging
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
logging.basicConfig(level=logging.ERROR)
FTPHandler.authorizer = DummyAuthorizer()
FTPHandler.authorizer.add_user("mirror", "mirror", "{home}", perm="elradfmwMT")
FTPServer(("{address}", {port}), FTPHandler).serve_forever()
"""

# The whole of /etc is laid over: a single file would come back as soon as someone adds a user to this machine.
# The shell stays, as the first process of its namespace: vsftpd ends when it inherits an orphan that it does not know.
LAY_OVER_ETC: Final = """
mount -t tmpfs tmpfs /run
mount --bind "$1" /etc
shift
"$@"
exit $?
"""

PROBE: Final = """
import socket, sys, time
address, end, trips = (sys.argv[1], int(sys.argv[2])), time.monotonic() + 15, []
while len(trips) < 5:
    try:
        start = time.perf_counter()
        with socket.create_connection(address, 5) as connection:
            trips.append(time.perf_counter() - start)
            assert connection.recv(100).startswith(b"220")
    except (OSError, AssertionError):
        if time.monotonic() > end:
            sys.exit(1)
        time.sleep(0.1)
print(min(trips))
"""


@attrs.frozen
class Server:
    """How a server is found, asked for its version, and started. ``config`` is one file, given the places."""

    install: str
    config: str
    version: tuple[str, ...]
    command: Callable[[str, Path, str], list[str]]
    """From the program, its configuration file, and the address."""
    program: str = ""

    def find(self) -> str | None:
        """The program, unpacked or installed."""
        if not self.program:
            return sys.executable
        unpacked = _unpacked() / "usr/sbin" / self.program
        return str(unpacked) if unpacked.exists() else shutil.which(self.program, path="/usr/sbin:/usr/local/sbin")

    def find_version(self) -> str | None:
        """The version, None when the server is not here or does not run."""
        if not (program := self.find()):
            return None
        # vsftpd writes its version to descriptor 0
        asked = ["sh", "-c", 'exec "$@" 0>&1 2>&1', "sh", program, *self.version]
        answer = subprocess.run(asked, check=False, capture_output=True, text=True, env=_environment())
        found = re.search(r"\d+(\.\d+)+\w*", answer.stdout)
        return found[0] if found and "shared libraries" not in answer.stdout else None


SERVERS: Final[dict[str, Server]] = {
    "vsftpd": Server("vsftpd", VSFTPD, ("-v",), lambda program, config, _: [program, str(config)], program="vsftpd"),
    "proftpd": Server(
        "proftpd-core",
        PROFTPD,
        ("-v",),
        lambda program, config, _: [program, "-n", "-c", str(config)],
        program="proftpd",
    ),
    "pure-ftpd": Server(
        "pure-ftpd",
        "",
        ("-h",),
        lambda program, _, address: [
            *(program, "-S", f"{address},{PORT}", "-A", "-E", "-H", "-l", "unix"),
            *("-c", "200", "-C", "200", "-I", "15", "-k", "100"),
        ],
        program="pure-ftpd",
    ),
    "pyftpdlib": Server(
        "pip install pyftpdlib",
        PYFTPDLIB,
        ("-c", "import pyftpdlib; print(pyftpdlib.__ver__)"),
        lambda program, config, _: [program, str(config)],
    ),
}


def _unpacked() -> Path:
    return Path(os.environ.get("ACTORSYNC_SERVERS", "~/.cache/actorsync-servers")).expanduser()


def _environment() -> dict[str, str]:
    libraries = ":".join(str(folder) for folder in _unpacked().glob("usr/lib/*-linux-gnu"))
    return {**os.environ, "LD_LIBRARY_PATH": libraries}


def _write_etc(etc: Path, home: Path) -> None:
    """The user database that the servers see, and PAM's rules for vsftpd."""
    (etc / "pam.d").mkdir(parents=True)
    for name in ("ld.so.cache", "protocols", "services"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(f"/etc/{name}", etc)
    people = f"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n{USER}:x:{OWNER}:{OWNER}"
    (etc / "passwd").write_text(f"{people}::{home}:/bin/sh\n")
    (etc / "group").write_text(f"root:x:0:\nnogroup:x:65534:\n{USER}:x:{OWNER}:\n")
    (etc / "shadow").write_text(f"root:*:19000:0:99999:7:::\n{USER}:{HASHED}:19000:0:99999:7:::\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
    (etc / "shells").write_text("/bin/sh\n")
    (etc / "pam.d/vsftpd").write_text("auth required pam_unix.so\naccount required pam_unix.so\n")


def round_trip(link: Link) -> float | None:
    """Seconds that a connection to the server takes: one round trip. None when it does not answer."""
    probe = inside(link.near, sys.executable, "-c", PROBE, link.address, str(PORT))
    answer = subprocess.run(probe, check=False, capture_output=True, text=True)
    return float(answer.stdout) if answer.returncode == 0 else None


@contextlib.contextmanager
def serve(name: str, link: Link, scratch: Path) -> Iterator[Path]:
    """Run a server until the block ends; gives the folder that its user sees as the root."""
    server = SERVERS[name]
    home, own = scratch / "home" / name, scratch / "server" / name
    home.mkdir(parents=True)
    os.chown(home, OWNER, OWNER)
    _write_etc(own / "etc", home)
    (own / "empty").mkdir()
    config, log = own / "config", own / "log"
    config.write_text(server.config.format(address=link.address, port=PORT, home=home, own=own))
    program = server.find()
    assert program is not None
    with log.open("wb") as output:
        process = subprocess.Popen(
            inside(
                link.far,
                *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                *("sh", "-ec", LAY_OVER_ETC, "sh", str(own / "etc")),
                *server.command(program, config, link.address),
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,
        )
    try:
        if round_trip(link) is None:
            raise Unusable(f"{name} does not answer: {log.read_text(errors='replace')[-300:].strip()}")
        yield home
    finally:
        # vsftpd puts its children into network namespaces of their own, out of our sight: the process namespace
        # takes them along, and unshare ends after the last of them
        end_processes(link.far, spare=process.pid)
        process.wait()
