"""Audits under conditions that could make them miss a difference, invent one, or do harm."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import pytest
from trio.testing import MockClock

from actorsync.endpoints.contract import Endpoint, Session
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.base import EndpointWrapper, SessionWrapper
from actorsync.errors import ConnectionLost, LoginRefused, OperationRefused, TooManyConnections
from actorsync.model.entry import Entry, Kind, Listing, Problem
from actorsync.model.event import Drifted, DriftEnded, Event, Intended, MemoryVoided, Resized, Warned
from actorsync.model.operation import Audit, Compare, Done, Look, SetMode
from actorsync.planning.drift import EVERYTHING, AuditQueue, AuditRule
from actorsync.profile.values.units import MaxDelete
from tests.support.world.memory_mirror import ONE, Counted, Mirror
from tests.support.world.sessions import listing_with

REPORTS = attrs.evolve(ONE, audit=AuditRule(EVERYTHING))
MENDS = attrs.evolve(ONE, audit=AuditRule(EVERYTHING, mends=True))
AUDITS = attrs.evolve(ONE, audit=AuditRule(EVERYTHING, is_alone=True))
TRUSTS = attrs.evolve(ONE, audit=None)


async def mirrored(*paths: str, lanes: int = 1) -> Mirror:
    """Return a mirror in sync, with a file at each path."""
    mirror = Mirror(target=MemoryEndpoint("target", inodes=False, lanes=lanes))
    for path in paths or ("a", "d/b", "d/e/c"):
        mirror.source.write(path, f"content of {path}".encode())
    assert (await mirror.run(policy=REPORTS)).exit_code == 0
    return mirror


async def test_whole_audit_after_a_part_of_a_round_looks_everywhere(autojump_clock: MockClock) -> None:
    mirror = await mirrored(*(f"{number:02}/x" for number in range(20)))
    await mirror.run(policy=attrs.evolve(ONE, audit=AuditRule(15)))
    mirror.target.write("03/x", b"edited")
    report = await mirror.run(policy=AUDITS)
    assert (report.exit_code, report.audited) == (9, 21)


async def test_audit_alone_does_not_accept_another_source(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    before = mirror.journal.root()
    mirror.source.device = 2
    await mirror.run(policy=AUDITS)
    assert mirror.journal.root() == before
    for path in ("a", "d"):
        mirror.source.delete(path)
    mirror.source.write("lost+found", b"")
    policy = attrs.evolve(TRUSTS, max_delete=MaxDelete.parse("99%"))
    assert (await mirror.run(policy=policy)).exit_code == 4
    assert mirror.target.find("d/b") is not None


async def test_audit_alone_leaves_temporaries_and_what_they_are_for(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.source.write("a", b"changed in the source")
    source = mirror.source.entry("a", mirror.source.find("a") or pytest.fail("no file"))
    temporary = ".actorsync-0123456789abcdef.tmp"
    mirror.journal.apply([Intended((temporary,), source)])
    mirror.target.write(temporary, b"half of it")
    mirror.target.write("a", b"renamed by a run that was killed")
    log = [*mirror.target.log]
    report = await mirror.run(policy=AUDITS)
    assert (report.exit_code, report.drifted) == (0, 0)
    assert mirror.target.log == log
    assert dict(mirror.journal.pending()).keys() == {temporary}


async def test_audit_alone_of_an_exact_mirror_surveys_and_makes_nothing(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.delete("")
    report = await mirror.run(policy=attrs.evolve(AUDITS, delete="everything"))
    assert report.exit_code == 9
    assert mirror.target.find("") is None


async def test_first_run_of_an_exact_mirror_counts_what_had_drifted(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.write("d/b", b"edited")
    assert (await mirror.run(policy=REPORTS)).exit_code == 9
    report = await mirror.run(policy=attrs.evolve(REPORTS, delete="everything"))
    assert (report.exit_code, report.drifted) == (9, 1)


async def test_survey_after_an_incomplete_one_finds_what_is_missing(autojump_clock: MockClock) -> None:
    mirror = Mirror(target=MemoryEndpoint("target", inodes=False))
    mirror.source.write("a", b"a")
    mirror.source.write("d/b", b"b")
    mirror.target.mkdir("closed")

    def closed(listing: Listing) -> Listing:
        if listing.directory == "closed":
            raise ConnectionLost("reset by peer")
        return listing

    for _ in range(2):
        await mirror.run(listing_with(mirror.target, closed), policy=MENDS)
        assert mirror.journal.is_fresh
        assert mirror.target.files() == mirror.source.files()
        mirror.target.delete("a")


@attrs.define(eq=False)
class Silent(EndpointWrapper[Endpoint]):
    """A target that does not tell what is under a name."""

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        async with self.real.open_session() as session:
            yield _SilentSession(session)


class _SilentSession(SessionWrapper):
    async def look(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused | None]:
        return [OperationRefused("denied") for _ in entries]


@pytest.mark.parametrize("policy", [REPORTS, MENDS])
async def test_drift_that_cannot_be_asked_for_again_still_counts(autojump_clock: MockClock, policy: object) -> None:
    mirror = await mirrored()
    mirror.target.write("d/b", b"edited")
    await mirror.run(policy=REPORTS)
    report = await mirror.run(Silent(mirror.target), policy=REPORTS if policy is REPORTS else MENDS)
    assert (report.exit_code, report.drifted) == (9, 1)
    assert not mirror.seen(DriftEnded)


async def test_known_drift_counts_in_a_run_that_trusts_the_journal(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.write("d/b", b"edited")
    await mirror.run(policy=AUDITS)
    mirror.target.max_sessions = 0
    report = await mirror.run(policy=TRUSTS)
    assert (report.exit_code, report.drifted) == (9, 1)
    mirror.target.max_sessions = None
    mirror.source.write("d/b", b"changed in the source")
    report = await mirror.run(policy=TRUSTS)
    assert (report.exit_code, report.drifted) == (0, 0)
    assert mirror.journal.audits.drifts() == []


async def test_edited_file_that_the_source_has_lost_is_not_removed(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.write("d/b", b"edited")
    await mirror.run(policy=REPORTS)
    mirror.source.delete("d/b")
    for policy in (REPORTS, REPORTS, MENDS, MENDS):
        report = await mirror.run(policy=policy)
        assert dict(report.failures) == {"d/b": "'d/b' was changed by another program: not removed"}
        assert mirror.target.files()["d/b"] == b"edited"


async def test_more_drift_than_is_asked_for_again_still_counts(autojump_clock: MockClock) -> None:
    paths = [f"d/{number:04}" for number in range(1_100)]
    mirror = await mirrored(*paths)
    for path in paths:
        mirror.target.write(path, b"edited by hand")
    assert (await mirror.run(policy=REPORTS)).drifted == 1_100
    root_alone = attrs.evolve(ONE, audit=AuditRule(0))
    assert (await mirror.run(policy=root_alone)).drifted == 1_100
    for path in paths[:1_000]:
        mirror.source.write(path, b"sent again")
    report = await mirror.run(policy=root_alone)
    assert (report.exit_code, report.drifted) == (9, 100)
    assert (await mirror.run(policy=MENDS)).exit_code == 0
    assert mirror.target.files() == mirror.source.files()


async def test_drift_of_a_file_whose_copy_fails_still_counts(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.write("d/b", b"edited")
    await mirror.run(policy=REPORTS)
    mirror.source.write("d/b", b"changed in the source")
    mirror.target.trouble = {"d/b": OperationRefused("denied")}
    assert (await mirror.run(policy=REPORTS)).drifted == 1
    assert [drift.path for drift in mirror.journal.audits.drifts()] == ["d/b"]


def test_reading_and_modes_are_no_change_that_an_audit_could_see() -> None:
    queue = AuditQueue()
    queue.watch({""})
    file = Entry("a", Kind.FILE, 1, 1)
    queue.note(SetMode(file, file, 0o600))
    queue.note(Compare(file, file))
    assert not queue.touched


async def test_second_sessions_are_few(autojump_clock: MockClock) -> None:
    mirror = await mirrored(*(f"{number:03}/x" for number in range(300)))
    for number in range(300):
        mirror.target.write(f"{number:03}/x", b"edited by hand")
    counted = Counted(mirror.target)
    report = await mirror.run(counted, policy=attrs.evolve(REPORTS, connections=2))
    assert report.drifted == 300
    assert counted.sessions <= 2 + 4


async def test_one_connection_stays_one_connection(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.write("d/b", b"edited")
    counted = Counted(mirror.target)
    assert (await mirror.run(counted, policy=REPORTS)).drifted == 1
    assert counted.sessions == 1


@attrs.define(eq=False)
class Strict(EndpointWrapper[Endpoint]):
    """A server that lets one connection in, and answers another login with ``error``."""

    error: Exception
    attempts: int = 0
    is_open: bool = False

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        self.attempts += 1
        if self.is_open:
            raise self.error
        self.is_open = True
        try:
            async with self.real.open_session() as session:
                yield session
        finally:
            self.is_open = False


@pytest.mark.parametrize("error", [ConnectionLost("x"), TooManyConnections("x"), LoginRefused("x")], ids=type)
async def test_server_that_rejects_a_second_session_is_asked_for_it_once(
    autojump_clock: MockClock, error: Exception
) -> None:
    paths = [f"{number}/x" for number in range(200)]
    mirror = Mirror(target=MemoryEndpoint("target", inodes=False, lanes=100))  # the pool needs no second connection
    for path in paths:
        mirror.source.write(path, b"x")
    await mirror.run(policy=REPORTS)
    for path in paths:
        mirror.target.write(path, b"edited")
    strict = Strict(mirror.target, error)
    report = await mirror.run(strict, policy=attrs.evolve(REPORTS, connections=2))
    assert (report.exit_code, report.drifted) == (9, 200)
    assert strict.attempts <= 3
    assert not mirror.seen(Resized)
    assert mirror.journal.ceiling() is None


async def test_all_directories_are_listed_before_suspects_are_asked_for(autojump_clock: MockClock) -> None:
    paths = [f"{number}/x" for number in range(9)]
    mirror = await mirrored(*paths)
    for path in paths:
        mirror.target.write(path, b"edited")
    await mirror.run(policy=REPORTS)
    kinds = [type(it.operation) for it in mirror.seen(Done) if isinstance(it.operation, Audit | Look)]
    assert kinds == [Audit] * 10 + [Look] * 9


async def test_drain_in_an_audit_is_no_success(autojump_clock: MockClock) -> None:
    mirror = await mirrored(*(f"{number}/x" for number in range(30)))
    mirror.target.write("29/x", b"edited")

    def stop(event: Event) -> None:
        if isinstance(event, Done) and isinstance(event.operation, Audit) and event.operation.path:
            mirror.shutdown.drain()

    report = await mirror.run(policy=REPORTS, observe=stop)
    assert (report.exit_code, report.drained, report.left) == (3, True, 0)


async def test_unlisted_directories_take_few_lines(autojump_clock: MockClock) -> None:
    mirror = await mirrored(*(f"{number:02}/x" for number in range(40)))
    mirror.target.trouble = {f"{number:02}": OperationRefused("denied") for number in range(40)}
    await mirror.run(policy=REPORTS)
    texts = [it.text for it in mirror.seen(Warned) if "not audited" in it.text]
    assert len(texts) <= 6


@pytest.mark.parametrize("exit_code", [9, 0])
async def test_device_that_has_another_number_is_the_same_device(autojump_clock: MockClock, exit_code: int) -> None:
    mirror = Mirror(target=MemoryEndpoint("target"))
    for path in ("a", "d/b"):
        mirror.source.write(path, path.encode())
    await mirror.run(policy=REPORTS)
    if exit_code:
        mirror.target.write("d/b", b"edited")
    mirror.target.device = 2
    report = await mirror.run(policy=REPORTS)
    assert not mirror.seen(MemoryVoided)
    assert report.exit_code == exit_code
    assert Counter(it.path for it in mirror.seen(Drifted)) == Counter(["d/b"] if exit_code else [])


def without_empty_directories(mirror: Mirror) -> Endpoint:
    """Return the target as a server that shows an empty directory as it shows a forbidden one."""

    def change(listing: Listing) -> Listing:
        is_shown = bool(listing.entries) or listing.problem is not None
        return listing if is_shown else Listing(listing.directory, problem=Problem(listing.directory, "no entries"))

    return ByName(listing_with(mirror.target, change), mirror.target)


@pytest.mark.parametrize("is_removed", [False, True])
async def test_emptied_root_is_found_on_a_server_that_lists_no_empty_directory(
    autojump_clock: MockClock, is_removed: bool
) -> None:
    mirror = await mirrored()
    for path in ("a", "d", *([""] if is_removed else [])):
        mirror.target.delete(path)
    report = await mirror.run(without_empty_directories(mirror), policy=REPORTS)
    assert [it.reason for it in mirror.seen(MemoryVoided)] == (["is missing"] if is_removed else [])
    assert report.exit_code == (0 if is_removed else 9)
    assert (await mirror.run(without_empty_directories(mirror), policy=MENDS)).exit_code == 0
    assert mirror.target.files() == mirror.source.files()


async def test_emptied_directory_is_found_on_a_server_that_lists_no_empty_directory(autojump_clock: MockClock) -> None:
    mirror = await mirrored()
    mirror.target.delete("d/e/c")
    report = await mirror.run(without_empty_directories(mirror), policy=REPORTS)
    assert (report.exit_code, [it.path for it in mirror.seen(Drifted)]) == (9, ["d/e/c"])


@attrs.define(eq=False)
class ByName(EndpointWrapper[Endpoint]):
    """A target that tells what is under a name, whatever its listings show."""

    memory: MemoryEndpoint

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        async with self.real.open_session() as session:
            yield _NamedSession(session, self.memory)


class _NamedSession(SessionWrapper):
    def __init__(self, real: Session, memory: MemoryEndpoint) -> None:
        super().__init__(real)
        self._memory = memory

    async def look(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused | None]:
        nodes = [self._memory.find(entry.path) for entry in entries]
        return [
            None if node is None else self._memory.entry(it.path, node) for it, node in zip(entries, nodes, strict=True)
        ]


@pytest.mark.parametrize("mends", [False, True])
async def test_exact_mirror_removes_what_others_add_within_a_round(autojump_clock: MockClock, mends: bool) -> None:
    mirror = await mirrored(*(f"{number}/x" for number in range(6)))
    policy = attrs.evolve(ONE, delete="everything", audit=AuditRule(2, mends=mends))
    await mirror.run(policy=policy)
    mirror.target.write("4/theirs", b"theirs")
    mirror.target.write("5/new/below/deep", b"theirs")
    mirror.target.write("at the top", b"theirs")
    guarded = attrs.evolve(policy, max_delete=MaxDelete.parse(0))
    ends = [(await mirror.run(policy=guarded)).exit_code for _ in range(3)]
    assert ends[-1] == 4
    assert mirror.target.find("5/new/below/deep") is not None
    for _ in range(3):
        assert (await mirror.run(policy=policy)).exit_code == 0
    assert mirror.target.files() == mirror.source.files()
    assert mirror.target.directories() == mirror.source.directories()
