"""The standard library's logger ``actorsync``."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import actorsync
from actorsync.events import Conflict, Conflicted, Done, Entry, Event, Kind, Remove, Side, Started
from actorsync.profile import Profile
from actorsync.runs.log_events import log_observer
from tests.support.every_event import EVERY_EVENT


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "actorsync")


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "actorsync"]


def test_run_is_logged_at_the_levels_of_its_events(
    profile: Profile, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (source / "link").symlink_to("a.txt")
    actorsync.run(profile.path, overrides={"sync.links": "error"})
    first, *between, last = logged(caplog)
    assert first == ("INFO", f"mirroring {source} to {tmp_path / 'target'}, 4 connections")
    assert sorted(between) == [
        ("DEBUG", "+ a.txt"),
        ("DEBUG", "+ sub/"),
        ("DEBUG", "+ sub/b.txt"),
        ("ERROR", 'failed: link: is a symbolic link, and links = "error"'),
    ]
    assert last[0] == "ERROR"
    assert last[1].startswith("not in sync: 2 copied (3 B), 1 directory made, 0 removed, 1 failed in ")
    assert [it for it in caplog.records if isinstance(vars(it).get("event"), Done)] != []


def test_plan_is_not_logged(profile: Profile, caplog: pytest.LogCaptureFixture) -> None:
    actorsync.plan(profile.path)
    assert logged(caplog) == []


@pytest.mark.parametrize("event", EVERY_EVENT, ids=lambda event: type(event).__name__)
def test_every_event_can_be_logged(event: Event, caplog: pytest.LogCaptureFixture) -> None:
    observe = log_observer()
    assert observe is not None, "pytest has set logging up"
    observe(event)
    assert all(text and "\n" not in text for _, text in logged(caplog))


def test_conflict_is_logged_as_an_error_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    observe = log_observer()
    assert observe is not None, "pytest has set logging up"
    observe(Conflicted(Conflict("d/\n", Entry("d/\n", Kind.FILE), None, "changed on both sides, and different")))
    assert logged(caplog) == [("ERROR", "conflict: d/\\x0a: changed on both sides, and different")]


def test_nothing_observes_where_logging_is_not_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("actorsync"), "propagate", False)
    assert log_observer() is None
    monkeypatch.setattr(logging.getLogger("actorsync"), "handlers", [logging.StreamHandler()])
    assert log_observer() is not None


def test_change_of_a_two_way_run_is_logged_with_its_side(caplog: pytest.LogCaptureFixture) -> None:
    observe = log_observer()
    assert observe is not None, "pytest has set logging up"
    observe(Started("/s", "/t", 1, is_two_way=True))
    observe(Done(Remove(Entry("a", Kind.FILE), side=Side.SOURCE)))
    assert logged(caplog)[1:] == [("DEBUG", "<- - a")]
