"""One server at a time, in the far namespace, until it is not needed any more.

A server sees user, password and PAM rules of its own: a small /etc is laid over the machine's in a mount namespace.
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

# The whole of /etc is laid over: a single file would come back as soon as someone adds a user to this machine.
# The shell stays, as the first process of its namespace: vsftpd ends when it inherits an orphan that it does not know.
# sshd wants an empty folder of its own in /run.
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
    """The user database that the servers see, and PAM's rules for vsftpd."""
    (etc / "pam.d").mkdir(parents=True)
    for name in ("ld.so.cache", "protocols", "services"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(f"/etc/{name}", etc)
    people = (
        "root:x:0:0::/root:/bin/sh",
        "nobody:x:65534:65534::/nonexistent:/bin/false",
        "sshd:x:100:65534::/run/sshd:/bin/false",
        f"{USER}:x:{OWNER}:{OWNER}::{home}:/bin/sh",
    )
    (etc / "passwd").write_text("\n".join(people) + "\n")
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
def serve(name: str, link: Link, credentials: Credentials, scratch: Path) -> Iterator[Path]:
    """Run a server until the block ends; gives the folder that its user sees as the root."""
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
        # vsftpd puts its children into network namespaces of their own, out of our sight: the process namespace
        # takes them along, and unshare ends after the last of them
        end_processes(link.far, spare=process.pid)
        process.wait()
