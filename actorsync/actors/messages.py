"""What travels on the channels between actors, and how an actor holds its ends."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol, TypeAlias, TypeVar

import attrs
import trio

from actorsync.classes import define, frozen
from actorsync.model.entry import ScanComplete
from actorsync.model.event import Event
from actorsync.model.operation import Outcome, Publish
from actorsync.model.row import ListingRows

__all__ = [
    "Blocking",
    "Fact",
    "Finding",
    "Mark",
    "Registration",
    "Release",
    "ReleaseResult",
    "Settlement",
    "Several",
    "Turn",
    "Unissued",
    "holding",
    "in_thread",
    "inline",
]

T = TypeVar("T")

#: Seconds that a task waits for a `Turn`, at most.
_SOON = 0.05

#: What the scanner sends to the planner: directories, several at a time, and at the end `ScanComplete`.
Finding: TypeAlias = tuple[ListingRows, ...] | ScanComplete

#: What the recorder sends to the planner: outcomes, once they are durable.
Settlement: TypeAlias = Outcome


@frozen
class Registration:
    """What is about to be done to the target, or relied on. ``durable`` is set when the journal has it on disk."""

    event: Event
    durable: trio.Event


@frozen
class Unissued:
    """The outcome of an operation that no connection was given: the recorder does not send it back to the planner."""

    outcome: Outcome


@frozen
class Several:
    """Events in one message: each message costs more than the events in it."""

    events: Sequence[Event]


@frozen
class Mark:
    """Nothing to record: ``durable`` is set when the journal has everything that was sent before."""

    durable: trio.Event


class ReleaseResult(enum.Enum):
    """What has become of a release."""

    PUBLISHED = "published"
    TAKEN_BACK = "taken back"
    HELD_BACK = "held back"  # before its commit point: nothing of it can be seen
    UNFINISHED = "unfinished"  # after its commit point: the next run goes on with it


@define(eq=False)
class Release:
    """What the planner sends to the publisher: files that get their final names together.

    ``ended`` is set when ``result`` is known. ``is_recovered``: an earlier run has passed the commit point of this
    release, and ``published`` holds the temporaries of the parts that it is known to have published. ``maintenance`` is
    the path of an empty file that is on the target meanwhile.
    """

    items: Sequence[Publish]
    is_recovered: bool = False
    published: Collection[str] = frozenset()
    maintenance: str | None = None
    result: ReleaseResult = ReleaseResult.UNFINISHED
    ended: trio.Event = attrs.Factory(trio.Event)


#: What any actor sends to the recorder.
Fact: TypeAlias = Event | Registration | Unissued | Several | Mark


class Blocking(Protocol):
    """How blocking work is run: in a worker thread, or inline where a simulation owns the clock."""

    def __call__(self, work: Callable[..., T], *args: Any) -> Awaitable[T]: ...


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    """Run ``work`` in a worker thread."""
    return await trio.to_thread.run_sync(work, *args)


async def inline(work: Callable[..., T], *args: Any) -> T:
    """Run ``work`` in this task: for a simulation, where a thread would race with virtual time."""
    await trio.lowlevel.checkpoint()
    return work(*args)


class Turn:
    """A lock for work that keeps the processor busy: threads that compete for the interpreter take far longer.

    It is waited for briefly only: the task that holds it may have to wait for a disk.
    """

    def __init__(self) -> None:
        self._lock = trio.Lock()

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Hold the turn; continue without it when it does not become free soon."""
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

    When the reader of one of them is gone, the actor ends without an error: the actor that read has raised the real
    one. The synchronous close is deliberate: ``async with`` would replace an error by `trio.Cancelled`.
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
