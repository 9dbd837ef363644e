"""Anything in any order: hypothesis tells the stories here, and shrinks those that go wrong.

The real engine between two trees in memory, watched by the same oracle as the stories of ``test_simulation``. Rules
change the source, meddle with the target, set clocks, lose and restore the journal, and run, with faults, crashes and
stops; the invariants are checked at every step of a run and after each rule. At the end faults stop, two runs are made,
and the mirror has to be exact and the second run to do nothing.

``ACTORSYNC_EXAMPLES=N`` has it try N examples, at random; without it, they are few and always the same.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import attrs
import pytest
import trio
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actorsync.actors.backoff import Backoff
from actorsync.endpoints.contract import Capabilities
from actorsync.endpoints.memory.tree import Directory, File
from actorsync.errors import ConnectionLost, OperationRefused, TargetFull
from actorsync.journal import Journal
from actorsync.model.entry import Kind
from actorsync.planning.publishing.ranks import DEFAULT, NONE, Ranks
from actorsync.planning.publishing.rules import PublishRule, ResumeRule
from actorsync.planning.selection import Selection
from actorsync.policy import Policy
from actorsync.profile.values.units import MaxDelete
from tests.support import virtual_time as simulation
from tests.support.tiers import IS_FULL
from tests.support.world.world import EPOCH_NS, SECOND_NS, Moment, Stop, Weather, World

EXAMPLES = os.environ.get("ACTORSYNC_EXAMPLES")

#: Few names, so that they meet: files that become directories, and back.
PATHS: Final = st.sampled_from(("a", "b", "c", "a/a", "a/b", "b/a", "a/a/c", "c/x.tmp", "index.html", "a/s.css"))
SIZES: Final = st.sampled_from((0, 1, 7, 100, 4_097))
TIMES: Final = st.sampled_from((None, EPOCH_NS, EPOCH_NS - 10**15, -SECOND_NS))
FAULTS: Final = st.sampled_from((0.0, 0.0, 0.05, 0.3))
STOPS: Final = st.sampled_from((None, None, "drain", "cancel", "outside", "crash"))
TROUBLE: Final = st.sampled_from(
    (OperationRefused("no"), OperationRefused("not now", retry=True), ConnectionLost("lost"), TargetFull("no room"))
)


class Mirroring(RuleBasedStateMachine):
    """A world, and everything that can happen to it."""

    @initialize(
        seed=st.integers(0, 1 << 16),
        exists=st.booleans(),
        delete=st.booleans(),
        connections=st.integers(1, 3),
        lanes=st.sampled_from((1, 3)),
        limit=st.sampled_from(("100%", "50%", 1)),
        exclude=st.sampled_from(((), ("*.tmp",), ("b/",))),
        is_patient=st.booleans(),
        by_content=st.booleans(),
        is_burst=st.booleans(),
        keeps_old=st.sampled_from((True, True, False)),
        ranks=st.sampled_from((DEFAULT, DEFAULT, NONE, Ranks.of_patterns([["a", "b"], ["c"]]))),
        smallest=st.sampled_from((None, 1, 50)),
    )
    def begin(
        self,
        *,
        seed: int,
        exists: bool,
        delete: bool,
        connections: int,
        lanes: int,
        limit: str | int,
        exclude: tuple[str, ...],
        is_patient: bool,
        by_content: bool,
        is_burst: bool,
        keeps_old: bool,
        ranks: Ranks,
        smallest: int | None,
    ) -> None:
        self.seed = seed
        rng = random.Random(seed)
        world = World(rng, precision_ns=SECOND_NS, source_precision_ns=1, exists=exists)
        world.target.capabilities = Capabilities(lanes=lanes)
        world.policy = Policy(
            selection=Selection(exclude=list(exclude)),
            max_delete=MaxDelete.parse(limit),
            delete=delete,
            connections=connections,
            is_patient=is_patient,
            by_content=by_content,
            publish=PublishRule(ranks, is_burst, keeps_old=keeps_old, resume=ResumeRule(smallest)),
            backoff=Backoff(cap=4.0, jitter=rng.random),
        )
        self.world = world
        self.journals: list[Journal] = []
        self.versions = 0

    # The source.

    @rule(path=PATHS, size=SIZES, time=TIMES)
    def write(self, path: str, size: int, time: int | None) -> None:
        """Write a file, in place if it is there."""
        if not isinstance(self.world.source.find(path), Directory) and self._has_room_for(path):
            self.world.source.write(path, self._data(size), time)
            self._see()

    @rule(path=PATHS, time=TIMES)
    def replace(self, path: str, time: int | None) -> None:
        """Replace a file by rename, with one of the same size: back in time, perhaps."""
        node = self.world.source.find(path)
        if isinstance(node, File):
            self.world.source.put(path, self.world.source.new_file(self._data(len(node.data)), time))
            self._see()

    @rule(path=PATHS, time=TIMES)
    def touch(self, path: str, time: int | None) -> None:
        node = self.world.source.find(path)
        if isinstance(node, File):
            self.world.source.touch(node, time)
            self._see()

    @rule(path=PATHS)
    def append(self, path: str) -> None:
        node = self.world.source.find(path)
        if isinstance(node, File):
            self.world.source.write(path, node.data + b"+")
            self._see()

    @rule(path=PATHS)
    def truncate(self, path: str) -> None:
        if isinstance(self.world.source.find(path), File):
            self.world.source.write(path, b"")
            self._see()

    @rule(path=PATHS)
    def delete(self, path: str) -> None:
        if self.world.source.find(path) is not None:
            self.world.source.delete(path)

    @rule(old=PATHS, new=PATHS)
    def rename(self, old: str, new: str) -> None:
        if self.world.source.find(old) is not None and self._has_room_for(new):
            self.world.source.mkdir(new.rpartition("/")[0])
            self.world.rename_in_source(old, new)
            self._see()

    @rule(path=PATHS)
    def make_directory(self, path: str) -> None:
        if self.world.source.find(path) is None and self._has_room_for(path):
            self.world.source.mkdir(path)
            self._see()

    @rule(path=PATHS, kind=st.sampled_from((Kind.LINK, Kind.OTHER)))
    def put_special(self, path: str, kind: Kind) -> None:
        if self.world.source.find(path) is None and self._has_room_for(path):
            self.world.source.mkdir(path.rpartition("/")[0])
            self.world.source.put_special(path, kind)
            self._see()

    # The target.

    @rule(path=PATHS)
    def overwrite_on_target(self, path: str) -> None:
        """Write a file on the target as another client does, over one of ours or where nothing is."""
        if self.world.target.find("") is not None and self.world.free_for(path):
            self.world.overwrite(path)

    @rule(path=PATHS)
    def make_directory_on_target(self, path: str) -> None:
        world = self.world
        if world.target.find("") is not None and world.target.find(path) is None and world.free_for(path):
            with world.unwatched():
                world.target.mkdir(path)

    @rule(path=PATHS)
    def take_from_target(self, path: str) -> None:
        if self.world.target.find(path) is not None:
            self.world.take_away(path)

    @rule(path=PATHS, error=TROUBLE)
    def curse(self, path: str, error: ConnectionLost | OperationRefused) -> None:
        self.world.target.trouble[path] = error

    @rule(room=st.sampled_from((None, 0, 100, 5_000)))
    def set_room(self, room: int | None) -> None:
        self.world.target.capacity = room

    @rule(sessions=st.sampled_from((None, 1, 2)))
    def set_sessions(self, sessions: int | None) -> None:
        self.world.target.max_sessions = sessions

    # The journal, and the clocks.

    @rule()
    def keep_a_copy_of_the_journal(self) -> None:
        self.journals.append(self.world.oracle.journal.copy_to_memory())

    @precondition(lambda self: self.journals)
    @rule(data=st.data())
    def restore_an_old_journal(self, data: st.DataObject) -> None:
        self.world.restore_journal(data.draw(st.sampled_from(self.journals)))

    @rule()
    def lose_the_journal(self) -> None:
        self.world.lose_journal()

    @rule(trouble=st.sampled_from((None, "before", "after", "read")))
    def fill_the_disk_of_the_journal(self, trouble: str | None) -> None:
        self.world.journal_trouble = trouble

    @rule(seconds=st.sampled_from((-86_400, -2, -1, 1, 3, 3_600)), is_server=st.booleans())
    def set_a_clock(self, seconds: int, *, is_server: bool) -> None:
        if is_server:
            self.world.server_skew_ns += seconds * SECOND_NS
        else:
            self.world.skew_ns += seconds * SECOND_NS
            self.world.saw("clocks")

    @rule(seconds=st.sampled_from((1, 10, 4_000)))
    def wait(self, seconds: int) -> None:
        self.world.began_ns += seconds * SECOND_NS

    # Runs.

    @rule(faults=FAULTS, source_faults=FAULTS, stop=STOPS, at=st.integers(1, 120))
    def run_for_a_while(self, faults: float, source_faults: float, stop: Stop | None, at: int) -> None:
        weather = Weather(target_faults=faults, source_faults=source_faults / 3, stop=stop, stop_at=at)
        self._simulate(self.world.run, weather)

    @rule(number=st.integers(1, 6), what=st.sampled_from(("refuse", "lose", "crash", "drain", "cancel")))
    def run_into_trouble_while_publishing(self, number: int, what: Literal["refuse", "lose"] | Stop) -> None:
        """Meet it at one rename of a release: so between two ranks as well."""
        self._simulate(self.world.run, Weather(moments=(Moment("publish", number, what),)))

    @rule(number=st.integers(1, 12), what=st.sampled_from(("lose", "crash", "cancel")))
    def cut_an_upload(self, number: int, what: Literal["lose"] | Stop) -> None:
        """Break off while a file is sent."""
        self._simulate(self.world.run, Weather(moments=(Moment("read", number, what),)))

    @rule()
    def publish_in_the_other_mode(self) -> None:
        """Change the profile: file by file instead of a burst, or the reverse."""
        publish = self.world.policy.publish
        publish = attrs.evolve(publish, is_burst=not publish.is_burst)
        self.world.policy = attrs.evolve(self.world.policy, publish=publish)

    @rule()
    def run_in_peace(self) -> None:
        self._simulate(self.world.run, Weather())

    # What is true after each of them.

    @invariant()
    def nothing_was_wrong(self) -> None:
        if hasattr(self, "world"):
            self.world.oracle.check_target()
            self.world.oracle.check_journal()
            assert not self.world.oracle.violations

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self._simulate(self.world.converge)

    # How.

    def _has_room_for(self, path: str) -> bool:
        """Whether nothing but directories stands above ``path`` in the source."""
        parents = [path[:end] for end in range(len(path)) if path[end] == "/"]
        return all(isinstance(self.world.source.find(above), Directory | None) for above in parents)

    def _data(self, size: int) -> bytes:
        self.versions += 1
        return (b"%d " % self.versions * (size // 2 + 1))[:size]

    def _see(self) -> None:
        self.world.oracle.see_source(self.world.source)

    def _simulate(self, work: Callable[..., Awaitable[object]], *args: object) -> None:
        """Go on from where the last run has stopped: virtual time begins anew, the time of day does not."""
        self.seed += 1
        seconds = 0.0

        async def and_tell_the_time() -> None:
            nonlocal seconds
            try:
                await work(*args)
            finally:
                seconds = trio.current_time()

        simulation.simulate(and_tell_the_time, seed=self.seed)
        self.world.began_ns += int(seconds * SECOND_NS) + 1


TestMirroring = pytest.mark.scaled(Mirroring.TestCase)
TestMirroring.settings = settings(
    max_examples=int(EXAMPLES or (200 if IS_FULL else 60)),
    stateful_step_count=25,
    derandomize=EXAMPLES is None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
    database=None,
)
