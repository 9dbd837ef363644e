"""The decisions alone, on random triples: a source tree, a target tree, and a journal that need not agree with either.

No I/O, no tasks, no clock: the tables, the order and the guards of ``actorsync.planning``, a target that does what a
server does, and a journal that remembers what it was told. From any three, passes have to come to an end, to make the
target what the source is where nothing rightly stands in the way, and to lose nothing that was not ours.

``ACTORSYNC_TRIPLES=N`` sets how many there are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

import attrs
import pytest

from actorsync.model.entry import Entry, Kind, Listing, Record, name_of, parent_of
from actorsync.model.operation import (
    Copy,
    Done,
    Failed,
    MakeDirectory,
    Move,
    Operation,
    Outcome,
    Remove,
    Returned,
    Skipped,
)
from actorsync.planning.reconcile import Action, Decision, reconcile, removals_below
from actorsync.planning.removal_guard import Gone, to_postpone
from actorsync.planning.renames import pair
from actorsync.planning.schedule import Schedule
from tests.support.tiers import amount

TRIPLES = amount("TRIPLES", short=1_000, full=5_000)
BLOCK = 500

PATHS: Final = ("a", "b", "c", "a/a", "a/b", "b/a", "a/a/c", "a/a/d", "b/a/c", "a-")
#: After so many passes nothing may change any more.
PASSES: Final = 6

Tree = dict[str, Entry]


def any_tree(chance: random.Random) -> Tree:
    """A tree of files in some versions: an entry says everything about its content."""
    tree: Tree = {}
    for path in chance.sample(PATHS, chance.randrange(7)):
        above = list(_above(path))
        if all(tree.get(parent, _folder(parent)).kind is Kind.DIRECTORY for parent in above):
            tree |= {parent: _folder(parent) for parent in above}
            if path not in tree:
                tree[path] = _folder(path) if chance.random() < 0.3 else _file(path, chance.randrange(1, 4))
    return tree


def any_journal(source: Tree, target: Tree, chance: random.Random) -> dict[str, Record]:
    """What a journal may say: what is true, what was true once, and what never was.

    Two things are always so: it knows the directory of everything that it knows, and that of what is ours is ours.
    """
    records: dict[str, Record] = {}
    for path in sorted(PATHS):
        now, there = source.get(path), target.get(path)
        old = _file(path, chance.randrange(1, 5)) if chance.random() < 0.7 else _folder(path)
        match chance.randrange(5):
            case 0 if there is not None:
                records[path] = Record(None, there)
            case 1 if there is not None:  # ours, and as it was last left
                records[path] = Record(attrs.evolve(there), there)
            case 2 if there is not None and there.kind is Kind.FILE:  # ours, and older than the source
                records[path] = Record(_file(path, 9), there)
            case 3:  # as nothing is any more: an old journal, a target that was restored
                records[path] = Record(old, old)
            case 4 if now is not None and chance.random() < 0.3:  # a lie that nobody can see
                records[path] = Record(now, now)
    for path in sorted(records):
        above = records.get(parent_of(path))
        is_directory = above is not None and above.target.kind is Kind.DIRECTORY
        is_ours = records[path].source is not None and above is not None and above.source is None
        if parent_of(path) and (not is_directory or is_ours):
            del records[path]
    return records


@attrs.define
class Mirror:
    """A target as a server has it, a journal as facts make it, and what one pass after the other does to them."""

    source: Tree
    target: Tree
    records: dict[str, Record]
    delete: bool
    chance: random.Random
    unlucky: float = 0.0
    failed: dict[str, str] = attrs.Factory(dict)
    did: int = 0
    moved: int = 0
    unmoved: list[Move] = attrs.Factory(list)

    def go(self) -> None:
        """Do one pass."""
        self.failed, self.did = {}, 0
        schedule, gone, held, replaced = Schedule(), dict[str, Gone](), list[Decision](), set[str]()
        for listing in self._listings():
            known = {name_of(path): r for path, r in self.records.items() if parent_of(path) == listing.directory}
            for decision in list(reconcile(listing, known, _hides_nothing)):
                if decision.action is Action.REPLACE and decision.now is not None:
                    replaced.add(decision.now.path)
                if decision.action is Action.COPY and decision.record is None and self.delete:
                    held.append(decision)
                else:
                    self._act_on(decision, schedule, gone)
        self._move(held, replaced, schedule, gone)
        self._execute(schedule)
        while near := to_postpone(
            {r.path: gone[r.path] for r in schedule.removals},
            [self.source[path] for path in self.failed if path in self.source],
        ):
            self._note(schedule.drop_removals("near", near))
        for removal in schedule.removals:
            assert removal.path not in self.failed
        schedule.release_removals()
        self._execute(schedule)

    def _move(self, held: list[Decision], replaced: set[str], schedule: Schedule, gone: dict[str, Gone]) -> None:
        """Move what has another name. Of an entry, size and time say everything."""
        movable = {path: it.record for path, it in gone.items() if it.top not in self.source}
        renamed: list[Move] = []
        for decision, was in pair(held, movable, replaced):
            if was is None or decision.now is None:
                self._act_on(decision, schedule, gone)
            else:
                renamed.append(Move(decision.now, was.target))
        self._note(schedule.move(renamed))
        self._send_unmoved(schedule)

    def _send_unmoved(self, schedule: Schedule) -> None:
        while self.unmoved:
            move = self.unmoved.pop()
            schedule.add(Remove(move.target))
            self._note(schedule.add(Copy(move.source)))

    def _listings(self) -> Iterator[Listing]:
        for directory in ["", *(path for path, entry in self.source.items() if entry.kind is Kind.DIRECTORY)]:
            yield Listing(directory, tuple(e for path, e in self.source.items() if parent_of(path) == directory))

    def _act_on(self, decision: Decision, schedule: Schedule, gone: dict[str, Gone]) -> None:
        """Do as the planner does."""
        now, record = decision.now, decision.record
        if decision.action in {Action.REMOVE, Action.REPLACE}:
            assert record is not None
            is_directory = record.target.kind is Kind.DIRECTORY
            if not self.delete and (now is None or is_directory):
                if now is not None:
                    self._note(schedule.refuse(_operation(now), "delete is off"))
                return
            top = record.target.path
            paths = sorted(self.records) if is_directory else ()
            below = [self.records[path] for path in paths if path.startswith(top + "/")]
            for entry in removals_below(record, below, _hides_nothing):
                gone[entry.path] = Gone(self.records[entry.path], top)
                schedule.add(Remove(entry))
        if now is None:
            return
        match decision.action:
            case Action.COPY | Action.MAKE | Action.REPLACE:
                self._note(schedule.add(_operation(now)))
            case Action.ADOPT:
                assert record is not None
                self.records[now.path] = Record(now, record.target)
            case Action.BLOCKED:
                self._note(schedule.refuse(_operation(now), "in the way"))
                self.records = {
                    path: r
                    for path, r in self.records.items()
                    if path != now.path and not (path.startswith(now.path + "/") and r.source is None)
                }

    def _execute(self, schedule: Schedule) -> None:
        hands: list[list[Operation]] = []
        for _ in range(1_000):
            batch = schedule.next_batch() if len(hands) < 3 and (not hands or self.chance.random() < 0.5) else None
            if batch is not None:
                hands.append(list(batch))
                continue
            if not hands:
                assert schedule.is_idle, "it waits for something that nobody does"
                return
            hand = hands.pop(self.chance.randrange(len(hands)))
            for outcome in self._do_all(hand):
                self._note([outcome, *schedule.settle(outcome)])
                self._send_unmoved(schedule)
        raise AssertionError("it goes round in circles")

    def _note(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            path = outcome.operation.path
            match outcome:
                case Failed(reason=reason):
                    self.failed[path] = reason
                case Done(Copy() | MakeDirectory(), Entry() as there):
                    self.records[path] = Record(self.source[path], there)
                case Done(Move(source, before), Entry() as there):
                    self.records[path] = Record(source, there)
                    self.records.pop(before.path, None)
                    self.moved += 1
                case Skipped(Move() as move):
                    self.unmoved.append(move)
                case Done(Remove()) | Skipped(Remove()):
                    self.records.pop(path, None)

    # What a server does, and what it may be asked for.

    def _do_all(self, batch: list[Operation]) -> Iterator[Outcome]:
        """Do a batch as a lane does."""
        held: set[str] = set()
        is_lost = False
        for operation in batch:
            is_lost = is_lost or self.chance.random() < self.unlucky / 2
            if is_lost:
                yield Returned(operation, "no luck", tried=True)
                continue
            is_refused = self.chance.random() < self.unlucky
            fails = Skipped if isinstance(operation, Move) else Failed
            outcome = fails(operation, "no luck") if is_refused else self._do(operation)
            if isinstance(outcome, Skipped) and operation.path in held:
                outcome = Failed(operation, "it still holds what has failed")
            if isinstance(outcome, Failed):
                held.add(parent_of(operation.path))
            yield outcome

    def _do(self, operation: Operation) -> Outcome:
        path = operation.path
        there = self.target.get(path)
        match operation:
            case Copy(source) | MakeDirectory(source):
                assert self.source[path] is source, f"{path!r} is written, and the source has no such thing"
                for parent in _above(path):  # as a connection mends what was taken away
                    if self.target.setdefault(parent, _folder(parent)).kind is Kind.FILE:
                        return Failed(operation, "a file is above it")
                if there is not None and (there.kind is not source.kind or there.kind is Kind.DIRECTORY):
                    return Done(operation, there) if there.kind is source.kind else Failed(operation, "in the way")
                self.target[path] = source
            case Move(source, before):
                is_there = self.target.get(parent_of(path), _folder("")).kind is Kind.DIRECTORY
                if self.target.get(before.path) != before or there is not None or not is_there:
                    return Skipped(operation, "it is not as it was, or something has its place")
                assert before.path not in self.source, f"{before.path!r} is in the source, and loses its name"
                assert self.records[before.path].source is not None, f"{before.path!r} is not ours, and is moved"
                del self.target[before.path]
                self.target[path] = attrs.evolve(before, path=path)
            case Remove(entry):
                return self._remove(operation, entry, there)
        self.did += 1
        return Done(operation, self.target[path])

    def _remove(self, operation: Remove, entry: Entry, there: Entry | None) -> Outcome:
        path = operation.path
        assert self.records[path].source is not None, f"{path!r} is not ours, and is removed"
        now = self.source.get(path)
        assert now is None or now.kind is not entry.kind, f"{path!r} is in the source, and is removed"
        if there is None:
            return Done(operation)
        if there.kind is not entry.kind or (there.kind is Kind.FILE and there != entry):
            return Failed(operation, "changed by somebody else")
        if any(other.startswith(path + "/") for other in self.target):
            return Skipped(operation, "not empty")
        del self.target[path]
        self.did += 1
        return Done(operation)

    # What must be true when nothing changes any more.

    def check(self, lies: set[str]) -> None:
        for path, record in self.records.items():
            assert record.source is None or parent_of(path) in {"", *self.records}, f"{path!r} is ours, and forgotten"
        for path, entry in self.source.items():
            chain = {path, *_above(path)}
            if self.target.get(path) != entry and not chain & (self.failed.keys() | lies):
                raise AssertionError(f"{path!r} is {self.target.get(path)}, not {entry}, and nothing has failed")
        for path in self.failed:
            chain = {path, *_above(path)}
            ways = [p for p in chain if p in self.target and self.target[p].kind is not _kind(self.source, p)]
            stale = [p for p in self.records if p in chain and self.records[p].target != self.target.get(p)]
            assert ways or stale, f"{path!r} fails for no reason: {self.failed[path]}"
        if self.delete and not self.failed:
            for path, record in self.records.items():
                holds_more = any(p.startswith(path + "/") for p in (*self.target, *self.records))
                is_ours = record.source is not None and not holds_more
                assert not is_ours or path in self.source or path not in self.target, f"{path!r} should be gone"


def tell(seed: int) -> int:
    """Tell a story; give how many files were moved in it."""
    chance = random.Random(seed)
    source, target = any_tree(chance), any_tree(chance)
    records = any_journal(source, target, chance)
    lies = {path for path, record in records.items() if record.source == source.get(path) and path in source}
    lies -= {path for path in lies if target.get(path) == source[path]}
    mirror = Mirror(dict(source), dict(target), dict(records), chance.random() < 0.7, chance)
    owned = {path: record.target for path, record in records.items() if record.source is not None}
    for _ in range(chance.randrange(3)):
        mirror.unlucky = chance.choice((0.1, 0.5))
        mirror.go()
        if chance.random() < 0.3:
            mirror.records = dict(records)  # an old journal is restored
    mirror.unlucky = 0.0
    for _ in range(PASSES):
        before = dict(mirror.records)
        mirror.go()
        if not mirror.did and mirror.records == before:
            break
    else:
        raise AssertionError("it never comes to rest")
    mirror.check(lies)
    for path, entry in target.items():  # nothing is lost that was not ours, or that was not what we had left there
        lost = path not in mirror.target
        assert not lost or mirror.delete or source.get(path, entry).kind is Kind.DIRECTORY
        assert not lost or owned.get(path) == entry or entry.kind is Kind.DIRECTORY, f"{path!r} is lost"
    return mirror.moved


def _kind(tree: Tree, path: str) -> Kind | None:
    return tree[path].kind if path in tree else None


def _file(path: str, version: int) -> Entry:
    return Entry(path, Kind.FILE, version, version * 10**9)


def _folder(path: str) -> Entry:
    return Entry(path, Kind.DIRECTORY)


def _operation(now: Entry) -> Copy | MakeDirectory:
    return MakeDirectory(now) if now.kind is Kind.DIRECTORY else Copy(now)


def _above(path: str) -> Iterator[str]:
    return (path[:end] for end in range(len(path)) if path[end] == "/")


def _hides_nothing(path: str, is_directory: bool) -> bool:
    return False


@pytest.mark.scaled
@pytest.mark.parametrize("first", range(0, TRIPLES, BLOCK))
def test_m035_m115_any_three_trees_converge_without_loss(first: int) -> None:
    moved = 0
    for seed in range(first, min(first + BLOCK, TRIPLES)):
        try:
            moved += tell(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert moved or TRIPLES - first < BLOCK
