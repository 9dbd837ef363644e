"""Faults at the contract, for any endpoint: lost connections, refused operations, delays.

`Faulty` wraps an endpoint and calls ``decide(verb, when)`` before and after every verb of every session. The verbs are
the methods of `Endpoint` and `Session` (``"identify"``, ``"open_session"``, ``"stage"``, ...), and ``"read"`` for every
piece of content that is read from or sent through a session: so a connection can be lost in the middle of a file. For
faults on the wire itself, see ``actorsync.testing.network``.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal, TypeAlias, TypeVar

import attrs
import trio

from actorsync.classes import define, frozen
from actorsync.endpoints.contract import (
    Content,
    Endpoint,
    Relocation,
    Session,
    Staged,
    Upload,
    mode_setter,
    nothing_ahead,
    respell,
)
from actorsync.endpoints.releases import Publication, Published, free_space, publish, put_back
from actorsync.endpoints.resuming import open_at
from actorsync.endpoints.wrappers.base import ContentWrapper, EndpointWrapper, SessionWrapper
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Listing, Problem, Root
from actorsync.planning.name_folding import NewSpelling

__all__ = ["Decide", "Faulty", "FaultySession", "RandomFaults", "When"]

When = Literal["before", "after"]
_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")


Decide: TypeAlias = Callable[[str, When], float | None]
"""Decides what happens to a verb: raises `ConnectionLost` or `OperationRefused`, or returns seconds to wait, or None.

A refusal concerns every item of a batch. A refusal ``"after"`` the verb hides that the work was done. ``"publish"`` and
``"put_back"`` are called for each item by itself, so that a release can break off anywhere.
"""

_CHOICES: Final = ("lose", "refuse", "wait")


@define
class RandomFaults:
    """Random faults: each call fails with probability ``rate``, in one of ``kinds``, as ``rng`` decides."""

    rng: random.Random
    rate: float
    kinds: Sequence[Literal["lose", "refuse", "wait"]] = _CHOICES
    longest_wait: float = 5.0

    def __call__(self, verb: str, when: When) -> float | None:
        """Decide at random."""
        if self.rng.random() >= self.rate:
            return None
        match self.rng.choice(self.kinds):
            case "lose":
                raise ConnectionLost(f"lost {when} {verb}, at random")
            case "refuse":
                raise OperationRefused(f"refused {when} {verb}, at random", retry=True)
            case "wait":
                return self.rng.uniform(0, self.longest_wait)


@frozen
class Faulty(EndpointWrapper[Endpoint]):
    """The endpoint ``real``, with the faults that ``decide`` chooses."""

    real: Endpoint
    decide: Decide

    async def identify(self) -> Root:
        """Describe the root, with the faults of ``"identify"``."""
        await self._pass("identify", "before")
        root = await self.real.identify()
        await self._pass("identify", "after")
        return root

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[FaultySession]:
        """Open a session that can be lost. A refusal counts as a lost connection."""
        await self._pass("open_session", "before")
        async with self.real.open_session() as session:
            await self._pass("open_session", "after")
            yield FaultySession(session, self.decide)

    async def _pass(self, verb: str, when: When) -> None:
        try:
            delay = self.decide(verb, when)
        except OperationRefused as refused:
            raise ConnectionLost(str(refused)) from refused
        await _wait(delay)


class FaultySession(SessionWrapper):
    """A session with faults. Once its connection is lost, every verb raises `ConnectionLost`."""

    def __init__(self, real: Session, decide: Decide) -> None:
        super().__init__(real)
        self._decide = decide
        self._lost: str | None = None

    async def list_directory(self, directory: str) -> Listing:
        """List one directory. A refusal becomes a problem of the listing."""
        try:
            await self.meet("list_directory", "before")
            listing = await self._real.list_directory(directory)
            await self.meet("list_directory", "after")
        except OperationRefused as refused:
            return Listing(directory, problem=Problem(directory, str(refused)))
        return listing

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Content]:
        """Open a file, whose reading can fail as well."""
        await self.meet("open", "before")
        async with self._real.open(path) as content:
            await self.meet("open", "after")
            yield _FaultyContent(content, self)

    @asynccontextmanager
    async def open_at(self, path: str, start: int) -> AsyncIterator[Content]:
        """Open a file in the middle, where the real session can."""
        await self.meet("open", "before")
        async with open_at(self._real, path, start) as content:
            await self.meet("open", "after")
            yield _FaultyContent(content, self)

    async def stage(
        self,
        upload: Upload,
        *,
        commit: Sequence[Staged] = (),
        ahead: Callable[[], bool] = nothing_ahead,
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Write one temporary. A refusal concerns the upload; the commits are performed."""
        try:
            await self.meet("stage", "before")
        except OperationRefused as refused:
            return refused, await self._real.commit(commit)
        inner = attrs.evolve(upload, content=_FaultyContent(upload.content, self))

        def at_the_end() -> bool:
            upload.sent = inner.sent
            return ahead()

        try:
            staged, committed = await self._real.stage(inner, commit=commit, ahead=at_the_end)
        except ConnectionLost as lost:  # the session is lost for every task that shares it
            self._lost = str(lost)
            raise
        finally:
            upload.sent = inner.sent
        try:
            await self.meet("stage", "after")
        except OperationRefused as refused:
            return refused, committed
        return staged, committed

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename temporaries to their final names."""
        return await self._batch("commit", self._real.commit, staged)

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories."""
        return await self._batch("make_directories", self._real.make_directories, paths)

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Rename files."""
        return await self._batch("move", self._real.move, relocations)

    async def set_modes(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused]:
        """Set modes."""
        return await self._batch("set_modes", mode_setter(self._real).set_modes, entries)

    async def respell(self, items: Sequence[NewSpelling]) -> list[Entry | OperationRefused]:
        """Change the spelling of names."""
        return await self._batch("respell", lambda batch: respell(self._real, batch), items)

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove files and empty directories."""
        return await self._batch("remove", self._real.remove, entries)

    async def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str] | None = None
    ) -> list[bool | OperationRefused]:
        """Remove temporaries."""
        return await self._batch("sweep", lambda items: self._real.sweep(items, finals), temporaries)

    async def abandon(self, temporary: str) -> bool:
        """Stop an interrupted upload. A refusal returns False."""
        try:
            await self.meet("abandon", "before")
            gone = await self._real.abandon(temporary)
            await self.meet("abandon", "after")
        except OperationRefused:
            return False
        return gone

    async def may_continue(self, temporary: str) -> int:
        """Return where content is to be opened to continue an upload. A refusal returns 0."""
        try:
            await self.meet("may_continue", "before")
            place = await super().may_continue(temporary)
            await self.meet("may_continue", "after")
        except OperationRefused:
            return 0
        return place

    async def continue_from(self, upload: Upload) -> int:
        """Return where an upload may go on. A refusal returns 0."""
        try:
            await self.meet("continue_from", "before")
            start = await super().continue_from(upload)
            await self.meet("continue_from", "after")
        except OperationRefused:
            return 0
        return start

    async def leave(self, temporary: str) -> None:
        """Stop an interrupted upload, and keep its temporary where the real session can. A refusal does nothing."""
        with suppress(OperationRefused):
            await self.meet("leave", "before")
            await super().leave(temporary)
            await self.meet("leave", "after")

    async def publish(self, items: Sequence[Publication]) -> list[Published | OperationRefused]:
        """Publish staged files, one at a time."""
        results: list[Published | OperationRefused] = []
        for item in items:
            results += await self._batch("publish", lambda batch: publish(self._real, batch), [item])
        return results

    async def put_back(self, items: Sequence[Publication]) -> list[Entry | OperationRefused | None]:
        """Take publications back, one at a time."""
        results: list[Entry | OperationRefused | None] = []
        for item in items:
            results += await self._batch("put_back", lambda batch: put_back(self._real, batch), [item])
        return results

    async def free_space(self) -> int | None:
        """Return how much room the target has. A refusal returns None."""
        try:
            await self.meet("free_space", "before")
            room = await free_space(self._real)
            await self.meet("free_space", "after")
        except OperationRefused:
            return None
        return room

    def describe(self) -> Sequence[tuple[str, str]]:
        """Describe the real session, and the faults."""
        return (*self._real.describe(), ("faults", "on demand"))

    async def meet(self, verb: str, when: When) -> None:
        """Let ``decide`` raise, wait or do nothing."""
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        try:
            delay = self._decide(verb, when)
        except ConnectionLost as lost:
            self._lost = str(lost)
            raise
        await _wait(delay)

    async def _batch(
        self, verb: str, do: Callable[[Sequence[_ItemT]], Awaitable[list[_ResultT]]], items: Sequence[_ItemT]
    ) -> list[_ResultT | OperationRefused]:
        try:
            await self.meet(verb, "before")
            results = await do(items)
            await self.meet(verb, "after")
        except OperationRefused as refused:
            return [refused for _ in items]
        return [*results]


class _FaultyContent(ContentWrapper):
    """Content that passes through a session that can be lost: never by descriptor, so that every piece can fail."""

    __slots__ = ("_session",)

    def __init__(self, real: Content, session: FaultySession) -> None:
        super().__init__(real)
        self._session = session

    def fileno(self) -> None:
        """Return None: every byte passes through `read`."""

    async def read(self, max_bytes: int) -> bytes:
        """Read a piece, with the faults of ``"read"``."""
        await self._session.meet("read", "before")
        piece = await self._real.read(max_bytes)
        await self._session.meet("read", "after")
        return piece


async def _wait(delay: float | None) -> None:
    if delay:
        await trio.sleep(delay)
