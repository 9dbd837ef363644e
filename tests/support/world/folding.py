"""Stories of a target that takes different names for one: changes of spelling, faults and crashes, and then peace.

At every removal, and in the end, the tree of the source decides: nothing is lost that it has under any spelling.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Final

import attrs
import trio
import trio.testing

from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.memory.tree import Directory, File, Node
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.journal import Journal
from actorsync.model.entry import ancestors, join, name_of, parent_of
from actorsync.model.event import Forgotten
from actorsync.planning.name_folding import loosest_key
from actorsync.policy import Policy
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.world.memory_mirror import LANES, ONE, Mirror

__all__ = ["FoldingStory", "simulate_folding"]

#: Three names, and the spellings of each.
_NAMES: Final = ("a", "A", "b", "B", "\u00e9", "e\u0301", "\u00c9", "a.", "x", "y")


class _Target(MemoryEndpoint):
    """A target that folds names, and knows what the source has."""

    def __init__(self, source: _Source, fold: Callable[[str], str] | None) -> None:
        super().__init__("target", inodes=False, lanes=LANES, fold=fold)
        self.source = source
        self.wanted: set[str] = set()

    def take(self, path: str) -> Node:
        node = super().take(path)
        is_renamed = self.log[-1][0] == "respell" or name_of(path).lstrip(" ").startswith(".actorsync")
        if not is_renamed and self.wanted:
            assert loosest_key(path) not in self.wanted or self._is_other_kind(path, node), f"{path!r} is wanted"
        return node

    def _is_other_kind(self, path: str, node: Node) -> bool:
        """Whether the source has something else under every spelling of a name, so that the old entry makes way."""
        here = (it for it in self.source.tree_paths() if loosest_key(it) == loosest_key(path))
        return all(type(self.source.find(it)) is not type(node) for it in here)


class _Source(MemoryEndpoint):
    def tree_paths(self) -> Iterator[str]:
        yield from self.files()
        yield from self.directories()


@attrs.define(eq=False)
class FoldingStory:
    """One seed. With ``may_clash`` the source may have two names that the target takes for one."""

    seed: int
    may_clash: bool = False
    fold: Callable[[str], str] | None = loosest_key
    trace: list[str] = attrs.Factory(list)
    rng: random.Random = attrs.field(init=False)
    source: _Source = attrs.Factory(lambda: _Source("source"))
    target: _Target = attrs.field(init=False)
    mirror: Mirror = attrs.field(init=False)
    rate: float = 0.0
    steps: int = 0
    crash_at: int = -1
    crashed: tuple[Directory | None, Journal] | None = None

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.target = _Target(self.source, self.fold)
        self.mirror = Mirror(self.source, self.target)

    async def tell(self) -> None:
        rng = self.rng
        for _ in range(rng.randrange(2, 10)):
            self.change()
        for _ in range(rng.randrange(1, 5)):
            policy = attrs.evolve(ONE, connections=rng.randrange(1, 4))
            await self.run(policy, rate=rng.choice((0.0, 0.0, 0.1)), crash_at=rng.choice((-1, -1, 3, 8, 15, 30)))
            for _ in range(rng.randrange(4)):
                self.change()
        await self.converge()

    async def run(self, policy: Policy, *, rate: float = 0.0, crash_at: int = -1) -> int | None:
        self.rate, self.steps, self.crash_at, self.crashed = rate, 0, crash_at, None
        folds = self.fold is not None
        self.target.wanted = {loosest_key(path) for path in self.source.tree_paths()} if folds else set()
        self.mirror.shutdown = Shutdown(drain_seconds=1, cancel_seconds=0)
        code: int | None = None
        self.trace.append(f"run: {sorted(self.source.tree_paths())}")
        with trio.CancelScope() as self._scope:
            report = await self.mirror.run(Faulty(self.target, self.decide), policy=policy)
            code = report.exit_code
            self.trace.append(f"  -> {code} {report.failures}")
        if self.crashed is not None:
            self.target._root, self.mirror.journal = self.crashed
            self.trace.append("  crashed")
        self.trace.append(f"  target: {sorted([*self.target.files(), *self.target.directories()])}")
        return code

    _scope: trio.CancelScope = attrs.Factory(trio.CancelScope)

    def decide(self, verb: str, when: When) -> float | None:
        if self.crashed is not None:
            raise ConnectionLost("killed")
        self.steps += 1
        if self.steps == self.crash_at:
            self.crashed = copy.deepcopy(self.target._root), self.mirror.journal.copy_to_memory()
            self.target.wanted = set()
            self._scope.cancel()
            raise ConnectionLost("killed")
        if self.rng.random() < self.rate:
            if self.rng.random() < 0.5:
                raise ConnectionLost(f"lost {when} {verb}")
            if when == "before":  # a refusal after the fact leaves what nobody knows of
                raise OperationRefused(f"refused {verb}", retry=self.rng.random() < 0.5)
        return None

    def change(self) -> None:
        rng, source = self.rng, self.source
        files, folders = list(source.files()), ["", *sorted(source.directories())]
        path = join(rng.choice([folder for folder in folders if folder.count("/") < 2]), rng.choice(_NAMES))
        kind = rng.choice(("write", "write", "mkdir", "delete", "respell", "respell", "rename", "rewrite"))
        there = source.find(path)
        match kind:
            case "write" if there is None and self.is_free(path):
                source.write(path, self.data())
            case "mkdir" if there is None and self.is_free(path):
                source.write(join(path, rng.choice(_NAMES)), self.data())
            case "rewrite" if files:
                source.write(rng.choice(files), self.data())
            case "delete" if there is not None:
                source.delete(path)
            case "respell" | "rename" if files:
                old = rng.choice([*files, *folders[1:]])
                names = [it for it in _NAMES if loosest_key(it) == loosest_key(name_of(old)) or kind == "rename"]
                new = join(parent_of(old), rng.choice(names))
                node = source.find(old)
                if source.find(new) is None and node is not None and self.is_free(new, but=old):
                    source.rename(old, new)
                    source.touch(node, node.mtime_ns)
                    self.trace.append(f"{old!r} becomes {new!r}")

    def is_free(self, path: str, but: str | None = None) -> bool:
        """Whether no other path of the source has the key of ``path``, where that matters."""
        if self.may_clash:
            return True
        return loosest_key(path) not in {loosest_key(it) for it in self.source.tree_paths() if it != but}

    def data(self) -> bytes:
        return b"%d" % self.rng.randrange(10 ** self.rng.randrange(1, 12))

    async def converge(self) -> None:
        await trio.sleep(10)
        self.forget_what_crashes_left()
        code = await self.run(ONE)
        clashes = self.clashes() if self.fold is not None else set()
        if not clashes:
            if code != 0:  # what was taken for another failure of an earlier run
                code = await self.run(ONE)
            assert code == 0
            assert self.target.files() == self.source.files()
            assert self.target.directories() == self.source.directories()
            commands = len(self.target.log)
            assert await self.run(ONE) == 0
            assert self.target.log[commands:] == []
            return
        assert code == 1
        self.check_clashes(clashes)

    def forget_what_crashes_left(self) -> None:
        """Remove what a crash left on the target before the journal knew of it: it may be in the way for ever."""
        self.target.wanted = set()
        journal = self.mirror.journal
        paths = {*self.target.files(), *self.target.directories(), *(it.target.path for it in journal.subtree(""))}
        for path in sorted(paths, reverse=True):
            record = journal.record(path)
            if record is None or record.source is None:
                journal.apply([Forgotten(path)])
                if self.target.find(path) is not None and self.target.shown_as(path) == path:
                    self.target.delete(path)

    def clashes(self) -> set[str]:
        """Return the keys of names that the source has more than once."""
        keys = [loosest_key(path) for path in self.source.tree_paths()]
        return {key for key in keys if keys.count(key) > 1}

    def check_clashes(self, clashes: set[str]) -> None:
        there = {**dict.fromkeys(self.target.directories()), **self.target.files()}
        for path in self.source.tree_paths():
            is_disputed = any(loosest_key(it) in clashes for it in (*ancestors(path)[1:], path))
            node = self.source.find(path)
            wanted = node.data if isinstance(node, File) else None
            if not is_disputed:
                assert path in there, f"{path!r} is missing"
                assert there[path] == wanted, f"{path!r} has another content"
        for key in clashes:
            if not any(loosest_key(it) in clashes for it in ancestors(key)[1:]):
                spellings = [it for it in self.source.tree_paths() if loosest_key(it) == key]
                assert sum(it in there for it in spellings) == 1, f"{spellings} and {sorted(there)}"


def simulate_folding(story: FoldingStory) -> None:
    """Tell a story on virtual time. An error has its trace as a note."""
    try:
        trio.run(story.tell, clock=trio.testing.MockClock(autojump_threshold=0))
    except BaseException as error:
        error.add_note(f"seed {story.seed}:\n" + "\n".join(story.trace))
        raise
