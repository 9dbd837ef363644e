"""Simulation: run any async code of actorsync on virtual time, with an order of tasks that a seed decides.

::

    report = simulate(mirror, seed=7)   # the same seed gives the same run, within milliseconds

When all tasks wait, the clock jumps to the next deadline, so hours pass in no time. Therefore no code may block: pass
`inline` as ``Clock.blocking``, and use trees in memory (`actorsync.endpoints.memory.endpoint`) with faults from
`actorsync.testing.faulty_endpoint`. `tests.support.trace` checks the events of a run.
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
    """Run ``main(*args)`` on virtual time and return its result.

    ``seed`` decides which of the ready tasks runs next, so that races have different results for different seeds and
    the same result for the same seed. The state of trio's random number generator is restored afterwards.
    """
    state = _run._r.getstate()
    _run._r.seed(seed)
    try:
        with patch.object(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", new=True):
            return trio.run(main, *args, clock=MockClock(autojump_threshold=0))
    finally:
        _run._r.setstate(state)


class ChannelWidth:
    """Replacement for ``trio.open_memory_channel``: bounded channels get a buffer of ``size``."""

    def __init__(self, size: int) -> None:
        self._size, self._open = size, trio.open_memory_channel

    def __getitem__(self, of: object) -> ChannelWidth:
        return self

    def __call__(self, size: float) -> tuple[trio.MemorySendChannel[Any], trio.MemoryReceiveChannel[Any]]:
        return self._open(size if size == float("inf") else self._size)


@contextmanager
def channels_of(size: int | None) -> Iterator[None]:
    """Open every bounded channel with a buffer of ``size`` during a ``with`` block; None changes nothing.

    A pipeline that stops with a buffer of 0 or 1 has a deadlock: tasks wait for each other in a circle.
    """
    if size is None:
        yield
        return
    with patch.object(trio, "open_memory_channel", ChannelWidth(size)):
        yield


def stream(name: str, seed: int) -> random.Random:
    """Return a random generator for one purpose only, so that other uses of chance do not change its values."""
    return random.Random(f"{name} of {seed}")
