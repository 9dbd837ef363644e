"""Lower bounds for the time of a run: round trips, bytes to send, and the walk over the source.

The round trip, the bytes a second and the walk are measured in the same call as the runs, over the same line and tree.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import attrs

from bench.link import inside

if TYPE_CHECKING:
    from pathlib import Path

    from bench.link import Link
    from bench.servers import Language
    from bench.trees import Workload

__all__ = ["Conditions", "Limit", "bytes_per_second", "limit_of_again", "limit_of_first", "walk_seconds", "wire_limit"]

TRIPS_PER_FILE: Final[dict[Language, int]] = {"ftp": 3, "ftpes": 4}
"""With TLS, the handshake of the data connection takes one more. SFTP does not wait for single files."""
TRIPS_PER_LISTING: Final[dict[Language, int]] = {"ftp": 3, "ftpes": 4}
LEAST_SENT: Final = 64 << 20
"""Least number of bytes for measuring the rate; with fewer, the start of the connection would dominate."""


@attrs.frozen
class Conditions:
    """The measured properties of the line and of the source."""

    round_trip: float
    """Seconds; 0 on loopback, where a round trip costs processor time only."""
    bytes_per_second: float
    walk: float
    """Seconds to read every entry of the source once."""


@attrs.frozen
class Limit:
    seconds: float
    by: str
    """The bound that applies: trips, bytes or walk."""


def wire_limit(things: int, trips: int, round_trip: float, connections: int) -> float:
    """Return the least seconds for ``things`` that take ``trips`` round trips each, spread over the connections."""
    return things * trips * round_trip / min(connections, max(things, 1))


def limit_of_first(workload: Workload, size: int, language: Language, connections: int, here: Conditions) -> Limit:
    """Return the limit of the first timed run: the largest of the bounds."""
    sent = workload.changed if workload.in_place else workload.file_count
    trips = wire_limit(sent, TRIPS_PER_FILE.get(language, 0), here.round_trip, connections)
    if workload.in_place and not workload.known:
        trips += wire_limit(workload.folders, TRIPS_PER_LISTING.get(language, 0), here.round_trip, connections)
    bounds = [Limit(trips, "trips"), Limit(here.walk, "walk")]
    if not workload.in_place:
        bounds.append(Limit(size / here.bytes_per_second, "bytes"))
    return max(bounds, key=lambda bound: bound.seconds)


def limit_of_again(here: Conditions) -> Limit:
    """Return the limit of the run with nothing to do: it must read every entry of the source to know that."""
    return Limit(here.walk, "walk")


WALK: Final = """
import os, sys, time
start, left = time.perf_counter(), [sys.argv[1]]
while left:
    with os.scandir(left.pop()) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                left.append(entry.path)
            else:
                entry.stat(follow_symlinks=False)
print(time.perf_counter() - start)
"""

RECEIVE: Final = """
import socket, sys, threading

def receive(connection):
    room = bytearray(1 << 20)
    while connection.recv_into(room):
        pass
    connection.send(b".")
    connection.close()

with socket.create_server((sys.argv[1], 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=receive, args=(listener.accept()[0],), daemon=True).start()
"""

SEND: Final = """
import os, socket, sys, threading, time

address, share, sockets = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4])
with open(sys.argv[5], "w+b") as file:
    file.write(os.urandom(min(share, 64 << 20)))

def send():
    left = share
    with socket.create_connection(address) as connection, open(sys.argv[5], "rb") as file:
        while left > 0:
            left -= connection.sendfile(file, 0, left)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

senders = [threading.Thread(target=send) for _ in range(sockets)]
start = time.perf_counter()
for sender in senders:
    sender.start()
for sender in senders:
    sender.join()
print(time.perf_counter() - start)
"""


def walk_seconds(root: Path) -> float:
    """Return the time to read every entry of the tree: the best of three new processes that only do that."""
    command = [sys.executable, "-I", "-c", WALK, str(root)]
    return min(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(3))


def bytes_per_second(link: Link, size: int, sockets: int, scratch: Path) -> float:
    """Return the rate of plain sockets from near to far. The kernel sends the data, and the receiver discards it."""
    share = max(size, LEAST_SENT) // sockets
    receiver = subprocess.Popen(
        inside(link.far, sys.executable, "-I", "-c", RECEIVE, link.address), stdout=subprocess.PIPE, text=True
    )
    try:
        assert receiver.stdout is not None
        port, file = receiver.stdout.readline().strip(), str(scratch / "sent")
        arguments = (link.address, port, str(share), str(sockets), file)
        sender = inside(link.near, sys.executable, "-I", "-c", SEND, *arguments)
        answer = subprocess.run(sender, check=True, capture_output=True, text=True)
        return share * sockets / float(answer.stdout)
    finally:
        receiver.kill()
        receiver.communicate()
        (scratch / "sent").unlink(missing_ok=True)
