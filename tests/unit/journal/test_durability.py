"""Durable events: `is_durable` decides, the journal writes them, and no other event changes a row."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any, get_args

import attrs
import pytest

from actorsync.journal import Journal, open_memory_journal
from actorsync.model.entry import (
    WHOLE_TREE,
    Listing,
    Root,
    ScanComplete,
)
from actorsync.model.event import (
    Agreed,
    Audited,
    BreakerOpened,
    Changed,
    Confirmed,
    Conflicted,
    ConflictEnded,
    Connected,
    Drifted,
    DriftEnded,
    Event,
    Forgotten,
    Intended,
    Learned,
    LoginDeferred,
    MemoryVoided,
    MovesIntended,
    Noticed,
    NotPublished,
    PairScanned,
    Parked,
    PartSent,
    PassBegan,
    Planned,
    Reconnecting,
    Recovered,
    Released,
    ReleaseEnded,
    Relisted,
    RemovalIntended,
    RemovalsDelayed,
    RemovalsRefused,
    RemovalsWithheld,
    Resized,
    Resumed,
    Retired,
    Scanned,
    Started,
    Stopped,
    SurveyComplete,
    Swept,
    TargetSeen,
    TrashOpened,
    Warned,
    WatchLost,
    WatchStarted,
    is_durable,
)
from actorsync.model.kept import Kept
from actorsync.model.operation import (
    Audit,
    Compare,
    Copy,
    Done,
    Failed,
    Look,
    Maintain,
    MakeDirectory,
    Move,
    Operation,
    Outcome,
    Prepare,
    Publish,
    PutBack,
    Recall,
    Remove,
    Respell,
    Returned,
    SetMode,
    Side,
    Skipped,
    Survey,
    Sweep,
)
from actorsync.model.pair import Agreement, Conflict
from actorsync.model.report import Report
from actorsync.model.trash import Trashed
from tests.unit.journal.rows import adopted, copied, file, folder, surveyed

MOVE = Move(file("new"), file("old"))
REMOVE = Remove(file("old"))
COMPARE = Compare(file("foreign"), file("foreign"))
MODE = SetMode(file("old"), file("old"), 0o640)
KEPT = Kept(".t3", file("x"), 3, 1.0, is_complete=True, size=3)
PUBLISH = Publish(KEPT, 1, ".aside")
DONE = Publish(attrs.evolve(KEPT, temporary=".t4"))
OPEN_CHANGE = Trashed("x", "replaced", ".trash/20261130T160317Z-1-0/0")
OPEN = Publish(attrs.evolve(KEPT, temporary=".t5", source=file("y")))
RESPELL = Respell(file("NEW"), file("new"), ".t")
OPERATIONS: list[Operation] = [
    COMPARE,
    Copy(file("x")),
    MakeDirectory(folder("d")),
    MOVE,
    RESPELL,
    REMOVE,
    MODE,
    Survey("d"),
    Sweep(".t"),
    Audit("d"),
    Look(file("x")),
    Prepare(file("x")),
    PUBLISH,
    PutBack(PUBLISH),
    Maintain(".maintenance"),
    Recall(OPEN_CHANGE),
]

#: Each of these changes a row of `seeded`.
DURABLE: list[Event] = [
    copied("x"),
    Done(MakeDirectory(folder("d")), target=folder("d")),
    Done(COMPARE, target=file("foreign"), source=file("foreign")),
    Done(MOVE, target=file("new"), source=file("new")),
    Done(REMOVE),
    Done(MODE, target=attrs.evolve(file("old"), mode=0o640), source=file("old")),
    Done(RESPELL, file("NEW"), file("NEW"), temporary=".t"),
    surveyed("", file("foreign")),
    Done(Sweep(".t", recovers=False)),
    Skipped(MOVE, "gone"),
    Skipped(REMOVE, "gone"),
    ScanComplete(Root(folder(""), device=1), WHOLE_TREE),
    SurveyComplete(),
    TargetSeen(5.0),
    MemoryVoided("is empty"),
    Audited(1, 2, "d", 1.0, None),
    Drifted("old", file("old"), None, 1.0),
    Drifted("old", file("old"), None, 1.0, is_mended=True),
    DriftEnded("drifted"),
    Relisted(Listing("", (file("theirs"),))),
    *adopted("x"),
    Confirmed(file("x"), file("x")),
    Intended((".t2",)),
    TrashOpened(2, ".trash/20261130T160317Z-2-0", 2.0),
    Done(Recall(OPEN_CHANGE)),
    PartSent(KEPT),
    Done(Prepare(file("x")), source=file("x"), kept=KEPT),
    Released((PUBLISH,)),
    Done(OPEN, target=file("y"), source=file("y")),
    Done(PutBack(DONE)),
    Done(Maintain(".maintenance", begins=False)),
    ReleaseEnded("the check failed"),
    RemovalIntended(("old",)),
    RemovalsDelayed(("gone",), 2.0, 2.0, 1.0, found=("gone",)),
    MovesIntended((MOVE,)),
    Forgotten("old"),
    Swept((".t",)),
    Parked("p", None, 1, 1.0, 1.0, "550"),
    Recovered("troubled", was_parked=True),
    Resized(2, 3, "the server allows 3", 4),
    Learned(Side.TARGET, "lanes", "1"),
]

AGREEMENT = Agreement(file("x"), file("x"))
BACK = Move(file("new"), file("old"), side=Side.SOURCE)

#: Each of these changes a row of a two-way mirror, in `seeded`.
OF_PAIRS: list[Event] = [
    Agreed(AGREEMENT),
    Conflicted(Conflict("x", file("x"), None, "both have changed it")),
    ConflictEnded("contested"),
    PairScanned(Root(folder("")), Root(folder(""))),
    MemoryVoided("does not have the stamp of the last run"),
    Forgotten("old"),
    RemovalIntended(("old",), side=Side.SOURCE),
    MovesIntended((BACK,)),
    Intended((".t2",), side=Side.SOURCE),
    Swept((".s",), side=Side.SOURCE),
    copied("x"),
    Done(MakeDirectory(folder("d"), side=Side.SOURCE), target=folder("d")),
    Done(BACK, target=file("new"), source=file("new")),
    Done(REMOVE),
    Done(Maintain(".maintenance", begins=False)),
    Skipped(attrs.evolve(BACK, target=file("going")), "gone"),
    Skipped(REMOVE, "gone"),
    Resized(2, 3, "the server allows 3", 4),
    Learned(Side.SOURCE, "lanes", "1"),
]

#: No journal remembers these.
PASSING: list[Event] = [
    *(Failed(operation, "550") for operation in OPERATIONS),
    *(Returned(operation, "stopping") for operation in OPERATIONS),
    *(Skipped(operation, "gone") for operation in OPERATIONS if operation not in (MOVE, REMOVE)),
    Done(Audit("d"), listing=Listing("d")),
    Done(Look(file("x")), file("x")),
    PassBegan("changes", ("d",)),
    WatchStarted("inotify", 1),
    WatchLost("the queue has overflowed"),
    Changed("paused"),
    Noticed(),
    Started("s", "t", 1),
    Scanned("", 1, 1, 0),
    Planned(1, 1, 1, 1),
    RemovalsRefused("the guard", 3),
    RemovalsWithheld(3, "because"),
    NotPublished("nothing was published: 1 path could not be sent", 3),
    Connected(1, "a server"),
    Reconnecting(1, "lost", 1.0),
    Resized(2, None, "more is no quicker", 4),
    LoginDeferred(1, "busy"),
    BreakerOpened("down", "lost", 1.0),
    Resumed("down"),
    Retired(1, "lost"),
    Warned("careful"),
    Stopped(Report(0, 0.0, 0.0)),
]


def seeded() -> Journal:
    journal = open_memory_journal()
    doomed = RemovalIntended(("new",))
    journal.apply(
        [*adopted("new", "old"), doomed, Intended((".t", ".maintenance")), Parked("troubled", None, 1, 1.0, 1.0, "550")]
    )
    journal.apply([Released((DONE, OPEN)), Done(DONE, target=file("x"), source=file("x"))])
    journal.apply([TrashOpened(1, ".trash/20261130T160317Z-1-0", 1.0), Intended((".t",), file("x"), OPEN_CHANGE)])
    journal.apply([Drifted("drifted", file("drifted"), None, 1.0)])
    journal.pairs.apply([Agreed(Agreement(file(path), file(path))) for path in ("old", "going")])
    contested = Conflict("contested", file("contested"), None, "both have changed it")
    going = RemovalIntended(("going",), side=Side.SOURCE)
    journal.pairs.apply([Conflicted(contested), going, Intended((".s",), side=Side.SOURCE)])
    return journal


def rows_of(journal: Journal) -> list[str]:
    with closing(sqlite3.connect(":memory:")) as copy:
        journal._writer.backup(copy)
        return list(copy.iterdump())


def named(event: Event) -> str:
    operation = getattr(event, "operation", None)
    return type(event).__name__ + ("" if operation is None else f"-{type(operation).__name__}")


def test_every_class_of_event_is_tested_here() -> None:
    every = DURABLE + OF_PAIRS + PASSING
    assert {type(event) for event in every} == set(get_args(Event))
    for outcome in get_args(Outcome):
        operations: set[Any] = {type(event.operation) for event in every if isinstance(event, outcome)}
        assert operations == set(get_args(Operation)), outcome


@pytest.mark.parametrize("event", DURABLE, ids=named)
def test_a_durable_event_changes_a_row(event: Event) -> None:
    assert is_durable(event)
    with closing(seeded()) as journal:
        before = rows_of(journal)
        journal.apply([event])
        assert rows_of(journal) != before


@pytest.mark.parametrize("event", OF_PAIRS, ids=named)
def test_a_durable_event_of_a_two_way_run_changes_a_row(event: Event) -> None:
    assert is_durable(event)
    with closing(seeded()) as journal:
        before = rows_of(journal)
        journal.pairs.apply([event])
        assert rows_of(journal) != before


@pytest.mark.parametrize("event", PASSING, ids=named)
def test_a_passing_event_begins_no_transaction(event: Event) -> None:
    assert not is_durable(event)
    with closing(seeded()) as journal:
        statements: list[str] = []
        journal._writer.set_trace_callback(statements.append)
        journal.apply([event])
        journal.pairs.apply([event])
        assert statements == []


@pytest.mark.parametrize(
    "event", [SurveyComplete(), ScanComplete(Root(folder(""), 1), WHOLE_TREE), Resized(2, 3, "", 4)], ids=named
)
def test_a_durable_event_that_the_journal_holds_begins_no_transaction(event: Event) -> None:
    with closing(seeded()) as journal:
        journal.apply([event])
        statements: list[str] = []
        journal._writer.set_trace_callback(statements.append)
        journal.apply([event])
        assert [one for one in statements if not one.startswith("SELECT")] == []
