"""Interrupt a trio run after a number of task steps: the same place on every machine, also on a busy one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

__all__ = ["after_steps", "cancelled_after"]


class _After(trio.abc.Instrument):
    def __init__(self, steps: int, action: Callable[[], object]) -> None:
        self.left, self.action = steps, action

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.action()


@contextmanager
def after_steps(steps: int, action: Callable[[], object]) -> Iterator[None]:
    """Call ``action`` once the run has taken ``steps`` steps in the block."""
    instrument = _After(steps, action)
    trio.lowlevel.add_instrument(instrument)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(instrument)


@contextmanager
def cancelled_after(steps: int) -> Iterator[None]:
    """Cancel the block once the run has taken ``steps`` steps in it."""
    with trio.CancelScope() as scope, after_steps(steps, scope.cancel):
        yield
