"""What travels on the channels between actors, and how an actor holds its ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol, TypeAlias, TypeVar

import attrs
import trio

from actorsync.model.entry import ScanComplete
from actorsync.model.event import Event, Intended, MovesIntended, RemovalIntended
from actorsync.model.operation import Outcome
from actorsync.model.row import ListingRows

__all__ = [
    "Blocking",
    "Fact",
    "Finding",
    "Registration",
    "Settlement",
    "Several",
    "Turn",
    "Unissued",
    "holding",
    "in_thread",
    "inline",
]

T = TypeVar("T")

#: Seconds that somebody waits for a turn at most.
_SOON = 0.05

#: What the scanner sends to the planner: directories, some at a time, and at last that there are no more.
Finding: TypeAlias = tuple[ListingRows, ...] | ScanComplete

#: What the recorder sends to the planner: outcomes, once they are durable.
Settlement: TypeAlias = Outcome


@attrs.frozen
class Registration:
    """What is about to be done to the target. ``durable`` is set when a crash can no longer forget it."""

    intended: Intended | RemovalIntended | MovesIntended
    durable: trio.Event


@attrs.frozen
class Unissued:
    """The outcome of an operation that was never given out; nobody waits for it to settle."""

    outcome: Outcome


@attrs.frozen
class Several:
    """Events that come in one go, because one after the other each would cost as much as all of them."""

    events: Sequence[Event]


#: What any actor sends to the recorder.
Fact: TypeAlias = Event | Registration | Unissued | Several


class Blocking(Protocol):
    """How blocking work is run: in a worker thread, or inline where a simulation owns the clock."""

    def __call__(self, work: Callable[..., T], *args: Any) -> Awaitable[T]: ...


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    """Run ``work`` in a worker thread."""
    return await trio.to_thread.run_sync(work, *args)


async def inline(work: Callable[..., T], *args: Any) -> T:
    """Run ``work`` here and now: for simulation, where a thread would race with virtual time."""
    await trio.lowlevel.checkpoint()
    return work(*args)


class Turn:
    """Held by whoever keeps the processor busy for a while: threads that fight over the interpreter take far longer.

    Nobody waits for it for long: whoever holds it may have to wait for a disk.
    """

    def __init__(self) -> None:
        self._lock = trio.Lock()

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Hold the turn, or go on without it when it does not come soon."""
        with trio.move_on_after(_SOON) as waiting:
            await self._lock.acquire()
        try:
            yield
        finally:
            if not waiting.cancelled_caught:
                self._lock.release()


@contextmanager
def holding(*ends: trio.MemorySendChannel[Any] | trio.MemoryReceiveChannel[Any]) -> Iterator[None]:
    """Hold channel ends for the life of an actor, and close them with it.

    When the reader of one of them is gone, the actor ends quietly: whoever made the reader go has the real error. The
    synchronous close is deliberate: ``async with`` would replace an error by `trio.Cancelled`.
    """
    try:
        yield
    except* trio.BrokenResourceError:
        senders = [end for end in ends if isinstance(end, trio.MemorySendChannel)]
        if not any(end.statistics().open_receive_channels == 0 for end in senders):
            raise
    finally:
        for end in ends:
            end.close()
