"""Running the caller's stages and hooks, and checking what the stages send.

A stage gets channel ends of classes defined here, so that a mistake is raised inside the stage that makes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeAlias, TypeVar

import attrs
import trio
from trio.abc import ReceiveChannel, SendChannel

from actorsync.actors.messages import Finding, holding
from actorsync.actors.pipeline import Change, Hook, ListingStage, OperationStage
from actorsync.classes import define
from actorsync.errors import FatalError, GuardRefused, HookFailed, StageFailed
from actorsync.model.entry import Kind, Listing, Problem, ScanComplete, ancestors, name_of
from actorsync.model.operation import Failed
from actorsync.model.row import ListingRows, decode, entries_of, rows_of
from actorsync.model.text import display, shorten

__all__ = ["Gate", "ListingStages", "OperationStages", "Verdict", "blamed"]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)


@contextmanager
def blamed(what: str) -> Iterator[None]:
    """Raise `StageFailed` for an exception of the caller's code. What is for users as it is passes unchanged."""
    try:
        yield
    except (GuardRefused, FatalError, HookFailed):
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise StageFailed(f"{what} raised {shorten(display(text), 300)}") from error


@define(eq=False)
class _Inlet(ReceiveChannel[T_co], Generic[T_co]):
    """The end that a stage receives from.

    ``has`` holds what the stage has received and not sent on, by ``key``. ``has_ended`` turns true once the stage has
    received the end of its input.
    """

    channel: trio.MemoryReceiveChannel[T_co]
    key: Callable[[T_co], Hashable]
    has: dict[Hashable, T_co] = attrs.Factory(dict)
    has_ended: bool = False

    async def receive(self) -> T_co:
        try:
            value = await self.channel.receive()
        except trio.EndOfChannel:
            self.has_ended = True
            raise
        self.has[self.key(value)] = value
        return value

    async def aclose(self) -> None:
        self.channel.close()
        await trio.lowlevel.checkpoint()


@define(eq=False)
class _Outlet(SendChannel[T_contra], Generic[T_contra]):
    """The end that a stage sends to. Once the next stage has returned, values are dropped, and count as left out."""

    channel: trio.MemorySendChannel[T_contra]
    check: Callable[[T_contra], None]

    async def send(self, value: T_contra) -> None:
        self.check(value)
        try:
            await self.channel.send(value)
        except trio.BrokenResourceError:
            await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.channel.close()
        await trio.lowlevel.checkpoint()


async def _run_stage(
    name: str,
    function: Callable[[ReceiveChannel[T], SendChannel[T]], Awaitable[None]],
    inlet: _Inlet[T],
    outlet: _Outlet[T],
) -> None:
    with inlet.channel, outlet.channel, blamed(f"stage {name}"):
        await function(inlet, outlet)


@define(eq=False)
class ListingStages:
    """An actor: passes all listings through the stages. What they leave out counts as hidden, not as missing."""

    stages: Sequence[ListingStage]
    draining: trio.Event
    """Ends the actor at once: the next run plans what this one has not."""
    _in_hand: dict[str, Listing] = attrs.Factory(dict)  # sent to the first stage, not yet received from the last
    _left_out: set[str] = attrs.Factory(set)  # directories that a stage has taken out of the listing of their parent
    _complete: ScanComplete | None = None

    async def run(self, findings: trio.MemoryReceiveChannel[Finding], onward: trio.MemorySendChannel[Finding]) -> None:
        """Pass everything on until ``findings`` ends. An exception of a stage is raised as `StageFailed`."""
        with holding(findings, onward):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_for_drain, nursery.cancel_scope)
                await self._run(findings, onward)
                nursery.cancel_scope.cancel()

    async def _watch_for_drain(self, scope: trio.CancelScope) -> None:
        await self.draining.wait()
        scope.cancel()

    async def _run(self, findings: trio.MemoryReceiveChannel[Finding], onward: trio.MemorySendChannel[Finding]) -> None:
        send, receive = trio.open_memory_channel[Listing](0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feed, findings, send, onward)
            for stage in self.stages:
                send, behind = trio.open_memory_channel[Listing](0)
                inlet = _Inlet(receive, _directory_of)
                outlet = _Outlet(send, partial(_check_listing, stage.name, inlet))
                nursery.start_soon(_run_stage, stage.name, stage.run, inlet, outlet)
                receive = behind
            with receive:
                async for listing in receive:
                    await self._pass_on(listing, onward)
        for directory in self._in_hand:
            unseen = Problem(directory, "a stage has left it out", vanished=True)
            await onward.send((ListingRows(directory, problem=unseen),))
        if self._complete is not None:
            await onward.send(self._complete)

    async def _feed(
        self,
        findings: trio.MemoryReceiveChannel[Finding],
        first: trio.MemorySendChannel[Listing],
        onward: trio.MemorySendChannel[Finding],
    ) -> None:
        with first:
            async for finding in findings:
                if isinstance(finding, ScanComplete):
                    self._complete = finding
                    return
                for listed in finding:
                    if listed.problem is not None:
                        await onward.send((listed,))
                        continue
                    entries = tuple(entries_of(listed.directory, listed.rows))
                    listing = Listing(listed.directory, entries, listed.hidden)
                    self._in_hand[listed.directory] = listing
                    try:
                        await first.send(listing)
                    except trio.BrokenResourceError:  # the first stage has returned
                        await trio.lowlevel.checkpoint()

    async def _pass_on(self, listing: Listing, onward: trio.MemorySendChannel[Finding]) -> None:
        was = self._in_hand.pop(listing.directory)
        names = {entry.path for entry in listing.entries}
        missing = [entry for entry in was.entries if entry.path not in names]
        self._left_out.update(entry.path for entry in missing if entry.kind is Kind.DIRECTORY)
        if not self._left_out.isdisjoint((listing.directory, *ancestors(listing.directory))):
            return  # it is hidden, with everything below it
        hidden = listing.hidden | was.hidden | {name_of(entry.path) for entry in missing}
        await onward.send((rows_of(attrs.evolve(listing, hidden=hidden)),))


def _directory_of(listing: Listing) -> str:
    return listing.directory


def _check_listing(name: str, inlet: _Inlet[Listing], listing: Listing) -> None:
    """Raise `StageFailed` in the stage if it must not send ``listing``."""
    if not isinstance(listing, Listing):
        raise StageFailed(f"stage {name} sent a {type(listing).__name__}; a listing stage sends Listings")
    where = _quoted(listing.directory)
    if inlet.has.pop(listing.directory, None) is None:
        raise StageFailed(f"stage {name} sent a listing of {where} that it has not received, or has sent before")
    listed = rows_of(listing)
    if listed.problem is not None:
        raise StageFailed(f"stage {name} sent a listing of {where} with a problem: {listed.problem.reason}")
    names = [row[0] for row in listed.rows]
    if len(set(names)) < len(names):
        twice = next(first for first, second in itertools.pairwise(names) if first == second)
        raise StageFailed(f"stage {name} sent two entries of the name {_quoted(decode(twice))} in {where}")


def _quoted(path: str) -> str:
    return f"{display(path)!r}" if path else "the root"


#: What travels between operation stages. A `Failed` of an earlier stage bypasses the later ones.
Verdict: TypeAlias = Change | Failed


@define(eq=False)
class OperationStages:
    """An actor: passes the planner's operations through the stages, and knows which ones are inside them.

    ``take`` is awaited with each operation that comes out. An operation is *late* if a stage sent it after its input
    had ended; ``settled`` is awaited before the first late one, and returns when everything sent before is done.
    ``left_out`` is awaited with each operation that never came out.
    """

    stages: Sequence[OperationStage]
    take: Callable[[Verdict], Awaitable[None]]
    settled: Callable[[], Awaitable[None]]
    left_out: Callable[[Change], Awaitable[None]]
    _send: trio.MemorySendChannel[Verdict] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[Verdict] = attrs.field(init=False)
    _in_hand: dict[Hashable, Change] = attrs.Factory(dict)
    _late: set[Hashable] = attrs.Factory(set)
    _ended: trio.Event = attrs.Factory(trio.Event)
    _scope: trio.CancelScope = attrs.Factory(trio.CancelScope)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[Verdict](0)

    @property
    def in_hand(self) -> int:
        """How many operations are inside the stages."""
        return len(self._in_hand)

    async def put(self, operation: Change) -> None:
        """Send one operation to the first stage; waits while that stage is busy."""
        self._in_hand[id(operation)] = operation
        try:
            await self._send.send(operation)
        except trio.BrokenResourceError:  # the first stage has returned: the operation is left out
            await trio.lowlevel.checkpoint()

    async def finish(self) -> None:
        """End the input of the stages, and wait until all of them have returned."""
        self._send.close()
        await self._ended.wait()

    def stop(self) -> list[Change]:
        """Cancel the stages, and return the operations that were inside them."""
        self._scope.cancel()
        in_hand = list(self._in_hand.values())
        self._in_hand.clear()
        return in_hand

    async def run(self) -> None:
        """Run the stages until they return or are stopped. An exception of a stage is raised as `StageFailed`."""
        receive = self._receive
        with self._scope:
            async with trio.open_nursery() as nursery:
                for stage in self.stages:
                    send, behind = trio.open_memory_channel[Verdict](0)
                    inlet = _Inlet(receive, _identity_of)
                    outlet = _Outlet(send, partial(self._check, stage.name, inlet))
                    nursery.start_soon(_run_stage, stage.name, partial(_run_past_failures, stage), inlet, outlet)
                    receive = behind
                with receive:
                    await self._collect(receive)
            while self._in_hand:
                await self.left_out(self._in_hand.pop(next(iter(self._in_hand))))
        self._ended.set()

    def _check(self, name: str, inlet: _Inlet[Verdict], verdict: Verdict) -> None:
        """Raise `StageFailed` in the stage if it must not send ``verdict``; and note whether it is late."""
        if not isinstance(verdict, Verdict):
            kind = type(verdict).__name__
            raise StageFailed(f"stage {name} sent a {kind}; an operation stage sends operations, or Failed")
        key = _identity_of(verdict)
        if inlet.has.pop(key, None) is None:
            where = _quoted(verdict.operation.path if isinstance(verdict, Failed) else verdict.path)
            raise StageFailed(
                f"stage {name} sent an operation on {where} that it has not received, or has sent before; "
                "send operations on unchanged"
            )
        if inlet.has_ended:
            self._late.add(key)

    async def _collect(self, receive: trio.MemoryReceiveChannel[Verdict]) -> None:
        is_behind_all = False
        async for verdict in receive:
            key = _identity_of(verdict)
            is_late = key in self._late
            self._late.discard(key)
            if is_late and not is_behind_all:
                await self.settled()
            is_behind_all = is_late
            self._in_hand.pop(key, None)  # first: `take` may wait, and a stop must not count it twice
            await self.take(verdict)


def _identity_of(verdict: Verdict) -> int:
    """Return a key for an operation inside the stages. Equal operations have different keys."""
    return id(verdict.operation if isinstance(verdict, Failed) else verdict)


async def _run_past_failures(
    stage: OperationStage, receive: ReceiveChannel[Verdict], send: SendChannel[Verdict]
) -> None:
    await stage.run(_WithoutFailures(receive, send), send)


@define(eq=False)
class _WithoutFailures(ReceiveChannel[Change]):
    """The end that an operation stage receives from: a `Failed` of an earlier stage goes past it, to its output."""

    receiving: ReceiveChannel[Verdict]
    sending: SendChannel[Verdict]

    async def receive(self) -> Change:
        while isinstance(verdict := await self.receiving.receive(), Failed):
            await self.sending.send(verdict)
        return verdict

    async def aclose(self) -> None:
        await self.receiving.aclose()


@define(eq=False)
class Gate:
    """Runs the hook ``before_commit`` once, before the first change that can be seen on the target."""

    hook: Hook | None = None
    is_open: bool = False
    _lock: trio.Lock = attrs.Factory(trio.Lock)

    async def passed(self) -> None:
        """Return once the hook has returned; the first caller runs it. Its exception is raised as `StageFailed`."""
        if self.hook is None:
            return
        async with self._lock:
            if not self.is_open:
                with blamed("the hook before_commit"):
                    await self.hook()
                self.is_open = True
