"""A random story of two trees that both change, told from a seed: users, runs, faults, kills, journals that go back.

Every version that a user writes has contents of its own. So what must not be lost can be counted: a version may be gone
in the end only if a user who had it has written over it or removed it, on either side.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Final

import attrs
import trio

from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import Directory, freeze
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.journal import Journal
from actorsync.model.entry import join
from actorsync.model.event import Conflicted
from actorsync.model.operation import Audit, Done, Look
from actorsync.planning.pairs.rules import ConflictRule
from actorsync.planning.publishing.rules import TrashRule
from actorsync.planning.selection import Selection
from actorsync.planning.temporary_names import is_own
from actorsync.profile.values.units import MaxDelete
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.two_way import ALL, Pass, TwoTrees, tree_of

__all__ = ["TwoWayStory", "tell"]

_TRASH: Final = ".trash"
_NAMES: Final = ("a", "b", "c", "d", "é x", "x.tmp")
_SELECTIONS: Final = (Selection(), Selection(), Selection(exclude=("*.tmp",)), Selection(exclude=("d/",)))
#: A verb happens at most so often in a run of these trees.
_MOST_VERBS: Final = 120
#: No run may take longer, in virtual seconds.
_DEADLINE: Final = 3_600.0


@attrs.define(eq=False)
class TwoWayStory:
    """What a seed tells. ``met`` counts what has happened, so that a test can see that it did."""

    seed: int
    rule: ConflictRule = "both"
    met: Counter[str] = attrs.Factory(Counter)
    trees: TwoTrees = attrs.field(init=False)
    trace: list[str] = attrs.Factory(list)
    #: Versions that a user who had them has written over or removed.
    superseded: set[bytes] = attrs.Factory(set)
    written: set[bytes] = attrs.Factory(set)
    _rng: random.Random = attrs.field(init=False)
    _versions: int = 0
    _verbs: int = 0
    kill_at: int | None = None
    """The number of the verb at which the next run is killed."""
    _busy: float = 0.0
    _faults: float = 0.0
    _outside: trio.CancelScope = attrs.Factory(trio.CancelScope)
    _after_kill: tuple[Callable[[], None], Callable[[], None], Journal] | None = None
    _older: list[Journal] = attrs.Factory(list)
    selection: Selection = attrs.Factory(Selection)
    is_swapped: bool = False
    """Whether all that happens on one side happens on the other one."""
    is_calm: bool = False
    """Whether nothing goes wrong, and both sides are alike."""
    has_trash: bool = False
    """Whether both sides keep what a run replaces and removes."""
    _agreed: set[bytes] = attrs.Factory(set)
    """Versions that both sides have had at the same time."""
    _ended: dict[bytes, set[str]] = attrs.Factory(dict)
    """The sides on which a user has written over a version, or removed it."""
    by_content: bool = False
    """Without it, a first run believes equal sizes and times: then no two versions have the same size."""

    def __attrs_post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self.by_content = self._rng.random() < 0.5
        self.trees = TwoTrees(
            is_source_remote=not self.is_calm and self._rng.random() < 0.2,
            is_target_remote=not self.is_calm and self._rng.random() < 0.7,
            lanes=self._rng.choice((1, 4)),
        )
        for side in (self.trees.source, self.trees.target):
            side.in_between = self._in_between

    # Users.

    def _side(self) -> MemoryEndpoint:
        sides = self.trees.source, self.trees.target
        return self._rng.choice(sides[::-1] if self.is_swapped else sides)

    def _visible(self, side: MemoryEndpoint) -> list[str]:
        return [path for path in sorted(side.files()) if not is_own(path) and not _is_trashed(path)]

    def _directories(self, side: MemoryEndpoint) -> list[str]:
        return ["", *sorted(it for it in side.directories() if not is_own(it) and not _is_trashed(it))]

    def _end(self, side: MemoryEndpoint, path: str) -> None:
        """Note that a user makes an end of the version that is at a path."""
        data = side.files()[path]
        self.superseded.add(data)
        self._ended.setdefault(data, set()).add(side.display)

    def user(self) -> None:
        """Let a user do something on a side."""
        side, rng = self._side(), self._rng
        files, directories = self._visible(side), self._directories(side)
        match rng.choice(("write", "write", "write", "edit", "edit", "rename", "delete", "mkdir", "rmtree", "touch")):
            case "write":
                self.write(side, join(rng.choice(directories), rng.choice(_NAMES)))
            case "edit" if files:
                self.write(side, rng.choice(files))
            case "rename" if files:
                self.rename(side, rng.choice(files), join(rng.choice(directories), rng.choice(_NAMES)))
            case "delete" if files:
                self.delete(side, rng.choice(files))
            case "mkdir":
                path = join(rng.choice(directories), rng.choice(_NAMES))
                if side.find(path) is None and path.count("/") < 3:
                    self._say(side, "mkdir", path)
                    side.mkdir(path)
            case "rmtree" if len(directories) > 1 and rng.random() < 0.4:
                self.rmtree(side, rng.choice(directories[1:]))
            case "touch" if files:
                path = rng.choice(files)
                self._say(side, "touch", path)
                side.write(path, side.files()[path])

    def _say(self, side: MemoryEndpoint, *words: str) -> None:
        self.trace.append(f"  {side.display}: {' '.join(words)}")

    def write(self, side: MemoryEndpoint, path: str) -> None:
        """Write a new version of a file, or make one."""
        node = side.find(path)
        if isinstance(node, Directory):
            return
        self._versions += 1
        # Often of one size, so that sizes tell little.
        more = self._rng.choice((0, 0, 0, 1, 300)) if self.by_content else self._versions
        data = f"{self._versions:04}".encode() + b"." * more
        if path in side.files():
            self._end(side, path)
        self.written.add(data)
        self._say(side, "write", path, data[:4].decode())
        side.write(path, data)

    def rename(self, side: MemoryEndpoint, old: str, new: str) -> None:
        """Rename a file; what has the new name is replaced."""
        there = side.find(new)
        if isinstance(there, Directory) or old == new:
            return
        if new in side.files():
            self._end(side, new)
            side.delete(new)
        self._say(side, "rename", old, new)
        side.rename(old, new)
        if side.precision_ns > 1:  # a server that shows no inodes: of one size and time, two files are the same to us
            side.write(new, side.files()[new])

    def delete(self, side: MemoryEndpoint, path: str) -> None:
        """Remove a file."""
        self._say(side, "delete", path)
        self._end(side, path)
        side.delete(path)

    def rmtree(self, side: MemoryEndpoint, directory: str) -> None:
        """Remove a directory with all that a user can see in it."""
        inside = [it for it in side.files() if it.startswith(f"{directory}/")]
        if any(is_own(path) for path in inside):
            return
        self._say(side, "rmtree", directory)
        for path in inside:
            self._end(side, path)
        side.delete(directory)

    # Runs.

    def _decide(self, verb: str, when: When) -> float | None:
        """Decide what happens at a verb of a session."""
        self._verbs += 1
        if self.is_calm:
            return None  # without a throw of the dice: the swapped story makes other calls
        if self.kill_at is not None and self._verbs == self.kill_at and self._after_kill is None:
            self._kill()
        if self._after_kill is not None:
            return None  # nothing of this will have happened
        if self._rng.random() < self._busy:
            self.met["busy"] += 1
            self.user()
        if self._rng.random() < self._faults:
            kind = self._rng.choice(("lose", "lose", "refuse"))
            if kind == "lose" and verb != "identify":
                self.met["lost"] += 1
                raise ConnectionLost(f"lost {when} {verb}")
            if kind == "refuse" and verb not in {"identify", "open_session", "read", "describe", "warnings"}:
                self.met["refused"] += 1
                raise OperationRefused(f"refused {when} {verb}", retry=self._rng.random() < 0.5)
        return None

    def _in_between(self) -> None:
        """Let a user act in the middle of a move, now and then."""
        if not self.is_calm and self._after_kill is None and self._rng.random() < self._busy:
            self.met["busy inside a move"] += 1
            self.user()

    def _kill(self) -> None:
        """End the process here: nothing that the run still does counts."""
        self.met["killed"] += 1
        self._after_kill = (
            freeze(self.trees.source),
            freeze(self.trees.target),
            self.trees.journal.copy_to_memory(),
        )
        self._outside.cancel()

    async def run(self, *, limit: MaxDelete = ALL) -> Pass | None:
        """Make a run, with what goes wrong in it; return None if it was killed."""
        self._verbs, self._after_kill, self._outside = 0, None, trio.CancelScope()
        trees = self.trees
        shutdown = Shutdown(5.0, 1.0)
        done: Pass | None = None
        with trio.fail_after(_DEADLINE), self._outside:
            done = await trees.run(
                self.rule,
                max_delete=limit,
                selection=self.selection,
                shutdown=shutdown,
                by_content=self.by_content,
                trash=TrashRule(_TRASH) if self.has_trash else None,
                source=Faulty(trees.source, self._decide),
                target=Faulty(trees.target, self._decide),
            )
        if self._after_kill is not None:
            thaw_source, thaw_target, trees.journal = self._after_kill
            thaw_source()
            thaw_target()
            self.trace.append("run: killed")
            return None
        assert done is not None
        had = [{side.files()[path] for path in self._visible(side)} for side in (trees.source, trees.target)]
        self._agreed |= had[0] & had[1]
        report = done.report
        self.met[f"exit {report.exit_code}"] += 1
        self.trace.append(f"run: {report.exit_code} {report.error or report.refused or report.failures}")
        self.trace += [f"    {event.operation}" for event in done.events if isinstance(event, Done)]
        return done

    def _trouble(self) -> None:
        """Decide what goes wrong in the next run."""
        rng = self._rng
        self._busy = rng.choice((0.0, 0.0, 0.03, 0.1))
        self._faults = rng.choice((0.0, 0.0, 0.01, 0.05))
        self.kill_at = rng.randrange(1, _MOST_VERBS) if rng.random() < 0.3 else None

    def _journal(self) -> None:
        """Lose the journal, or put an older one in its place, now and then."""
        rng = self._rng
        self._older.append(self.trees.journal.copy_to_memory())
        if rng.random() < 0.08:
            self.met["older journal"] += 1
            self.trace.append("the journal is an older one")
            self.trees.journal = rng.choice(self._older).copy_to_memory()
        elif rng.random() < 0.04:
            self.met["lost journal"] += 1
            self.trace.append("the journal is lost")
            self.trees.journal = TwoTrees().journal

    async def tell_calmly(self) -> list[tuple[dict[str, bytes | None], dict[str, bytes | None]]]:
        """Let users change both sides and runs follow, and return both trees after each run."""
        seen = []
        for _ in range(3):
            for _ in range(self._rng.randint(1, 8)):
                self.user()
                self.trees.wait(10.0)
            await self.run()
            seen.append((tree_of(self.trees.source), tree_of(self.trees.target)))
        return seen

    async def tell(self) -> None:
        """Tell all of it, and check what holds in the end."""
        for _ in range(self._rng.randint(2, 5)):
            for _ in range(self._rng.randint(1, 8)):
                self.user()
                if self._rng.random() < 0.5:
                    self.trees.wait(self._rng.choice((0.001, 1.0, 100.0)))
            self.selection = self._rng.choice(_SELECTIONS)
            self._trouble()
            await self.run()
            self._journal()
            self.check_nothing_is_lost(in_both=False)
        await self.peace()

    async def peace(self) -> None:
        """Let nothing go wrong any more: after two runs there is nothing to do, and both sides are equal."""
        self._busy = self._faults = 0.0
        self.kill_at = None
        self.selection = Selection()
        self.trees.wait(1_000.0)
        for _ in range(2):
            done = await self.run()
            assert done is not None
            assert done.report.exit_code in {0, 1}, done.report
            self.trees.wait(1_000.0)
        rest = await self.run()
        assert rest is not None
        changes = [it for it in rest.events if isinstance(it, Done) and not isinstance(it.operation, Audit | Look)]
        assert not changes, f"it does not come to rest: {changes}"
        conflicts = [it.conflict.path for it in rest.events if isinstance(it, Conflicted)]
        assert rest.report.exit_code == (1 if conflicts else 0), rest.report
        self.met["conflicts"] += len(conflicts)
        self.check_nothing_is_lost(in_both=not conflicts)
        if not conflicts:
            assert self._outside_trash(self.trees.source) == self._outside_trash(self.trees.target)
        stray = [it for side in (self.trees.source, self.trees.target) for it in side.files() if ".actorsync+" in it]
        assert not stray, f"left aside: {stray}"

    def check_nothing_is_lost(self, *, in_both: bool) -> None:
        """Check that every version is there that no user has made an end of, whichever side the rule prefers."""
        sides = self.trees.source, self.trees.target
        here, there = ({*side.files().values()} for side in sides)
        trashed = {data for side in sides for path, data in side.files().items() if _is_trashed(path)}
        lost = self.written - self.superseded - trashed - (here & there if in_both else here | there)
        assert not lost, f"lost: {sorted(lost)}"
        if self.has_trash:
            # What a user has ended on one side alone, a run has replaced or removed on the other one.
            kept = {data for data in self._agreed if len(self._ended.get(data, ())) < len(sides)}
            self.met["in the trash"] += len(kept & trashed)
            assert kept <= here | there, f"not in the trash: {sorted(kept - here - there)}"

    @staticmethod
    def _outside_trash(side: MemoryEndpoint) -> dict[str, bytes | None]:
        return {path: data for path, data in tree_of(side).items() if not _is_trashed(path)}


def _is_trashed(path: str) -> bool:
    return path == _TRASH or path.startswith(f"{_TRASH}/")


async def tell(seed: int, rule: ConflictRule = "both", has_trash: bool = False) -> TwoWayStory:
    """Tell the story of a seed. An error comes with its trace."""
    story = TwoWayStory(seed, rule, has_trash=has_trash)
    try:
        await story.tell()
    except BaseException as error:
        error.add_note("\n".join([f"seed {seed}", *story.trace]))
        raise
    return story
