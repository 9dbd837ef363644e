"""A world with one mirror in it: two trees, a journal, clocks, and other writers that change them while runs go on.

A `World` does what it is told and checks what can be checked; chance is the business of who tells it
(`tests.support.world.simulation` and ``tests/actors/test_state_machine.py``). In the end it asks for peace, and in
peace the mirror has to be exact after one run and to have nothing to do after that (invariants 4 and 5), whatever
happened before.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

import attrs
import trio

from actorsync.actors.pipeline import Pipeline
from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import Directory, File, Special
from actorsync.errors import ConnectionLost, FatalError, OperationRefused
from actorsync.journal import Journal, open_memory_journal
from actorsync.model.entry import Kind, parent_of
from actorsync.model.event import TrashOpened
from actorsync.model.report import Report
from actorsync.planning.drift import EVERYTHING, AuditRule
from actorsync.planning.parking import LONGEST_DELAY
from actorsync.policy import Clock, Policy, RunOptions
from actorsync.profile.values.units import MaxDelete
from actorsync.supervisor import supervise
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.trace import NEVER_PLANNED, check_trace
from tests.support.virtual_time import inline
from tests.support.world.oracle import Oracle, below
from tests.support.world.trash_oracle import is_in_trash, site_of
from tests.support.world.watched import WatchedJournal, WatchedSource, WatchedTarget

__all__ = ["ALIEN", "EPOCH_NS", "NAMES", "SECOND_NS", "Moment", "Stop", "Weather", "World", "fresh_journal"]

EPOCH_NS: Final = 1_700_000_000 * 10**9
SECOND_NS: Final = 10**9
NAMES: Final = ("a", "b", "c", "d", "é x", ".h", "x.tmp", " y")
#: What others put on the target: of sizes that the source never has, because of size and time we believe in equality.
ALIEN: Final = b"alien"
#: No run may take longer than this, in virtual seconds.
DEADLINE: Final = 3_600.0
#: No run may take more steps than this: where no time passes, no deadline does.
MOST_STEPS: Final = 50_000

#: Reasons to fail that come from the journal alone.
BELIEVED_IN_THE_WAY: Final = (*NEVER_PLANNED, "its directory could not be made", "an entry in its way was not removed")

Stop = Literal["drain", "cancel", "outside", "crash"]
_EMPTY: Final = open_memory_journal()


def fresh_journal() -> Journal:
    """Return an empty journal: a copy of one, which is quicker than making one."""
    return _EMPTY.copy_to_memory()


@attrs.frozen
class Moment:
    """What happens when a verb of the target (see `Faulty`) is asked for the ``number``-th time in a run, from 1."""

    verb: str
    number: int
    what: Literal["lose", "refuse"] | Stop


@attrs.frozen
class Weather:
    """What goes wrong in one run: how often, how, and when it is stopped."""

    target_faults: float = 0.0
    source_faults: float = 0.0
    changes: float = 0.0
    longest_wait: float = 5.0
    stop: Stop | None = None
    stop_at: int = 0
    moments: tuple[Moment, ...] = ()


class World:
    """Everything that there is. ``told`` has the exit codes of all runs, None for those that were cut off from outside.

    ``agenda`` is what happens at which step of the run that goes on. ``seen`` counts every kind of trouble that came.
    """

    def __init__(self, rng: random.Random, *, precision_ns: int, source_precision_ns: int, exists: bool) -> None:
        self.rng = rng
        self.told: list[int | None] = []
        self.trace: list[str] = []
        self.seen: Counter[str] = Counter()
        self.agenda: dict[int, list[Callable[[], None]]] = {}
        self.skew_ns = self.server_skew_ns = 0
        self.tick_ns = 1
        self.down_until = 0.0
        self.journal_trouble: str | None = None
        self.began_ns = EPOCH_NS
        self._tick = itertools.count()
        self._token = itertools.count(1)
        self.source = MemoryEndpoint("source", now=self.source_now, precision_ns=source_precision_ns)
        self.target = WatchedTarget(self._server_now, precision_ns, exists=exists, saw=self.saw)
        self.oracle = Oracle(self.target, fresh_journal())
        self.target.oracle = self.oracle
        self.weather = Weather()
        self.policy: Policy
        self.steps = self.all_steps = 0
        self.dead = False
        self.is_running = False
        self._has_journal_failed = False
        self._crashed: tuple[WatchedTarget, Journal, Callable[[], None]] | None = None
        self._shutdown = Shutdown()
        self._outside = trio.CancelScope()
        self._asked_at: float | None = None
        self._asked_for: Counter[str] = Counter()
        self._stopped_by: Stop | None = None
        #: Whether others have changed the target during the run.
        self.is_meddled = False
        #: At which pieces of files, counted in each run, the connection is lost.
        self.cuts: set[int] = set()
        #: The directories that the next run lists; None for all.
        self.within: frozenset[str] | None = None
        #: The site before each run that keeps what it changes, by the number of the run; None where it is not known.
        self.snapshots: dict[int, dict[str, bytes] | None] = {}

    # What the teller may do at any step.

    def change_source(self) -> None:
        """Change the source, while a run goes on."""

    def any_drain_seconds(self) -> tuple[float, float]:
        """Say how long a drain and a cancel may take in the next run."""
        return 5.0, 1.0

    def any_pipeline(self) -> Pipeline:
        """Return the hooks of the next run."""
        return Pipeline()

    def calm(self) -> None:
        """End everything that goes wrong beside the weather."""
        self.agenda.clear()
        self.cuts = set()
        self.target.capacity, self.down_until, self.journal_trouble = None, 0.0, None
        self.target.trouble, self.source.trouble = {}, {}

    # Runs.

    async def run(self, weather: Weather) -> Report | None:
        """Do one run to its end, whichever end that is, and check what can be checked then."""
        self.weather, self.steps, self.dead, self._asked_at = weather, 0, False, None
        drain, cancel = self.any_drain_seconds()
        self._shutdown = shutdown = Shutdown(drain_seconds=drain, cancel_seconds=cancel)
        self._outside = trio.CancelScope()
        self._has_journal_failed = False
        self._asked_for.clear()
        self._stopped_by = None
        part = "" if self.within is None else f" within {sorted(self.within)}"
        self.trace.append(f"run {self.policy} {weather}{part}")
        source = WatchedSource(self.source, self._decide_source)
        oracle = self.oracle
        oracle.begin(self.policy, source.listings, self.source)
        oracle.is_partial = self.within is not None
        oracle.trash.begin(self.source, self.target, oracle.journal)
        before, self.is_meddled = self._snapshot(), False
        report, self.is_running = None, True
        with trio.fail_after(DEADLINE), self._outside:
            report = await supervise(
                source,
                Faulty(self.target, self._decide_target),
                WatchedJournal(oracle.journal, oracle, self._step, self._meet_journal),
                RunOptions(
                    self.policy,
                    shutdown=shutdown,
                    observers=[oracle.published],
                    pipeline=self.any_pipeline(),
                    clock=Clock(wall_ns=self.wall_ns, token=lambda: f"{next(self._token):016x}", blocking=inline),
                    within=self.within,
                ),
            )
        self.is_running = False
        for event in oracle.events:
            if isinstance(event, TrashOpened):
                self.snapshots[event.run] = None if self.is_meddled else before
        self.all_steps += self.steps
        self._check_stop(report)
        problem = check_trace(oracle.events, report, drained=shutdown.draining.is_set())
        assert problem is None, f"10: {problem}"
        if self._crashed is not None:
            self._recover()
        self.told.append(None if report is None else report.exit_code)
        self.trace.append(f"  -> {report}")
        self._check_after(report)
        return report

    def _snapshot(self) -> dict[str, bytes] | None:
        """Return the site as it is; None if an earlier run has left something that this one has to find out about."""
        journal = self.oracle.journal
        is_known = not (journal.trash.open() or journal.release() or journal.pending() or self.oracle.unrecorded)
        return site_of(self.target) if is_known else None

    def _check_after(self, report: Report | None) -> None:
        self.oracle.trash.end(self.source, self.target)
        if any(map(is_in_trash, (*self.target.files(), *self.target.files("..")))):
            self.saw("trash")
        self.oracle.check_journal()
        self.oracle.check_target()
        assert self.source.log == [], f"3: the source was changed: {self.source.log}"
        if report is not None and report.exit_code == 0:
            # What is kept of a file whose directory was not listed is not known to be of no use.
            stays = set() if self.within is None else {kept.temporary for kept in self.oracle.journal.kept()}
            left = [path for path, _ in self.oracle.journal.pending() if path not in stays]
            assert not left, "9: a run that ended well left temporaries"
        if report is not None and report.exit_code in {0, 1, 4, 9} and not self._shutdown.draining.is_set():
            self.oracle.releases.check_end_of_run(self.target, is_open=bool(self.oracle.journal.release()))
        if report is not None and self._has_journal_failed and self._stopped_by is None:
            assert report.exit_code == 7, f"7: the journal could not be written, and the run ended in {report}"

    def _check_stop(self, report: Report | None) -> None:
        """12: a stop that was asked for comes in time."""
        if self._asked_at is None or self._stopped_by is None or self.dead:
            return
        took, shutdown = trio.current_time() - self._asked_at, self._shutdown
        allowed = shutdown.cleanup_seconds + (shutdown.drain_seconds if self._stopped_by == "drain" else 0.0)
        assert took <= allowed + 1e-3, f"12: {self._stopped_by} took {took} s, and {allowed} s were allowed"
        codes: dict[Stop, set[int | None]] = {
            "drain": {0, 1, 3, 4, 9},
            "cancel": {130},
            "outside": {None},
            "crash": {None},
        }
        code = None if report is None else report.exit_code
        if code == 1 and report is not None and report.error is not None:
            return  # a release that was refused
        assert code in codes[self._stopped_by] | {5, 7}, f"{self._stopped_by} ended in {code}: {report}"

    # What happens while a run goes on.

    def _step(self) -> None:
        self.steps += 1
        assert self.steps < MOST_STEPS, "12: it goes round in circles"
        weather = self.weather
        if weather.changes and self.rng.random() < weather.changes:
            self.change_source()
        if self.agenda and not self.dead:
            for happen in self.agenda.pop(self.steps, ()):
                happen()
        if weather.stop is not None and self.steps == weather.stop_at:
            self._stop(weather.stop)

    def _stop(self, stop: Stop) -> None:
        self.trace.append(f"  {stop} at step {self.steps}")
        self._asked_at, self._stopped_by = trio.current_time(), stop
        match stop:
            case "drain":
                self._shutdown.drain()
            case "cancel":
                self._shutdown.cancel(within=self.rng.choice((None, 0.0, 2.0)))
            case "outside":
                self._outside.cancel()
            case "crash":
                # What is on the two disks at this moment is all that there will be. The run goes on as a ghost, over
                # trees that nobody looks at any more.
                oracle = self.oracle
                self._crashed = self.target.fork(), oracle.journal.copy_to_memory(), oracle.remember()
                self.target.oracle = None
                self.dead = True
                self._shutdown.cleanup_seconds = 0.0
                self._outside.cancel()

    def _recover(self) -> None:
        assert self._crashed is not None
        self.target, self.oracle.journal, recall = self._crashed
        recall()
        self.oracle.target, self.target.oracle = self.target, self.oracle
        self._crashed, self.dead = None, False

    def _decide_target(self, verb: str, when: When) -> float | None:
        if self.dead:
            raise ConnectionLost("killed")
        self._step()
        if self.dead:
            raise ConnectionLost("killed")
        self._meet_moment(verb, when)
        if verb == "read" and when == "before" and self._asked_for["read"] in self.cuts:
            raise ConnectionLost(f"cut {when} {verb}")
        if self.down_until and trio.current_time() < self.down_until:
            self.saw("outage")
            raise ConnectionLost(f"the server is down, {when} {verb}")
        if not self.weather.target_faults or self.rng.random() >= self.weather.target_faults:
            return None
        match self.rng.choice(("lose", "refuse", "retry", "wait")):
            case "lose":
                raise ConnectionLost(f"lost {when} {verb}")
            case "refuse":
                raise OperationRefused(f"refused {when} {verb}")
            case "retry":
                raise OperationRefused(f"not now: refused {when} {verb}", retry=True)
            case _:
                return self.rng.uniform(0, self.weather.longest_wait)

    def _meet_moment(self, verb: str, when: When) -> None:
        if when == "after":
            return
        self._asked_for[verb] += 1
        for moment in self.weather.moments:
            if (moment.verb, moment.number) != (verb, self._asked_for[verb]):
                continue
            match moment.what:
                case "lose":
                    raise ConnectionLost(f"lost at {verb} {moment.number}")
                case "refuse":
                    raise OperationRefused(f"refused: {verb} {moment.number}")
                case stop:
                    self._stop(stop)
                    if self.dead:
                        raise ConnectionLost("killed")

    def _decide_source(self, verb: str, when: When) -> float | None:
        if self.dead:
            return None
        self._step()
        if not self.weather.source_faults or self.rng.random() >= self.weather.source_faults:
            return None
        if self.rng.random() < 0.5 and verb in {"list_directory", "open", "read"}:
            raise OperationRefused(f"cannot be read, {when} {verb}", retry=self.rng.random() < 0.5)
        return self.rng.uniform(0, 1)

    def _meet_journal(self, when: str) -> None:
        """116: the journal's disk is full, or cannot be read. Once it has failed it goes on failing, in this run."""
        if self.journal_trouble == when and not self.dead:
            self._has_journal_failed = True
            self.saw("journal")
            raise FatalError(f"journal in memory: database or disk is full, {when}")

    # The rest of the world.

    def free_for(self, path: str) -> bool:
        """Whether nothing but directories stands above ``path`` on the target, and no directory at it."""
        if isinstance(self.target.find(path), Directory):
            return False
        parent = parent_of(path)
        while parent:
            if isinstance(self.target.find(parent), File):
                return False
            parent = parent_of(parent)
        return True

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """Change the target as another client does."""
        self.target.oracle = None
        yield
        self.target.oracle = self.oracle

    def put_foreign(self, path: str, data: bytes, mtime_ns: int) -> None:
        """Write a file onto the target as another client does."""
        self.is_meddled = True
        self.target.write(path, data, mtime_ns)
        self.oracle.foreign[path].add(data)

    def take_away(self, path: str) -> None:
        """Delete an entry of the target as another client does."""
        self.trace.append(f"  step {self.steps}: somebody takes {path!r} away from the target")
        self.is_meddled = True
        for thing in (*self.target.files(), *self.target.directories()):
            if below(thing, path):
                self.oracle.strange.add(thing)
        with self.unwatched():
            self.target.delete(path)

    def overwrite(self, path: str) -> None:
        """Change a file on the target as another client does."""
        self.trace.append(f"  step {self.steps}: somebody overwrites {path!r} on the target")
        self.oracle.strange.add(path)
        with self.unwatched():
            self.put_foreign(path, ALIEN, EPOCH_NS - 7)

    def rename_in_source(self, old: str, new: str) -> None:
        """Rename, where a file system would."""
        there = self.source.find(new)
        if below(new, old) or below(old, new) or isinstance(there, Directory):
            return
        node = self.source.find(old)
        if there is not None and isinstance(node, Directory):
            return
        self.source.rename(old, new)
        assert node is not None
        self.source.touch(node, node.mtime_ns)  # as a file system does: the time of the inode tells of a rename

    def lose_journal(self) -> None:
        """Have the journal deleted."""
        self.trace.append("the journal is lost")
        if self.policy.publish.trash is not None:
            self.began_ns += (
                SECOND_NS  # the directory of a run in the trash has its second, and its number in the journal
            )
        self.oracle.journal = fresh_journal()
        self.oracle.unrecorded.clear()
        self.oracle.forget_intents()
        self.oracle.strange.clear()  # what the target has now is what there is to know

    def restore_journal(self, old: Journal) -> None:
        """Have an old journal restored."""
        self.trace.append("an old journal is restored")
        oracle = self.oracle
        oracle.journal = old.copy_to_memory()
        oracle.forget_intents()
        oracle.intended = {path for path, _ in oracle.journal.pending()} | oracle.releases.temporaries
        for record in oracle.journal.subtree(""):
            path = record.target.path
            oracle.unrecorded.add(path)
            node = self.target.find(path)
            # Where the source is again what it was then, to the inode, nobody can see that the target is not.
            now = None if node is None else self.target.entry(path, node)
            # And what others had there, and is gone or of another kind by now, is in the way as far as it knows.
            is_gone = now is None or now.kind is not record.target.kind
            if is_gone or (record.source is not None and now != record.target):
                oracle.strange.add(path)

    # In peace.

    async def converge(self) -> None:
        """Let everything be well, and see the mirror become exact, and then stay so without a command."""
        self.calm()
        if self.policy.is_patient:
            await trio.sleep(2 * LONGEST_DELAY)  # by then everything that is parked has had its time
        await self._grow_old()
        if self.policy.audit is not None:  # in peace, everything is looked at and mended
            self.policy = attrs.evolve(self.policy, audit=AuditRule(EVERYTHING, mends=True))
        await self._converge_once()
        if self.oracle.strange:
            # Behind our back somebody changed what we put there, and as long as it need not be touched, nobody looks.
            self.lose_journal()
            await self._converge_once()
            assert not self.oracle.strange

    async def _grow_old(self) -> None:
        """Wait until no file is so young that its times prove nothing, or will be soon because a clock was set back."""
        paths = [*self.source.files(), *self.source.directories()]
        nodes = [node for path in paths if (node := self.source.find(path)) is not None]
        ages = [self.wall_ns() - node.ctime_ns for node in nodes]
        young = min((age for age in ages if -60 * SECOND_NS < age < 3 * SECOND_NS), default=None)
        if young is not None:
            await trio.sleep(3 - young / SECOND_NS)

    async def _converge_once(self) -> None:
        # What the user set may rightly stop the last run; then it is the user who has to give way, and say so.
        report = await self.run(Weather())
        if report is not None and report.exit_code == 4:
            self.policy = attrs.evolve(self.policy, max_delete=MaxDelete.parse("100%"))
            report = await self.run(Weather())
        for _ in range(2):  # without a journal, what was ours may be in the way as well
            if report is not None and report.exit_code == 1:
                self._clear_the_way(report)
                self.lose_journal()
                report = await self.run(Weather())
        assert report is not None
        assert report.exit_code == 0, report
        if self.policy.audit is not None:  # what was adopted from an older survey is looked at now
            await trio.sleep(10)
            report = await self.run(Weather())
        self._check_mirror()
        await trio.sleep(10)
        commands, journal = len(self.target.log), self._journal_now()
        report = await self.run(Weather())
        assert report is not None
        assert report.exit_code == 0, report
        assert self.target.log[commands:] == [], f"5: {self.target.log[commands:]}"
        assert self._journal_now() == journal, f"5: {journal} became {self._journal_now()}"

    def _clear_the_way(self, report: Report) -> None:
        """See why the last run could not do it all, and remove that by hand, as its user would have to."""
        withheld = {path for path, reason in report.failures if "near it failed" in reason}
        blockers = {path: list(dict.fromkeys(self._blockers(path))) for path, _ in report.failures}
        chosen = [blocker for found in blockers.values() for blocker in found]
        for path, reason in report.failures:
            # What holds something that has to stay is no fault of its own. And what others have taken away may still
            # be in the way as far as the journal knows.
            is_excused = any(below(blocker, path) for blocker in chosen) or any(below(path, it) for it in withheld)
            is_excused = is_excused or (self.oracle.is_strange(path) and reason in BELIEVED_IN_THE_WAY)
            # A release is published as a whole, and what waited for that waits with it.
            is_excused = is_excused or (reason.endswith("nothing was published") and bool(chosen))
            # A directory of ours that has to make way, and held what was not ours until others took that away: the
            # journal believes it to be there still, and so the directory is not removed.
            is_excused = is_excused or (
                reason == f"{path!r} is a directory"
                and any(below(it, path) and it != path for it in self.oracle.strange)
            )
            assert blockers[path] or is_excused, f"4: no reason to fail over {path!r}: {reason}"
            self.trace.append(f"in the way of {path!r} ({reason}): {blockers[path]}")
        with self.unwatched():
            for blocker in chosen:
                if self.target.find(blocker) is not None:
                    self.target.delete(blocker)

    def _blockers(self, path: str) -> Iterator[str]:
        """Return what rightly stops an operation on ``path``: what is not ours, or not ours to remove, in its way."""
        oracle = self.oracle
        chain = [path]
        while chain[-1]:
            chain.append(parent_of(chain[-1]))
        for above in chain:
            here, there = self.source.find(above), self.target.find(above)
            if here is not None and there is not None and type(here) is not type(there):
                is_ours = self._is_all_ours(above)
                if not is_ours or (isinstance(there, Directory) and not self.policy.delete):
                    yield above
            # Changed by us, and a crash or an old journal made us forget: it looks as if somebody else had done it.
            record = oracle.journal.record(above)
            is_unsure = above in oracle.unrecorded or above in oracle.strange
            if is_unsure and record is not None and there is not None:
                was_directory = record.target.kind is Kind.DIRECTORY
                if (here is None and isinstance(there, File)) or was_directory is not isinstance(there, Directory):
                    yield above

    def _is_all_ours(self, path: str) -> bool:
        things = [*self.target.files(), *self.target.directories()]
        for thing in things:
            if below(thing, path):
                record = self.oracle.journal.record(thing)
                if record is None or record.source is None or thing in self.oracle.unrecorded:
                    return False
                if thing in self.oracle.strange:
                    return False
                if thing != path and self.policy.selection.hides(thing, thing in self.target.directories()):
                    return False
        return True

    def _check_mirror(self) -> None:
        oracle, selection = self.oracle, self.policy.selection
        files, folders = self.target.files(), self.target.directories()
        held = oracle.journal.trash.held()
        for path, data in self.source.files().items():
            if path in held:
                continue
            believed = path in oracle.believed or path in oracle.strange or self._is_ambiguous(path)
            if not believed and not selection.hides(path, is_directory=False):
                assert files.get(path) == data, f"4: {path!r} is {files.get(path)!r}, and not {data!r}"
        for path in self.source.directories():
            is_excused = path in oracle.strange or path in held
            if not selection.hides(path, is_directory=True) and not is_excused:
                assert path in folders, f"4: the directory {path!r} is missing"
        for record in oracle.journal.subtree("") if self.policy.delete else ():
            path = record.target.path
            is_directory = path in folders
            kept = not self._is_all_ours(path)  # a directory with something in it that must stay
            # What the journal still believes to be in it is not gone for all that it is not there.
            is_strange = any(below(thing, path) for thing in oracle.strange)
            expected = record.source is not None and not (kept or is_strange)
            if expected and not selection.hides(path, is_directory):
                is_here = self.source.find(path) is not None or self._is_below_special(path)
                assert is_here, f"4: {path!r} should be gone"
        assert not [path for path in files if path in oracle.intended], "9: a temporary is left"

    def _is_ambiguous(self, path: str) -> bool:
        """Whether a coarse clock that was set back has given two versions all the same times: nobody can see that."""
        node = self.source.find(path)
        assert node is not None
        return (
            self.seen["clocks"] > 0
            and self.tick_ns > 1
            and len(self.oracle.contents[self.source.entry(path, node)]) > 1
        )

    def _is_below_special(self, path: str) -> bool:
        """Whether a link or the like stands above ``path`` in the source: what it hides is not gone."""
        while path:
            path = parent_of(path)
            if isinstance(self.source.find(path), Special):
                return True
        return False

    def _journal_now(self) -> object:
        journal = self.oracle.journal
        # An audit may learn only now what others have put into a directory that the run before has changed.
        records = [it for it in journal.subtree("") if it.source is not None or self.policy.audit is None]
        return journal.record(""), records, journal.pending(), journal.root(), journal.is_fresh

    # Time.

    def saw(self, kind: str) -> None:
        """Count a trouble that came."""
        if not self.dead:
            self.seen[kind] += 1

    def source_now(self) -> int:
        """Tell the time to the source: a microsecond later at each look, or as coarsely as its clock ticks."""
        now = self.wall_ns() + next(self._tick) * 1_000
        return now - now % self.tick_ns

    def _server_now(self) -> int:
        return self.wall_ns() - self.skew_ns + self.server_skew_ns + next(self._tick) * 1_000

    def wall_ns(self) -> int:
        """Tell the time of day, as the machine of the source knows it."""
        try:
            return self.began_ns + self.skew_ns + int(trio.current_time() * SECOND_NS)
        except RuntimeError:  # before the story begins
            return self.began_ns + self.skew_ns
