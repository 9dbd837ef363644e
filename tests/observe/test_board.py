"""The board: what the state of a mirror is after events, and its status as JSON."""

from __future__ import annotations

import json
import os

import attrs
import pytest

from actorsync.actors.control import Control
from actorsync.actors.statistics import ConnectionLevel, LaneLevel
from actorsync.endpoints.contract import Upload
from actorsync.model.entry import Entry, Kind, Problem
from actorsync.model.event import (
    BreakerOpened,
    Conflicted,
    ConflictEnded,
    Drifted,
    DriftEnded,
    Event,
    Noticed,
    Parked,
    PassBegan,
    Reconnecting,
    Recovered,
    Resumed,
    Scanned,
    Started,
    Stopped,
    Warned,
    WatchLost,
    WatchStarted,
)
from actorsync.model.operation import Copy, Done, Failed, Fault, Remove
from actorsync.model.pair import Conflict
from actorsync.model.report import Report, Run
from actorsync.observe.board import Board, MirrorState, Pace
from actorsync.observe.rates import Rates
from actorsync.observe.status import status_json, status_of
from actorsync.testing.conformance.contents import MemoryContent
from tests.support.every_event import EVERY_EVENT
from tests.support.web import a_state

STARTED = Started("a", "b", 1)
GOOD, BAD = Report(0, 100.0, 5.0, copied=1, copied_bytes=7), Report(1, 100.0, 5.0, failed=2)


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def after(*events: Event, state: MirrorState | None = None) -> MirrorState:
    state = state or a_state()
    for event in events:
        state.observe(event)
    return state


def seen(state: MirrorState) -> dict[str, object]:
    """Return the state of the one mirror as a reader of the status gets it."""
    board = Board()
    board.add(state)
    (mirror,) = json.loads(status_json(board, "1.2.3", 1_000.0))["mirrors"]
    assert isinstance(mirror, dict)
    return mirror


@pytest.mark.parametrize(
    ("events", "condition"),
    [
        ([], "idle"),
        ([STARTED], "running"),
        ([STARTED, Stopped(GOOD)], "idle"),
        ([WatchStarted("inotify", 3), STARTED, Stopped(GOOD)], "waiting"),
        ([WatchStarted("inotify", 3), STARTED, Stopped(GOOD), WatchLost("overflow")], "waiting"),
        ([STARTED, Stopped(BAD)], "failed"),
        ([STARTED, Stopped(BAD), STARTED], "running"),
        ([STARTED, Stopped(Report(3, 0.0, 0.0, drained=True))], "idle"),
        ([STARTED, Stopped(Report(9, 0.0, 0.0))], "idle"),
        ([Stopped(Report(130, 0.0, 0.0))], "idle"),
    ],
)
def test_condition_follows_the_events(events: list[Event], condition: str) -> None:
    assert after(*events).condition == condition


def test_pause_of_the_user_shows() -> None:
    state = after(STARTED)
    state.control.pause()
    assert (seen(state)["state"], seen(state)["paused"]) == ("paused", True)


def test_next_pass_is_due_when_the_profile_says_so() -> None:
    clock = Clock()
    state = MirrorState("a", "s", "t", a_state().statistics, Control(), "a", Pace(every=60.0), clock=clock)
    state.observe(STARTED)
    clock.now = 10.0
    state.observe(Stopped(GOOD))
    assert (state.next_at, state.condition) == (60.0, "waiting")


SOME, OTHER = PassBegan("a change", ("a", "b")), PassBegan("a change", ("c",))
ALL = PassBegan("reconcile")
IN_SYNC = (ALL, STARTED, Stopped(GOOD))


def passes(*ends: tuple[PassBegan, Report]) -> MirrorState:
    return after(*(event for began, report in ends for event in (began, STARTED, Stopped(report))))


@pytest.mark.parametrize(
    ("events", "hinted_at"),
    [
        ([Noticed()], 1.0),
        ([Noticed(), ALL], 1.0),
        ([Noticed(), ALL, STARTED, Stopped(GOOD)], None),
        ([Noticed(), ALL, STARTED, Stopped(BAD)], 1.0),
        ([Noticed(), ALL, Noticed(), STARTED, Stopped(GOOD)], 3.0),
        ([Noticed(), ALL, Noticed(), STARTED, Stopped(BAD)], 1.0),
        ([Noticed(), ALL, STARTED, Stopped(BAD), Noticed(), ALL, STARTED, Stopped(GOOD)], None),
        ([ALL, STARTED, Noticed(), Stopped(BAD)], 3.0),
        (
            [
                ALL,
                STARTED,
                Stopped(GOOD),
                Noticed(),
                SOME,
                STARTED,
                Stopped(BAD),
                Noticed(),
                OTHER,
                STARTED,
                Stopped(GOOD),
            ],
            4.0,
        ),
    ],
)
def test_oldest_change_that_is_not_live_is_known(events: list[Event], hinted_at: float | None) -> None:
    state = a_state()
    for second, event in enumerate(events, 1):
        state.clock = float(second).__float__
        state.observe(event)
    assert state.hinted_at == hinted_at


@pytest.mark.parametrize(
    ("state", "is_good"),
    [
        (passes(), False),
        (passes((ALL, GOOD)), True),
        (passes((SOME, GOOD)), False),
        (passes((ALL, BAD), (SOME, GOOD)), False),
        (passes((ALL, GOOD), (SOME, BAD)), False),
        (passes((ALL, GOOD), (SOME, BAD), (OTHER, GOOD)), False),
        (passes((ALL, GOOD), (SOME, BAD), (SOME, GOOD)), True),
        (passes((ALL, GOOD), (SOME, BAD), (ALL, GOOD)), True),
        (passes((ALL, GOOD), (ALL, BAD), (SOME, GOOD)), False),
        (passes((ALL, GOOD), (ALL, attrs.evolve(BAD, is_audit=True))), True),
    ],
)
def test_pass_over_some_directories_says_nothing_about_the_others(state: MirrorState, is_good: bool) -> None:
    assert state.history.is_good is is_good
    assert (state.why_not_ready() is None) is is_good


def test_directories_of_a_pass_do_not_stick_to_the_next_one() -> None:
    state = after(SOME, STARTED, Stopped(GOOD), STARTED, Stopped(GOOD))
    runs = seen(state)["runs"]
    assert isinstance(runs, list)
    assert [run["scope"] for run in runs] == [None, 2]


def test_success_that_is_too_old_is_not_ready() -> None:
    clock = Clock()
    state = MirrorState("a", "s", "t", a_state().statistics, pace=Pace(stale_after=60.0), clock=clock)
    after(STARTED, Stopped(GOOD), state=state)
    clock.now = 60.0
    assert state.why_not_ready() is None
    clock.now = 61.0
    assert state.why_not_ready() == "the last success was 61 s ago, and observe.stale-after is 60 s"


def test_runs_of_earlier_processes_are_shown_newest_first() -> None:
    state = a_state()
    state.history.restore([Run(3, 300.0, None), Run(2, 200.0, BAD), Run(1, 100.0, GOOD)])
    assert (state.last, state.last_success_at, state.history.is_good) == (BAD, 105.0, False)


def test_status_has_the_form_that_readers_rely_on() -> None:
    state = after(
        WatchStarted("inotify", 12, "why"),
        ALL,
        STARTED,
        Scanned("d", 0, 0, 0, (Problem("d/x", "no permission"), Problem("d/y", "gone", vanished=True))),
        Failed(Copy(Entry("a", Kind.FILE, 3)), "refused"),
        Failed(Copy(Entry("p", Kind.FILE, 3)), "parked", Fault.PARKED),
        BreakerOpened("down", "no answer", 1.0),
        Parked("p", None, 3, 10.0, 20.0, "refused", 80.0),
        Parked("once", None, 1, 10.0, 20.0, "refused"),
        Drifted("e", Entry("e", Kind.FILE, 3), None, 30.0),
    )
    lane = LaneLevel("sending", Upload("a", ".a.tmp", MemoryContent(b"abc"), 2), 3)
    state.statistics.connections = [ConnectionLevel(1, "ready", True, [lane]), ConnectionLevel(2)]
    state.freshness.hinted_at = 40.0
    mirror = seen(state)
    board = Board()
    board.add(state)
    whole = status_of(board, "1.2.3", 1_000.0)
    assert (whole["version"], whole["pid"], whole["now"]) == ("1.2.3", os.getpid(), 1_000.0)
    assert mirror["watch"] == {"how": "inotify", "directories": 12, "why": "why", "hinted_at": 40.0}
    assert mirror["failures"] == [{"path": "d/x", "reason": "no permission"}, {"path": "a", "reason": "refused"}]
    assert mirror["parked"] == [{"path": "p", "reason": "refused", "since": 10.0, "failures": 3, "retry_at": 80.0}]
    assert mirror["drift"] == [{"path": "e", "since": 30.0, "was": {"kind": "file", "size": 3}, "now": None}]
    assert mirror["breaker"] == {"cause": "down", "reason": "no answer", "delay": 1.0}
    assert mirror["connections"] == [
        {"number": 1, "state": "sending", "connected": True, "path": "a", "sent": 2, "size": 3, "uploads": 1},
        {"number": 2, "state": "connecting", "connected": False, "path": None, "sent": 0, "size": 0, "uploads": 0},
    ]
    assert (mirror["reason"], mirror["conflicts"], mirror["last"]) == ("reconcile", [], None)
    state.observe(Stopped(attrs.evolve(BAD, error="no more")))
    last = seen(state)["last"]
    assert last == {
        "result": "not in sync",
        "exit_code": 1,
        "began_at": 100.0,
        "seconds": 5.0,
        "scope": None,
        "copied": 0,
        "copied_bytes": 0,
        "removed": 0,
        "moved": 0,
        "failed": 2,
        "error": "no more",
    }


def test_conflicts_are_shown_until_they_end() -> None:
    versions = Entry("a", Kind.FILE, 3), Entry("a", Kind.FILE, 4)
    conflict = Conflict("a", *versions, "changed on both sides", 30.0)
    state = after(Conflicted(conflict), STARTED)
    state.troubles.restore([], [], [attrs.evolve(conflict, path="b", target=None)])
    mirror = seen(state)
    assert mirror["conflicts"] == [
        {
            "path": "a",
            "reason": "changed on both sides",
            "since": 30.0,
            "source": {"kind": "file", "size": 3},
            "target": {"kind": "file", "size": 4},
        },
        {
            "path": "b",
            "reason": "changed on both sides",
            "since": 30.0,
            "source": {"kind": "file", "size": 3},
            "target": None,
        },
    ]
    assert mirror["conflicts_total"] == 2
    state.observe(ConflictEnded("a"))
    assert [it["path"] for it in seen(state)["conflicts"]] == ["b"]


def test_what_is_over_is_no_longer_shown() -> None:
    drifted = Drifted("e", Entry("e", Kind.FILE, 3), None, 30.0)
    state = after(
        Parked("p", None, 3, 10.0, 20.0, "refused", 80.0),
        Recovered("p", was_parked=True),
        drifted,
        DriftEnded("e"),
        BreakerOpened("down", "no answer", 1.0),
        Resumed("down"),
        Failed(Copy(Entry("a", Kind.FILE, 3)), "refused"),
        STARTED,
    )
    mirror = seen(state)
    assert [mirror[it] for it in ("parked", "drift", "failures", "breaker")] == [[], [], [], None]
    assert [mirror[f"{it}_total"] for it in ("parked", "drift", "failures")] == [0, 0, 0]


def test_hundred_thousand_troubles_are_counted_and_a_hundred_kept() -> None:
    state = a_state()
    for number in range(2_000):
        state.observe(Parked(f"p{number}", None, 3, 10.0, 20.0, "refused", 80.0))
        state.observe(Parked(f"p{number}", None, 4, 10.0, 20.0, "refused", 80.0))
        state.observe(Failed(Copy(Entry(f"p{number}", Kind.FILE, 3)), "refused"))
    mirror = seen(state)
    parked, failures = mirror["parked"], mirror["failures"]
    assert isinstance(parked, list)
    assert isinstance(failures, list)
    assert (len(parked), mirror["parked_total"]) == (100, 2_000)
    assert (len(failures), mirror["failures_total"]) == (20, 2_000)
    for number in range(2_000):
        state.observe(Recovered(f"p{number}", was_parked=True))
    assert seen(state)["parked_total"] == 0


def test_plot_covers_ten_minutes_and_has_no_sample_from_the_future() -> None:
    rates = Rates()
    for second in range(2_000):
        rates.sample(float(second), 10_000.0 + second, second * 1_000)
    assert (rates.now, len(rates.plot)) == (1_000.0, 300)
    assert rates.plot[0][0] > 10_000 + 2_000 - 605
    rates.sample(2_000.0, 5_000.0, 2_000_000)  # the clock was set back
    assert list(rates.plot) == [(5_000.0, 1_000.0)]


def test_every_event_is_folded_and_reaches_the_readers() -> None:
    state, heard = a_state(), list[Event]()
    state.readers.add(heard.append)
    for event in EVERY_EVENT:
        state.observe(event)
    assert heard == list(EVERY_EVENT)
    assert state.readers.revision == len(heard)
    assert seen(state)["name"] == "shop"


def test_reader_that_raises_is_not_called_again_and_the_others_are(caplog: pytest.LogCaptureFixture) -> None:
    state, heard = a_state(), list[Event]()

    def broken(event: Event) -> None:
        raise KeyError(event)

    state.readers.add(broken)
    state.readers.add(heard.append)
    after(Warned("a"), Warned("b"), state=state)
    assert heard == [Warned("a"), Warned("b")]
    assert len(caplog.records) == 1


def test_counts_grow_over_passes() -> None:
    copied = Done(Copy(Entry("a", Kind.FILE, 3)), Entry("a", Kind.FILE, 3))
    removed = Done(Remove(Entry("b", Kind.FILE, 3)))
    state = after(*(STARTED, copied, removed, Reconnecting(1, "lost", 1.0), Stopped(GOOD)) * 2)
    counters = state.counters
    assert (counters.files_done, counters.bytes_sent, counters.removed, counters.reconnects) == (2, 6, 2, 2)
    assert (counters.passes, counters.pass_seconds) == (2, 10.0)
