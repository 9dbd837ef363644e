"""The steps of a run on the wire: a command that is about to be sent, or a reply that has arrived, of FTP and SFTP.

They are taken inside the process, so that it can be killed at each of them on any server, under SSH as well. Each
command of a flight is a step of its own: those before it are sent, those after it are not.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import attrs

from actorsync.endpoints.ftp.wire.control import ControlConnection
from actorsync.endpoints.sftp.wire.requests import Flight, RequestPipeline
from actorsync.protocols.ftp.wire import Reply
from actorsync.protocols.sftp import replies as sftp
from actorsync.protocols.sftp.requests import Request

__all__ = ["wire_steps"]

#: Types of SFTP requests that begin with a path, and that of an extension, where a name stands before it.
_WITH_PATH, _EXTENDED = frozenset([3, 7, 9, 11, 13, 14, 15, 16, 17, 18]), 200
#: Seconds in which the thread that writes has written.
_WRITTEN = 0.02


@attrs.define(eq=False)
class _Counting:
    act: Callable[[int, str, Callable[[], object]], None]
    count: int = 0

    def step(self, path: str, before: Callable[[], object] = lambda: None) -> None:
        self.count += 1
        self.act(self.count, path, before)


@contextmanager
def wire_steps(act: Callable[[int, str, Callable[[], object]], None]) -> Iterator[None]:
    """Call ``act`` at each step, with its number from 1, the path of the command, and a function.

    That function sends the commands of the same flight that are before this one. Call it to kill the process then.
    """
    counting = _Counting(act)
    write, took = ControlConnection._write, ControlConnection._took
    send, receive = RequestPipeline.send, RequestPipeline._receive

    async def write_by_line(self: ControlConnection, data: bytes) -> None:
        for line in data.splitlines(keepends=True):
            counting.step(os.fsdecode(line.strip().partition(b" ")[2]))
            await write(self, line)

    def note_reply(self: ControlConnection, reply: Reply, *, is_last: bool = False) -> Reply:
        counting.step("")
        return took(self, reply, is_last=is_last)

    def send_counted(self: RequestPipeline, requests: Sequence[Request]) -> Flight:
        for index, request in enumerate(requests):

            def before(number: int = index) -> None:
                send(self, requests[:number])
                time.sleep(_WRITTEN)

            counting.step(_path(request), before)
        return send(self, requests)

    def receive_counted(self: RequestPipeline, identity: int, reply: sftp.Reply) -> None:
        counting.step("")
        receive(self, identity, reply)

    with (
        patch.object(ControlConnection, "_write", write_by_line),
        patch.object(ControlConnection, "_took", note_reply),
        patch.object(RequestPipeline, "send", send_counted),
        patch.object(RequestPipeline, "_receive", receive_counted),
    ):
        yield


def _path(request: Request) -> str:
    body = request.body
    if request.kind == _EXTENDED:
        (length,) = struct.unpack_from(">I", body)
        body = body[4 + length :]
    elif request.kind not in _WITH_PATH:
        return ""
    if len(body) < 4:
        return ""
    (length,) = struct.unpack_from(">I", body)
    return os.fsdecode(body[4 : 4 + length])
