"""Any facts of a two-way run leave what they leave in plain dictionaries, and treat both sides alike."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actorsync.journal import Journal, open_journal, open_memory_journal
from actorsync.model.entry import Entry, Kind, Root, name_of, parent_of
from actorsync.model.event import (
    Agreed,
    Conflicted,
    ConflictEnded,
    Event,
    Forgotten,
    Intended,
    MemoryVoided,
    MovesIntended,
    PairScanned,
    RemovalIntended,
    Swept,
)
from actorsync.model.operation import Copy, Done, Failed, MakeDirectory, Move, Operation, Remove, Side, Skipped
from actorsync.model.pair import Agreement, Conflict, Doubt, other
from actorsync.model.row import encode
from tests.unit.journal.test_model import DIGESTS, NUMBERS, PATHS, entries, is_below

SIDES = st.sampled_from(list(Side))
DOUBTS = st.integers(0, 15).map(Doubt)
ROOTS = st.builds(Root, entries(st.just("")), NUMBERS)
#: Some are those of what was set aside. Any name may be used on both sides.
TEMPORARIES = st.lists(PATHS | PATHS.map(lambda path: f"{path}.actorsync+0-x"), max_size=3).map(tuple)
TIMES = Doubt.SOURCE_TIME | Doubt.TARGET_TIME


@st.composite
def agreements(draw: st.DrawFn) -> Agreement:
    path = st.just(draw(PATHS))
    return Agreement(draw(entries(path)), draw(entries(path)), draw(DIGESTS), draw(DOUBTS))


@st.composite
def moves(draw: st.DrawFn) -> Move:
    new, old, digest = draw(entries(PATHS)), draw(entries(PATHS)), draw(DIGESTS)
    return Move(new, old, digest, side=draw(SIDES), is_aside=draw(st.booleans()))


@st.composite
def done(draw: st.DrawFn) -> Event:
    path, side = st.just(draw(PATHS)), draw(SIDES)
    read, there, doubts = draw(entries(path)), draw(entries(path)), tuple(draw(st.sets(SIDES)))
    copy = Copy(read, side=side)
    move = attrs.evolve(draw(moves()), source=read)
    facts: list[Event] = [
        Done(copy, there, read, draw(DIGESTS), draw(st.none() | PATHS), checksum=draw(DIGESTS), doubts=doubts),
        Done(MakeDirectory(read, side=side), there),
        Done(move, there, read, move.digest),
        Done(Remove(there, side=side)),
    ]
    return draw(st.sampled_from(facts))


@st.composite
def conflicts(draw: st.DrawFn) -> Conflict:
    path = draw(PATHS)
    versions = [draw(st.none() | entries(st.just(path))) for _ in Side]
    return Conflict(path, versions[0], versions[1], draw(st.sampled_from(["a", "b\udce9"])), draw(st.floats(0, 2**33)))


FACTS = (
    st.builds(Agreed, agreements())
    | done()
    | st.builds(Forgotten, PATHS)
    | st.builds(RemovalIntended, st.lists(PATHS, max_size=3).map(tuple), side=SIDES)
    | st.builds(MovesIntended, st.lists(moves(), max_size=3).map(tuple))
    | st.builds(Skipped, moves() | st.builds(Remove, entries(PATHS), side=SIDES), st.just("because"))
    | st.builds(Failed, moves() | st.builds(Remove, entries(PATHS), side=SIDES), st.just("because"))
    | st.builds(Intended, TEMPORARIES, st.none() | entries(PATHS), side=SIDES)
    | st.builds(Swept, TEMPORARIES, side=SIDES)
    | st.builds(Conflicted, conflicts())
    | st.builds(ConflictEnded, PATHS)
    | st.builds(PairScanned, ROOTS, ROOTS)
    | st.just(MemoryVoided("because"))
)


@attrs.define
class Model:
    """What a journal remembers of a two-way mirror, as plain dictionaries."""

    pairs: dict[str, Agreement] = attrs.Factory(dict)
    conflicts: dict[str, Conflict] = attrs.Factory(dict)
    intents: set[tuple[str, Side]] = attrs.Factory(set)
    roots: tuple[Root, Root] | None = None

    def apply(self, fact: Event) -> None:
        match fact:
            case Agreed(agreement):
                self.pairs[agreement.path] = agreement
            case Done(operation=operation):
                self.apply_done(operation, fact)
            case Forgotten(path):
                self.drop(path)
            case RemovalIntended(paths, side=side):
                self.doubt(paths, Doubt.missing(side))
            case MovesIntended(going):
                for move in going:
                    self.doubt((move.target.path,), Doubt.missing(move.side))
            case Skipped(operation=Move() as move):
                if (it := self.pairs.get(move.target.path)) is not None:
                    self.pairs[it.path] = attrs.evolve(it, doubt=it.doubt & ~Doubt.missing(move.side))
            case Skipped(operation=Remove(Entry(path))):
                if not any(is_below(it, path) for it in self.pairs):
                    self.pairs.pop(path, None)
            case Intended(temporaries, side=side):
                self.intents |= {(path, side) for path in temporaries}
            case Swept(temporaries, side=side):
                self.sweep(temporaries, side)
            case Conflicted(conflict):
                then = self.conflicts.get(conflict.path)
                if then is not None and (then.source, then.target) == (conflict.source, conflict.target):
                    conflict = attrs.evolve(conflict, since=then.since)
                self.conflicts[conflict.path] = conflict
            case ConflictEnded(path):
                self.conflicts.pop(path, None)
            case PairScanned(source, target):
                self.roots = source, target
            case MemoryVoided():
                self.pairs, self.conflicts, self.roots = {}, {}, None

    def apply_done(self, operation: Operation, fact: Done) -> None:
        match operation:
            case Copy(side=side):
                assert fact.source is not None
                assert fact.target is not None
                doubt = Doubt.NONE
                for doubtful in fact.doubts:
                    doubt |= Doubt.time(doubtful)
                self.drop(operation.path)
                self.put(side, fact.source, fact.target, fact.digest or fact.checksum, doubt)
                self.sweep(() if fact.temporary is None else (fact.temporary,), side)
            case MakeDirectory(source, side=side):
                assert fact.target is not None
                self.put(side, source, fact.target, None, Doubt.NONE)
            case Move(source, before, is_aside=False, side=side):
                assert fact.target is not None
                then = self.pairs.get(before.path)
                self.drop(before.path)
                self.put(side, source, fact.target, operation.digest, then.doubt & TIMES if then else Doubt.NONE)
            case Remove(target):
                self.drop(target.path)

    def put(self, side: Side, there: Entry, changed: Entry, digest: bytes | None, doubt: Doubt) -> None:
        source, target = (there, changed) if side is Side.TARGET else (changed, there)
        self.pairs[there.path] = Agreement(source, target, digest, doubt)

    def doubt(self, paths: tuple[str, ...], doubt: Doubt) -> None:
        for path in paths:
            if (it := self.pairs.get(path)) is not None:
                self.pairs[path] = attrs.evolve(it, doubt=it.doubt | doubt)

    def drop(self, path: str) -> None:
        self.pairs = {it: pair for it, pair in self.pairs.items() if it != path and not is_below(it, path)}

    def sweep(self, temporaries: tuple[str, ...], side: Side) -> None:
        self.intents -= {(path, side) for path in temporaries}

    def check(self, journal: Journal, directories: set[str]) -> None:
        memory = journal.pairs
        assert (memory.is_fresh, memory.roots(), memory.count()) == (self.roots is None, self.roots, len(self.pairs))
        for side in Side:
            assert {it.path for it in memory.pending(side)} == {it for it, of in self.intents if of is side}
        assert [(it, it.since) for it in memory.conflicts()] == [
            (it, it.since) for it in sorted(self.conflicts.values(), key=lambda it: encode(it.path))
        ]
        for directory in directories:
            here = {name_of(path): it for path, it in self.pairs.items() if parent_of(path) == directory}
            assert memory.children(directory) == here
            assert [row[0] for row in memory.rows(directory)] == sorted(map(encode, here))
            below = memory.subtree(directory)
            assert {it.path: it for it in below} == {
                path: it for path, it in self.pairs.items() if is_below(path, directory)
            }
            paths = [it.path for it in below]
            assert all(paths.index(path) > paths.index(parent_of(path)) for path in paths if parent_of(path) in paths)
        for side in Side:
            asked = [it.on(side) for it in self.pairs.values()]
            assert memory.elsewhere(side, asked) == {
                it.path: twins for it in asked if (twins := self.twins(side, it)) and it.kind is Kind.FILE
            }

    def twins(self, side: Side, entry: Entry) -> list[Agreement]:
        """Return the agreements that have the same file on a side under another path, in order."""

        def key(it: Entry) -> tuple[object, ...]:
            return it.kind, it.inode, it.size, it.mtime_ns

        if entry.inode is None or entry.mtime_ns is None:
            return []
        found = [it for it in self.pairs.values() if it.path != entry.path and key(it.on(side)) == key(entry)]
        return sorted(found, key=lambda it: (encode(parent_of(it.path)), encode(name_of(it.path))))


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(st.lists(FACTS, max_size=12), max_size=3), asked=st.sets(PATHS, max_size=4))
def test_any_facts_of_a_two_way_run_leave_the_same_as_in_a_dictionary(
    batches: list[list[Event]], asked: set[str]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        model = Model()
        for batch in batches:
            with open_journal(Path(directory), "p") as journal:
                journal.pairs.apply(batch)
                for fact in batch:
                    model.apply(fact)
                model.check(journal, {"", *asked, *model.pairs, *map(parent_of, model.pairs)})


# The mirror image


def swapped(fact: Event) -> Event:
    """Return the same fact of a run whose sides are the other way round."""
    match fact:
        case Agreed(agreement):
            return Agreed(swapped_agreement(agreement))
        case Conflicted(conflict):
            return Conflicted(attrs.evolve(conflict, source=conflict.target, target=conflict.source))
        case PairScanned(source, target):
            return PairScanned(target, source)
        case MovesIntended(going):
            return MovesIntended(tuple(attrs.evolve(it, side=other(it.side)) for it in going))
        case Done(operation=Copy() | MakeDirectory() | Move() | Remove() as operation):
            doubts = tuple(other(it) for it in fact.doubts)
            return attrs.evolve(fact, operation=attrs.evolve(operation, side=other(operation.side)), doubts=doubts)
        case Skipped(operation=Move() | Remove() as operation) | Failed(operation=Move() | Remove() as operation):
            return attrs.evolve(fact, operation=attrs.evolve(operation, side=other(operation.side)))
        case Intended() | Swept() | RemovalIntended():
            return attrs.evolve(fact, side=other(fact.side))
        case _:
            return fact


def swapped_agreement(agreement: Agreement) -> Agreement:
    doubt = Doubt.NONE
    for side in Side:
        if agreement.doubt & Doubt.time(side):
            doubt |= Doubt.time(other(side))
        if agreement.doubt & Doubt.missing(side):
            doubt |= Doubt.missing(other(side))
    return Agreement(agreement.target, agreement.source, agreement.digest, doubt)


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(facts=st.lists(FACTS, max_size=20))
def test_facts_with_their_sides_swapped_leave_the_mirror_image(facts: list[Event]) -> None:
    with closing(open_memory_journal()) as one, closing(open_memory_journal()) as another:
        one.pairs.apply(facts)
        another.pairs.apply([*map(swapped, facts)])

        assert [swapped_agreement(it) for it in one.pairs.subtree("")] == another.pairs.subtree("")
        assert [(it.target, it.source) for it in one.pairs.conflicts()] == [
            (it.source, it.target) for it in another.pairs.conflicts()
        ]
        for side in Side:
            assert one.pairs.pending(side) == another.pairs.pending(other(side))
        roots = one.pairs.roots()
        assert another.pairs.roots() == (None if roots is None else roots[::-1])
