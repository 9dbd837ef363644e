"""What every part of an SFTP session stands on: the wire, paths below the root, and what a refusal means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs
import trio

from actorsync.endpoints.sftp.read import Reading
from actorsync.endpoints.sftp.requests import SftpWire
from actorsync.endpoints.shared.case_folding import Folding
from actorsync.endpoints.shared.probe_cache import Trials
from actorsync.endpoints.shared.symlink_guard import Straight, above
from actorsync.model.entry import Kind
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp import packets as sftp
from actorsync.protocols.sftp.packets import Attributes

__all__ = ["PIECE", "Memory", "Server", "SftpLink"]

#: Bytes in one write. The longest packets that OpenSSH takes are 256 KiB, with the head.
PIECE = 255 * 1024
#: Big writes that nobody has answered yet, over all the files of a connection: what keeps the wire full and the memory
#: flat. OpenSSH's window for a channel is 2 MiB.
_IN_FLIGHT = 16


@attrs.frozen
class Server:
    """What is known of the server after the login."""

    description: str
    root: str
    extensions: Mapping[str, str]

    @property
    def replaces(self) -> bool:
        """Whether it can rename over a file that is there."""
        return "posix-rename@openssh.com" in self.extensions

    @property
    def flushes(self) -> bool:
        """Whether it writes a file to its disk when asked."""
        return "fsync@openssh.com" in self.extensions

    @property
    def tells_room(self) -> bool:
        """Whether it can say that its disk is full."""
        return "statvfs@openssh.com" in self.extensions


@attrs.frozen
class Memory:
    """What was learnt of a server's tree, shared by all connections to it."""

    trials: Trials = attrs.Factory(Trials)
    straight: Straight = attrs.Factory(Straight)
    folding: Folding = attrs.Factory(Folding)


class SftpLink:
    """The wire of one session, and the paths that go over it."""

    def __init__(self, wire: SftpWire, server: Server, *, fsync: bool, memory: Memory | None = None) -> None:
        memory = memory or Memory()
        self._wire = wire
        self._trials, self._straight, self._folding = memory.trials, memory.straight, memory.folding
        self._server = server
        self._fsync = fsync
        self._room = trio.Semaphore(_IN_FLIGHT)
        self._reading = Reading()

    def _at(self, path: str) -> str:
        """Give the absolute path on the server."""
        return f"{self._server.root}/{path}" if path else self._server.root or "/"

    def _fault(self, path: str) -> str | None:
        """Say why ``path`` cannot be one below the root, or None."""
        if path and not {"", ".", ".."}.isdisjoint(path.split("/")):
            return "it is not a path below the root"
        return sftp.why_unsendable(self._at(path))

    async def _through_links(self, directories: Iterable[str]) -> dict[str, str]:
        """Look at those of the directories that nobody has looked at; give what leads through a link, and the link."""
        unknown = [path for path in self._straight.unknown(directories) if not self._fault(path)]
        if not unknown:
            return {}
        paths = self._straight.unknown(path for directory in unknown for path in above(directory))
        found = dict(zip(paths, await self._wire.play(ask.look([self._at(path) for path in paths])), strict=True))
        links: dict[str, str] = {}
        for directory in unknown:
            seen = [(path, found[path]) for path in above(directory) if path in found]
            link = next((path for path, of in seen if isinstance(of, Attributes) and of.kind is Kind.LINK), None)
            if link is not None:
                links[directory] = link
            elif all(isinstance(of, Attributes) for _, of in seen):
                self._straight.add(directory)
        return links
