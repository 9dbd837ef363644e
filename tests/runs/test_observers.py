"""Observers of a run: async functions, errors, and what cannot be called."""

from __future__ import annotations

import attrs
import pytest
import trio
import trio.testing

import actorsync
from actorsync import Event
from actorsync.actors.feed import CAPACITY, Feed
from actorsync.actors.observers import Observer
from actorsync.actors.shutdown import Shutdown
from actorsync.errors import StageFailed
from actorsync.events import Started, Stopped, Warned
from actorsync.profile import Profile
from actorsync.runs.options import options_for
from actorsync.runs.repeating.repeat import run_forever
from actorsync.runs.runner import run_once

pytestmark = pytest.mark.usefixtures("source")


def test_async_observer_gets_every_event_in_order(profile: Profile) -> None:
    plain: list[Event] = []
    seen: list[Event] = []

    async def observe(event: Event) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(event)

    report = actorsync.run(profile.path, observers=[plain.append, observe])
    assert seen == plain
    assert seen[-1] == Stopped(report)


async def test_async_observer_sees_every_pass_of_a_repeated_run(profile: Profile) -> None:
    shutdown = Shutdown()
    seen: list[Event] = []

    async def observe(event: Event) -> None:
        seen.append(event)
        if isinstance(event, Stopped) and sum(isinstance(it, Stopped) for it in seen) == 2:
            shutdown.drain()
        await trio.lowlevel.checkpoint()

    repeated = attrs.evolve(profile, sync=attrs.evolve(profile.sync, every=0.0))
    assert await run_forever(repeated, options_for(repeated, shutdown=shutdown, observers=[observe])) == 0
    assert [type(event) for event in seen if isinstance(event, Started | Stopped)] == [Started, Stopped] * 2


async def test_endless_feed_waits_for_its_reader_again_in_the_next_pass() -> None:
    feed = Feed(is_read=True, is_endless=True)
    for _ in range(CAPACITY):
        feed.observe(Warned("a"))
    feed.release()  # the pass before ends
    await feed.room()
    feed.observe(Started("source", "target", 1))
    with trio.move_on_after(0) as waiting:
        await feed.room()
    assert waiting.cancelled_caught
    feed.close()
    assert len([event async for event in feed]) == CAPACITY + 1


class Broken:
    """An observer that fails at the first event of a kind, and counts its calls after that."""

    def __init__(self, kind: type[Event]) -> None:
        self.kind, self.has_failed, self.later = kind, False, 0

    def fail(self, event: Event) -> None:
        self.later += self.has_failed
        if isinstance(event, self.kind):
            self.has_failed = True
            raise KeyError("mine")

    async def fail_later(self, event: Event) -> None:
        await trio.lowlevel.checkpoint()
        self.fail(event)


@pytest.mark.parametrize("is_async", [False, True], ids=["function", "async function"])
@pytest.mark.parametrize("kind", [Started, Stopped])
async def test_observer_that_raises_ends_the_run_with_stage_failed(
    kind: type[Event], is_async: bool, profile: Profile
) -> None:
    broken, others = Broken(kind), list[Event]()
    observer: Observer = broken.fail_later if is_async else broken.fail
    with pytest.raises(StageFailed, match=r"^the observer Broken\.fail(_later)? raised KeyError: 'mine'$") as raised:
        await run_once(profile, options_for(profile, observers=[observer, others.append]))
    assert isinstance(raised.value.__cause__, KeyError)
    assert broken.later == 0
    last = others[-1]
    assert isinstance(last, Stopped)
    assert last.report.exit_code == (7 if kind is Started else 0)
    assert (await run_once(profile)).exit_code == 0, "what was done is in the journal"


@pytest.mark.parametrize("level", ["drain", "cancel"])
async def test_async_observer_that_never_returns_does_not_outlast_a_stop(level: str, profile: Profile) -> None:
    shutdown = Shutdown(drain_seconds=0.0)
    is_waiting = trio.Event()

    async def observe(event: Event) -> None:
        is_waiting.set()
        await trio.sleep_forever()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            options = options_for(profile, shutdown=shutdown, observers=[observe])
            nursery.start_soon(run_once, profile, options)
            await is_waiting.wait()
            getattr(shutdown, level)()


@pytest.mark.parametrize(
    ("observers", "reason"),
    [
        ([3], "observers: 3 cannot be called; give functions that take an event"),
        ([None], "observers: None cannot be called; give functions that take an event"),
        (print, r"observers= takes a list: observers=\[print\]"),
    ],
)
def test_observer_that_cannot_be_called_is_a_type_error_at_once(
    observers: list[Observer], reason: str, profile: Profile
) -> None:
    for call in (actorsync.run, actorsync.plan):
        with pytest.raises(TypeError, match=reason):
            call(profile.path.with_name("missing.toml"), observers=observers)
    with pytest.raises(TypeError, match=reason):
        options_for(profile, observers=observers)
