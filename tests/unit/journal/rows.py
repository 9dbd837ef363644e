"""Short ways to write what a journal is given, and to read what it holds."""

from __future__ import annotations

from actorsync.journal import Journal
from actorsync.model.entry import Entry, Kind, Listing, Problem, Record, name_of, parent_of
from actorsync.model.event import Adopted, Event
from actorsync.model.operation import Copy, Done, Survey
from actorsync.model.report import Report

REPORT = Report(
    exit_code=3,
    started_at=1.5,
    seconds=2.25,
    copied=4,
    copied_bytes=1 << 70,
    failures=(("caf\udce9/x", "550 no"), ("y", "553 never")),
    drained=True,
    error="it\nbroke",
)


def file(path: str, size: int = 1, mtime_ns: int | None = 7, inode: int | None = None) -> Entry:
    return Entry(path, Kind.FILE, size, mtime_ns, mtime_ns, inode)


def folder(path: str) -> Entry:
    return Entry(path, Kind.DIRECTORY, 0, 5)


def adopted(*paths: str) -> list[Event]:
    return [Adopted(file(path), file(path)) for path in paths]


def copied(path: str, size: int = 1, temporary: str | None = None, digest: bytes | None = None) -> Done:
    entry = file(path, size)
    return Done(Copy(entry), target=entry, source=entry, temporary=temporary, digest=digest)


def surveyed(directory: str, *entries: Entry, problem: Problem | None = None) -> Done:
    return Done(Survey(directory), listing=Listing(directory, entries, problem=problem))


def children(journal: Journal, directory: str) -> dict[str, Record]:
    """Return the records of the direct children of ``directory``, by name."""
    below = journal.subtree(directory)
    return {name_of(it.target.path): it for it in below if parent_of(it.target.path) == directory}


def intents(journal: Journal) -> list[str]:
    """Return the temporaries that may be on the target, in order."""
    return [path for path, _ in journal.pending()]
