"""At least one example of every kind of event, for tests that hold for all of them."""

from __future__ import annotations

from actorsync.model.entry import (
    WHOLE_TREE,
    Entry,
    Kind,
    Listing,
    Problem,
    Root,
    ScanComplete,
)
from actorsync.model.event import (
    Adopted,
    BreakerOpened,
    Confirmed,
    Connected,
    Event,
    Forgotten,
    Intended,
    Learned,
    LoginDeferred,
    MovesIntended,
    Parked,
    Planned,
    Reconnecting,
    Recovered,
    RemovalIntended,
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
    Warned,
)
from actorsync.model.operation import (
    Copy,
    Done,
    Failed,
    Fault,
    MakeDirectory,
    Move,
    Remove,
    Respell,
    Returned,
    Side,
    Skipped,
    Survey,
    Sweep,
)
from actorsync.model.report import Report

__all__ = ["EVERY_EVENT", "EVIL", "FILE", "FOLDER", "OLD"]

FILE = Entry("dir/a.txt", Kind.FILE, 3)
OLD = Entry("dir/old.txt", Kind.FILE, 3)
FOLDER = Entry("dir", Kind.DIRECTORY)
EVIL = Entry("\x1b[31mred\udcff\n", Kind.FILE, 3)

EVERY_EVENT: list[Event] = [
    Started("/src", "ftp://h/", 4),
    Scanned("", 1, 1, 0, (Problem("x", "Permission denied"),)),
    Planned(1, 3, 1, 0),
    ScanComplete(Root(Entry("", Kind.DIRECTORY)), WHOLE_TREE),
    SurveyComplete(),
    Adopted(FILE, FILE, b"digest"),
    Confirmed(FILE, FILE, b"digest"),
    Intended(("dir/.tmp",)),
    Forgotten("dir/a.txt"),
    RemovalsRefused("too many", 7),
    RemovalsWithheld(2, "2 removals postponed"),
    Parked("y", None, 1, 0.0, 0.0, "550 no"),
    Parked("x", FILE, 3, 0.0, 100.0, "553 never", 160.0),
    Recovered("y", was_parked=False),
    Recovered("z", was_parked=True),
    Connected(1, "ftp://h/"),
    Reconnecting(1, "the server hung up", 0.5),
    Resized(8, 8, "421 too many", 20),
    LoginDeferred(2, "the server hung up"),
    BreakerOpened("down", "the server hung up", 0.5),
    Resumed("down"),
    BreakerOpened("full", "a: the disk is full", 10.0),
    Resumed("full"),
    Retired(1, "the server hung up"),
    Learned(Side.TARGET, "lanes", "1"),
    Warned("passwords travel in clear"),
    Swept(("dir/.tmp",)),
    RemovalIntended(("dir/a.txt",)),
    MovesIntended((Move(FILE, OLD),)),
    Done(Move(FILE, OLD), FILE, FILE),
    Done(Respell(FILE, OLD, "dir/.tmp"), FILE, FILE),
    Done(Copy(FILE), FILE, FILE, b"digest", "dir/.tmp"),
    Done(MakeDirectory(FOLDER), FOLDER),
    Done(Remove(FILE)),
    Done(Survey("dir"), listing=Listing("dir", (FILE,))),
    Done(Sweep("dir/.tmp")),
    Failed(Copy(FILE), "no room"),
    Failed(Copy(FILE), "parked after 3 failures, tried again in 2.0 s: no room", Fault.PARKED),
    Failed(Copy(FILE), "not sent: the target is full (a: the disk is full)", Fault.UNSENT),
    Skipped(Remove(FOLDER), "not empty"),
    Returned(Copy(FILE), "drained"),
    Stopped(Report(0, 0.0, 2.1, failures=(("x", "y"),))),
]
