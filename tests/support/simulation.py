"""A whole mirror in memory, on virtual time: one seed, one story of runs, changes, faults, stops and crashes.

Every story ends in peace: faults stop, nobody writes to the source, and then the mirror has to be exact after one run,
and to have nothing to do after that. On the way there, an `Oracle` checks the invariants at every step of the target.
The same seed tells the same story, as long as neither the engine nor this file changes.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal
from unittest.mock import patch

import attrs
import trio
from trio._core import _run
from trio.testing import MockClock

from actorsync.actors.channels import inline
from actorsync.actors.restart import Backoff
from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.memory import MemoryEndpoint
from actorsync.endpoints.memory_tree import Directory, File
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.journal import Journal, open_memory_journal
from actorsync.model.entry import Kind, join, parent_of
from actorsync.model.event import Report
from actorsync.planning.selection import Selection
from actorsync.profile.units import MaxDelete
from actorsync.supervisor import Clock, Policy, supervise
from actorsync.testing.faulty import Faulty, When
from tests.support.oracle import Oracle, WatchedJournal, WatchedSource, WatchedTarget, below, check_trace

__all__ = ["Story", "simulate"]

EPOCH_NS: Final = 1_700_000_000 * 10**9
SECOND_NS: Final = 10**9
NAMES: Final = ("a", "b", "c", "d", "é x", ".h", "x.tmp", " y")
SIZES: Final = (0, 1, 2, 7, 100, 4_097)
LIMITS: Final = ("100%", "100%", "50%", "10%", 0, 2)
SELECTIONS: Final = (Selection(), Selection(), Selection(exclude=["*.tmp"]), Selection(exclude=["b/", ".h"]))
#: What others put on the target: of sizes that the source never has, because of size and time we believe in equality.
ALIEN: Final = b"alien"
#: No run may take longer than this, in virtual seconds.
DEADLINE: Final = 3_600.0
#: No run may take more steps than this: where no time passes, no deadline does.
MOST_STEPS: Final = 50_000

Stop = Literal["drain", "cancel", "outside", "crash"]


def simulate(story: Story) -> Story:
    """Tell a story, and give it back. Raises ``AssertionError`` when anything in it is not as promised."""
    with _deterministic(story.seed):
        trio.run(story.tell, clock=MockClock(autojump_threshold=0))
    assert not story.oracle.violations
    return story


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    state = _run._r.getstate()
    _run._r.seed(seed)
    try:
        with patch.object(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", new=True):
            yield
    finally:
        _run._r.setstate(state)


@attrs.frozen
class Weather:
    """What goes wrong in one run: how often, how, and when it is stopped."""

    target_faults: float = 0.0
    source_faults: float = 0.0
    changes: float = 0.0
    longest_wait: float = 5.0
    stop: Stop | None = None
    stop_at: int = 0


class Story:
    """One seed. ``told`` has the exit codes of all runs, None for those that were cut off from outside.

    ``lanes`` is how many operations each connection carries at once; without it, the seed says.
    """

    def __init__(self, seed: int, lanes: int | None = None) -> None:
        self.seed, self.rng = seed, random.Random(seed)
        self.told: list[int | None] = []
        self.blocked = False
        self.trace: list[str] = []
        self._tick = itertools.count()
        self._token = itertools.count(1)
        precision = self.rng.choice((1, SECOND_NS))
        self.source = MemoryEndpoint("source", now=self._now, precision_ns=self.rng.choice((1, SECOND_NS)))
        self.target = WatchedTarget(self._now, precision, exists=self.rng.random() < 0.8)
        # A server that lets in fewer than are wanted: what goes on then must not depend on the faults of the story.
        self.target.max_sessions = random.Random(f"sessions of {seed}").choice((None, None, 1, 2))
        self.target.lanes = lanes or random.Random(f"lanes of {seed}").choice((1, 1, 2, 5))
        self.oracle = Oracle(self.target, open_memory_journal())
        self.target.oracle = self.oracle
        self.old_journals: list[Journal] = []
        self.weather = Weather()
        self.steps = 0
        self.dead = False
        self._crashed: tuple[WatchedTarget, Journal, set[str]] | None = None
        self._shutdown = Shutdown()
        self._outside = trio.CancelScope()
        self._asked_at: float | None = None
        self._policy = self._any_policy()

    # The story.

    async def tell(self) -> None:
        """Run, change, fail, crash; then, in peace, converge."""
        rng = self.rng
        for _ in range(rng.randrange(16)):
            self._change_source()
        self._prepare_target()
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            await self.run(self._any_weather())
            await trio.sleep(rng.choice((0.0, 0.5, 3.0, 100.0)))
            self._between_runs()
        await trio.sleep(10)
        await self._converge()

    async def _converge(self) -> None:
        # What the user set may rightly stop the last run; then it is the user who has to give way, and say so.
        report = await self.run(Weather())
        if report is not None and report.exit_code == 4:
            self._policy = attrs.evolve(self._policy, max_delete=MaxDelete.parse("100%"))
            report = await self.run(Weather())
        for _ in range(2):  # without a journal, what was ours may be in the way as well
            if report is not None and report.exit_code == 1:
                self._clear_the_way(report)
                self.blocked = True
                self._lose_journal()
                report = await self.run(Weather())
        assert report is not None
        assert report.exit_code == 0, report
        self._check_mirror()
        await trio.sleep(10)
        commands, journal = len(self.target.log), self._journal_now()
        report = await self.run(Weather())
        assert report is not None
        assert report.exit_code == 0, report
        assert self.target.log[commands:] == [], f"5: {self.target.log[commands:]}"
        assert self._journal_now() == journal, f"5: {journal} became {self._journal_now()}"

    async def run(self, weather: Weather) -> Report | None:
        """Do one run to its end, whichever end that is, and check what can be checked then."""
        self.weather, self.steps, self.dead, self._asked_at = weather, 0, False, None
        self._shutdown = shutdown = Shutdown(
            drain_seconds=self.rng.choice((0.5, 5.0, 30.0)), cancel_seconds=self.rng.choice((0.0, 1.0, 5.0))
        )
        self._outside = trio.CancelScope()
        self.trace.append(f"run {self._policy} {weather}")
        source = WatchedSource(self.source, self._decide_source)
        oracle = self.oracle
        oracle.begin(self._policy, source.listings)
        report = None
        with trio.fail_after(DEADLINE), self._outside:
            report = await supervise(
                source,
                Faulty(self.target, self._decide_target),
                WatchedJournal(oracle.journal, oracle, self._step),
                self._policy,
                shutdown=shutdown,
                observers=[oracle.published],
                clock=Clock(wall_ns=self._wall_ns, token=lambda: f"{next(self._token):016x}", blocking=inline),
            )
        self._check_stop(report)
        problem = check_trace(oracle.events, report, drained=shutdown.draining.is_set())
        assert problem is None, f"10: {problem}"
        if self._crashed is not None:
            self._recover()
        self.told.append(None if report is None else report.exit_code)
        self.trace.append(f"  -> {report}")
        self._check_after(report)
        return report

    def _check_after(self, report: Report | None) -> None:
        self.oracle.check_journal()
        self.oracle.check_temporaries()
        if report is not None and report.exit_code == 0:
            assert not self.oracle.journal.intents(), "9: a run that ended well left temporaries"

    def _check_stop(self, report: Report | None) -> None:
        """12: a stop that was asked for comes in time."""
        if self._asked_at is None or self.dead:
            return
        took, shutdown = trio.current_time() - self._asked_at, self._shutdown
        allowed = shutdown.cleanup_seconds + (shutdown.drain_seconds if self.weather.stop == "drain" else 0.0)
        assert took <= allowed + 1e-3, f"12: {self.weather.stop} took {took} s, and {allowed} s were allowed"
        codes: dict[Stop, set[int | None]] = {
            "drain": {0, 1, 3, 4},
            "cancel": {130},
            "outside": {None},
            "crash": {None},
        }
        code = None if report is None else report.exit_code
        assert self.weather.stop is not None
        assert code in codes[self.weather.stop] | {5, 7}, f"{self.weather.stop} ended in {code}: {report}"

    # What happens while a run goes on.

    def _step(self) -> None:
        self.steps += 1
        assert self.steps < MOST_STEPS, "12: it goes round in circles"
        weather = self.weather
        if weather.changes and self.rng.random() < weather.changes:
            self._change_source()
        if weather.stop is not None and self.steps == weather.stop_at:
            self._stop(weather.stop)

    def _stop(self, stop: Stop) -> None:
        self.trace.append(f"  {stop} at step {self.steps}")
        self._asked_at = trio.current_time()
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
                self._crashed = self.target.fork(), oracle.journal.copy_to_memory(), set(oracle.unrecorded)
                self.target.oracle = None
                self.dead = True
                self._shutdown.cleanup_seconds = 0.0
                self._outside.cancel()

    def _recover(self) -> None:
        assert self._crashed is not None
        self.target, self.oracle.journal, self.oracle.unrecorded = self._crashed
        self.oracle.target, self.target.oracle = self.target, self.oracle
        self._crashed, self.dead = None, False

    def _decide_target(self, verb: str, when: When) -> float | None:
        if self.dead:
            raise ConnectionLost("killed")
        self._step()
        if self.dead:
            raise ConnectionLost("killed")
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

    def _decide_source(self, verb: str, when: When) -> float | None:
        if self.dead:
            return None
        self._step()
        if not self.weather.source_faults or self.rng.random() >= self.weather.source_faults:
            return None
        if self.rng.random() < 0.5 and verb in {"list_directory", "open", "read"}:
            raise OperationRefused(f"cannot be read, {when} {verb}", retry=self.rng.random() < 0.5)
        return self.rng.uniform(0, 1)

    # The rest of the world.

    def _change_source(self) -> None:
        rng, source = self.rng, self.source
        files, folders = list(source.files()), ["", *sorted(source.directories())]
        path = join(rng.choice([folder for folder in folders if folder.count("/") < 3]), rng.choice(NAMES))
        kind = rng.choice(("write", "write", "write", "rewrite", "replace", "delete", "rename", "swap", "mkdir"))
        match kind:
            case "write" if not isinstance(source.find(path), Directory):
                source.write(path, self._data(), self._any_time())
            case "rewrite" if files:
                source.write(rng.choice(files), self._data(), self._any_time())
            case "replace" if files:
                old = rng.choice(files)
                source.put(old, source.new_file(self._data(), self._any_time()))
            case "delete" if source.find(path) is not None:
                source.delete(path)
            case "rename" if files or folders[1:]:
                self._rename(rng.choice([*files, *folders[1:]]), path)
            case "swap" if source.find(path) is not None:  # a file becomes a folder, a folder becomes a file
                was_file = isinstance(source.find(path), File)
                source.delete(path)
                for name in rng.sample(NAMES, rng.randrange(3)) if was_file else ():
                    source.write(join(path, name), self._data())
                if not was_file:
                    source.write(path, self._data(), self._any_time())
            case "mkdir" if source.find(path) is None:
                source.mkdir(path)
            case _:
                return
        if self.steps:
            self.trace.append(f"  step {self.steps}: {kind} {path!r}")
        self.oracle.see_source(source)

    def _rename(self, old: str, new: str) -> None:
        there = self.source.find(new)
        if below(new, old) or below(old, new) or isinstance(there, Directory):
            return
        node = self.source.find(old)
        if there is not None and isinstance(node, Directory):
            return
        self.source.rename(old, new)
        assert node is not None
        self.source.touch(node, node.mtime_ns)  # as a file system does: the time of the inode tells of a rename

    def _data(self) -> bytes:
        size = self.rng.choice(SIZES)
        return (b"%d " % self.rng.randrange(1 << 30) * (size // 2 + 1))[:size]

    def _any_time(self) -> int | None:
        return self.rng.choice((None, EPOCH_NS - 10**15, EPOCH_NS, EPOCH_NS - 123_456_789))

    def _prepare_target(self) -> None:
        """Put there what was there before us: equal files, other files, and things in the way."""
        rng = self.rng
        if self.target.find("") is None:
            return
        with self._unwatched():
            for path, data in self.source.files().items():
                node = self.source.find(path)
                assert isinstance(node, File)
                if rng.random() < 0.3 and self._is_free(path):
                    same = rng.random() < 0.6
                    self.target.write(path, data if same else ALIEN, node.mtime_ns if same else EPOCH_NS - 5)
            for _ in range(rng.randrange(4)):
                self._add_foreign()

    def _add_foreign(self) -> None:
        folders = ["", *sorted(self.target.directories())]
        path = join(self.rng.choice(folders), self.rng.choice((*NAMES, "foreign", "other")))
        if self._is_free(path) and self.target.find(path) is None:
            if self.rng.random() < 0.7:
                self.target.write(path, ALIEN, EPOCH_NS - 7)
            else:
                self.target.mkdir(path)

    def _is_free(self, path: str) -> bool:
        """Whether nothing but directories stands above ``path``, and no directory at it."""
        if isinstance(self.target.find(path), Directory):
            return False
        parent = parent_of(path)
        while parent:
            if isinstance(self.target.find(parent), File):
                return False
            parent = parent_of(parent)
        return True

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        self.target.oracle = None
        yield
        self.target.oracle = self.oracle

    def _between_runs(self) -> None:
        rng = self.rng
        for _ in range(rng.choice((0, 0, 1, 2, 5))):
            self._change_source()
        if rng.random() < 0.1:
            self._policy = self._any_policy()
        self.old_journals.append(self.oracle.journal.copy_to_memory())
        chance = rng.random()
        if chance < 0.1:
            self._lose_journal()
        elif chance < 0.15:
            self.trace.append("an old journal is restored")
            self.oracle.journal = rng.choice(self.old_journals).copy_to_memory()
            self.oracle.intended = set(self.oracle.journal.intents())
            self.oracle.unrecorded |= {record.target.path for record in self.oracle.journal.subtree("")}
        elif chance < 0.25 and self.target.find("") is not None:
            with self._unwatched():
                self._add_foreign()

    def _lose_journal(self) -> None:
        self.trace.append("the journal is lost")
        self.oracle.journal = open_memory_journal()
        self.oracle.unrecorded.clear()
        self.oracle.intended.clear()  # what is left of them is nobody's now

    def _clear_the_way(self, report: Report) -> None:
        """See why the last run could not do it all, and remove that by hand, as its user would have to."""
        chosen: list[str] = []
        withheld = {path for path, reason in report.failures if "near it failed" in reason}
        for path, reason in report.failures:
            blockers = list(dict.fromkeys(self._blockers(path)))
            assert blockers or any(below(path, above) for above in withheld), (
                f"4: no reason to fail over {path!r}: {reason}"
            )
            self.trace.append(f"in the way of {path!r} ({reason}): {blockers}")
            chosen += blockers
        assert chosen, f"4: no reason to fail: {report}"
        with self._unwatched():
            for blocker in chosen:
                if self.target.find(blocker) is not None:
                    self.target.delete(blocker)

    def _blockers(self, path: str) -> Iterator[str]:
        """Give what rightly stops an operation on ``path``: what is not ours, or not ours to remove, in its way."""
        chain = [path]
        while chain[-1]:
            chain.append(parent_of(chain[-1]))
        for above in chain:
            here, there = self.source.find(above), self.target.find(above)
            if here is not None and there is not None and type(here) is not type(there):
                is_ours = self._is_all_ours(above)
                if not is_ours or (isinstance(there, Directory) and not self._policy.delete):
                    yield above
            # Changed by us, and a crash or an old journal made us forget: it looks as if somebody else had done it.
            record = self.oracle.journal.record(above)
            if above in self.oracle.unrecorded and record is not None and there is not None:
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
                if thing != path and self._policy.selection.hides(thing, thing in self.target.directories()):
                    return False
        return True

    # In peace.

    def _check_mirror(self) -> None:
        selection = self._policy.selection
        files, folders = self.target.files(), self.target.directories()
        for path, data in self.source.files().items():
            if not selection.hides(path, is_directory=False) and path not in self.oracle.believed:
                assert files.get(path) == data, f"4: {path!r} is {files.get(path)!r}, and not {data!r}"
        for path in self.source.directories():
            if not selection.hides(path, is_directory=True):
                assert path in folders, f"4: the directory {path!r} is missing"
        for record in self.oracle.journal.subtree("") if self._policy.delete else ():
            path = record.target.path
            is_directory = path in folders
            kept = not self._is_all_ours(path)  # a directory with something in it that must stay
            if record.source is not None and not kept and not selection.hides(path, is_directory):
                assert self.source.find(path) is not None, f"4: {path!r} should be gone"
        assert not [path for path in files if path in self.oracle.intended], "9: a temporary is left"

    def _journal_now(self) -> object:
        journal = self.oracle.journal
        return journal.record(""), journal.subtree(""), journal.intents(), journal.root(), journal.is_fresh

    # Chance.

    def _any_policy(self) -> Policy:
        rng = self.rng
        return Policy(
            selection=rng.choice(SELECTIONS),
            max_delete=MaxDelete.parse(rng.choice(LIMITS)),
            delete=rng.random() < 0.7,
            connections=rng.randrange(1, 5),
            backoff=Backoff(cap=10.0, jitter=rng.random),
        )

    def _any_weather(self) -> Weather:
        rng = self.rng
        stop: Stop | None = rng.choice((None, "drain", "cancel", "outside", "crash", "crash"))
        return Weather(
            target_faults=rng.choice((0.0, 0.0, 0.02, 0.1, 0.3)),
            source_faults=rng.choice((0.0, 0.0, 0.05)),
            changes=rng.choice((0.0, 0.0, 0.02, 0.1)),
            longest_wait=rng.choice((1.0, 5.0, 60.0)),
            stop=stop,
            stop_at=rng.choice((1, 10, 30, 60, 100, 200)) + rng.randrange(30),
        )

    def _now(self) -> int:
        """Tell the time to both trees: a microsecond later at each look."""
        return self._wall_ns() + next(self._tick) * 1_000

    def _wall_ns(self) -> int:
        try:
            return EPOCH_NS + int(trio.current_time() * SECOND_NS)
        except RuntimeError:  # before the story begins
            return EPOCH_NS
