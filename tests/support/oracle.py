"""Who knows better: everything that source and target ever held, and the invariants of a mirror, checked step by step.

The invariants have the numbers of the fault matrix: 1 whole files, 3 confinement, 5 nothing to do means nothing done,
7 the journal never says more than is true, 8 removed is only what is ours and proven gone, 9 no temporary that the
journal does not know, 10 order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs

from actorsync.endpoints.memory import MemoryEndpoint
from actorsync.endpoints.memory_tree import Directory, File, Node
from actorsync.journal import Journal
from actorsync.model.entry import Entry, Kind, Listing, Record, ScanComplete, join, name_of, parent_of
from actorsync.model.event import Adopted, Event, Intended, Planned, Report, Scanned, Started, Stopped, Troubled
from actorsync.model.operation import Copy, Done, Failed, MakeDirectory, Outcome, Remove, Returned, Skipped, Sweep
from actorsync.planning.reconcile import looks_equal
from actorsync.supervisor import Policy
from actorsync.testing.faulty import Faulty, FaultySession

__all__ = ["Oracle", "WatchedJournal", "WatchedSource", "WatchedTarget", "check_trace"]

#: What the planner says of operations that it never planned.
NEVER_PLANNED = (
    "a directory is in its way, and delete is off",
    "something that is not ours is in its way on the target",
)


class WatchedTarget(MemoryEndpoint):
    """A target whose every command and every change is shown to an oracle."""

    def __init__(self, now: Callable[[], int], precision_ns: int, *, exists: bool) -> None:
        self.oracle: Oracle | None = None
        super().__init__("target", now=now, precision_ns=precision_ns, inodes=False, exists=exists)
        self.log = _Log(self._command)

    def put(self, path: str, node: Node) -> None:
        super().put(path, node)
        if self.oracle is not None:
            self.oracle.was_put(path, node)

    def take(self, path: str) -> Node:
        node = super().take(path)
        if self.oracle is not None:
            self.oracle.was_taken(path)
        return node

    def fork(self) -> WatchedTarget:
        """Give a copy of the tree as it is now: what a server has on its disk when everybody else is killed."""
        copy = WatchedTarget(self._now, self._precision_ns, exists=False)
        copy._root = None if self._root is None else _copy_of(self._root)
        copy.lanes, copy.max_sessions = self.lanes, self.max_sessions
        return copy

    def _command(self, verb: str, path: str) -> None:
        if self.oracle is not None:
            self.oracle.was_told(verb, path)


def _copy_of(directory: Directory) -> Directory:
    children: dict[str, Node] = {
        name: _copy_of(node) if isinstance(node, Directory) else attrs.evolve(node)
        for name, node in directory.children.items()
    }
    return attrs.evolve(directory, children=children)


class _Log(list[tuple[str, str]]):
    def __init__(self, told: Callable[[str, str], None]) -> None:
        super().__init__()
        self._told = told

    def append(self, command: tuple[str, str]) -> None:
        super().append(command)
        self._told(*command)


@attrs.frozen
class WatchedSource(Faulty):
    """A source that goes wrong, and keeps what each directory was said to hold in this run."""

    listings: dict[str, Listing] = attrs.field(factory=dict)

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[FaultySession]:
        async with self.endpoint.open_session() as session:
            watched = _WatchedSession(session, self.decide)
            watched.listings = self.listings
            yield watched


class _WatchedSession(FaultySession):
    listings: dict[str, Listing]

    async def list_directory(self, directory: str) -> Listing:
        listing = await super().list_directory(directory)
        self.listings[directory] = listing
        return listing


class WatchedJournal:
    """A journal whose facts are shown to an oracle once they are durable."""

    def __init__(self, inner: Journal, oracle: Oracle, step: Callable[[], None]) -> None:
        self.inner, self._oracle, self._step = inner, oracle, step

    @property
    def is_fresh(self) -> bool:
        return self.inner.is_fresh

    def differences(self, listing: Listing) -> tuple[Listing, Mapping[str, Record]]:
        return self.inner.differences(listing)

    def subtree(self, directory: str) -> Sequence[Record]:
        return self.inner.subtree(directory)

    def ceiling(self) -> int | None:
        return self.inner.ceiling()

    def owned_count(self) -> int:
        return self.inner.owned_count()

    def intents(self) -> Sequence[str]:
        return self.inner.intents()

    def pending(self) -> Sequence[tuple[str, Entry | None]]:
        return self.inner.pending()

    def root(self) -> ScanComplete | None:
        return self.inner.root()

    def troubles(self) -> Sequence[Troubled]:
        return self.inner.troubles()

    def apply(self, facts: Sequence[Event]) -> None:
        self._step()
        self.inner.apply(facts)
        self._oracle.was_recorded(facts)
        self._step()


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
    #: Files that were taken for equal because of their size and time, and are not: no mirror can see that.
    believed: set[str] = attrs.Factory(set)
    violations: list[str] = attrs.Factory(list)

    policy: Policy | None = None
    listings: Mapping[str, Listing] = attrs.Factory(dict)
    events: list[Event] = attrs.Factory(list)
    _removing: str | None = None
    _removed: set[str] = attrs.Factory(set)
    _ours_before: int | None = None
    _failed_before: frozenset[Entry] = frozenset()

    # What the world tells.

    def see_source(self, source: MemoryEndpoint) -> None:
        """Take note of every version that the source holds now."""
        for path, data in source.files().items():
            self.versions[path].add(data)
            node = source.find(path)
            assert node is not None
            self.contents[source.entry(path, node)].add(data)
        self.folders |= source.directories()

    def begin(self, policy: Policy, listings: Mapping[str, Listing]) -> None:
        """A run begins."""
        self.policy, self.listings, self.events = policy, listings, []
        self._removing, self._removed, self._ours_before = None, set(), None

    def published(self, event: Event) -> None:
        """An event was announced."""
        self.events.append(event)

    # What the target tells.

    def was_told(self, verb: str, path: str) -> None:
        """A command is about to be done."""
        if path and not {"", ".", ".."}.isdisjoint(path.split("/")):
            self.blame(f"3: {verb} {path!r} leaves the root")
        match verb:
            case "make" if path not in self.folders:
                self.blame(f"3: make {path!r}, which the source never had")
            case "stage":
                self._check_stage(path)
            case "commit" if path not in self.versions:
                self.blame(f"3: commit {path!r}, which the source never had")
            case "sweep" | "abandon" if path not in self.intended:
                self.blame(f"9: {verb} {path!r}, which was never ours")
            case "remove":
                self._check_removal(path)
        self._removing = path if verb == "remove" else None

    def was_put(self, path: str, node: Node) -> None:
        """Something is at ``path`` now."""
        if path in self.intended:
            return
        self.unrecorded.add(path)
        self.believed.discard(path)
        if isinstance(node, File) and node.data not in self.versions.get(path, ()):
            self.blame(f"1: {path!r} holds {node.data[:40]!r}, which the source never had")

    def was_taken(self, path: str) -> None:
        """Something is gone from ``path``."""
        if path in self.intended:
            return
        self.unrecorded.add(path)
        if path != self._removing:
            self.blame(f"8: {path!r} is gone, and nobody was told to remove it")

    def was_recorded(self, facts: Sequence[Event]) -> None:
        """These facts are durable."""
        for fact in facts:
            match fact:
                case Done(Copy() | MakeDirectory() | Remove() as operation):
                    self.unrecorded.discard(operation.path)
                case Skipped(Remove() as operation):
                    self.unrecorded.discard(operation.path)
                case Intended(temporaries):
                    self.intended.update(temporaries)
                case Adopted(source, target) if source.kind is Kind.FILE:
                    self._check_adoption(source, target)

    def blame(self, violation: str) -> None:
        """Something is wrong."""
        self.violations.append(violation)
        raise AssertionError(violation)

    # The invariants.

    def _check_stage(self, temporary: str) -> None:
        if temporary not in self.journal.intents():
            self.blame(f"9: {temporary!r} is made before the journal knows it")
        if temporary in self.staged:
            self.blame(f"9: {temporary!r} is used a second time")
        self.staged.add(temporary)
        if not isinstance(self.target.find(parent_of(temporary)), Directory):
            self.blame(f"10: {temporary!r} is sent, and its directory is not there")

    def _check_removal(self, path: str) -> None:
        policy = self.policy
        assert policy is not None
        record = self.journal.record(path)
        if record is None or record.source is None:
            self.blame(f"8: remove {path!r}, which is not ours")
            return
        is_in_the_way = self._seen(path) is not None  # a hidden directory has to make way for a file, if it is empty
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
            is_like = Kind.FILE is failed.kind is record.source.kind and failed.size == record.source.size
            if is_like:
                self.blame(f"8: remove {path!r}, and {failed.path!r}, which may be its new name, has failed")
        self._removed.add(path)
        if not policy.max_delete.is_unlimited and len(self._removed) > policy.max_delete.limit(self._ours_before):
            self.blame(f"8: remove {path!r}, the one too many of {self._ours_before}")

    def _unsent(self) -> Iterator[Entry]:
        """What the source has and the target has not got, as far as this run came, and what could not be looked at."""
        for event in self.events:
            if isinstance(event, Failed) and isinstance(event.operation, Copy | MakeDirectory):
                yield event.operation.source
        for directory, listing in self.listings.items():
            if listing.problem is not None and not listing.problem.vanished:
                yield Entry(directory, Kind.DIRECTORY)

    def _gone_as_a_whole(self, path: str) -> str:
        """Give the topmost directory that is gone together with ``path``, or ``path``."""
        while path and parent_of(path) not in self.listings:
            path = parent_of(path)
        return path

    def _seen(self, path: str) -> Kind | None:
        """What this run's scan found at ``path``; None for nothing, or when that is not known."""
        listing = self.listings.get(parent_of(path))
        return next((e.kind for e in listing.entries if e.path == path), None) if listing is not None else None

    def _is_proven_gone(self, path: str) -> bool:
        while path:
            parent = self.listings.get(parent_of(path))
            record = self.journal.record(path)
            if parent is not None:
                kind = self._seen(path)
                return (
                    parent.problem is None
                    and name_of(path) not in parent.hidden
                    and (kind is None or (record is not None and kind is not record.target.kind))
                )
            path = parent_of(path)
        return False

    def _check_adoption(self, source: Entry, target: Entry) -> None:
        node = self.target.find(source.path)
        if not looks_equal(source, target):
            self.blame(f"7: {target} is adopted as {source}")
        if isinstance(node, File) and node.data not in self.contents[source]:
            self.believed.add(source.path)

    def check_journal(self) -> None:
        """7: what the journal says of the target is so; and what it says we sent is what is there."""
        for record in self.journal.subtree(""):
            path = record.target.path
            if path in self.unrecorded or any(path.startswith(other + "/") for other in self.unrecorded):
                continue
            node = self.target.find(path)
            if node is None:
                self.blame(f"7: the journal has {path!r}, the target has not")
                return
            found = self.target.entry(path, node)
            if found.kind is not record.target.kind or (isinstance(node, File) and found != record.target):
                self.blame(f"7: the journal has {record.target}, the target has {found}")
            if record.source is None or not isinstance(node, File) or path in self.believed:
                continue
            if node.data not in self._contents_of(record.source):
                self.blame(f"7: the journal takes {path!r} for a version that it is not")

    def _contents_of(self, source: Entry) -> set[bytes]:
        """Give what a source file held. One that a died run had sent is known by size and time only."""
        if source.inode is not None:
            return self.contents[source]
        same = (source.path, source.size, source.mtime_ns)
        return set().union(*(data for it, data in self.contents.items() if (it.path, it.size, it.mtime_ns) == same))

    def check_temporaries(self) -> None:
        """9: each temporary that is there is known to the journal."""
        known = set(self.journal.intents())
        for path in self.target.files():
            if path in self.intended and path not in known:
                self.blame(f"9: {path!r} was left behind, and is forgotten")


def check_trace(events: Sequence[Event], report: Report | None, *, drained: bool) -> str | None:
    """10: say what is wrong with the story that a run told. ``report``: what it returned, if it came to that."""
    if not isinstance(events[0], Started) or sum(isinstance(event, Stopped) for event in events) != 1:
        return "not one Started and one Stopped"
    last = events[-1]
    if not isinstance(last, Stopped) or (report is not None and last.report != report):
        return f"the last event is {last}"
    report = last.report
    ended: dict[tuple[type, str], Outcome] = {}
    returned: dict[tuple[type, str], Returned] = {}
    for event in events:
        if not isinstance(event, Outcome) or isinstance(event.operation, Sweep):
            continue
        key = type(event.operation), event.operation.path
        if key in ended:
            return f"{key} has two outcomes: {ended[key]}, {event}"
        if isinstance(event, Returned):
            returned[key] = event
            continue
        returned.pop(key, None)
        problem = _misplaced(event, ended)
        if problem:
            return problem
        ended[key] = event
    failed = sum(isinstance(event, Failed) for event in events)
    failed += sum(not problem.vanished for event in events if isinstance(event, Scanned) for problem in event.problems)
    if failed != report.failed:
        return f"{failed} failures were announced, {report.failed} reported"
    done = [type(event.operation) for event in ended.values() if isinstance(event, Done) and event.operation.path]
    if (done.count(Copy), done.count(MakeDirectory), done.count(Remove)) != (
        report.copied,
        report.directories_made,
        report.removed,
    ):
        return "what was done is not what was reported"
    if report.exit_code == 0 and (failed or report.left or report.refused or returned):
        return f"exit 0, and {failed} failed, {report.left} left, {returned} not done"
    if report.exit_code in {0, 1, 4} and not drained:
        return _unsettled(events, ended, returned)
    return None


def _misplaced(outcome: Outcome, ended: Mapping[tuple[type, str], Outcome]) -> str | None:
    """Say what of the order of directories and contents an outcome breaks."""
    path = outcome.operation.path
    if isinstance(outcome, Done):
        match outcome.operation:
            case MakeDirectory():
                below: type = Copy
            case Remove():
                below = MakeDirectory
            case _:
                return None
        for (kind, other), earlier in ended.items():
            if isinstance(earlier, Done) and kind is below and other.startswith(path + "/") and path:
                return f"{outcome.operation} came after {earlier}"
        parent = ended.get((Remove, parent_of(path)))
        if isinstance(outcome.operation, Remove) and isinstance(parent, Done):
            return f"{path!r} was removed after its directory"
    return None


def _unsettled(
    events: Sequence[Event],
    ended: Mapping[tuple[type, str], Outcome],
    returned: Mapping[tuple[type, str], Returned],
) -> str | None:
    planned = next((event for event in events if isinstance(event, Planned)), None)
    if planned is None:
        return "nothing was planned"
    settled = [
        operation
        for (operation, path), outcome in ended.items()
        if path and not (isinstance(outcome, Failed) and operation is not Remove and _was_never_planned(outcome))
    ]
    removals = settled.count(Remove) + sum(operation is Remove for operation, _ in returned)
    if (settled.count(Copy), settled.count(MakeDirectory), removals) != (
        planned.files,
        planned.directories,
        planned.removals,
    ):
        return f"{planned}, and what was settled is {settled}"
    return None


def _was_never_planned(failed: Failed) -> bool:
    return failed.reason in NEVER_PLANNED or failed.reason.startswith("parked after ")


def below(path: str, directory: str) -> bool:
    """Whether ``path`` is ``directory`` or something in it."""
    return path == directory or path.startswith(join(directory, "") if directory else "")
