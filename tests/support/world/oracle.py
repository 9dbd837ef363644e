"""Who knows better: everything that source and target ever held, and the invariants of a mirror, checked step by step.

The invariants, and when each is checked:

==  ==============================================  ==================================================================
1   a name on the target holds one whole version    at every change of the target; all of it once more after each run
2   what is sent is one stable version              when the journal has it as sent
3   nothing but the target's tree is changed        at every command, to the target and to the source
4   it converges                                    `tests.support.world.world` at the end of every story
5   nothing to do means nothing done                the same, with the journal compared row by row
6   what the journal has is not sent again          at every upload, so also after every crash
7   the journal never says more than is true        at every fact, after every run and at every crash; nothing is
                                                    announced that is not durable
8   removed is only what is ours and proven gone    at every removal
9   no temporary that the journal does not know     at every upload and sweep, after every run and at every crash
10  one writer, ordered                             at every command; outcomes by `tests.support.trace`
12  bounded: time, steps, channels, the schedule    `tests.support.world.world`
13  what is said to have drifted has been changed   at every fact
14  a release is all or nothing, and 15  ranks      `tests.support.world.release_oracle`
16  nothing is lost, and 17  undone stays undone    `tests.support.world.trash_oracle`
==  ==============================================  ==================================================================

11, who is let in and what is kept secret, is not simulated: there is nobody here to keep a secret from.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from actorsync.endpoints.contract import Relocation, Upload
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import Directory, File, Node
from actorsync.journal import Journal
from actorsync.model.entry import Entry, Kind, Listing, Root, join, name_of, parent_of
from actorsync.model.event import (
    Adopted,
    Confirmed,
    Drifted,
    Event,
    Forgotten,
    Intended,
    MemoryVoided,
    MovesIntended,
    PartSent,
    Released,
    ReleaseEnded,
    RemovalIntended,
    Swept,
    TrashOpened,
)
from actorsync.model.operation import (
    Audit,
    Compare,
    Copy,
    Done,
    Failed,
    Look,
    MakeDirectory,
    Move,
    Publish,
    Remove,
    Skipped,
)
from actorsync.planning.reconcile import looks_equal
from actorsync.planning.temporary_names import is_own
from actorsync.policy import Policy
from tests.support.world.release_oracle import ReleaseOracle
from tests.support.world.trash_oracle import TrashOracle, is_in_trash

if TYPE_CHECKING:
    from tests.support.world.watched import WatchedTarget

__all__ = ["Oracle", "below"]
#: What is announced only when a crash cannot take it back.
_LASTING: Final = (
    Done,
    Adopted,
    Confirmed,
    RemovalIntended,
    Intended,
    MovesIntended,
    Swept,
    Forgotten,
    Drifted,
    MemoryVoided,
    PartSent,
    Released,
    ReleaseEnded,
    TrashOpened,
)


@attrs.define(eq=False)
class Oracle:
    """What an outside reader knows; ``violations`` has everything that was ever wrong."""

    target: WatchedTarget
    journal: Journal
    versions: dict[str, set[bytes]] = attrs.Factory(lambda: defaultdict(set))
    contents: dict[Entry, set[bytes]] = attrs.Factory(lambda: defaultdict(set))
    folders: set[str] = attrs.Factory(lambda: {""})
    intended: set[str] = attrs.Factory(set)
    staged: set[str] = attrs.Factory(set)
    #: Paths that were changed on the target, and the journal does not know (yet).
    unrecorded: set[str] = attrs.Factory(set)
    #: Temporaries of a journal that is lost: what is left of them is nobody's.
    orphans: set[str] = attrs.Factory(set)
    #: What this run has said that it may remove, durably.
    doomed: set[str] = attrs.Factory(set)
    #: What this run has said that it may move, durably: by the new path.
    moving: dict[str, Move] = attrs.Factory(dict)
    #: What each temporary that was ever announced is for.
    purposes: dict[str, str] = attrs.Factory(dict)
    #: What others put on the target, and when: `versions` of theirs.
    foreign: dict[str, set[bytes]] = attrs.Factory(lambda: defaultdict(set))
    #: Paths that others have changed or taken away, so that the journal rightly says something else of them.
    strange: set[str] = attrs.Factory(set)
    #: Files that were taken for equal because of their size and time, and are not: no mirror can see that.
    believed: set[str] = attrs.Factory(set)
    violations: list[str] = attrs.Factory(list)
    #: The release that is open, if one is.
    releases: ReleaseOracle = attrs.field(init=False)
    trash: TrashOracle = attrs.field(init=False)

    policy: Policy | None = None
    listings: Mapping[str, Listing] = attrs.Factory(dict)
    events: list[Event] = attrs.Factory(list)
    _removing: str | None = None
    _under_way: Move | None = None
    _removed: set[str] = attrs.Factory(set)
    _ours_before: int | None = None
    _failed_before: frozenset[Entry] = frozenset()
    _root_before: Root | None = None
    _source: MemoryEndpoint | None = None
    _durable: dict[int, Event] = attrs.Factory(dict)
    _verb: str = ""

    @releases.default
    def _watch_releases(self) -> ReleaseOracle:
        return ReleaseOracle(self.blame, self.is_strange)

    @trash.default
    def _watch_trash(self) -> TrashOracle:
        return TrashOracle(self.blame, self.is_strange)

    # What the world tells.

    def see_source(self, source: MemoryEndpoint) -> None:
        """Take note of every version that the source holds now."""
        for path, data in source.files().items():
            self.versions[path].add(data)
            node = source.find(path)
            assert node is not None
            self.contents[source.entry(path, node)].add(data)
        self.folders |= source.directories()

    def begin(self, policy: Policy, listings: Mapping[str, Listing], source: MemoryEndpoint | None = None) -> None:
        """A run begins."""
        self.policy, self.listings, self.events, self._source = policy, listings, [], source
        self._removing, self._removed, self._ours_before = None, set(), None
        self._root_before = self.journal.root()
        self._durable.clear()
        self.doomed.clear()
        self.moving.clear()
        self.releases.highest = 0

    def published(self, event: Event) -> None:
        """An event was announced."""
        self.events.append(event)
        is_look = isinstance(event, Done) and isinstance(event.operation, Audit | Look)
        if isinstance(event, _LASTING) and not is_look and id(event) not in self._durable:
            self.blame(f"7: {event} is announced, and the journal does not have it")

    # What the target tells.

    def was_told(self, verb: str, path: str) -> None:
        """A command is about to be done."""
        moved = self.target.relocations.get(path) if verb == "move" else None
        self._verb, self._under_way = verb, None
        if moved is not None and (is_in_trash(path) or is_in_trash(moved.entry.path)):
            self._was_told_of_trash(moved)
            return
        if path and not {"", ".", ".."}.isdisjoint(path.split("/")) and not is_in_trash(path):
            self.blame(f"3: {verb} {path!r} leaves the root")
        match verb:
            case "make" if path not in self.folders and not is_in_trash(path):
                self.blame(f"3: make {path!r}, which the source never had")
            case "stage":
                self._check_stage(path)
            case "commit" if path not in self.versions:
                self.blame(f"3: commit {path!r}, which the source never had")
            case "sweep" | "abandon" if path not in self.intended:
                self.blame(f"9: {verb} {path!r}, which was never ours")
            case "move":
                self._check_move(path)
            case "remove":
                self._check_removal(path)
            case "publish" if not self._is_set_aside(path):
                self.releases.check_publish(self.target, path)
            case "put_back":
                self.releases.check_put_back(self.target, path)
        self._removing = path if verb == "remove" else self.moving[path].target.path if verb == "move" else None
        self._under_way = self.moving[path] if verb == "move" else None

    def _was_told_of_trash(self, moved: Relocation) -> None:
        """A file is about to go to the trash, or to come back."""
        old = moved.entry.path
        self._removing = old
        if old in self.intended:
            return  # the file that tries the trash
        if is_in_trash(old):
            self.trash.check_recall(old, moved.path)
            return
        self.trash.check_move(old, moved.path)
        self._check_removal(old)

    def _is_set_aside(self, path: str) -> bool:
        """Return whether a file gets its name by itself, and the old one goes to the trash."""
        policy = self.policy
        assert policy is not None
        has_trash = policy.publish.trash is not None and not policy.publish.is_burst
        return has_trash and any(item.path == path for item in self.journal.trash.open())

    def _is_recalled(self, path: str) -> bool:
        """Return whether a file comes back from the trash to ``path``."""
        moved = self.target.relocations.get(path)
        return moved is not None and is_in_trash(moved.entry.path)

    def was_replaced(self, path: str, node: File) -> None:
        """16: a file has lost its name."""
        assert self.policy is not None
        if self.policy.publish.trash is not None and path not in self.intended and not is_in_trash(path):
            self.trash.check_kept(self.target, path, node)

    def was_put(self, path: str, node: Node) -> None:
        """Something is at ``path`` now."""
        if path in self.intended or is_in_trash(path):
            return
        if isinstance(node, File):
            self._check_order(path)
        self.unrecorded.add(path)
        self.believed.discard(path)
        if path in self.strange and self.target.is_at(path, "publish") and path in self.releases.items:
            self.releases.superseded.add(path)  # it is strange again if the release is taken back
        if not (self._is_recalled(path) or self.target.is_at(path, "put_back")):
            self.strange.discard(path)
        if self._under_way is not None and self._under_way.path == path and self._is_a_belief(self._under_way):
            self.believed.add(path)
        elif isinstance(node, File) and node.data not in self._may_hold(path):
            self.blame(f"1: {path!r} holds {node.data[:40]!r}, which the source never had")

    def was_taken(self, path: str, node: Node) -> None:
        """Something is gone from ``path``."""
        if path in self.intended or is_in_trash(path):
            return
        self.unrecorded.add(path)
        is_replaced = self.target.is_at(path, "publish", "put_back")  # by another version, whatever was there
        if path != self._removing and not is_replaced:
            self.blame(f"8: {path!r} is gone, and nobody was told to remove it")
        record = self.journal.record(path)
        if is_replaced or not isinstance(node, File) or record is None:
            return
        if self.target.entry(path, node) != record.target:
            self.blame(f"8: {path!r} is gone, and was not what the journal knows: {record.target}")

    def was_recorded(self, facts: Sequence[Event]) -> None:
        """These facts are durable."""
        for fact in facts:
            self._durable[id(fact)] = fact
            match fact:
                case Done(Copy() | MakeDirectory() | Remove() as operation):
                    if isinstance(operation, Copy):
                        self._check_sent(fact)
                    self.unrecorded.discard(operation.path)
                case Done(Compare()):
                    self._check_compared(fact)
                case Done(Move() as operation):
                    self._check_moved(fact)
                    self.unrecorded -= {operation.path, operation.target.path}
                case Skipped(Remove() as operation):
                    self.unrecorded.discard(operation.path)
                case RemovalIntended(paths, trashed):
                    self.doomed.update(paths)
                    self.trash.announce(trashed)
                case MovesIntended(moves):
                    self.moving.update({move.path: move for move in moves})
                case Intended(temporaries, source, trashed):
                    self.trash.announce(() if trashed is None else (trashed,))
                    self.intended.update(temporaries)
                    for temporary in temporaries:
                        self._check_intent(temporary, source)
                case Released(items):
                    self._check_release(items)
                case ReleaseEnded(rolled_back, refused):
                    self.unrecorded -= self.releases.items.keys()
                    if rolled_back is not None:
                        self.strange |= self.releases.superseded
                    self.releases.was_ended(self.target, rolled_back, refused)
                case Drifted(path, is_mended=is_mended):
                    self._check_drift(fact)
                    if is_mended:  # from now on the journal says of it what is there
                        self.strange = {it for it in self.strange if not below(it, path)}
                        self.unrecorded = {it for it in self.unrecorded if not below(it, path)}
                case MemoryVoided():
                    self._check_void()
                    self.releases.forget()  # it was to be published in another root
                    # The trash is not forgotten: what others have taken out of it is still missing there.
                    self.strange = {it for it in self.strange if any(below(place, it) for place in self.trash.places)}
                    self.unrecorded.clear()
                case Adopted(source, target) if source.kind is Kind.FILE:
                    self._check_adoption(source, target)

    def forget_intents(self) -> None:
        """The journal that knew the temporaries is lost."""
        self.orphans |= self.intended
        self.intended.clear()
        self.strange |= self.trash.forget(self.target, self.journal)
        self.releases.forget(item for item, _ in self.journal.release())

    def remember(self) -> Callable[[], None]:
        """Return a function that forgets what is learned from now on, as a crash does."""
        unrecorded, recall_release = set(self.unrecorded), self.releases.remember()

        def recall() -> None:
            self.unrecorded = unrecorded
            recall_release()

        return recall

    def blame(self, violation: str) -> None:
        """Something is wrong."""
        self.violations.append(violation)
        raise AssertionError(violation)

    # The invariants.

    def _may_hold(self, path: str) -> set[bytes]:
        """Return what a final name may hold now. What is taken back may be of others."""
        versions = self.versions.get(path, set())
        is_back = self.target.is_at(path, "put_back") or self._is_recalled(path)
        return versions | self.foreign.get(path, set()) if is_back else versions

    def _check_order(self, path: str) -> None:
        """14: in a burst, a file gets its final name by its release alone. 15: file by file, in the order of ranks."""
        policy = self.policy
        assert policy is not None
        if (self.target.is_at(path, "publish") and path in self.releases.items) or self.target.is_at(path, "put_back"):
            return
        if self._is_recalled(path):
            return
        if policy.publish.is_burst and self._verb != "respell":
            self.blame(f"14: {self._verb} gives {path!r} its name, and no release does")
        if self._verb == "commit" or self.target.is_at(path, "publish"):
            had_to_wait = any(below(path, it) or below(it, path) for it in self._removed)
            ranks = policy.publish.ranks
            # The first ranks may go together: nothing in one of them needs what is in another.
            rank = max(ranks.of(path), ranks.together - 1)
            self.releases.was_committed(path, rank, may_be_late=had_to_wait)

    def _check_release(self, items: Sequence[Publish]) -> None:
        """2 and 14: what is released is whole, and one version of what was read."""
        asides = {item.aside: item.path for item in items if item.aside is not None}
        self.trash.places.update({aside: path for aside, path in asides.items() if is_in_trash(aside)})
        self.intended |= {aside for aside in asides if not is_in_trash(aside)}
        self.releases.was_released(items, self.target)
        for item in items:
            data, source = self.releases.new.get(item.path), item.kept.source
            if data is not None and data not in self._contents_of(source):
                self.blame(f"2: {item.path!r} is released as {source}, which never held that")

    def _check_stage(self, temporary: str) -> None:
        if temporary not in dict(self.journal.pending()):
            self.blame(f"9: {temporary!r} is made before the journal knows it")
        upload = self.target.uploads[temporary]
        if upload.start:
            self._check_continued(upload)
        elif temporary in self.staged:
            self.blame(f"9: {temporary!r} is used a second time")
        self.staged.add(temporary)
        directory = parent_of(temporary)
        if not isinstance(self.target.find(directory), Directory) and not self._is_unsure(directory):
            self.blame(f"10: {temporary!r} is sent, and its directory is not there")
        path = self.purposes[temporary]
        if not path:
            return
        record, seen = self.journal.record(path), self._entry_seen(path)
        if record is not None and record.source == seen and seen is not None and record.digest is None:
            self.blame(f"6: {path!r} is sent, and the journal has it just so")

    def _check_continued(self, upload: Upload) -> None:
        """2: what is continued is a part of the same version. 6: no more of it is sent again than is not trusted."""
        temporary, there = upload.temporary, self.target.find(upload.temporary)
        known = {kept.temporary: kept for kept in self.journal.kept() if not kept.is_complete}
        kept, entry = known.get(temporary), upload.content.entry
        if kept is None:
            self.blame(f"9: {temporary!r} is continued, and the journal has no part of it")
        elif attrs.evolve(kept.source, mode=None) != attrs.evolve(entry, mode=None):
            self.blame(f"2: {temporary!r} is a part of {kept.source}, and is continued as {entry}")
        size = len(there.data) if isinstance(there, File) else 0
        if size - upload.start > self.target.overlap:
            self.blame(f"6: {temporary!r} has {size} bytes, and is sent again from {upload.start}")

    def _check_intent(self, temporary: str, source: Entry | None) -> None:
        if source is None:  # the file that tries the trash, and what a release has set aside
            self.purposes.setdefault(temporary, "")
            return
        if self.purposes.get(temporary) == source.path and any(it.temporary == temporary for it in self.journal.kept()):
            return  # it is taken up
        if temporary in self.purposes:
            self.blame(f"9: {temporary!r} is announced a second time")
        self.purposes[temporary] = source.path
        if parent_of(temporary) != parent_of(source.path):
            self.blame(f"9: {temporary!r} is not where {source.path!r} is to be")

    def _check_sent(self, done: Done) -> None:
        """2: what is there is one version of what was read, and is described as it is. Unless others changed it."""
        path, node = done.operation.path, self.target.find(done.operation.path)
        if self.is_strange(path):
            return
        assert done.source is not None
        if not isinstance(node, File) or self.target.entry(path, node) != done.target:
            self.blame(f"7: {done} is recorded, and {node} is there")
        elif node.data not in self._contents_of(done.source):
            self.blame(f"2: {path!r} was sent as {done.source}, which never held that")

    def _check_compared(self, done: Done) -> None:
        """2: what is adopted by its content is a version of what was read. Unless others have changed it since."""
        path, node = done.operation.path, self.target.find(done.operation.path)
        assert done.source is not None
        if self.is_strange(path) or not isinstance(node, File):
            return
        if node.data not in self.contents[done.source]:
            self.blame(f"2: {path!r} was adopted as {done.source}, which never held that")

    def _check_move(self, path: str) -> None:
        """8: what loses its name is ours, and was seen to be gone; what gets it has none that anybody knows of."""
        move = self.moving.get(path)
        if move is None:
            self.blame(f"8: move to {path!r}, and a crash would forget that it may be there")
            return
        policy, old = self.policy, move.target.path
        record = self.journal.record(old)
        if record is None or record.source is None:
            self.blame(f"8: move {old!r}, which is not ours")
        assert policy is not None
        if not policy.delete or policy.selection.hides(old, is_directory=False) or not self._is_proven_gone(old):
            self.blame(f"8: move {old!r}, which was not seen to be gone")
        if self._seen(path) is not Kind.FILE or path not in self.versions:
            self.blame(f"3: move to {path!r}, where the source has no file")

    def _check_moved(self, done: Done) -> None:
        """2: what is there is what the source has under the new name."""
        move, path = done.operation, done.operation.path
        assert isinstance(move, Move)
        node = self.target.find(path)
        if self.is_strange(path) or self.is_strange(move.target.path):
            return
        if not isinstance(node, File) or self.target.entry(path, node) != done.target:
            self.blame(f"7: {done} is recorded, and {node} is there")
        elif self._is_a_belief(move):
            self.believed.add(path)
        elif path not in self.believed and node.data not in self.contents[move.source]:
            self.blame(f"2: {path!r} was moved as {move.source}, which never held that")

    def _is_a_belief(self, move: Move) -> bool:
        """Whether what is moved was only believed to be equal, or is now.

        A file of one inode, size and time may have held more than one content, where somebody has set its time back.
        Only the time of its inode tells, which a rename sets as well.
        """
        if move.target.path in self.believed:
            return True
        source = move.source
        key = source.inode, source.size, source.mtime_ns
        held = (c for entry, c in self.contents.items() if (entry.inode, entry.size, entry.mtime_ns) == key)
        return len(set().union(*held)) > 1

    def _is_unsure(self, path: str) -> bool:
        """Whether the journal may be wrong about ``path``: it, or a directory above it, was changed behind its back."""
        while path:
            if path in self.unrecorded or path in self.strange:
                return True
            path = parent_of(path)
        return False

    def is_strange(self, path: str) -> bool:
        """Whether others have changed ``path``, or a directory above it."""
        while path:
            if path in self.strange:
                return True
            path = parent_of(path)
        return False

    def _check_removal(self, path: str) -> None:
        policy = self.policy
        assert policy is not None
        record = self.journal.record(path)
        is_exact = policy.delete == "everything"
        if record is None or (record.source is None and not is_exact):
            self.blame(f"8: remove {path!r}, which is not ours")
            return
        if record.source is None and is_own(path):
            self.blame(f"8: remove {path!r}, which is of another run")
        is_in_the_way = self._seen(path) is not None  # a hidden directory has to make way for a file, if it is empty
        if path not in self.doomed:
            self.blame(f"8: remove {path!r}, and a crash would forget that it may be gone")
        if policy.selection.hides(path, record.target.kind is Kind.DIRECTORY) and not is_in_the_way:
            self.blame(f"8: remove {path!r}, which is hidden")
        if not self._is_proven_gone(path):
            self.blame(f"8: remove {path!r}, which was not seen to be gone")
        if not policy.delete and (record.target.kind is not Kind.FILE or self._seen(path) is not Kind.DIRECTORY):
            self.blame(f"8: remove {path!r}, and delete is off")
        for directory, listing in self.listings.items():
            for entry in listing.entries:
                below = entry.kind is Kind.DIRECTORY and policy.selection.is_included(entry.path, is_directory=True)
                if below and entry.path not in self.listings:
                    self.blame(f"8: remove {path!r} before {directory!r} was scanned to its end")
        if self._ours_before is None:
            self._ours_before = self.journal.owned_count()
            self._failed_before = frozenset(self._unsent())
        for failed in self._failed_before:
            if parent_of(failed.path) == parent_of(self._gone_as_a_whole(path)):
                self.blame(f"8: remove {path!r}, and {failed.path!r} has failed beside it")
            was = record.source or record.target
            is_like = Kind.FILE is failed.kind is was.kind and failed.size == was.size
            if is_like:
                self.blame(f"8: remove {path!r}, and {failed.path!r}, which may be its new name, has failed")
        if record.source is not None:
            self._removed.add(path)
        if not policy.max_delete.is_unlimited:
            self._check_root(path)
        if not policy.max_delete.is_unlimited and len(self._removed) > policy.max_delete.limit(self._ours_before):
            self.blame(f"8: remove {path!r}, the one too many of {self._ours_before}")

    def _unsent(self) -> Iterator[Entry]:
        """What the source has and the target has not got, as far as this run came, and what could not be looked at."""
        # What fails once removing has begun could not keep it from beginning.
        for event in itertools.takewhile(lambda event: not _ends_a_removal(event), self.events):
            if isinstance(event, Failed) and isinstance(event.operation, Copy | MakeDirectory):
                yield event.operation.source
        for directory, listing in self.listings.items():
            if listing.problem is not None and not listing.problem.vanished:
                yield Entry(directory, Kind.DIRECTORY)

    def _gone_as_a_whole(self, path: str) -> str:
        """Return the topmost directory that is gone together with ``path``, or ``path``."""
        while path and parent_of(path) not in self.listings:
            path = parent_of(path)
        return path

    def _check_root(self, path: str) -> None:
        """8: the source is the one that it was, and has not just lost all that it had."""
        then, source = self._root_before, self._source
        if then is not None and source is not None and then.device != source.device:
            self.blame(f"8: remove {path!r}, and the source is on another disk")
        assert self.policy is not None
        seen = any(
            self.policy.selection.is_included(entry.path, entry.kind is Kind.DIRECTORY)
            for listing in self.listings.values()
            for entry in listing.entries
        )
        if not seen and (self._ours_before or 0) > 1:
            self.blame(f"8: remove {path!r}, and the source is empty")

    def _entry_seen(self, path: str) -> Entry | None:
        """What this run's scan found at ``path``; None for nothing, or when that is not known."""
        listing = self.listings.get(parent_of(path))
        return next((e for e in listing.entries if e.path == path), None) if listing is not None else None

    def _seen(self, path: str) -> Kind | None:
        entry = self._entry_seen(path)
        return None if entry is None else entry.kind

    def _is_proven_gone(self, path: str) -> bool:
        record = self.journal.record(path)
        was = record.target.kind if record is not None else None
        while path:
            parent = self.listings.get(parent_of(path))
            if parent is not None:
                kind = self._seen(path)
                return (
                    parent.problem is None
                    and name_of(path) not in parent.hidden
                    and (kind is None or (kind is not was and kind in {Kind.FILE, Kind.DIRECTORY}))
                )
            path, was = parent_of(path), Kind.DIRECTORY  # something was in it
        return False

    def _check_drift(self, fact: Drifted) -> None:
        """13: what is said to have drifted was changed by others, or by a run of whose work the journal has nothing."""
        is_known = any(below(it, fact.path) or below(fact.path, it) for it in (*self.strange, *self.unrecorded))
        if not is_known:
            self.blame(f"13: {fact}, and nobody has changed it")

    def _check_void(self) -> None:
        """13: what the journal has is dropped only when the target has nothing of it in its root."""
        for name, record in self.journal.children("").items():
            node = self.target.find(name)
            if record.source is not None and node is not None and self.target.entry(name, node) == record.target:
                self.blame(f"13: the journal is void, and the target has {name!r}")

    def _check_adoption(self, source: Entry, target: Entry) -> None:
        node = self.target.find(source.path)
        if not looks_equal(source, target):
            self.blame(f"7: {target} is adopted as {source}")
        assert self._source is not None
        here = self._source.find(source.path)
        # Its times may stand for more than one version: where they do, it matters which of them is there now.
        versions = self.contents[source]
        now = {here.data} if isinstance(here, File) and len(versions) > 1 else versions
        if isinstance(node, File) and node.data not in now:
            self.believed.add(source.path)

    def check_journal(self) -> None:
        """7: what the journal says of the target is so; and what it says we sent is what is there.

        8: what is ours is found by way of directories: one that is forgotten would leave it there for ever.
        """
        records, held = self.journal.subtree(""), self.journal.trash.held()
        # A survey may have seen a temporary as well. What became of a sweep that failed is known after the next one.
        swept = {path for path, _ in self.journal.pending()}
        known = {"", *(record.target.path for record in records)}
        for record in records:
            path = record.target.path
            if record.source is not None and parent_of(path) not in known:
                self.blame(f"8: {path!r} is ours, and the directory that it is in is forgotten")
            if self._is_unsure(path):
                continue
            node = self.target.find(path)
            if node is None and (record.is_removal_intended or path in swept):
                continue
            if node is None:
                self.blame(f"7: the journal has {path!r}, the target has not")
                return
            found = self.target.entry(path, node)
            if found.kind is not record.target.kind or (isinstance(node, File) and found != record.target):
                self.blame(f"7: the journal has {record.target}, the target has {found}")
            if record.source is None or not isinstance(node, File) or path in self.believed or path in held:
                continue
            if node.data not in self._contents_of(record.source):
                self.blame(f"7: the journal takes {path!r} for a version that it is not")

    def _contents_of(self, source: Entry) -> set[bytes]:
        """Return what a source file held. One that a died run had sent is known by size and time only."""
        if source.inode is not None:
            return self.contents[source]
        # What is known by the time that the target keeps may be any version of that time, as coarsely as it keeps it.
        # No harm is done: such a record has neither inode nor ctime, and so the file is sent once more.
        time = None if source.mtime_ns is None else self.target.rounded(source.mtime_ns)
        return {
            version
            for entry, versions in self.contents.items()
            if (entry.path, entry.size) == (source.path, source.size)
            and entry.mtime_ns is not None
            and self.target.rounded(entry.mtime_ns) == time
            for version in versions
        }

    def check_target(self) -> None:
        """1 and 9: each file is a version of its own, or is what others put there, or a temporary the journal knows."""
        known = {path for path, _ in self.journal.pending()}
        for item, _ in self.journal.release():
            known |= {item.kept.temporary, item.aside or item.kept.temporary}
        self.trash.check(self.target, self.journal)
        for path, data in self.target.files().items():
            if is_in_trash(path):
                continue
            if path in self.intended:
                if path not in known:
                    self.blame(f"9: {path!r} was left behind, and is forgotten")
            elif path in self.orphans or path in self.believed:
                continue
            elif data not in self.versions.get(path, ()) and data not in self.foreign.get(path, ()):
                self.blame(f"1: {path!r} holds {data[:40]!r}, which nobody ever put there")


def _ends_a_removal(event: Event) -> bool:
    return isinstance(event, Done | Failed | Skipped) and isinstance(event.operation, Remove)


def below(path: str, directory: str) -> bool:
    """Whether ``path`` is ``directory`` or something in it."""
    return path == directory or path.startswith(join(directory, "") if directory else "")
