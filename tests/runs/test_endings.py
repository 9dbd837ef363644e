"""What the end of a pass leaves for the passes after it: passes over trees in memory, and their aftermath."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.backoff import Backoff
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.planning.watching.agenda import Agenda, Left
from actorsync.policy import Policy
from actorsync.profile.values.units import MaxDelete
from actorsync.runs.repeating.endings import Aftermath
from actorsync.testing.faulty_endpoint import Faulty, When
from tests.support.world.memory_mirror import ONE, Mirror


@attrs.define(eq=False)
class Passes:
    """Passes as an agenda says, without waiting for their times."""

    mirror: Mirror = attrs.Factory(lambda: Mirror(target=MemoryEndpoint("target", inodes=False)))
    agenda: Agenda = attrs.Factory(lambda: Agenda(0.2, 2.0, 3_600.0, lambda: 0.5))
    target: Faulty | None = None
    codes: list[int] = attrs.Factory(list)

    async def one(self, policy: Policy = ONE) -> Left:
        turn, after = self.agenda.begin(trio.current_time()), Aftermath(self.mirror.wall_ns)
        report = await self.mirror.run(self.target, policy=policy, observe=after.observe, within=turn.within)
        left = after.left(report)
        self.agenda.end(turn, left, trio.current_time())
        self.codes.append(report.exit_code)
        return left


@pytest.fixture
async def passes(autojump_clock: MockClock) -> Passes:
    it = Passes()
    for path in ("a/1", "a/2", "b/3", "4"):
        it.mirror.source.write(path, path.encode())
    await it.one()
    return it


async def test_files_of_a_new_directory_arrive_although_the_pass_was_cut_short(
    passes: Passes, autojump_clock: MockClock
) -> None:
    source, target = passes.mirror.source, passes.mirror.target
    is_down = False

    def decide(verb: str, when: When) -> None:
        nonlocal is_down
        is_down = is_down or (verb == "stage" and when == "before")
        if is_down:
            raise ConnectionLost("the server is down")

    for number in range(3):
        source.write(f"new/deep/{number}", b"new")
    passes.agenda.hint({""}, trio.current_time())  # and none of the directories in it
    passes.target = Faulty(target, decide)
    left = await passes.one(attrs.evolve(ONE, backoff=Backoff(initial=0.1, tries=2)))
    assert (left.is_unreachable, left.is_cut_short) == (True, True)
    assert target.directories() >= {"new", "new/deep"}
    passes.target = None
    await passes.one()
    assert passes.agenda.due() <= trio.current_time()
    await passes.one()
    assert passes.codes == [0, 5, 0, 0]
    assert target.files() == source.files()


async def test_outage_before_anything_was_done_needs_no_pass_over_everything(
    passes: Passes, autojump_clock: MockClock
) -> None:
    def decide(verb: str, when: When) -> None:
        raise ConnectionLost(f"the server is down, {when} {verb}")

    passes.mirror.source.write("new/1", b"new")
    passes.agenda.hint({""}, trio.current_time())
    passes.target = Faulty(passes.mirror.target, decide)
    left = await passes.one(attrs.evolve(ONE, backoff=Backoff(initial=0.1, tries=2)))
    assert (left.is_unreachable, left.is_cut_short) == (True, False)


async def test_what_failed_is_repeated_although_a_guard_refused(passes: Passes, autojump_clock: MockClock) -> None:
    def decide(verb: str, when: When) -> None:
        if verb == "stage" and when == "before":
            raise OperationRefused("no permission")

    source = passes.mirror.source
    source.delete("a")
    source.write("b/3", b"changed")
    passes.agenda.hint({"", "b"}, trio.current_time())
    passes.target = Faulty(passes.mirror.target, decide)
    left = await passes.one(attrs.evolve(ONE, max_delete=MaxDelete.parse("10%")))
    assert passes.codes == [0, 4]
    assert left == Left(frozenset({"b"}))
