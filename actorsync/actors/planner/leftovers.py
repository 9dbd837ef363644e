"""Leftovers: temporaries that attempts have left on the target are swept, or stay there to be taken up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

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

    async def sweep_last(
        self,
        pending: Iterable[tuple[str, Entry | None]],
        complete: ScanComplete | None,
        unseen: set[str],
        staged: Collection[str],
    ) -> None:
        """Sweep what is left at the end of a run: of the ``pending`` temporaries, what cannot be taken up.

        Within a run another attempt has told what became of a file, so nothing is recovered. ``unseen`` are directories
        of the source that could not be listed, ``staged`` are temporaries that wait for their publication.
        """

        def is_unseen(path: str) -> bool:
            is_listed = complete is not None and complete.scope.contains(path)
            return not is_listed or not unseen.isdisjoint(ancestors(path))

        now = self.wall_clock_ns() / 1e9
        left = [it for it in pending if it[0] not in staged and not self.keeping.stays(it[0], now, is_unseen)]
        await self._sweep([Sweep(path, source, recovers=False) for path, source in left])

    def _read_first(self) -> list[Sweep]:
        journal, keeping = self.journal, self.keeping
        keeping.begin(journal.kept() if self.takes_up else (), self.wall_clock_ns() / 1e9)
        return [self._first(path, source) for path, source in journal.pending()]

    def _first(self, path: str, source: Entry | None) -> Sweep:
        kept = self.keeping.spared(path)
        replaces = kept is not None and self.journal.record(kept.path) is not None
        return Sweep(path, source, kept=kept, replaces=replaces)

    async def _sweep(self, sweeps: Sequence[Sweep]) -> None:
        for sweep in sweeps:
            self.progress.schedule.add(sweep)
        self.progress.notify()
        await self.progress.until_idle()
