"""What the verbs of an SFTP session share: requests, paths below the root, and knowledge of the server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from actorsync.endpoints.sftp.requests import RequestPipeline
from actorsync.endpoints.shared.case_folding import CaseFolding
from actorsync.endpoints.shared.probe_cache import ProbeCache
from actorsync.endpoints.shared.symlink_guard import SymlinkGuard, above
from actorsync.model.entry import Kind
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.replies import Attributes

__all__ = ["Knowledge", "Server", "SftpConnection"]


@attrs.frozen
class Server:
    """What a server reports at login. ``root`` is the absolute path of the root, ``""`` for the server's own root."""

    description: str
    root: str
    extensions: Mapping[str, str]
    jump_hosts: Sequence[str] = ()
    """What the jump hosts on the way report, in their order."""

    @property
    def replaces(self) -> bool:
        """Whether a rename can replace an existing file atomically."""
        return "posix-rename@openssh.com" in self.extensions

    @property
    def flushes(self) -> bool:
        """Whether the server flushes a file to its disk on request."""
        return "fsync@openssh.com" in self.extensions

    @property
    def reports_room(self) -> bool:
        """Whether the server reports the free space of a file system."""
        return "statvfs@openssh.com" in self.extensions


@attrs.frozen
class Knowledge:
    """What was learnt of a server's tree; shared by all connections to the server."""

    probes: ProbeCache = attrs.Factory(ProbeCache)
    symlink_guard: SymlinkGuard = attrs.Factory(SymlinkGuard)
    folding: CaseFolding = attrs.Factory(CaseFolding)


@attrs.frozen(eq=False)
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
        root = self.server.root
        return f"{root}/{path}" if path else root or "/"

    def why_unusable(self, path: str) -> str | None:
        """Return the reason why ``path`` must not or cannot be sent, or None when it can."""
        if path and not {"", ".", ".."}.isdisjoint(path.split("/")):
            return "the path is not below the root"
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

    async def remove_file(self, path: str) -> None:
        """Remove a file that this session made, whether it exists or not."""
        await self.requests.exchange([sftp.remove(self.absolute(path))])
