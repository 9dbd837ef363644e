"""Backoff: how long to wait before an attempt, how often to try, and the loop that does so."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from actorsync.classes import define, frozen
from actorsync.errors import ConnectionLost

__all__ = ["Backoff", "Failures", "restarting"]


@frozen
class Backoff:
    """The wait before each new attempt, doubling from ``initial`` to ``cap`` seconds, and the number of attempts.

    ``tries`` limits the failures since the last success, not the failures per time. A count that decays with time,
    together with growing delays, would stay below any limit and never give up. ``jitter`` returns a number between
    0 and 1.
    """

    initial: float = 0.5
    cap: float = 60.0
    tries: int = 6
    jitter: Callable[[], float] = random.random

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after ``failures`` in a row: between half of the full delay and all of it."""
        full = min(self.cap, self.initial * 2.0 ** (failures - 1))
        return float(full * (0.5 + 0.5 * self.jitter()))


@define
class Failures:
    """The number of failures since the last success."""

    count: int = 0

    def reset(self) -> None:
        """Start counting again after a success."""
        self.count = 0


async def restarting(
    serve: Callable[[Failures], Awaitable[None]],
    backoff: Backoff,
    pause: Callable[[ConnectionLost, float], Awaitable[bool]],
) -> None:
    """Run ``serve`` until it returns. After each `ConnectionLost`, await ``pause`` and run it again.

    ``serve`` gets the count of failures, and resets it after each success. ``pause`` gets the error and the delay in
    seconds; it returns False to give up.

    Raises the last `ConnectionLost` after ``backoff.tries`` failures in a row, or when ``pause`` returns False. Every
    other error is a permanent refusal or a bug, and is not caught.
    """
    failures = Failures()
    while True:
        try:
            return await serve(failures)
        except ConnectionLost as error:
            failures.count += 1
            if failures.count >= backoff.tries:
                raise
            lost = error
        # Outside the handler: a cancellation during the wait must not replace the error.
        if not await pause(lost, backoff.delay(failures.count)):
            raise lost
