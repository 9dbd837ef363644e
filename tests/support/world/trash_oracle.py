"""What an outside reader knows of the trash: nothing that a run overwrites or removes is lost.

The invariants, in the numbers of `tests.support.world.oracle`:

==  ==============================================  ==================================================================
16  what loses its name is in the trash             at every change of the target, in a run that has a trash
9   everything in the trash is in the journal, and  after every run and at every crash
    what the journal has there is there
17  what was undone stays so until its source       after every run
    changes
==  ==============================================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import attrs

from actorsync.endpoints.memory.tree import File
from actorsync.model.trash import Trashed
from actorsync.planning.publishing.trash import is_place

if TYPE_CHECKING:
    from actorsync.endpoints.memory.endpoint import MemoryEndpoint
    from actorsync.journal import Journal
    from tests.support.world.watched import WatchedTarget

__all__ = ["INSIDE", "OUTSIDE", "TrashOracle", "is_in_trash", "site_of"]

#: The two directories that stories keep a trash in.
OUTSIDE: Final = "../.trash"
INSIDE: Final = ".trash"


def is_in_trash(path: str) -> bool:
    """Return whether a path is one of the trashes, or in one."""
    return any(path == trash or path.startswith(f"{trash}/") for trash in (OUTSIDE, INSIDE))


def site_of(target: MemoryEndpoint) -> dict[str, bytes]:
    """Return the content of every file of the target that is not in the trash."""
    return {path: data for path, data in target.files().items() if not is_in_trash(path)}


@attrs.define(eq=False)
class TrashOracle:
    """The places in the trash that were announced, each with the path whose old file it may hold.

    ``blame`` is called with each violation. ``is_excused`` tells whether others have changed a path.
    """

    blame: Callable[[str], None]
    is_excused: Callable[[str], bool]
    places: dict[str, str] = attrs.Factory(dict)
    #: What a journal that is lost knew of.
    orphans: set[str] = attrs.Factory(set)
    #: What must not change in this run: what was undone, with the state of its source and its content.
    _held: dict[str, tuple[object, bytes | None]] = attrs.Factory(dict)

    def announce(self, items: Iterable[Trashed]) -> None:
        """The journal has these places."""
        self.places.update({item.place: item.path for item in items if item.place is not None})

    def forget(self, target: WatchedTarget, journal: Journal) -> set[str]:
        """The journal is another one. Return the places that it knows, and where nothing is any more."""
        known = {place for place, _ in _known(journal)}
        files = _files(target)
        self.orphans |= files - known
        return known - files

    def check_move(self, old: str, place: str) -> None:
        """9: a file goes to the place that was announced for it."""
        if self.places.get(place) != old:
            self.blame(f"9: {old!r} goes to {place!r}, which the journal has for {self.places.get(place)!r}")

    def check_recall(self, place: str, path: str) -> None:
        """9: a file comes back to the name that it had."""
        if self.places.get(place) != path:
            self.blame(f"9: {path!r} comes from {place!r}, which holds {self.places.get(place)!r}")

    def check_kept(self, target: WatchedTarget, path: str, node: File) -> None:
        """16: what had its name at ``path`` has another one now."""
        if not target.holds(node):
            self.blame(f"16: {path!r} held {node.data[:40]!r}, and the trash does not have that")

    def check(self, target: WatchedTarget, journal: Journal) -> None:
        """9: the trash holds what the journal knows, and the other way round."""
        files = _files(target)
        known = dict(_known(journal))
        for place in sorted(files - known.keys() - self.orphans):
            if is_place(place) and not self.is_excused(place):  # what others put there is theirs
                self.blame(f"9: {place!r} is in the trash, and is forgotten")
        for place, is_there in known.items():
            if is_there and place not in files and not self.is_excused(place):
                self.blame(f"16: the journal has {self.places.get(place)!r} at {place!r}, and nothing is there")

    def begin(self, source: MemoryEndpoint, target: WatchedTarget, journal: Journal) -> None:
        """A run begins: note what it must leave as it is."""
        self._held.clear()
        for path, held in journal.trash.held().items():
            now = _entry(source, path)
            if now == held and not self.is_excused(path):
                self._held[path] = now, _data(target, path)

    def end(self, source: MemoryEndpoint, target: WatchedTarget) -> None:
        """17: what was undone is as it was, where its source is still the same."""
        for path, (before, data) in self._held.items():
            if _entry(source, path) == before and not self.is_excused(path) and _data(target, path) != data:
                self.blame(f"17: {path!r} was undone, its source is the same, and it holds {_data(target, path)!r}")
        self._held.clear()


def _known(journal: Journal) -> Iterable[tuple[str, bool]]:
    """Yield the places that a journal knows, and whether a file must be there."""
    for path, _ in journal.pending():
        yield path, False
    for item, _ in journal.release():
        yield item.aside or item.kept.temporary, False
    for run in journal.trash.runs():
        for change in journal.trash.changes(run.run):
            if change.trashed.place is not None and is_in_trash(change.trashed.place):
                yield change.trashed.place, change.trashed.is_in_trash and not change.is_open


def _files(target: WatchedTarget) -> set[str]:
    return {path for path in (*target.files(), *target.files("..")) if is_in_trash(path)}


def _entry(tree: MemoryEndpoint, path: str) -> object:
    node = tree.find(path)
    return None if node is None else tree.entry(path, node)


def _data(target: WatchedTarget, path: str) -> bytes | None:
    node = target.find(path)
    return node.data if isinstance(node, File) else None
