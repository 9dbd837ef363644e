"""The contract between actors and endpoints: stage, verify, commit; verbs take batches.

An *endpoint* is a place with a tree in it. A *session* is one open connection to an endpoint, owned by one task.
`Source` and `ReadSession` are the part for reading; `Endpoint` and `Session` add the part for writing. Three kinds of
error leave a session and no others:

* `ConnectionLost`: everything in flight has an unknown outcome. The caller repeats it on a new session.
* `OperationRefused`: one item was refused. The session is still good.
* anything else: a bug.

A batch verb returns one result for each item, in order. There a refusal is a value, so one bad item never hides the
outcome of the others.

Nothing is ever written to a final name. `Session.stage` writes a temporary in the directory of the final name and
reads its size back; `Session.commit` renames it. Neither replaces anything before the new content is whole and
verified.

docs/endpoints.md explains the contract with an example; ``actorsync.testing.check_endpoint`` checks an endpoint
against it.

It is one file because an author of an endpoint reads all of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol, TypeAlias, runtime_checkable

import attrs

from actorsync.classes import define, frozen
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Listing, Root, parent_of
from actorsync.model.row import ListingRows, rows_of
from actorsync.model.traits import Traits
from actorsync.planning.name_folding import NewSpelling

__all__ = [
    "Admit",
    "BulkListing",
    "Capabilities",
    "Content",
    "Endpoint",
    "FindsLinks",
    "KeepsLogin",
    "Looking",
    "ModeSetter",
    "PrefetchingSession",
    "ReadSession",
    "Relocation",
    "Remembering",
    "Respelling",
    "Session",
    "Source",
    "Staged",
    "ToldOfLogins",
    "Upload",
    "keeping_logins",
    "list_first",
    "look",
    "mode_setter",
    "nothing_ahead",
    "respell",
    "traits_of",
]

Admit: TypeAlias = Callable[[int], Awaitable[int]]
"""Takes a number of bytes, waits until some may pass, and returns how many."""


class Content(Protocol):
    """One source file, open for reading once, from its beginning or from ``start``.

    A class that derives from this one inherits `size`, `start` and `admit`, and defines the rest.
    """

    __slots__ = ()

    @property
    def entry(self) -> Entry:
        """The entry of the open file itself, not of its name, as it was when the file was opened."""

    @property
    def size(self) -> int | None:
        """The number of bytes to read; None if only the end of the content tells, as after a transform."""
        return self.entry.size

    @property
    def start(self) -> int:
        """The offset of the first byte that `read` returns. Reading through `fileno` begins where the caller likes."""
        return 0

    @property
    def admit(self) -> Admit | None:
        """Rate-limit hook; None if unlimited. A caller that reads through `fileno` calls it before each piece."""
        return None

    def fileno(self) -> int | None:
        """Return a descriptor for ``os.sendfile``, or None if every byte has to pass through `read`.

        Read from the descriptor by offset. `read` works as well.
        """

    async def read(self, max_bytes: int) -> bytes:
        """Read up to ``max_bytes``; empty at the end of the file. Waits for the rate limit, if there is one."""

    async def is_unchanged(self) -> bool:
        """Return whether the open file still has the identity, size and times that it was opened with."""


@define
class Upload:
    """One file on its way to one final path, through one temporary that the journal already knows.

    ``sent`` is how far the content was handed to the wire, in bytes. Sessions keep it current for progress displays.
    With ``start``, the temporary has the bytes before it already, see ``actorsync.endpoints.resuming``; ``sent`` begins
    there.
    With ``keeps_part``, the caller continues the upload if it breaks off. A session that can do that then leaves what
    arrived of a transfer that the network has cut short, and raises `ConnectionLost`, instead of refusing the upload.
    ``unconfirmed`` returns how many of those the other side has not confirmed yet: over a slow line, megabytes wait in
    buffers of this machine. Displays call it in trio's thread. A session that cannot tell leaves it as it is.

    ``mode`` is the permission bits that the file is to have; None to leave them to the target. A temporary is never
    wider than that, not even while it is written. With ``keeps_mode`` a file that is replaced hands its own mode on,
    and ``mode`` is for a new file. Only endpoints with `Capabilities.keeps_modes` or ``sets_modes`` need to heed them.
    """

    path: str
    temporary: str
    content: Content
    sent: int = 0
    mode: int | None = attrs.field(default=None, kw_only=True)
    keeps_mode: bool = attrs.field(default=False, kw_only=True)
    start: int = attrs.field(default=0, kw_only=True)
    keeps_part: bool = attrs.field(default=False, kw_only=True)
    #: By default `int`, which returns 0.
    unconfirmed: Callable[[], int] = attrs.field(default=int, kw_only=True, eq=False, repr=False)

    @property
    def delivered(self) -> int:
        """The number of bytes that the other side has confirmed: all that a display may call sent."""
        return max(0, self.sent - self.unconfirmed())

    @property
    def size(self) -> int | None:
        """The number of bytes to send; None if only the end of the content tells."""
        return self.content.size

    @property
    def due(self) -> int:
        """The size that the target must report: `size`, or ``sent`` if the size is known only at the end."""
        size = self.content.size
        return self.sent if size is None else size


@frozen
class Staged:
    """A whole temporary on the target, its size read back: all that a commit needs, on any session.

    ``size`` is the number of bytes sent. It differs from the size of the source file if the content was transformed.
    ``mode`` is the mode that was set, where the entry that `Session.commit` returns would not show it.
    """

    path: str
    temporary: str
    size: int
    mtime_ns: int | None
    mode: int | None = None


@frozen
class Relocation:
    """A file of the target that gets the name ``path``. ``entry`` describes it under the old name.

    ``is_back``: the target has shown a file of this name before. So it is known to store the name unchanged.
    """

    entry: Entry
    path: str
    is_back: bool = False


def nothing_ahead() -> bool:
    """Return False: no other upload follows this one."""
    return False


class ReadSession(Protocol):
    """One open connection for reading. As many tasks as the endpoint has `Capabilities.lanes` may use it at once."""

    async def list_directory(self, directory: str) -> Listing:
        """List one directory: all its entries, in no particular order.

        Returns a `Listing` with a problem if the directory cannot be listed *completely*, never a shorter listing.
        """

    def open(self, path: str) -> AbstractAsyncContextManager[Content]:
        """Open one file for reading.

        Where ``lanes`` is 1, the session carries nothing else until the block is left. Leaving the block long before
        the end of the file may cost the connection.

        Raises:
            Vanished: the file is gone.
            OperationRefused: the file cannot be opened, or is not a regular file.
        """

    def describe(self) -> Sequence[tuple[str, str]]:
        """Describe the other side as pairs of label and text, for ``actorsync check``."""

    def warnings(self) -> Sequence[str]:
        """Return what the user should know of this connection, a sentence each: for example, "not encrypted".

        Every session of an endpoint returns the same warnings; the caller shows each one once.
        """


class Session(ReadSession, Protocol):
    """One open connection for reading and writing."""

    async def stage(
        self,
        upload: Upload,
        *,
        commit: Sequence[Staged] = (),
        ahead: Callable[[], bool] = nothing_ahead,
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Write the temporary of ``upload``, verify its size and set its time; also commit earlier uploads.

        Where the wire allows, the commits travel in the round trips of the upload. The session calls ``ahead`` once,
        after the last byte: the answer says whether another upload follows at once, so that it can be prepared.

        Returns the outcome of the upload, and the outcomes of the commits as `commit` returns them. A refused upload
        leaves no temporary. An upload is refused, with ``retry``, if its size differs from ``upload.due``.
        """

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename temporaries to their final names, replacing files, and return the entries that the target then shows.

        The caller repeats the same items on a new session if the connection was lost. An item is done already if its
        temporary is gone and its final name has the staged size and time, as precisely as the target keeps times.
        """

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories, parents before children. An existing directory is no error. ``""`` is the root."""

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename files that still match their entries, and return the entries that the target then shows.

        The directory of the new name exists. Nothing is replaced: if the new name is taken, or the file was changed,
        the file keeps its old name and the item is refused. The caller repeats the items if the connection was lost.
        An item is done already if its old name is gone and its new name has its size and time.
        """

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove files and empty directories. True if the entry is gone, even if another program removed it.

        A file is refused if its size or time differs from ``entry``: another program changed it. False means a
        directory that is not empty: actorsync did not create what it contains.
        """

    async def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str] | None = None
    ) -> list[bool | OperationRefused]:
        """Remove temporaries that actorsync made, in any state. True if the temporary is gone.

        ``finals`` maps a temporary to its final name, where that is known. A target that replaces a file in two steps
        then restores the old file that an interrupted commit set aside.
        """

    async def abandon(self, temporary: str) -> bool:
        """Stop an interrupted upload and remove its temporary; return whether the temporary is gone.

        Called under a deadline, while the task is being cancelled. The session may be unusable afterwards.
        """


@runtime_checkable
class BulkListing(Protocol):
    """Optional for a session: list many directories in one call."""

    async def list_many(self, directories: Sequence[str]) -> Sequence[ListingRows]:
        """List the first of the directories, and as many of the following as one call can cover.

        Each result keeps the promises of `ReadSession.list_directory`.
        """


async def list_first(session: ReadSession, directories: Sequence[str]) -> Sequence[ListingRows]:
    """List the first of the directories, and as many of the following as the session covers in one call."""
    if isinstance(session, BulkListing):
        return await session.list_many(directories)
    return [rows_of(await session.list_directory(directories[0]))]


@runtime_checkable
class PrefetchingSession(Protocol):
    """Optional for a session: list a directory, and prepare the next listing meanwhile."""

    async def list_directory_ahead(self, directory: str, ahead: Callable[[], bool]) -> Listing:
        """List as `ReadSession.list_directory` does, and call ``ahead`` once, before the last reply is read.

        ``ahead`` returns whether another listing follows at once. If none follows, the preparation is dropped.
        """


@runtime_checkable
class ModeSetter(Protocol):
    """A session of an endpoint with `Capabilities.keeps_modes` or ``sets_modes``: it changes the modes of entries."""

    async def set_modes(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused]:
        """Set the ``mode`` of files and directories to that of their entries, and return what the target then has.

        Content and times stay as they are. Setuid, setgid and sticky of a directory stay as well. An entry of another
        kind than expected is refused, and a symbolic link is never followed. A target that does not set a mode
        returns the entry with the mode that it has, or None if that is not known, and says so in ``warnings``.
        """


def mode_setter(session: object) -> ModeSetter:
    """Return a session as one that sets modes. Only asked for where the capabilities of its endpoint say so."""
    assert isinstance(session, ModeSetter), f"{type(session).__name__} has no set_modes, which its endpoint promises"
    return session


@runtime_checkable
class Respelling(Protocol):
    """Optional for a session: change the spelling of names, on a target that takes both spellings for one name."""

    async def respell(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Change the spelling of the names of entries, and return the entries that the target then shows.

        An entry is a file or a directory with all its contents. An item is refused if the target tells the two names
        apart. The caller repeats the items if the connection was lost.
        """


@runtime_checkable
class Looking(Protocol):
    """Optional for a session: ask for entries by their names, where that tells more than a listing does."""

    async def look(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused | None]:
        """Ask for entries, and return what the target has under their paths; None for what is proved to be missing.

        The entry itself is returned if it is still as it is given, as precisely as the target tells. An item is refused
        if the target does not tell.
        """


async def look(session: ReadSession, entries: Sequence[Entry]) -> list[Entry | OperationRefused | None]:
    """Call `Looking.look`; list the directories of the entries where the session does not have it."""
    if isinstance(session, Looking):
        return await session.look(entries)
    found: dict[str, Entry | OperationRefused | None] = {}
    for directory in dict.fromkeys(parent_of(entry.path) for entry in entries):
        paths = [entry.path for entry in entries if parent_of(entry.path) == directory]
        listing = await session.list_directory(directory)
        if listing.problem is not None and not listing.problem.is_missing:
            found |= dict.fromkeys(paths, OperationRefused(listing.problem.reason))
        else:
            shown = {entry.path: entry for entry in listing.entries}
            found |= {path: shown.get(path) for path in paths}
    return [found[entry.path] for entry in entries]


async def respell(session: Session, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
    """Call `Respelling.respell`; refuse every item where the session does not have it."""
    if isinstance(session, Respelling):
        return await session.respell(items)
    return [OperationRefused("this kind of target cannot change the spelling of a name") for _ in items]


@frozen(kw_only=True)
class Capabilities:
    """What an endpoint can do, and what the engine has to allow for."""

    lanes: int = 1
    """Operations that one session carries at once: 1 if a connection does one thing at a time, as in FTP."""
    is_remote: bool = False
    """Whether sessions are connections to another machine: few, and liable to be lost. A remote source is pooled."""
    keeps_times: bool = True
    """Whether a committed file gets the time of its source.

    If False, an existing file of the target is never assumed equal because of its time.
    """
    keeps_modes: bool = False
    """Whether files and directories have permissions that the target reports and sets. Then it is a mirror of those of
    the source, if the profile has no other rule. Its sessions are `ModeSetter`."""
    sets_modes: bool = False
    """Whether permissions are set where the profile asks for it, though the target may not report them. Its sessions
    are `ModeSetter`."""


class Source(Protocol):
    """A place with a tree that can be read."""

    @property
    def display(self) -> str:
        """The name of the place for a user, without secrets."""

    @property
    def capabilities(self) -> Capabilities:
        """What the place can do."""

    async def identify(self) -> Root:
        """Describe the root. Called before a scan relies on it.

        Raises `GuardRefused` if there is no directory that can be read.
        """

    def open_session(self) -> AbstractAsyncContextManager[ReadSession]:
        """Open a connection: connected, logged in, ready.

        Raises `ConnectionLost` if that fails for now, `LoginRefused` if it can never succeed.
        """


class Endpoint(Source, Protocol):
    """A place with a tree that can be read and written."""

    def open_session(self) -> AbstractAsyncContextManager[Session]:
        """Open a connection for reading and writing. Raises as `Source.open_session` does."""


@runtime_checkable
class Remembering(Protocol):
    """Optional for a source or an endpoint: it learns traits of its server that the journal keeps for the next run."""

    @property
    def traits(self) -> Traits:
        """The traits of the server. The run fills in what the journal has before it opens a session."""


@runtime_checkable
class ToldOfLogins(Protocol):
    """Optional for a source or an endpoint: some servers reject a login in the same way as one too many."""

    def note_others(self, are_logged_in: Callable[[], bool]) -> None:
        """Take note of a function that tells whether another run is logged in as the same user at this moment.

        Then a login that is rejected for the first few times is a `LoginLapsed`, and not a `LoginRefused`.
        """


@runtime_checkable
class FindsLinks(Protocol):
    """Optional for an endpoint whose listings may show a symbolic link as the directory that it leads to."""

    def find_links(self) -> None:
        """From now on, tell links from directories by all that the place shows, and change nothing through a link.

        That costs further requests, so it is called only where what is gone from one place is removed from the other.
        """

    @property
    def hides_links(self) -> bool:
        """Whether a link may still look like a directory. Known once the directories of the place are listed."""


@runtime_checkable
class KeepsLogin(Protocol):
    """Optional for a source or an endpoint: a login may need the user, so one is kept for all sessions of a run."""

    def logged_in(self) -> AbstractAsyncContextManager[None]:
        """Keep a login for the sessions inside the block. It does not fail: the sessions raise what keeps them out."""


@asynccontextmanager
async def keeping_logins(*sources: Source) -> AsyncIterator[None]:
    """Keep the logins of the places that want it, one after the other, during the block."""
    async with AsyncExitStack() as stack:
        for source in sources:
            if isinstance(source, KeepsLogin):
                await stack.enter_async_context(source.logged_in())
        yield


def traits_of(source: Source) -> Traits:
    """Return the traits of a place; empty ones, which nothing keeps, if it learns none."""
    return source.traits if isinstance(source, Remembering) else Traits()
