"""What the verbs of an SFTP session share: requests, paths below the root, and knowledge of the server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.sftp.wire.requests import Flight, RequestPipeline
from actorsync.endpoints.shared.case_folding import CaseFolding
from actorsync.endpoints.shared.paths import below, why_not_inside
from actorsync.endpoints.shared.probe_cache import ProbeCache
from actorsync.endpoints.shared.symlink_guard import SymlinkGuard, above
from actorsync.endpoints.shared.unset_modes import UnsetModes
from actorsync.model.entry import Kind
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.replies import FAILURE, Attributes, Handle, Limits, Reply, Status

__all__ = ["PIECE", "Knowledge", "Server", "SftpConnection", "is_utf8"]

#: Bytes in one write, where the server accepts them. The longest packets that OpenSSH takes are 256 KiB, with the head.
PIECE = 255 * 1024
#: Bytes in one write that every server accepts: the draft of version 3 demands packets of 34,000 bytes.
_SMALL_PIECE = 32 * 1024


def is_utf8(path: str) -> bool:
    """Return whether a path is text. Other bytes are surrogates in it."""
    return path.isascii() or not any("\ud800" <= character <= "\udfff" for character in path)


@frozen
class Server:
    """What a server reports at login. ``root`` is the absolute path of the root, ``""`` for the server's own root."""

    description: str
    root: str
    extensions: Mapping[str, str]
    limits: Limits = attrs.Factory(Limits)
    takes_long_packets: bool = True
    """Whether the server is known to take packets of 256 KiB, for one that does not report its limits."""
    jump_hosts: Sequence[str] = ()
    """What the jump hosts on the way report, in their order."""

    @property
    def piece(self) -> int:
        """The bytes of one write of a large file. All servers take 32 KiB; longer ones only those that say so."""
        if self.limits.write:
            return min(max(self.limits.write, _SMALL_PIECE), PIECE)
        return PIECE if self.takes_long_packets else _SMALL_PIECE

    @property
    def replaces(self) -> bool:
        """Whether a rename can replace an existing file atomically."""
        return "posix-rename@openssh.com" in self.extensions

    @property
    def links(self) -> bool:
        """Whether a file can get a second name, and a rename can then replace the first."""
        return self.replaces and "hardlink@openssh.com" in self.extensions

    @property
    def flushes(self) -> bool:
        """Whether the server flushes a file to its disk on request."""
        return "fsync@openssh.com" in self.extensions

    @property
    def reports_room(self) -> bool:
        """Whether the server reports the free space of a file system."""
        return "statvfs@openssh.com" in self.extensions


@frozen
class Knowledge:
    """What was learnt of a server's tree; shared by all connections to the server."""

    probes: ProbeCache = attrs.Factory(ProbeCache)
    symlink_guard: SymlinkGuard = attrs.Factory(SymlinkGuard)
    folding: CaseFolding = attrs.Factory(CaseFolding)
    unset_modes: UnsetModes = attrs.Factory(UnsetModes)
    outside: str = ""
    """The directory beside the root that old files may go to, as a path that begins with ``../``; ``""`` for none."""
    kept_traits: set[str] = attrs.Factory(set)
    """The traits of odd names that the server was seen to store unchanged."""


@frozen(eq=False)
class SftpConnection:
    """One logged-in connection, as `Uploader`, `Reader` and the other parts of a session use it.

    ``requests`` sends requests; ``server`` and ``knowledge`` hold what is known of the server. With ``fsync``, a file
    is flushed to the server's disk before it gets its final name, where the server supports that.
    """

    requests: RequestPipeline
    server: Server
    fsync: bool
    knowledge: Knowledge = attrs.Factory(Knowledge)

    def absolute(self, path: str) -> str:
        """Return the absolute path on the server."""
        return below(self.server.root, path)

    def why_unusable(self, path: str) -> str | None:
        """Return the reason why ``path`` must not or cannot be sent, or None when it can."""
        if (why := why_not_inside(path, self.knowledge.outside, self.server.root)) is not None:
            return why
        if self.requests.host.dies_of_bytes and not is_utf8(path):
            return "the server closes the connection over a name that is not UTF-8; rename or exclude it"
        return sftp.why_unsendable(self.absolute(path))

    async def find_links(self, directories: Iterable[str]) -> dict[str, str]:
        """Return the directories that are reached through a symbolic link, each with the path of that link.

        Only directories that were not checked before are looked up; the rest are known to be free of links.
        """
        guard = self.knowledge.symlink_guard
        unknown = [path for path in guard.unknown(directories) if not self.why_unusable(path)]
        if not unknown:
            return {}
        paths = guard.unknown(path for directory in unknown for path in above(directory))
        replies = await self.requests.run(ask.lstat_all([self.absolute(path) for path in paths]))
        found = dict(zip(paths, replies, strict=True))
        links: dict[str, str] = {}
        for directory in unknown:
            checked = [(path, found[path]) for path in above(directory) if path in found]
            link = next((path for path, of in checked if isinstance(of, Attributes) and of.kind is Kind.LINK), None)
            if link is not None:
                links[directory] = link
            elif all(isinstance(of, Attributes) for _, of in checked):
                guard.add(directory)
        return links

    async def list_names(self, directory: str) -> list[tuple[str, Attributes]] | Status:
        """Return all names in a directory, unchecked; a `Status` when it cannot be read to its end."""
        requests = self.requests
        await requests.room()
        found = await requests.run(self._listing(directory))
        if isinstance(found, Status) and found.code == FAILURE:  # also for one open file too many
            others = requests.handles.opened
            await requests.room(alone=True)
            found = await requests.run(self._listing(directory))
            if others and not isinstance(found, Status):
                requests.host.limit_handles(others)
        return found

    def _listing(self, directory: str) -> sftp.Dialogue[list[tuple[str, Attributes]] | Status]:
        return ask.list_directory(self.absolute(directory), ahead=self.requests.host.keeps_order)

    async def open_file(self, request: sftp.Request) -> Reply:
        """Open a file. If that is refused, and open files may be the reason, try again when no other is open."""
        await self.requests.room()
        return await self.opened(request, self.requests.send([request]))

    async def opened(self, request: sftp.Request, flight: Flight) -> Reply:
        """Return the reply to an OPEN, the last request of ``flight``, after a second try where `open_file` makes one.

        Any reason but "failure" is believed. So is a refusal when more files were open before. The number of files that
        were open is the limit from now on, if the second try succeeds.
        """
        requests = self.requests
        reply = (await requests.replies(flight))[-1]
        is_crowded = 0 < flight.crowd >= requests.handles.most
        if not isinstance(reply, Status) or reply.code != FAILURE or not is_crowded:
            return reply
        await requests.room(alone=True)
        (reply,) = await requests.exchange([request])
        if isinstance(reply, Handle):
            requests.host.limit_handles(flight.crowd)
        return reply

    async def remove_file(self, path: str) -> None:
        """Remove a file that this session made, whether it exists or not."""
        await self.requests.exchange([sftp.remove(self.absolute(path))])
