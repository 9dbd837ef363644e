"""Run one server in the far network namespace during a ``with`` block.

The server has its own users, passwords and PAM rules: in a mount namespace, a small /etc replaces the machine's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from bench.credentials import HASHED, OWNER, PORT, USER, Credentials
from bench.link import Link, Unusable, end_processes, inside
from bench.servers import SERVERS, Place, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["round_trip", "serve"]

# Mount over all of /etc: a mount over a single file is lost when a user is added on this machine.
# The shell stays as the first process of its namespace, because vsftpd ends when it inherits an unknown orphan.
# sshd needs an empty folder in /run.
LAY_OVER_ETC: Final = """
mount -t tmpfs tmpfs /run
mkdir /run/sshd
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
            assert connection.recv(100).startswith((b"220", b"SSH-"))
    except (OSError, AssertionError):
        if time.monotonic() > end:
            sys.exit(1)
        time.sleep(0.1)
print(min(trips))
"""


def _write_etc(etc: Path, home: Path) -> None:
    """Write the user database for the servers, and the PAM rules for vsftpd."""
    (etc / "pam.d").mkdir(parents=True)
    for name in ("ld.so.cache", "protocols", "services"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(f"/etc/{name}", etc)
    users = (
        "root:x:0:0::/root:/bin/sh",
        "nobody:x:65534:65534::/nonexistent:/bin/false",
        "sshd:x:100:65534::/run/sshd:/bin/false",
        f"{USER}:x:{OWNER}:{OWNER}::{home}:/bin/sh",
    )
    (etc / "passwd").write_text("\n".join(users) + "\n")
    (etc / "group").write_text(f"root:x:0:\nnogroup:x:65534:\n{USER}:x:{OWNER}:\n")
    (etc / "shadow").write_text(f"root:*:19000:0:99999:7:::\n{USER}:{HASHED}:19000:0:99999:7:::\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
    (etc / "shells").write_text("/bin/sh\n")
    (etc / "pam.d/vsftpd").write_text("auth required pam_unix.so\naccount required pam_unix.so\n")


def round_trip(link: Link) -> float | None:
    """Return the seconds to connect to the server, which is one round trip; None when it does not answer."""
    probe = inside(link.near, sys.executable, "-c", PROBE, link.address, str(PORT))
    answer = subprocess.run(probe, check=False, capture_output=True, text=True)
    return float(answer.stdout) if answer.returncode == 0 else None


@contextlib.contextmanager
def serve(name: str, link: Link, credentials: Credentials, scratch: Path) -> Iterator[Path]:
    """Run a server until the block ends; yield the folder that its user sees as the root."""
    server = SERVERS[name]
    home, own = scratch / "home" / name, scratch / "server" / name
    home.mkdir(parents=True)
    os.chown(home, OWNER, OWNER)
    _write_etc(own / "etc", home)
    (own / "empty").mkdir()
    program, log = server.find(), own / "log"
    assert program is not None
    place = Place(program, link.address, home, own, credentials)
    place.config.write_text(place.configuration(server))
    with log.open("wb") as output:
        process = subprocess.Popen(
            inside(
                link.far,
                *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                *("sh", "-ec", LAY_OVER_ETC, "sh", str(own / "etc")),
                *server.command(place),
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(),
            start_new_session=True,
        )
    try:
        if round_trip(link) is None:
            raise Unusable(f"{name} does not answer: {log.read_text(errors='replace')[-300:].strip()}")
        yield home
    finally:
        # vsftpd puts its children into other network namespaces. They end with the process namespace, and unshare ends
        # after the last of them.
        end_processes(link.far, spare=process.pid)
        process.wait()
