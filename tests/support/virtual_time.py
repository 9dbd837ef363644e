"""Simulation: any async program of actorsync's parts, on virtual time, in an order that a seed decides.

::

    report = simulate(mirror, seed=7)   # the same seed, the same story, in milliseconds

What takes hours takes no time here, because the clock jumps to the next deadline whenever all tasks wait. So nothing
may block: a simulated run is given `inline` for its ``Clock.blocking``, and has its trees in memory
(`actorsync.endpoints.memory.endpoint`), with faults from `actorsync.testing.faulty_endpoint`. What a run announced is
checked by `tests.support.trace`.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest.mock import patch

import trio
from trio._core import _run
from trio.testing import MockClock

from actorsync.actors.messages import inline

__all__ = ["ChannelWidth", "channels_of", "inline", "simulate", "stream"]

T = TypeVar("T")


def simulate(main: Callable[..., Awaitable[T]], *args: Any, seed: int) -> T:
    """Run ``main(*args)`` to its end on virtual time, and give what it gives.

    Among the tasks that could go on, ``seed`` decides which does: races come out differently for each seed, and every
    time the same for one. The state of trio's own randomness is put back afterwards.
    """
    state = _run._r.getstate()
    _run._r.seed(seed)
    try:
        with patch.object(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", new=True):
            return trio.run(main, *args, clock=MockClock(autojump_threshold=0))
    finally:
        _run._r.setstate(state)


class ChannelWidth:
    """Stands for ``trio.open_memory_channel``: bounded channels get a buffer of ``size``, unbounded ones stay so."""

    def __init__(self, size: int) -> None:
        self._size, self._open = size, trio.open_memory_channel

    def __getitem__(self, of: object) -> ChannelWidth:
        return self

    def __call__(self, size: float) -> tuple[trio.MemorySendChannel[Any], trio.MemoryReceiveChannel[Any]]:
        return self._open(size if size == float("inf") else self._size)


@contextmanager
def channels_of(size: int | None) -> Iterator[None]:
    """Open every bounded channel with a buffer of ``size``, for as long as this lasts; None leaves all as they are.

    A pipeline that stands still with a buffer of 0 or 1 has somebody in it who waits in a circle.
    """
    if size is None:
        yield
        return
    with patch.object(trio, "open_memory_channel", ChannelWidth(size)):
        yield


def stream(name: str, seed: int) -> random.Random:
    """Give a source of chance for one thing alone, so that other things may be added without changing what it says."""
    return random.Random(f"{name} of {seed}")
