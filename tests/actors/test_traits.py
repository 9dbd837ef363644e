"""What is learned of a server: known to the sessions of a run at once, and to later runs by way of the journal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actorsync.endpoints.contract import traits_of
from actorsync.endpoints.memory.endpoint import MemoryEndpoint, MemorySession
from actorsync.endpoints.wrappers.dry_run import DryRun
from actorsync.events import Event, Learned
from actorsync.journal import open_memory_journal
from actorsync.model.operation import Side
from actorsync.model.traits import Traits
from actorsync.planning.selection import Selection
from actorsync.policy import Policy, RunOptions
from actorsync.profile.values.units import MaxDelete
from actorsync.supervisor import supervise

POLICY = Policy(selection=Selection(), max_delete=MaxDelete(100, is_percent=False))


class LearningEndpoint(MemoryEndpoint):
    """A place that learns one trait from each session."""

    def __init__(self) -> None:
        super().__init__("target")
        self.traits = Traits()

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[MemorySession]:
        async with super().open_session() as session:
            self.traits.learn("sessions", str(int(self.traits.get("sessions") or 0) + 1))
            yield session


def test_a_trait_is_news_once() -> None:
    traits = Traits()
    traits.learn("lanes", "1")
    traits.learn("lanes", "1")
    assert traits.take_news() == [("lanes", "1")]
    assert traits.take_news() == []
    traits.learn("lanes", "1")
    assert traits.take_news() == []


def test_what_an_earlier_run_knew_is_no_news_and_yields_to_what_this_run_saw() -> None:
    traits = Traits()
    traits.learn("lanes", "1")
    traits.recall({"lanes": "64", "fold": "case"})
    assert (traits.get("lanes"), traits.get("fold"), traits.get("other")) == ("1", "case", "")
    assert traits.take_news() == [("lanes", "1")]


def test_the_journal_keeps_traits_by_side() -> None:
    journal = open_memory_journal()
    journal.apply([Learned(Side.TARGET, "a:b", "ü\udcff"), Learned(Side.SOURCE, "a", "x")])
    journal.apply([Learned(Side.SOURCE, "a", "")])
    assert journal.traits(Side.TARGET) == {"a:b": "ü\udcff"}
    assert journal.traits(Side.SOURCE) == {"a": ""}


async def test_a_run_hands_traits_to_the_next_through_the_journal() -> None:
    journal, source = open_memory_journal(), MemoryEndpoint()
    source.write("a", b"1")
    seen: list[Event] = []
    for _ in range(2):
        target = LearningEndpoint()
        source.write("a", str(len(seen)).encode() * 3)
        await supervise(source, target, journal, RunOptions(POLICY, observers=(seen.append,)))
    assert int(journal.traits(Side.TARGET)["sessions"]) >= 2
    assert any(isinstance(event, Learned) for event in seen)


def test_a_wrapper_hands_the_traits_on() -> None:
    target = LearningEndpoint()
    assert traits_of(DryRun(target)) is target.traits
    assert traits_of(MemoryEndpoint()).get("sessions") == ""
