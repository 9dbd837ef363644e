"""The control socket: requests to a run that goes on, from processes of the same user.

The socket lies beside the journal, and exists while the run holds the journal. So there is one at most for a mirror,
and what a dead run has left is replaced. Each connection has one request and one answer.

A socket that cannot be made is one warning, and the run goes on without it. Nothing that a client sends, and none that
does not read, delays the run or ends it.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import attrs
import trio

from actorsync.classes import frozen
from actorsync.errors import ActorsyncError, ProfileError
from actorsync.journal import Journal
from actorsync.model.event import Event, Warned
from actorsync.observe.board import Board
from actorsync.service.asking.address import connectable, is_trusted_peer, socket_path
from actorsync.service.asking.messages import LONGEST_REQUEST, Answer, read_request
from actorsync.service.beside import beside
from actorsync.service.jobs import Job

__all__ = ["control"]

#: Clients that are connected at the same time. Others wait in the queue of the socket.
_CLIENTS: Final = 32
_QUEUE: Final = 128
#: Seconds for a client to send its request, for the verb, and for the client to read the answer.
_READING, _ACTING, _WRITING = 5.0, 10.0, 5.0
#: Seconds that answers may still take when the run is over: the request may have been its end.
_LAST_ANSWERS: Final = 0.5
#: Seconds after a connection that could not be accepted, such as without a free descriptor.
_BREATH: Final = 0.1


def control(job: Job, board: Board) -> None:
    """Add a control socket to the run of a job. ``board`` has the job's state. Call it before the run."""
    attached = ControlSocket(job, board)
    job.options = attrs.evolve(job.options, companions=[*job.options.companions, attached.open])


@frozen(eq=False)
class ControlSocket:
    """The control socket of one job, whose state is on ``board``."""

    job: Job
    board: Board

    @asynccontextmanager
    async def open(self, _: Journal, publish: Callable[[Event], None]) -> AsyncIterator[None]:
        """Answer requests in the block. The journal is locked, so that no other run has the socket."""
        path = socket_path(self.job.profile)
        try:
            bound = await trio.to_thread.run_sync(_bind, path)
        except OSError as error:
            text = f"no control socket: {path}: {error.strerror or error}; actorsync ctl cannot reach this run"
            publish(Warned(text))
            yield
            return
        failure: Exception | None = None
        try:
            with bound:
                async with trio.open_nursery() as answers:
                    serving = _Serving(self.job, self.board, publish, answers)
                    try:
                        async with beside(serving.run, trio.SocketListener(trio.socket.from_stdlib_socket(bound))):
                            yield
                    except Exception as error:  # noqa: BLE001 - raised again below, in no group
                        failure = error
                    answers.cancel_scope.deadline = trio.current_time() + _LAST_ANSWERS
        finally:
            with suppress(OSError):
                os.unlink(path)
        if failure is not None:
            raise failure


def _bind(path: Path) -> socket.socket:
    """Return a socket that listens at ``path``, for the own user only. What an earlier run has left is replaced.

    Raises `OSError`, also if something else than a socket is there, or if the directory is another user's.
    """
    directory = os.stat(path.parent)
    if directory.st_uid not in {0, os.geteuid()} and os.geteuid() != 0:
        raise PermissionError(0, "the directory belongs to another user")
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(0, "something else than a socket has this name")
        os.unlink(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with connectable(path) as address:
            bound.bind(address)
        os.chmod(path, 0o600)  # before `listen`: until then nobody can connect
        bound.listen(_QUEUE)
    except BaseException:
        bound.close()
        raise
    return bound


@frozen(eq=False)
class _Serving:
    """The clients of one socket."""

    job: Job
    board: Board
    publish: Callable[[Event], None]
    answers: trio.Nursery
    """Where requests are answered: answers may take a moment longer than the run."""
    _places: trio.Semaphore = attrs.field(factory=lambda: trio.Semaphore(_CLIENTS), init=False)

    async def run(self, listener: trio.SocketListener) -> None:
        """Serve clients until cancelled."""
        async with trio.open_nursery() as readers:
            while True:
                await self._places.acquire()
                try:
                    stream = await listener.accept()
                except OSError:
                    self._places.release()
                    await trio.sleep(_BREATH)
                    continue
                readers.start_soon(self._read, stream)

    async def _read(self, stream: trio.SocketStream) -> None:
        """Read the request of a client, and let it be answered."""
        line: bytes | None = None
        try:
            with trio.move_on_after(_READING):
                if is_trusted_peer(stream.socket):
                    line = await _read_line(stream)
        except (OSError, trio.BrokenResourceError):
            line = None
        finally:
            if line is None:
                self._places.release()
                await trio.aclose_forcefully(stream)
        if line is not None:
            self.answers.start_soon(self._answer, stream, line)

    async def _answer(self, stream: trio.SocketStream, line: bytes) -> None:
        """Do what a line asks for, and answer."""
        try:
            with trio.move_on_after(_ACTING):
                answer = await self._act(line)
                with trio.move_on_after(_WRITING), suppress(OSError, trio.BrokenResourceError):
                    await stream.send_all(answer.encode())
        finally:
            self._places.release()
            await trio.aclose_forcefully(stream)

    async def _act(self, line: bytes) -> Answer:
        from actorsync.service.control_verbs import Verbs  # most runs are asked nothing: they start faster

        try:
            request = read_request(line)
        except ValueError as error:
            return Answer(f"the request cannot be read: {error}", ProfileError.exit_code)
        try:
            return await Verbs(self.job, self.board, self.publish).act(request)
        except ActorsyncError as error:
            return Answer(str(error), error.exit_code)


async def _read_line(stream: trio.SocketStream) -> bytes | None:
    """Return what a client sends, up to its first line break; None if it sends none, or too much."""
    line = bytearray()
    while b"\n" not in line:
        piece = await stream.receive_some(LONGEST_REQUEST)
        line += piece
        if not piece or len(line) > LONGEST_REQUEST:
            return None
    return bytes(line[: line.index(b"\n") + 1])
