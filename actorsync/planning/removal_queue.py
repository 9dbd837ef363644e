"""The removals of one run: held until they are released, then files at once and directories leaves first."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping

from actorsync.model.entry import Kind, parent_of
from actorsync.model.operation import Done, Failed, Fault, Remove, Skipped

__all__ = ["RemovalQueue"]


class RemovalQueue:
    """Removals that are held, ready or given out.

    A directory is removed after everything in it. It cannot go while something in it stays: then it is kept, too.
    """

    def __init__(self) -> None:
        self.unsettled: set[str] = set()
        """Paths whose removal is neither settled nor given up."""
        self._held: list[Remove] = []
        self._files: deque[Remove] = deque()
        self._directories: list[Remove] = []
        self._children: dict[str, int] = {}  # released and unsettled removals directly in a directory
        self._stays: dict[str, Failed | Skipped] = {}  # by directory, why something in it stays

    @property
    def held(self) -> list[Remove]:
        """The removals that wait for `release`."""
        return list(self._held)

    @property
    def ready(self) -> int:
        """How many removals are released and not given out."""
        return len(self._files) + len(self._directories)

    def hold(self, removal: Remove) -> None:
        """Add a removal. The contents of a directory are added before the directory."""
        self._held.append(removal)
        self.unsettled.add(removal.path)

    def take(self, paths: Collection[str] | None = None) -> list[Remove]:
        """Take removals out that are held: those of ``paths``, or all of them."""
        taken = [removal for removal in self._held if paths is None or removal.path in paths]
        self._held = [] if paths is None else [removal for removal in self._held if removal.path not in paths]
        self.unsettled.difference_update(removal.path for removal in taken)
        return taken

    def replace(self, removals: Mapping[str, Remove]) -> None:
        """Replace removals that are held, by path."""
        self._held = [removals.get(removal.path, removal) for removal in self._held]

    def release(self, only: Collection[str] | None = None) -> None:
        """Make ready what is held: all, or those of ``only``."""
        held = [it for it in self._held if only is None or it.path in only]
        self._held = [] if only is None else [it for it in self._held if it.path not in only]
        for removal in held:
            parent = parent_of(removal.path)
            self._children[parent] = self._children.get(parent, 0) + 1
            self._queue_of(removal).append(removal)

    def clear(self) -> int:
        """Drop what is not given out; return how many removals that were."""
        count = len(self._held) + self.ready
        for queue in (self._held, self._files, self._directories):
            queue.clear()
        return count

    def next_files(self, limit: int) -> tuple[Remove, ...]:
        """Hand out removals of files, at most ``limit``."""
        return tuple(self._files.popleft() for _ in range(min(limit, len(self._files))))

    def next_directories(self, limit: int) -> tuple[Remove, ...]:
        """Hand out directories, at most ``limit``, whose content is gone or goes earlier in the same batch."""
        here: dict[str, int] = {}
        rest: list[Remove] = []
        chosen: list[Remove] = []
        for index, removal in enumerate(self._directories):
            if len(chosen) == limit:
                rest += self._directories[index:]  # there may be many, and each batch passes over them
                break
            is_next = self._children.get(removal.path, 0) == here.get(removal.path, 0)
            if is_next and removal.path not in self._stays:
                chosen.append(removal)
                parent = parent_of(removal.path)
                here[parent] = here.get(parent, 0) + 1
            else:
                rest.append(removal)
        self._directories = rest
        return tuple(chosen)

    def put_back(self, removal: Remove) -> Iterator[Failed | Skipped]:
        """Make a removal ready again that was given out. Yields the outcomes of directories that are kept."""
        self._queue_of(removal).append(removal)
        yield from self._keep(removal.path)

    def settle(self, outcome: Done | Failed | Skipped) -> Iterator[Failed | Skipped]:
        """Take the outcome of a removal that was given out. Yields the outcomes of directories that are kept."""
        self._end(outcome)
        yield from self._keep(parent_of(outcome.operation.path))

    def _end(self, outcome: Done | Failed | Skipped) -> None:
        path, directory = outcome.operation.path, parent_of(outcome.operation.path)
        self.unsettled.discard(path)
        self._children[directory] = self._children.get(directory, 0) - 1
        if isinstance(outcome, Failed) or (isinstance(outcome, Skipped) and directory not in self._stays):
            self._stays[directory] = outcome

    def _keep(self, directory: str) -> Iterator[Failed | Skipped]:
        """Keep a directory, and those above it, when all removals in it are settled and something in it stays.

        Not before that: a removal may still fail and be tried again in the next run, which finds it by way of its
        directory. What was intentionally skipped keeps the directory intentionally.
        """
        while (stays := self._stays.get(directory)) is not None and not self._children.get(directory, 0):
            removal = next((removal for removal in self._directories if removal.path == directory), None)
            if removal is None:
                return
            self._directories.remove(removal)
            reason = f"it still holds {stays.operation.path!r}"
            kept = Skipped(removal, reason) if isinstance(stays, Skipped) else Failed(removal, reason, Fault.OTHER)
            self._end(kept)
            yield kept
            directory = parent_of(directory)

    def _queue_of(self, removal: Remove) -> deque[Remove] | list[Remove]:
        return self._directories if removal.target.kind is Kind.DIRECTORY else self._files
