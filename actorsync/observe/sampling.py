"""The rate of each mirror, taken once a second while a pass goes on."""

from __future__ import annotations

from typing import Final

import trio

from actorsync.classes import define
from actorsync.observe.board import Board

__all__ = ["Sampler"]

_EVERY: Final = 1.0


@define(eq=False)
class Sampler:
    """Samples the bytes that each mirror of a board has sent, for the rate and its plot."""

    board: Board

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            await trio.sleep(_EVERY)
            for state in self.board.mirrors.values():
                if state.is_running:
                    state.rates.sample(trio.current_time(), state.clock(), state.statistics.bytes_moved)
