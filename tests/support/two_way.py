"""Two trees in memory that are kept in step, and trees written as plain dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from actorsync.actors.shutdown import Shutdown
from actorsync.endpoints.contract import Endpoint
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.journal import Journal, open_memory_journal
from actorsync.model.event import Conflicted, Event
from actorsync.model.pair import Take
from actorsync.model.report import Report
from actorsync.pair_supervisor import supervise_pair
from actorsync.planning.pairs.rules import ConflictRule, PairRule
from actorsync.planning.pairs.settling import Settling
from actorsync.planning.publishing.rules import PublishRule, TrashRule
from actorsync.planning.selection import Selection
from actorsync.planning.temporary_names import is_own
from actorsync.policy import Allowed, Clock, Policy, RunOptions
from actorsync.profile.values.units import MaxDelete
from tests.support.mirror import QUICK
from tests.support.virtual_time import inline

__all__ = ["ALL", "Pass", "Tree", "TwoTrees", "flat", "tree_of"]

#: A directory is a dictionary, a file is its content.
Tree: TypeAlias = Mapping[str, Any]

ALL: Final = MaxDelete(100, is_percent=True)
_START_NS: Final = 1_700_000_000 * 10**9


@attrs.frozen
class Pass:
    """The report and the events of one run."""

    report: Report
    events: list[Event]

    @property
    def conflicts(self) -> list[str]:
        """The paths for which nothing was done because both sides have changed them."""
        return sorted(event.conflict.path for event in self.events if isinstance(event, Conflicted))


@attrs.define(eq=False)
class TwoTrees:
    """A source and a target in memory with a journal. Time passes only as the test says, and with each change."""

    source: MemoryEndpoint = attrs.field(init=False)
    target: MemoryEndpoint = attrs.field(init=False)
    journal: Journal = attrs.field(factory=open_memory_journal)
    is_source_remote: bool = False
    is_target_remote: bool = False
    lanes: int = 4
    now_ns: int = _START_NS
    _tokens: int = 0

    def __attrs_post_init__(self) -> None:
        self.source = self._tree("source", is_remote=self.is_source_remote)
        self.target = self._tree("target", is_remote=self.is_target_remote)

    def _tree(self, name: str, *, is_remote: bool) -> MemoryEndpoint:
        return MemoryEndpoint(
            name,
            now=self.tick,
            precision_ns=10**9 if is_remote else 1,
            inodes=not is_remote,
            lanes=self.lanes if is_remote else 1,
            is_remote=is_remote,
        )

    def tick(self) -> int:
        """Return the time, which is a millisecond later at each call."""
        self.now_ns += 1_000_001
        return self.now_ns

    def wait(self, seconds: float = 100.0) -> None:
        """Let time pass, so that no file is recent any more."""
        self.now_ns += int(seconds * 1e9)

    def _token(self) -> str:
        self._tokens += 1
        return f"{self._tokens:08x}" * 2

    async def run(
        self,
        conflict: ConflictRule = "both",
        *,
        max_delete: MaxDelete = ALL,
        selection: Selection | None = None,
        by_content: bool = False,
        copies: int = 10,
        no_links: bool = False,
        takes: Mapping[str, Take] | None = None,
        within: frozenset[str] | None = None,
        shutdown: Shutdown | None = None,
        source: Endpoint | None = None,
        target: Endpoint | None = None,
        is_plan: bool = False,
        settling: Settling | None = None,
        observe: Callable[[Event], None] = lambda _: None,
        trash: TrashRule | None = None,
    ) -> Pass:
        """Keep both trees in step once."""
        events: list[Event] = []
        policy = Policy(
            selection or Selection(),
            max_delete,
            by_content=by_content,
            allowed=Allowed(no_links=no_links),
            pair=PairRule(conflict, copies, has_trash=trash is not None),
            publish=PublishRule(trash=trash),
            connections=2,
            backoff=QUICK,
        )
        options = RunOptions(
            policy,
            shutdown or Shutdown(),
            [events.append, observe],
            clock=Clock(self.tick, self._token, inline),
            takes=takes or {},
            within=within,
            is_plan=is_plan,
            settling=settling,
        )
        report = await supervise_pair(source or self.source, target or self.target, self.journal.pairs, options)
        return Pass(report, events)


def flat(tree: Tree, above: str = "") -> dict[str, bytes | None]:
    """Return what a tree holds by path: the content of a file, None for a directory."""
    found: dict[str, bytes | None] = {}
    for name, what in tree.items():
        path = f"{above}/{name}" if above else name
        if isinstance(what, Mapping):
            found[path] = None
            found |= flat(what, path)
        else:
            found[path] = what.encode() if isinstance(what, str) else what
    return found


def tree_of(endpoint: MemoryEndpoint) -> dict[str, bytes | None]:
    """Return what an endpoint holds by path, without what belongs to actorsync itself."""
    return {path: content for path, content in _everything(endpoint).items() if not is_own(path)}


def _everything(endpoint: MemoryEndpoint) -> dict[str, bytes | None]:
    directories: dict[str, bytes | None] = dict.fromkeys(sorted(endpoint.directories() - {""}))
    return directories | endpoint.files()
