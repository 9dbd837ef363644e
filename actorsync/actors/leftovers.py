"""Leftovers: temporaries that attempts have left on the target are swept, or stay there to be taken up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Protocol

from actorsync.actors.messages import Blocking
from actorsync.classes import define
from actorsync.model.entry import Entry, Record, ScanComplete, ancestors
from actorsync.model.kept import Kept
from actorsync.model.operation import Sweep
from actorsync.planning.publishing.keeping import Keeping

__all__ = ["Leftovers"]


class LeftoverMemory(Protocol):
    """What is needed of a journal."""

    def pending(self) -> Iterable[tuple[str, Entry | None]]: ...

    def kept(self) -> Iterable[Kept]: ...

    def record(self, path: str) -> Record | None: ...


@define(eq=False)
class Leftovers:
    """Sweep the temporaries that the journal knows of, and only those, at the beginning and at the end of a run.

    `Keeping` decides which of them stay, because a later attempt can take them up.
    """

    journal: LeftoverMemory
    keeping: Keeping
    do: Callable[[Iterable[Sweep]], Awaitable[None]]
    """Has operations carried out, and returns when all of them are."""
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
        await self.do(await self.blocking(self._read_first))

    async def look_again(self) -> None:
        """Take note of what an earlier release has left that was taken back in this run."""
        await self.blocking(self._begin)

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
        await self.do(Sweep(path, source, recovers=False) for path, source in left)

    def _read_first(self) -> list[Sweep]:
        self._begin()
        return [self._first(path, source) for path, source in self.journal.pending()]

    def _begin(self) -> None:
        self.keeping.begin(self.journal.kept() if self.takes_up else (), self.wall_clock_ns() / 1e9)

    def _first(self, path: str, source: Entry | None) -> Sweep:
        kept = self.keeping.spared(path)
        replaces = kept is not None and self.journal.record(kept.path) is not None
        return Sweep(path, source, kept=kept, replaces=replaces)
