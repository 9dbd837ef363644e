"""Leftovers: temporaries that attempts have left on the target are swept, or stay there to be taken up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from actorsync.actors.messages import Blocking
from actorsync.actors.planner.memory import Memory
from actorsync.actors.planner.progress import Progress
from actorsync.model.entry import Entry, ScanComplete, ancestors
from actorsync.model.operation import Sweep
from actorsync.planning.publishing.keeping import Keeping

__all__ = ["Leftovers"]


@attrs.define(eq=False)
class Leftovers:
    """Sweep the temporaries that the journal knows of, and only those, at the beginning and at the end of a run.

    `Keeping` decides which of them stay, because a later attempt can take them up.
    """

    journal: Memory
    keeping: Keeping
    progress: Progress
    blocking: Blocking
    wall_clock_ns: Callable[[], int]
    takes_up: bool
    """Whether what earlier runs have left can be taken up."""

    async def sweep_first(self) -> None:
        """Sweep what earlier runs have left.

        An earlier run may have died after a rename and before the journal had it: the file is then recovered, also if
        its temporary would stay. The journal keeps these temporaries until `sweep_last`: the server may have received
        a command of theirs only after this.
        """
        await self._sweep(await self.blocking(self._read_first))

    async def sweep_last(self, complete: ScanComplete | None, unseen: set[str]) -> int:
        """Sweep what is left at the end of a run. Return the number of foreign entries on the target.

        Within a run another attempt has told what became of a file, so nothing is recovered. ``unseen`` are directories
        of the source that could not be listed.
        """

        def is_unseen(path: str) -> bool:
            is_listed = complete is not None and complete.scope.contains(path)
            return not is_listed or not unseen.isdisjoint(ancestors(path))

        pending, foreign = await self.blocking(self._read_last)
        now = self.wall_clock_ns() / 1e9
        await self._sweep(
            [Sweep(path, source, False) for path, source in pending if not self.keeping.stays(path, now, is_unseen)]
        )
        return foreign

    def _read_first(self) -> list[Sweep]:
        journal, keeping = self.journal, self.keeping
        released = [item.kept.temporary for item, _ in journal.release()]
        keeping.begin(journal.kept() if self.takes_up else (), released, self.wall_clock_ns() / 1e9)
        return [self._first(path, source) for path, source in journal.pending() if not keeping.is_released(path)]

    def _first(self, path: str, source: Entry | None) -> Sweep:
        kept = self.keeping.spared(path)
        replaces = kept is not None and self.journal.record(kept.path) is not None
        return Sweep(path, source, kept=kept, replaces=replaces)

    def _read_last(self) -> tuple[list[tuple[str, Entry | None]], int]:
        return [*self.journal.pending()], self.journal.foreign_count()

    async def _sweep(self, sweeps: Sequence[Sweep]) -> None:
        for sweep in sweeps:
            self.progress.schedule.add(sweep)
        self.progress.notify()
        await self.progress.until_idle()
