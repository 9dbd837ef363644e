"""Any facts leave in a journal what they leave in a plain dictionary."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actorsync.journal import Journal, open_journal
from actorsync.model.entry import (
    WHOLE_TREE,
    Entry,
    Kind,
    Problem,
    Record,
    Root,
    ScanComplete,
    join,
    parent_of,
)
from actorsync.model.event import (
    Adopted,
    Confirmed,
    Event,
    Forgotten,
    Intended,
    MovesIntended,
    Parked,
    Recovered,
    RemovalIntended,
    SurveyComplete,
    Swept,
)
from actorsync.model.operation import Copy, Done, Failed, MakeDirectory, Move, Operation, Remove, Skipped, Survey, Sweep
from tests.unit.journal.rows import children, intents, surveyed

if TYPE_CHECKING:
    from collections.abc import Sequence

COMPONENTS = st.sampled_from([b"a", b"ab", b"a-b", b"a0", b"b", b"\xff", b"'"])
PATHS = st.lists(COMPONENTS, min_size=1, max_size=3).map(
    lambda parts: b"/".join(parts).decode("utf-8", "surrogateescape")
)
NUMBERS = st.integers(-(2**65), 2**65) | st.none()
TEMPORARIES = st.lists(PATHS, max_size=3).map(tuple)
DIGESTS = st.none() | st.binary(min_size=1, max_size=3)


def entries(
    paths: st.SearchStrategy[str], kinds: Sequence[Kind] = (Kind.FILE, Kind.DIRECTORY)
) -> st.SearchStrategy[Entry]:
    return st.builds(Entry, paths, st.sampled_from(kinds), st.integers(0, 2**64), NUMBERS, NUMBERS, NUMBERS)


@st.composite
def agreements(draw: st.DrawFn) -> Event:
    path = st.just(draw(PATHS))
    source, target, digest = draw(entries(path)), draw(entries(path)), draw(st.none() | st.binary(max_size=4))
    temporary, checksum = draw(st.none() | PATHS), draw(DIGESTS)
    facts: list[Event] = [
        Adopted(source, target, digest),
        Confirmed(source, target, digest, checksum),
        Done(Copy(source), target=target, source=source, digest=digest, temporary=temporary, checksum=checksum),
        Done(MakeDirectory(source), target=target),
    ]
    return draw(st.sampled_from(facts))


@st.composite
def surveys(draw: st.DrawFn) -> Event:
    directory = draw(PATHS | st.just(""))
    names = draw(st.lists(COMPONENTS, unique=True, max_size=4))
    found = [
        draw(entries(st.just(join(directory, name.decode("utf-8", "surrogateescape"))), list(Kind))) for name in names
    ]
    problem = draw(st.sampled_from([None, None, None, Problem(directory, "550")]))
    return surveyed(directory, *([] if problem else found), problem=problem)


REMOVES = st.builds(Remove, entries(PATHS))
MOVES = st.builds(Move, entries(PATHS), entries(PATHS), DIGESTS, DIGESTS)


def done_move(move: Move, digest: bytes | None, checksum: bytes | None) -> Done:
    return Done(move, attrs.evolve(move.target, path=move.path), move.source, digest, checksum=checksum)


FACTS = (
    agreements()
    | surveys()
    | st.builds(Done, REMOVES)
    | st.builds(Skipped, REMOVES | st.builds(Copy, entries(PATHS)), st.just("because"))
    | st.builds(Failed, REMOVES, st.just("because"))
    | st.builds(Forgotten, PATHS)
    | st.builds(Intended, TEMPORARIES)
    | st.builds(Swept, TEMPORARIES)
    | st.builds(RemovalIntended, st.lists(PATHS, max_size=3).map(tuple))
    | st.builds(MovesIntended, st.lists(MOVES, max_size=3).map(tuple))
    | st.builds(Skipped, MOVES, st.just("because"))
    | st.builds(done_move, MOVES, DIGESTS, DIGESTS)
    | st.builds(Done, st.builds(Sweep, PATHS, st.none(), st.booleans()))
    | st.just(SurveyComplete())
    | st.builds(ScanComplete, st.builds(Root, entries(st.just("")), NUMBERS), st.just(WHOLE_TREE))
)


@st.composite
def troubles(draw: st.DrawFn) -> Event:
    path = draw(PATHS)
    source = draw(st.none() | entries(st.just(path)))
    moments = st.floats(0, 2**33)
    reason = draw(st.sampled_from(["553 no", "caf\udce9", ""]))
    return Parked(
        path, source, draw(st.integers(1, 99)), draw(moments), draw(moments), reason, draw(st.none() | moments)
    )


FACTS = FACTS | troubles() | st.builds(Recovered, PATHS, st.booleans())


@attrs.define
class Model:
    """A journal as plain dictionaries."""

    troubles: dict[str, Parked] = attrs.Factory(dict)
    records: dict[str, Record] = attrs.Factory(dict)
    intents: set[str] = attrs.Factory(set)
    fresh: bool = True
    root: Root | None = None

    def apply(self, fact: Event) -> None:
        match fact:
            case Adopted(source, target, digest):
                self.records[target.path] = Record(source, target, digest)
            case Confirmed(source, target, digest, checksum):
                self.records[target.path] = Record(source, target, digest, checksum)
            case Done(operation=operation):
                self.apply_done(operation, fact)
            case Skipped(operation=Remove(Entry(path))):
                self.records.pop(path, None)
            case Skipped(operation=Move(Entry(path))):
                if path in self.records and self.records[path].is_removal_intended:
                    del self.records[path]
            case MovesIntended(moves):
                self.doom([move.target.path for move in moves])
                for move in moves:
                    there = attrs.evolve(move.target, path=move.path)
                    self.records[move.path] = Record(move.source, there, b"", move.checksum)
            case Forgotten(path):
                self.records.pop(path, None)
                self.drop_foreign(path)
            case Intended(temporaries):
                self.intents.update(temporaries)
            case RemovalIntended(paths):
                self.doom(paths)
            case Swept(temporaries):
                self.intents.difference_update(temporaries)
            case SurveyComplete():
                self.fresh = False
            case ScanComplete():
                self.root = fact.root
            case Parked(path):
                self.troubles[path] = fact
            case Recovered(path):
                self.troubles.pop(path, None)

    def doom(self, paths: Sequence[str]) -> None:
        for path in paths:
            if (record := self.records.get(path)) is not None:
                self.records[path] = attrs.evolve(record, digest=b"", checksum=record.content)

    def apply_done(self, operation: Operation, done: Done) -> None:
        match operation:
            case Copy() | MakeDirectory(source=_):
                assert done.target
                source = done.source if isinstance(operation, Copy) else operation.source
                checksum = done.checksum if isinstance(operation, Copy) else None
                self.records[done.target.path] = Record(source, done.target, done.digest, checksum)
                self.intents.discard(done.temporary or "-")
            case Move(source, before):
                assert done.target
                self.records[source.path] = Record(source, done.target, done.digest, done.checksum)
                self.records.pop(before.path, None)
            case Remove(target):
                self.records.pop(target.path, None)
                if target.kind is Kind.DIRECTORY:
                    self.drop_foreign(target.path)
            case Sweep(path, recovers=False):
                self.intents.discard(path)
            case Survey(directory):
                assert done.listing
                if done.listing.problem:
                    return
                found = {entry.path: entry for entry in done.listing.entries}
                for path, record in list(self.records.items()):
                    if parent_of(path) != directory:
                        continue
                    still = found[path].kind if path in found else None
                    if record.target.kind is Kind.DIRECTORY and still is not Kind.DIRECTORY:
                        self.drop_foreign(path)
                    if record.source is None:
                        del self.records[path]
                for path, entry in found.items():
                    self.records.setdefault(path, Record(None, entry))

    def drop_foreign(self, directory: str) -> None:
        for path, record in list(self.records.items()):
            if is_below(path, directory) and record.source is None:
                del self.records[path]

    def check(self, journal: Journal, directories: set[str]) -> None:
        assert (journal.is_fresh, journal.root()) == (self.fresh, self.root)
        assert sorted(intents(journal)) == sorted(self.intents)
        assert {it.path: it for it in journal.troubles()} == self.troubles
        assert journal.owned_count() == sum(record.source is not None for record in self.records.values())
        for directory in directories:
            assert children(journal, directory) == {
                path.rpartition("/")[2]: record for path, record in self.records.items() if parent_of(path) == directory
            }
            below = journal.subtree(directory)
            assert {record.target.path: record for record in below} == {
                path: record for path, record in self.records.items() if is_below(path, directory)
            }
            paths = [record.target.path for record in below]
            assert all(paths.index(path) > paths.index(parent_of(path)) for path in paths if parent_of(path) in paths)
            assert journal.record(directory) == self.records.get(directory)


def is_below(path: str, directory: str) -> bool:
    return not directory or path.split("/")[: directory.count("/") + 1] == directory.split("/") != path.split("/")


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(batches=st.lists(st.lists(FACTS, max_size=12), max_size=3), asked=st.sets(PATHS, max_size=4))
def test_any_facts_leave_the_same_as_in_a_dictionary(batches: list[list[Event]], asked: set[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        model = Model()
        for batch in batches:
            with open_journal(Path(directory), "p") as journal, closing(journal.copy_to_memory()) as copy:
                before = attrs.evolve(
                    model, records=dict(model.records), intents=set(model.intents), troubles=dict(model.troubles)
                )
                journal.apply(batch)
                for fact in batch:
                    model.apply(fact)
                known = {"", *asked, *model.records, *map(parent_of, model.records)}
                model.check(journal, known)
                before.check(copy, known)
                copy.apply(batch)
                model.check(copy, known)
