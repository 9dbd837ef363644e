"""How the source is looked at: in rows, many directories at a time, and never for longer than is worth a hop."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from actorsync.actors.messages import Fact, Finding, Several, Turn
from actorsync.actors.scanner import Scanner, is_slow, select
from actorsync.actors.statistics import Statistics
from actorsync.endpoints.contract import Endpoint
from actorsync.endpoints.local import tree as local_tree
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.local.tree import Tree
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.model.entry import WHOLE_TREE, Entry, Kind, Listing, Problem, ScanComplete, Scope
from actorsync.model.event import Scanned
from actorsync.model.left_out import LeftOut
from actorsync.model.row import ListingRows, encode, entries_of, rows_of
from actorsync.planning.selection import Selection
from tests.support.world.memory_mirror import ONE, Mirror

ENTRIES = (
    Entry("d/b", Kind.FILE, 3, 1, 2, 3),
    Entry("d/a", Kind.DIRECTORY),
    Entry("d/l", Kind.LINK, 0, 5, None, None),
    Entry("d/\udcff", Kind.OTHER, 0, -1, 1 << 64, 1 << 65),
)


def test_rows_hold_the_entries_sorted_by_name() -> None:
    listed = rows_of(Listing("d", ENTRIES, frozenset({"x"})))
    assert tuple(entries_of("d", listed.rows)) == tuple(sorted(ENTRIES, key=lambda entry: encode(entry.path)))
    assert listed.hidden == {"x"}
    assert listed.problem is None


def test_excluded_entries_and_special_files_are_hidden() -> None:
    listed = rows_of(Listing("d", ENTRIES))
    selected, problems = select(listed, Selection())
    assert ([row[0] for row in selected.rows], problems) == ([b"a", b"b"], ())
    assert selected.hidden == {"l", "\udcff"}
    selected, problems = select(listed, Selection(exclude=("b",)), links_are_errors=True)
    assert [row[0] for row in selected.rows] == [b"a"]
    assert selected.hidden == {"b", "l", "\udcff"}
    assert [problem.path for problem in problems] == ["d/l"]
    unknown = ListingRows("d", problem=Problem("d", "no"))
    assert select(unknown, Selection()) == (unknown, (Problem("d", "no"),))


async def test_report_counts_what_is_left_out_by_the_reason(autojump_clock: MockClock) -> None:
    mirror = Mirror()
    for path in ("a", "b.log", "d/c.log", "d/e", "secret/key", ".git/config"):
        mirror.source.write(path, b"content")
    for path, kind in (("l", Kind.LINK), ("d/l", Kind.LINK), ("pipe", Kind.OTHER), ("l.log", Kind.LINK)):
        mirror.source.put_special(path, kind)
    for path in ("mine", "theirs/1", "theirs/2"):
        mirror.target.write(path, b"content of others")
    selection = Selection(exclude=("*.log",), private=frozenset({"secret"}), keeps_git_back=True)
    for copied in (2, 0):
        report = await mirror.run(policy=attrs.evolve(ONE, selection=selection))
        assert (report.exit_code, report.copied) == (0, copied)
        assert report.left_out == LeftOut(excluded=3, links=2, special=1, private=2, foreign=4)
        assert report.hidden == 3 + 2 + 1 + 2
    report = await mirror.run(policy=attrs.evolve(ONE, selection=selection, links="error"))
    assert (report.exit_code, report.failed, report.left_out.links) == (1, 2, 0), "failures have names"


async def test_links_that_lead_outside_or_nowhere_are_counted_where_links_are_followed(tmp_path: Path) -> None:
    source, outside = tmp_path / "source", tmp_path / "outside"
    source.mkdir()
    outside.mkdir()
    (source / "plain").touch()
    for name, leads_to in (("inside", "plain"), ("media", outside), ("gone", "nowhere"), ("circle", ".")):
        (source / name).symlink_to(leads_to)
    mirror = Mirror()
    policy = attrs.evolve(ONE, links="follow")
    report = await mirror.run(source=LocalEndpoint(source, links="follow"), policy=policy)
    assert (report.exit_code, set(mirror.target.files())) == (0, {"plain", "inside"})
    assert report.left_out == LeftOut(outside=3)


def test_is_slow_compares_time_with_the_number_of_entries() -> None:
    assert not is_slow(0.02, 2_000)
    assert not is_slow(0.004, 1)
    assert is_slow(0.02, 20)


def test_list_many_stops_after_enough_rows_with_whole_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        (tmp_path / f"d{number}").mkdir()
        for file in range(3):
            (tmp_path / f"d{number}" / f"{file}").touch()
    tree, names = Tree(os.fspath(tmp_path)), [f"d{number}" for number in range(5)]
    monkeypatch.setattr(local_tree, "_MANY_ROWS", 7)
    monkeypatch.setattr(local_tree, "_LONG_ENOUGH", 60.0)
    assert [(listed.directory, len(listed.rows)) for listed in tree.list_many(names)] == [
        ("d0", 3),
        ("d1", 3),
        ("d2", 3),
    ]
    monkeypatch.setattr(local_tree, "_LONG_ENOUGH", -1.0)
    assert [listed.directory for listed in tree.list_many(names)] == ["d0"]
    (tmp_path / "d0").rename(tmp_path / "gone")
    monkeypatch.undo()
    monkeypatch.setattr(local_tree, "_LONG_ENOUGH", 60.0)
    first, *others = tree.list_many(names)
    assert first.problem is not None
    assert first.problem.vanished
    assert [len(listed.rows) for listed in others] == [3] * 4


async def scan(source: Endpoint, *begin_at: str) -> tuple[list[Finding], list[Fact]]:
    send_listing, listings = trio.open_memory_channel[Finding](1_000)
    send_fact, facts = trio.open_memory_channel[Fact](1_000)
    scanner = Scanner(source, Selection(), Statistics(), Turn(), begin_at=begin_at or ("",))
    await scanner.run(send_listing, send_fact)
    return [finding async for finding in listings], [fact async for fact in facts]


async def test_every_directory_is_listed_once_after_its_parent(tmp_path: Path, autojump_clock: MockClock) -> None:
    memory = MemoryEndpoint("source")
    for number in range(200):
        path = f"{number % 3}/{number % 7}/{number}"
        memory.write(path, b"x")
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    for source in (memory, LocalEndpoint(tmp_path)):
        findings, facts = await scan(source)
        assert findings.pop() == ScanComplete(await source.identify(), WHOLE_TREE)
        told = [listed.directory for finding in findings if isinstance(finding, tuple) for listed in finding]
        assert len(told) == len(set(told)) == 1 + 3 + 21
        assert all(directory.rpartition("/")[0] in told[:at] for at, directory in enumerate(told) if directory)
        events = [event for fact in facts if isinstance(fact, Several) for event in fact.events]
        assert sum(event.files for event in events if isinstance(event, Scanned)) == 200


async def test_scan_that_begins_at_directories_lists_only_these_and_what_is_below(autojump_clock: MockClock) -> None:
    source = MemoryEndpoint("source")
    for path in ("x", "a/x", "a/b/x", "c/x", "c/d/x", "c/d/e/x", "f/x"):
        source.write(path, b"x")
    findings, _ = await scan(source, "c/d", "a", "a/b")
    assert findings.pop() == ScanComplete(await source.identify(), Scope.of(["a", "c/d"]))
    listed = [it.directory for finding in findings if isinstance(finding, tuple) for it in finding]
    assert sorted(listed) == ["a", "a/b", "c/d", "c/d/e"]
