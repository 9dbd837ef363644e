"""Faults at the contract: any endpoint, with connections that get lost, operations that are refused, and slowness.

`Faulty` stands before an endpoint and asks ``decide(verb, when)`` around every verb of every session. The verbs are the
methods of `Endpoint` and `Session` (``"identify"``, ``"open_session"``, ``"stage"``, ...) and ``"read"``, around every
piece of content that is read from a session, or sent through one: so a connection can be lost in the middle of a file.
For faults on the wire itself see ``proxy`` and ``faults``.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeAlias, TypeVar

import attrs
import trio

from actorsync.endpoints.contract import (
    Content,
    Endpoint,
    Relocation,
    Session,
    Staged,
    Upload,
    is_remote,
    keeps_times,
    nothing_ahead,
    size_of,
)
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Listing, Problem, Root

__all__ = ["Decide", "Faulty", "FaultySession", "RandomFaults", "When"]

When = Literal["before", "after"]
_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")


Decide: TypeAlias = Callable[[str, When], float | None]
"""Say what happens to a verb: raise `ConnectionLost` or `OperationRefused`, give seconds to wait, or None.

A refusal concerns every item of a batch. One that comes ``"after"`` hides that all was done.
"""

_CHOICES: Final = ("lose", "refuse", "wait")


@attrs.define
class RandomFaults:
    """Of every ``1 / rate`` chances one goes wrong, in one of ``kinds`` of ways, as ``rng`` says."""

    rng: random.Random
    rate: float
    kinds: Sequence[Literal["lose", "refuse", "wait"]] = _CHOICES
    longest_wait: float = 5.0

    def __call__(self, verb: str, when: When) -> float | None:
        """Decide by chance."""
        if self.rng.random() >= self.rate:
            return None
        match self.rng.choice(self.kinds):
            case "lose":
                raise ConnectionLost(f"lost {when} {verb}, by chance")
            case "refuse":
                raise OperationRefused(f"refused {when} {verb}, by chance", retry=True)
            case "wait":
                return self.rng.uniform(0, self.longest_wait)


@attrs.frozen
class Faulty:
    """``endpoint``, with what ``decide`` makes go wrong."""

    endpoint: Endpoint
    decide: Decide

    @property
    def display(self) -> str:
        return self.endpoint.display

    @property
    def lanes(self) -> int:
        return self.endpoint.lanes

    @property
    def is_remote(self) -> bool:
        return is_remote(self.endpoint)

    @property
    def keeps_times(self) -> bool:
        return keeps_times(self.endpoint)

    async def identify(self) -> Root:
        """Look at the root. There is no session that could be lost or refuse: it can only be slow."""
        await self._pass("identify", "before")
        root = await self.endpoint.identify()
        await self._pass("identify", "after")
        return root

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[FaultySession]:
        """Open a session that can be lost; refusing a connection is losing it."""
        await self._pass("open_session", "before")
        async with self.endpoint.open_session() as session:
            await self._pass("open_session", "after")
            yield FaultySession(session, self.decide)

    async def _pass(self, verb: str, when: When) -> None:
        try:
            delay = self.decide(verb, when)
        except OperationRefused as refused:
            raise ConnectionLost(str(refused)) from refused
        await _wait(delay)


class FaultySession:
    """A session that refuses everything once its connection is lost."""

    def __init__(self, session: Session, decide: Decide) -> None:
        self._session, self._decide = session, decide
        self._lost: str | None = None

    async def list_directory(self, directory: str) -> Listing:
        """List, unless decided otherwise; a refusal is a problem of the listing."""
        try:
            await self.meet("list_directory", "before")
            listing = await self._session.list_directory(directory)
            await self.meet("list_directory", "after")
        except OperationRefused as refused:
            return Listing(directory, problem=Problem(directory, str(refused)))
        return listing

    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Content]:
        """Open, unless decided otherwise; what is opened can be lost while it is read."""
        await self.meet("open", "before")
        async with self._session.open(path) as content:
            await self.meet("open", "after")
            yield _FaultyContent(content, self)

    async def stage(
        self,
        upload: Upload,
        *,
        commit: Sequence[Staged] = (),
        ahead: Callable[[], bool] = nothing_ahead,
    ) -> tuple[Staged | OperationRefused, list[Entry | OperationRefused]]:
        """Stage, unless decided otherwise. A refusal is of the upload; the commits that ride with it are done."""
        try:
            await self.meet("stage", "before")
        except OperationRefused as refused:
            return refused, await self._session.commit(commit)
        inner = attrs.evolve(upload, content=_FaultyContent(upload.content, self))

        def at_the_end() -> bool:
            upload.sent = inner.sent
            return ahead()

        try:
            staged, committed = await self._session.stage(inner, commit=commit, ahead=at_the_end)
        except ConnectionLost as lost:  # whoever lost it: for all that share this session it is gone
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
        """Commit, unless decided otherwise."""
        return await self._batch("commit", self._session.commit, staged)

    async def make_directories(self, paths: Sequence[str]) -> list[Entry | OperationRefused]:
        """Make directories, unless decided otherwise."""
        return await self._batch("make_directories", self._session.make_directories, paths)

    async def move(self, relocations: Sequence[Relocation]) -> list[Entry | OperationRefused]:
        """Move, unless decided otherwise."""
        return await self._batch("move", self._session.move, relocations)

    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        """Remove, unless decided otherwise."""
        return await self._batch("remove", self._session.remove, entries)

    async def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str] | None = None
    ) -> list[bool | OperationRefused]:
        """Sweep, unless decided otherwise."""
        return await self._batch("sweep", lambda items: self._session.sweep(items, finals), temporaries)

    async def abandon(self, temporary: str) -> bool:
        """Abandon, unless decided otherwise; a refusal leaves the temporary where it is, or says so."""
        try:
            await self.meet("abandon", "before")
            gone = await self._session.abandon(temporary)
            await self.meet("abandon", "after")
        except OperationRefused:
            return False
        return gone

    def describe(self) -> Sequence[tuple[str, str]]:
        """Describe what stands behind."""
        return (*self._session.describe(), ("faults", "on demand"))

    def warnings(self) -> Sequence[str]:
        """Warn of what stands behind."""
        return self._session.warnings()

    async def meet(self, verb: str, when: When) -> None:
        """Have it decided what happens now."""
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


class _FaultyContent:
    """Content that goes by way of a session that can be lost: never by descriptor, so that each piece is met."""

    def __init__(self, content: Content, session: FaultySession) -> None:
        self._content, self._session = content, session

    @property
    def entry(self) -> Entry:
        return self._content.entry

    @property
    def size(self) -> int | None:
        return size_of(self._content)

    def fileno(self) -> None:
        """Have every byte pass by here."""

    async def read(self, max_bytes: int) -> bytes:
        """Read a piece, unless decided otherwise."""
        await self._session.meet("read", "before")
        piece = await self._content.read(max_bytes)
        await self._session.meet("read", "after")
        return piece

    async def is_unchanged(self) -> bool:
        return await self._content.is_unchanged()


async def _wait(delay: float | None) -> None:
    if delay:
        await trio.sleep(delay)
