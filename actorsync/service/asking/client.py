"""Ask a run that goes on, from another process. Blocks; trio is not imported."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from actorsync.errors import RunUnreachable
from actorsync.model.text import display
from actorsync.profile import Profile
from actorsync.service.asking.address import connectable, is_trusted_peer, socket_path
from actorsync.service.asking.messages import Answer, Request, read_answer

__all__ = ["PATIENCE", "ask_run"]

#: Seconds that a run may take to answer.
PATIENCE: Final = 5.0

#: Seconds before the next try to connect to a run that many others ask.
_AGAIN: Final = 0.02

_LONGEST_ANSWER: Final = 64 << 20


def ask_run(profile: Profile, request: Request) -> Answer:
    """Send a request to the run of a profile, and return its answer.

    Raises:
        RunUnreachable: no run is going on, or it does not answer.
    """
    path = socket_path(profile)
    name = display(str(profile.path))
    try:
        return _ask(path, request, PATIENCE)
    except (FileNotFoundError, ConnectionRefusedError):
        raise RunUnreachable(f"no run of {name} is going on; start one with: actorsync run {name}") from None
    except PermissionError:
        raise RunUnreachable(f"{path}: the run of {name} belongs to another user; use that account") from None
    except TimeoutError:
        raise RunUnreachable(
            f"the run of {name} has not answered for {PATIENCE:.0f} s; see whether its disk or its process hangs"
        ) from None
    except (OSError, ValueError) as error:
        raise RunUnreachable(f"the run of {name} cannot be asked: {error}; it may just have ended") from None


def _ask(path: Path, request: Request, patience: float) -> Answer:
    until = time.monotonic() + patience
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
        connection.settimeout(patience)
        with connectable(path) as address:
            while True:
                try:
                    connection.connect(address)
                    break
                except BlockingIOError:  # the queue of the socket is full: a Unix socket does not wait for a place
                    if time.monotonic() >= until:
                        raise TimeoutError from None
                    time.sleep(_AGAIN)
        if not is_trusted_peer(connection):
            raise PermissionError
        connection.sendall(request.encode())
        answer = bytearray()
        while not answer.endswith(b"\n") and len(answer) < _LONGEST_ANSWER:
            connection.settimeout(max(0.001, until - time.monotonic()))
            piece = connection.recv(65_536)
            if not piece:
                break
            answer += piece
    return read_answer(bytes(answer))
