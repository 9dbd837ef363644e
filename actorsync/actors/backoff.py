"""Restarting an actor that lost its connection."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import attrs

from actorsync.errors import ConnectionLost

__all__ = ["Backoff", "Lives", "restarting"]


@attrs.frozen
class Backoff:
    """How long to wait before each new try: doubling, jittered, capped (seconds), and how often to try at all.

    ``tries`` counts failures since the last success, not failures per time: a decaying counter joined to growing
    delays would settle below any threshold and never give up.
    """

    initial: float = 0.5
    cap: float = 60.0
    tries: int = 6
    jitter: Callable[[], float] = random.random

    def delay(self, failures: int) -> float:
        """Give the wait after this many failures in a row: between half of the full delay and all of it."""
        full = min(self.cap, self.initial * 2.0 ** (failures - 1))
        return float(full * (0.5 + 0.5 * self.jitter()))


@attrs.define
class Lives:
    """Failures since the last success."""

    failures: int = 0

    def succeeded(self) -> None:
        """Start counting again: something was done."""
        self.failures = 0


async def restarting(
    serve: Callable[[Lives], Awaitable[None]],
    backoff: Backoff,
    pause: Callable[[ConnectionLost, float], Awaitable[bool]],
) -> None:
    """Run ``serve`` until it returns; after each `ConnectionLost`, ``pause`` for a while and run it again.

    Raises the last `ConnectionLost` when there were ``backoff.tries`` in a row without a success between, or when
    ``pause`` says not to go on. Nothing else is caught: every other error is a refusal that stands, or a bug.
    """
    lives = Lives()
    while True:
        try:
            return await serve(lives)
        except ConnectionLost as error:
            lives.failures += 1
            if lives.failures >= backoff.tries:
                raise
            lost = error
        # Outside the handler: a cancellation during the wait must not replace the error.
        if not await pause(lost, backoff.delay(lives.failures)):
            raise lost
