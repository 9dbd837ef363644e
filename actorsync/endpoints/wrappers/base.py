"""Wrappers around an endpoint, a session or content: each delegates everything that a subclass does not override."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

from actorsync.classes import define
from actorsync.endpoints.contract import (
    Admit,
    Capabilities,
    Content,
    FindsLinks,
    ReadSession,
    Relocation,
    Session,
    Source,
    Staged,
    ToldOfLogins,
    Upload,
    look,
    mode_setter,
    nothing_ahead,
    respell,
    traits_of,
)
from actorsync.endpoints.hints import Hints
from actorsync.endpoints.polling import watch
from actorsync.endpoints.releases import Publication, Published, free_space, publish, put_back
from actorsync.endpoints.resuming import continue_from, leave, may_continue, read_at
from actorsync.errors import OperationRefused
from actorsync.model.entry import (
    Entry,
    Listing,
    Root,
)
from actorsync.model.traits import Traits
from actorsync.planning.name_folding import NewSpelling
from actorsync.planning.selection import Selection

__all__ = ["ContentWrapper", "EndpointWrapper", "ReadSessionWrapper", "SessionWrapper"]

_SourceT = TypeVar("_SourceT", bound=Source)


@define(eq=False)
class EndpointWrapper(Generic[_SourceT]):
    """Base of a wrapper around the place ``real``. A subclass defines ``open_session``."""

    real: _SourceT

    @property
    def display(self) -> str:
        """The name of the real place."""
        return self.real.display

    @property
    def capabilities(self) -> Capabilities:
        """What the real place can do."""
        return self.real.capabilities

    @property
    def traits(self) -> Traits:
        """The traits of the real place."""
        return traits_of(self.real)

    async def identify(self) -> Root:
        """Describe the real root."""
        return await self.real.identify()

    def watch(self, selection: Selection) -> AbstractAsyncContextManager[Hints]:
        """Watch the real place."""
        return watch(self.real, selection)

    def note_others(self, are_logged_in: Callable[[], bool]) -> None:
        """Tell the real place whether another run is logged in as the same user."""
        if isinstance(self.real, ToldOfLogins):
            self.real.note_others(are_logged_in)

    def find_links(self) -> None:
        """Have the real place tell links from directories."""
        if isinstance(self.real, FindsLinks):
            self.real.find_links()

    @property
    def hides_links(self) -> bool:
        """Whether a link may look like a directory of the real place."""
        return isinstance(self.real, FindsLinks) and self.real.hides_links


class ReadSessionWrapper(ReadSession):
    """Base of a wrapper around a session that lists and opens."""

    def __init__(self, real: ReadSession) -> None:
        self._real = real

    async def list_directory(self, directory: str) -> Listing:
        """List one directory."""
        return await self._real.list_directory(directory)

    def open(self, path: str) -> AbstractAsyncContextManager[Content]:
        """Open one file."""
        return self._real.open(path)

    def open_at(self, path: str, start: int) -> AbstractAsyncContextManager[Content]:  # noqa: ARG002
        """Open one file from its beginning. A subclass may do what `OpensAt` says, with what its `open` adds."""
        return self.open(path)

    def describe(self) -> Sequence[tuple[str, str]]:
        """Describe the other side."""
        return self._real.describe()

    def warnings(self) -> Sequence[str]:
        """Return the warnings of the connection."""
        return self._real.warnings()


class SessionWrapper(ReadSessionWrapper, Session):
    """Base of a wrapper around a session that also writes."""

    _real: Session

    def __init__(self, real: Session) -> None:
        super().__init__(real)

    async def stage(
        self, upload: Upload, *, commit: Sequence[Staged] = (), ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Write one temporary, and commit earlier uploads."""
        return await self._real.stage(upload, commit=commit, ahead=ahead)

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename temporaries to their final names."""
        return await self._real.commit(staged)

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories."""
        return await self._real.make_directories(paths)

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename files."""
        return await self._real.move(relocations)

    async def set_modes(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused]:
        """Set modes."""
        return await mode_setter(self._real).set_modes(entries)

    async def look(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused | None]:
        """Ask for entries by name."""
        return await look(self._real, entries)

    async def respell(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Change the spelling of names, where the real session can."""
        return await respell(self._real, items)

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove files and empty directories."""
        return await self._real.remove(entries)

    async def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str] | None = None
    ) -> list[bool | OperationRefused]:
        """Remove temporaries."""
        return await self._real.sweep(temporaries, finals)

    async def abandon(self, temporary: str) -> bool:
        """Stop an interrupted upload, and remove its temporary."""
        return await self._real.abandon(temporary)

    async def publish(self, items: Sequence[Publication]) -> list[Published | OperationRefused]:
        """Publish staged files."""
        return await publish(self._real, items)

    async def put_back(self, items: Sequence[Publication]) -> list[Entry | OperationRefused | None]:
        """Take publications back."""
        return await put_back(self._real, items)

    async def free_space(self) -> int | None:
        """Return how much room the target has, where the real session tells."""
        return await free_space(self._real)

    async def may_continue(self, temporary: str) -> int:
        """Return where content is to be opened to continue an upload; 0 where the real session cannot continue it."""
        return await may_continue(self._real, temporary)

    async def continue_from(self, upload: Upload) -> int:
        """Return where an upload may go on; 0 where the real session cannot continue it."""
        return await continue_from(self._real, upload)

    async def leave(self, temporary: str) -> None:
        """Stop an interrupted upload and keep its temporary; remove it where the real session cannot continue it."""
        if not await leave(self._real, temporary):
            await self._real.abandon(temporary)


class ContentWrapper(Content):
    """Base of a wrapper around the content of one file."""

    __slots__ = ("_real",)

    def __init__(self, real: Content) -> None:
        self._real = real

    @property
    def entry(self) -> Entry:
        """The entry of the real file."""
        return self._real.entry

    @property
    def size(self) -> int | None:
        """The size of the real content."""
        return self._real.size

    @property
    def start(self) -> int:
        """The offset at which the real content begins."""
        return self._real.start

    @property
    def admit(self) -> Admit | None:
        """The rate-limit hook of the real content."""
        return self._real.admit

    def fileno(self) -> int | None:
        """Return the descriptor of the real file, if there is one."""
        return self._real.fileno()

    async def read(self, max_bytes: int) -> bytes:
        """Read the next piece."""
        return await self._real.read(max_bytes)

    async def read_at(self, offset: int, length: int) -> bytes | None:
        """Read any part of the real file, where that is possible."""
        return await read_at(self._real, offset, length)

    async def is_unchanged(self) -> bool:
        """Return whether the real file is unchanged."""
        return await self._real.is_unchanged()
