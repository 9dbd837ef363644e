"""The contract between actors and endpoints: stage, verify, commit; verbs take batches.

An *endpoint* is a place with a tree in it. A *session* is one open connection to it, owned by one task. Three kinds
of error leave a session and no others: `ConnectionLost` (everything in flight has an unknown outcome; do it again on
a new session), `OperationRefused` (one item was refused, the session is good), and bugs. Batch verbs return one result
for each item, in order: a refusal is a value there, so that one bad item never hides what became of the rest.

docs/endpoints.md says it at length, with an example; ``actorsync.testing.check_endpoint`` tells whether it is kept.

Nothing is ever written onto a final name. `Session.stage` writes a temporary in the final name's directory and reads
its size back; `Session.commit` renames it. Both replace nothing before the new content is whole and verified.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

import attrs

from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Listing, Root
from actorsync.model.row import ListingRows

__all__ = [
    "BulkListing",
    "Content",
    "Endpoint",
    "EndpointWrapper",
    "PrefetchingSession",
    "Relocation",
    "Session",
    "Staged",
    "Upload",
    "gate_of",
    "is_remote",
    "keeps_times",
    "nothing_ahead",
    "size_of",
]


class Content(Protocol):
    """One source file, open for reading once from its beginning.

    Some content has more to say, by attributes that most have not: see `size_of` and `gate_of`.
    """

    @property
    def entry(self) -> Entry:
        """The file as it was when it was opened: of the open file itself, not of its name."""

    def fileno(self) -> int | None:
        """Give a descriptor for ``os.sendfile``, or None when bytes must pass through us.

        Whoever uses it reads by offset; `read` works all the same.
        """

    async def read(self, max_bytes: int) -> bytes:
        """Read up to ``max_bytes``; empty at the end of the file."""

    async def is_unchanged(self) -> bool:
        """Tell whether the open file still has the identity, size and times it was opened with."""


@attrs.define
class Upload:
    """One file on its way to one final path, by way of one temporary that the journal already knows.

    ``sent`` counts the bytes handed to the wire so far; sessions keep it current for whoever shows progress.
    """

    path: str
    temporary: str
    content: Content
    sent: int = 0

    @property
    def size(self) -> int | None:
        """How many bytes there are to be sent; None when only the end of the content will tell."""
        return size_of(self.content)

    @property
    def due(self) -> int:
        """How many bytes the target must have: all there are to be sent, or all that were, where only the end tells."""
        size = size_of(self.content)
        return self.sent if size is None else size


@attrs.frozen
class Staged:
    """A temporary that is whole on the target: its size was read back. All that a commit needs, on any session.

    ``size`` is what was sent, which is not the source's size when the content was made of it on the way.
    """

    path: str
    temporary: str
    size: int
    mtime_ns: int | None


_AS_ITS_FILE = -1


@attrs.frozen
class Relocation:
    """A file of the target that is to get the name ``path``. ``entry`` is what it was under the old one."""

    entry: Entry
    path: str


def nothing_ahead() -> bool:
    """Say that no other upload follows this one."""
    return False


class Session(Protocol):
    """One open connection to one endpoint. Safe for use by as many tasks at once as the endpoint has ``lanes``."""

    async def list_directory(self, directory: str) -> Listing:
        """List one directory, everything in it, in no particular order.

        A directory that cannot be listed *completely* gives a `Listing` with a problem, never a shorter listing.
        """

    def open(self, path: str) -> AbstractAsyncContextManager[Content]:
        """Open one file for reading.

        Raises `Vanished` when it is gone, `OperationRefused` when it cannot be opened or is no regular file. Where
        ``lanes`` is 1, nothing else is asked of the session before this is left. To leave it long before the end of
        the file may cost the connection.
        """

    async def stage(
        self,
        upload: Upload,
        *,
        commit: Sequence[Staged] = (),
        ahead: Callable[[], bool] = nothing_ahead,
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Write ``upload``'s temporary, verify its size, set its time; and commit what was staged before.

        Where the wire allows, the commits ride in the upload's own round trips. ``ahead`` is called once, when the last
        byte was handed over: it says whether another upload follows at once, so that its way can be prepared.
        Returns what became of the upload, and of each commit as `commit` does. A refused upload leaves no temporary
        behind; one whose size is not what its content said is refused, with ``retry``. Where the content does not say
        (``upload.size`` is None), its end tells how much the target must have.
        """

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename temporaries to their final names, replacing what is there, and read back what the target then says.

        May be called again with the same items on a new session when the connection was lost in between: an
        item whose temporary is gone and whose final name has the staged size and time (as precisely as the target
        keeps times) is done.
        """

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories, parents standing before children. One that exists already is done. ``""`` is the root."""

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename files that are as their entries say, and read back what the target then says of them.

        The directory of the new name is there. Nothing is replaced: where something has the new name, the file stays
        where it is, and is refused, as one is that was changed by somebody else. May be called again when the
        connection was lost in between: an item whose old name is gone, and whose new one has its size and time, is
        done.
        """

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove files, and directories that are empty. True when the entry is gone, whoever removed it.

        A file whose size or time is no longer what ``entry`` says was changed by somebody else: it is refused. A
        directory that is not empty gives False: what it holds is not ours.
        """

    async def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str] | None = None
    ) -> list[bool | OperationRefused]:
        """Remove temporaries of our own making, whatever state they are in. True when one is gone.

        ``finals`` gives the name that each was for, where that is known: a target that replaces a file in two steps
        then puts back what a broken commit has left aside.
        """

    async def abandon(self, temporary: str) -> bool:
        """Give up an upload that was interrupted: stop the transfer, remove its temporary, True when it is gone.

        Called under a deadline, while the task is being cancelled. The session may be unusable afterwards.
        """

    def describe(self) -> Sequence[tuple[str, str]]:
        """Say what the other side is and can do, as pairs of label and text for ``actorsync check``."""

    def warnings(self) -> Sequence[str]:
        """Say in a sentence each what the user should know of this connection, such as that passwords travel in clear.

        Told again by every session of an endpoint; whoever shows it shows it once.
        """


@runtime_checkable
class BulkListing(Protocol):
    """What a session may offer beside the contract: to list many directories at once."""

    async def list_many(self, directories: Sequence[str]) -> Sequence[ListingRows]:
        """List the first of the directories, and as many of those behind it as are not worth another call.

        What is true of `Session.list_directory` is true of each.
        """


@runtime_checkable
class PrefetchingSession(Protocol):
    """What a session may offer beside the contract: to list a directory, and to prepare the listing that follows."""

    async def list_directory_ahead(self, directory: str, ahead: Callable[[], bool]) -> Listing:
        """List as `Session.list_directory` does. ``ahead`` is called once, when all has come but the last word.

        It says whether another listing follows at once. What is prepared for one that does not come is left behind.
        """


class Endpoint(Protocol):
    """A place with a tree in it."""

    @property
    def display(self) -> str:
        """Name the place for a user, without secrets."""

    @property
    def lanes(self) -> int:
        """How many operations one session carries at once: 1 where a connection does one thing at a time (FTP)."""

    async def identify(self) -> Root:
        """Say what the root is, before a scan relies on it.

        Raises `GuardRefused` when there is no directory that can be read.
        """

    def open_session(self) -> AbstractAsyncContextManager[Session]:
        """Open a connection: connected, identified, ready.

        Raises `ConnectionLost` when it cannot be made now, `LoginRefused` when it never will be.
        """


def is_remote(endpoint: Endpoint) -> bool:
    """Tell whether the sessions of an endpoint are connections to another machine: few, and liable to be lost.

    An endpoint of that kind has an attribute ``is_remote`` that is true.
    """
    return bool(getattr(endpoint, "is_remote", False))


def size_of(content: Content) -> int | None:
    """Tell how many bytes a content has: as many as its file, or None when that is not known before its end.

    Content that is made of a file on the way (compressed, encrypted) has an attribute ``size`` that says so.
    """
    size: int | None = getattr(content, "size", _AS_ITS_FILE)
    return content.entry.size if size == _AS_ITS_FILE else size


def gate_of(content: Content) -> Callable[[int], Awaitable[int]] | None:
    """Give what is to be asked before bytes of a content are taken by its descriptor; None where nobody minds.

    It waits until some may pass, and tells how many of those that are asked for. Content whose speed is limited has
    an attribute ``admit`` for it; its ``read`` asks by itself.
    """
    gate: Callable[[int], Awaitable[int]] | None = getattr(content, "admit", None)
    return gate


def keeps_times(endpoint: Endpoint) -> bool:
    """Tell whether a file that is committed has the time of its source, and not that of its arrival.

    An endpoint that cannot set times has an attribute ``keeps_times`` that is false: no file that is found on it is
    taken for equal because its time is.
    """
    return bool(getattr(endpoint, "keeps_times", True))


@attrs.frozen
class EndpointWrapper:
    """Base of what stands before an endpoint, ``real``: the same in all that a subclass does not do differently."""

    real: Endpoint

    @property
    def display(self) -> str:
        """Name the real place."""
        return self.real.display

    @property
    def lanes(self) -> int:
        """As many as the real place has."""
        return self.real.lanes

    @property
    def is_remote(self) -> bool:
        """Whether the real place is on a server."""
        return is_remote(self.real)

    @property
    def keeps_times(self) -> bool:
        """As the real place does."""
        return keeps_times(self.real)

    async def identify(self) -> Root:
        """Say what the real root is."""
        return await self.real.identify()
