"""What an outside reader knows of releases: files that get their names together, or not at all.

The invariants, in the numbers of `tests.support.world.oracle`:

==  ==============================================  ==================================================================
14  a release is all or nothing: nothing of it is   at every publication; the whole release once more when the journal
    seen before the journal has it, and after it    has its end, and after every run that could reach the target
    everything is new or everything is old
15  files arrive in the order of their ranks        at every rename to a final name, in both modes
==  ==============================================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from actorsync.endpoints.memory.tree import File
from actorsync.model.operation import Publish

if TYPE_CHECKING:
    from tests.support.world.watched import WatchedTarget

__all__ = ["ReleaseOracle"]


@attrs.define(eq=False)
class ReleaseOracle:
    """The release that is open, what each of its names held before, and what each is to hold.

    ``blame`` is called with each violation. ``is_excused`` tells whether others have changed a path.
    """

    blame: Callable[[str], None]
    is_excused: Callable[[str], bool]
    items: dict[str, Publish] = attrs.Factory(dict)
    #: Empty for a release whose beginning nobody saw: a journal from a backup had it.
    old: dict[str, bytes | None] = attrs.Factory(dict)
    new: dict[str, bytes] = attrs.Factory(dict)
    #: What others had changed, and the release has replaced.
    superseded: set[str] = attrs.Factory(set)
    #: The highest rank that a file had which got its name in this run, file by file.
    highest: int = 0

    def remember(self) -> Callable[[], None]:
        """Return a function that forgets what is learned from now on: it is not on any disk."""
        known = dict(self.items), dict(self.old), dict(self.new), set(self.superseded)

        def recall() -> None:
            self.items, self.old, self.new, self.superseded = known

        return recall

    def forget(self, items: Iterable[Publish] = ()) -> None:
        """The journal is another one, and knows of the release ``items``."""
        self.items = {item.path: item for item in items}
        self.old, self.new, self.superseded = {}, {}, set()

    @property
    def temporaries(self) -> set[str]:
        """Return every name that the open release uses beside the final ones."""
        asides = {item.aside for item in self.items.values() if item.aside is not None}
        return asides | {item.kept.temporary for item in self.items.values()}

    # The journal.

    def was_released(self, items: Sequence[Publish], target: WatchedTarget) -> None:
        """14: the journal has a release. Everything that belongs to it is whole under its temporary name."""
        if self.items:
            self.blame(f"14: a release begins, and one of {sorted(self.items)} has not ended")
        for item in items:
            path, kept = item.path, item.kept
            staged = target.find(kept.temporary)
            if self.is_excused(kept.temporary) or self.is_excused(path):
                self.items[path] = item
                continue
            if not isinstance(staged, File) or len(staged.data) != kept.size:
                self.blame(f"14: {path!r} is released, and {kept.temporary!r} is {staged}")
                continue
            self.items[path] = item
            self.new[path], self.old[path] = staged.data, _data(target, path)

    def was_ended(self, target: WatchedTarget, rolled_back: str | None, refused: Collection[str] = ()) -> None:
        """14: the journal has the end of the release: everything is new, or everything is as it was before.

        A release that keeps no old files cannot be taken back: what is ``refused`` of it stays as it was.
        """
        if refused and any(item.aside is not None for item in self.items.values()):
            self.blame(f"14: {sorted(refused)} of a release are refused, and it is not taken back")
        for path in self._known():
            shown = self.new if rolled_back is None and path not in refused else self.old
            if _data(target, path) != shown[path]:
                how = "published" if rolled_back is None else f"rolled back ({rolled_back})"
                self.blame(f"14: the release is {how}, and {path!r} holds {_data(target, path)!r}, not {shown[path]!r}")
        self.forget()

    def check_end_of_run(self, target: WatchedTarget, is_open: bool) -> None:
        """14: a run that came to its end has finished the release, or taken it back."""
        if is_open or self.items:
            self.blame(f"14: the run has ended, and a release is open: {sorted(self.items)}")

    # The target.

    def check_publish(self, target: WatchedTarget, path: str) -> None:
        """14 and 15: what is published is released, and every lower rank is there."""
        item = self.items.get(path)
        if item is None:
            self.blame(f"14: {path!r} is published, and no release that the journal has holds it")
            return
        for other in self._known():
            if self.items[other].rank < item.rank and _data(target, other) != self.new[other]:
                self.blame(f"15: {path!r} of rank {item.rank} is published before {other!r}")

    def check_put_back(self, target: WatchedTarget, path: str) -> None:
        """14 and 15: what is taken back belongs to the release, and every higher rank is taken back before it."""
        item = self.items.get(path)
        if item is None:
            self.blame(f"14: {path!r} is taken back, and no release that the journal has holds it")
            return
        for other in self._known():
            is_new = self.new[other] != self.old[other] and _data(target, other) == self.new[other]
            if self.items[other].rank > item.rank and is_new:
                self.blame(f"15: {path!r} of rank {item.rank} is taken back before {other!r}")

    def was_committed(self, path: str, rank: int, *, may_be_late: bool) -> None:
        """15: a file got its name by itself. ``may_be_late``: it had to wait for something else than its rank."""
        if rank < self.highest and not may_be_late:
            self.blame(f"15: {path!r} of rank {rank} comes after one of rank {self.highest}")
        if not may_be_late:
            self.highest = max(self.highest, rank)

    def _known(self) -> list[str]:
        return [path for path in self.new if not self._is_excused(self.items[path])]

    def _is_excused(self, item: Publish) -> bool:
        names = item.path, item.kept.temporary, item.aside
        return any(self.is_excused(name) for name in names if name is not None)


def _data(target: WatchedTarget, path: str) -> bytes | None:
    node = target.find(path)
    return node.data if isinstance(node, File) else None
