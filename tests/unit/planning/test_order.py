"""Which file arrives when: ranks, biggest first, one connection free of big files; and what that costs in memory."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorsync.model.entry import Entry, Kind
from actorsync.model.kept import Kept
from actorsync.model.operation import (
    Copy,
    Done,
    Failed,
    MakeDirectory,
    Move,
    Operation,
    Outcome,
    Prepare,
    Remove,
    Returned,
    Skipped,
)
from actorsync.planning.order.arrivals import Arrivals
from actorsync.planning.order.copy_heap import CopyHeap
from actorsync.planning.publishing.forecast import burst_seconds
from actorsync.planning.publishing.ranks import DEFAULT, NONE, Ranks
from actorsync.planning.schedule import Schedule
from tests.support.tiers import amount

MIB = 1 << 20


def copy(path: str, size: int = 1) -> Copy:
    return Copy(Entry(path, Kind.FILE, size, 1))


def move(path: str, old: str) -> Move:
    return Move(Entry(path, Kind.FILE, 1, 1), Entry(old, Kind.FILE, 1, 1))


def remove(path: str, kind: Kind = Kind.FILE) -> Remove:
    return Remove(Entry(path, kind, 1, 1))


def schedule_of(*operations: Operation, ranks: Ranks = DEFAULT, big: int | None = None, width: int = 4) -> Schedule:
    schedule = Schedule(Arrivals(ranks, big=big))
    schedule.arrivals.connections = width
    for operation in operations:
        schedule.add(operation)
    return schedule


def given_out(schedule: Schedule) -> list[str]:
    """Give out all that can be, without any outcome."""
    paths: list[str] = []
    while (batch := schedule.next_batch()) is not None:
        paths += [operation.path for operation in batch]
    return paths


# Ranks.


@pytest.mark.parametrize(
    ("paths", "rank"),
    [
        (
            "wp-content/themes/x/style.css assets/app-4f3a.js a/B.PNG _next/static/chunks/1.js app.js.br f.wasm",
            0,
        ),
        ("backup.sql report.docx backup.tar.gz LICENSE data.parquet .env", 1),
        ("about.html wp-login.php about.html.gz page-data/x/page-data.json about.txt search.json video/a.m3u8", 2),
        ("index.html blog/index.php public/index.php index.html.br index.xml index.txt en/sitemap.xml sw.js", 3),
        (
            ".htaccess build/manifest.json mix-manifest.json site.webmanifest feed.xml ngsw.json _redirects robots.txt",
            3,
        ),
    ],
)
def test_built_in_ranks_know_the_files_of_real_sites(paths: str, rank: int) -> None:
    assert {path: DEFAULT.of(path) for path in paths.split()} == dict.fromkeys(paths.split(), rank)


def test_last_rank_that_matches_a_path_or_a_directory_above_it_counts() -> None:
    ranks = Ranks.of_patterns([["*.html", "late/"], ["index.html"]])
    found = [ranks.of(path) for path in ("a.css", "a.html", "d/late/x/a.css", "d/index.html", "index.html")]
    assert found == [0, 1, 1, 2, 2]


def test_lowest_rank_is_sent_during_the_scan_and_others_wait_for_its_end() -> None:
    schedule = schedule_of(copy("index.html", 9), copy("a.html", 8), copy("a.css", 1), copy("data", 7))
    assert given_out(schedule) == ["a.css", "data"]
    assert not schedule.is_idle
    for path, size in (("a.css", 1), ("data", 7)):
        schedule.settle(Done(copy(path, size)))
    assert schedule.is_idle, "what waits for the end of the scan must not keep it from ending"
    schedule.arrivals.note_whole()
    assert given_out(schedule) == ["a.html"]
    schedule.settle(Failed(copy("a.html", 8), "refused"))
    assert given_out(schedule) == ["index.html"], "a file that fails does not hold back the ranks after it"


def test_held_copies_do_not_fill_the_window() -> None:
    schedule = Schedule(Arrivals(DEFAULT), window=2)
    for number in range(5):
        schedule.add(copy(f"{number}.html"))
    schedule.add(copy("a.css"))
    assert not schedule.is_full
    schedule.add(copy("b.css"))
    assert schedule.is_full


def test_without_ranks_the_biggest_file_goes_first() -> None:
    schedule = schedule_of(copy("index.html", 9), copy("a.css", 1), copy("a.html", 5), ranks=NONE)
    assert given_out(schedule) == ["index.html", "a.html", "a.css"]


def test_prepared_files_have_no_rank() -> None:
    prepared = [Prepare(copy(path, size).source) for path, size in (("a.css", 1), ("index.html", 9), ("b.html", 5))]
    assert given_out(schedule_of(*prepared)) == ["index.html", "b.html", "a.css"]


def test_moves_go_in_ranks_with_the_copies() -> None:
    moves = [move("v2/index.html", "v1/index.html"), move("v2/a.css", "v1/a.css")]
    schedule = schedule_of(copy("b.css"), copy("b.html"), *(remove(it.target.path) for it in moves))
    schedule.move(moves)
    schedule.arrivals.note_whole()
    assert given_out(schedule) == ["v2/a.css", "b.css"]
    schedule.settle(Done(copy("b.css")))
    assert given_out(schedule) == []
    schedule.settle(Done(moves[1]))
    assert given_out(schedule) == ["b.html"]
    schedule.settle(Done(copy("b.html")))
    assert given_out(schedule) == ["v2/index.html"]


def test_copy_in_place_of_a_move_holds_back_higher_ranks_from_the_outcome_of_the_move() -> None:
    moved = move("new.css", "old.css")
    schedule = schedule_of(copy("a.html"), remove("old.css"))
    schedule.move([moved])
    schedule.arrivals.note_whole()
    assert given_out(schedule) == ["new.css"]
    schedule.settle(Skipped(moved, "not there"))
    assert given_out(schedule) == [], "the copy is still to be added"
    schedule.add(copy("new.css"))
    assert given_out(schedule) == ["new.css"]
    schedule.settle(Done(copy("new.css")))
    assert given_out(schedule) == ["a.html"]


def test_copy_in_place_of_a_move_that_is_refused_holds_back_nothing() -> None:
    moved = move("d/new.css", "old.css")
    schedule = schedule_of(copy("a.html"), remove("old.css"))
    schedule.refuse(MakeDirectory(Entry("d", Kind.DIRECTORY)), "refused")
    assert [type(it) for it in schedule.move([moved])] == [Skipped]
    schedule.arrivals.note_whole()
    assert given_out(schedule) == []
    assert [type(it) for it in schedule.add(copy("d/new.css"))] == [Failed]
    assert given_out(schedule) == ["a.html"]


def test_copy_that_waits_for_a_removal_holds_back_higher_ranks_until_it_is_excused() -> None:
    schedule = schedule_of(
        remove("a.css/x"), remove("a.css", Kind.DIRECTORY), remove("z"), copy("a.css"), copy("b.html")
    )
    schedule.arrivals.note_whole()
    assert (given_out(schedule), schedule.is_idle, schedule.arrivals.held) == ([], True, 1)
    assert schedule.making_way == {"a.css", "a.css/x"}
    schedule.excuse_waiting()
    assert given_out(schedule) == ["b.html"]
    schedule.settle(Done(copy("b.html")))
    schedule.release_removals({"a.css/x", "a.css"})
    assert given_out(schedule) == ["a.css/x"]
    schedule.settle(Done(remove("a.css/x")))
    assert given_out(schedule) == ["a.css"]
    schedule.settle(Done(remove("a.css", Kind.DIRECTORY)))
    assert given_out(schedule) == ["a.css"]
    assert [it.path for it in schedule.removals] == ["z"]


@pytest.mark.scaled
@settings(max_examples=amount("ORDERS", short=300, full=2_000), deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_no_copy_is_given_out_while_one_of_a_lower_rank_is_unsettled(seed: int) -> None:
    chance = random.Random(seed)
    ranks = chance.choice([DEFAULT, NONE, Ranks.of_patterns([["*.html"], ["index.html"]])])
    schedule = schedule_of(ranks=ranks, big=chance.choice([None, 5]), width=chance.randrange(4))
    names = ["a.css", "b.js", "c", "d.html", "e.php", "index.html", "feed.xml"]
    to_add: list[Operation] = [copy(f"{n}/{chance.choice(names)}", chance.randrange(9)) for n in range(20)]
    to_add += [MakeDirectory(Entry(f"{n}", Kind.DIRECTORY)) for n in range(0, 20, 3)]
    chance.shuffle(to_add)
    unsettled = {it.path for it in to_add if isinstance(it, Copy)}
    out: list[Operation] = []
    is_whole = False

    def check(path: str) -> None:
        rank = ranks.of(path)
        if rank >= ranks.together:
            assert is_whole, f"{path} is given out during the scan"
            assert not [it for it in unsettled if ranks.of(it) < rank], f"{path} is given out too early"

    def settle(outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome.operation, Copy) and not isinstance(outcome, Returned):
                unsettled.remove(outcome.operation.path)

    while to_add or out or not schedule.is_idle or not is_whole:
        if to_add and chance.random() < 0.4:
            settle(schedule.add(to_add.pop()))
        elif not to_add and not is_whole:
            is_whole = True
            schedule.arrivals.note_whole()
        elif (batch := schedule.next_batch()) is not None and len(out) < 40:
            for operation in batch:
                if isinstance(operation, Copy):
                    check(operation.path)
            out += batch
        elif out:
            operation = out.pop(chance.randrange(len(out)))
            kinds: list[Done | Failed | Returned] = [
                Done(operation),
                Done(operation),
                Failed(operation, "x"),
                Returned(operation, "y", tried=True),
            ]
            outcome = chance.choice(kinds)
            settle([outcome, *schedule.settle(outcome)])
    assert not unsettled, "something is lost"
    assert schedule.arrivals.held == 0


# Big files.


def test_one_connection_stays_free_of_big_files_while_smaller_ones_may_come() -> None:
    bigs = [copy(f"{number}.mp4", 100 * MIB) for number in range(4)]
    schedule = schedule_of(*bigs, big=64 * MIB, width=3)
    assert given_out(schedule) == ["0.mp4", "1.mp4"]
    assert schedule.ready == 2, "more connections would help, and are asked for"
    schedule.add(copy("late.css"))
    assert given_out(schedule) == ["late.css"]
    schedule.arrivals.note_whole()
    assert given_out(schedule) == ["2.mp4", "3.mp4"], "nothing else is left: every connection works"


def test_only_connection_sends_small_files_first() -> None:
    schedule = schedule_of(copy("a.mp4", 100 * MIB), copy("b.css"), copy("c.css", 63 * MIB), big=64 * MIB, width=1)
    assert given_out(schedule) == ["c.css", "b.css", "a.mp4"]


def test_big_files_follow_the_number_of_connections() -> None:
    bigs = [copy(f"{number}.mp4", 100 * MIB) for number in range(4)]
    schedule = schedule_of(*bigs, big=64 * MIB, width=0)
    assert given_out(schedule) == ["0.mp4"]
    schedule.arrivals.connections = 4
    assert given_out(schedule) == ["1.mp4", "2.mp4"]
    schedule.settle(Returned(bigs[0], "retired"))
    assert given_out(schedule) == ["3.mp4"]
    schedule.arrivals.connections = 1
    assert given_out(schedule) == []


def test_forecast_of_a_burst_grows_with_flights_ranks_and_renames() -> None:
    assert burst_seconds([1_000], 4) == pytest.approx(4 * 2 * 0.05 + 1_000 * 0.0009)
    assert burst_seconds([1_000], 4, aside=500) == pytest.approx(4 * 2 * 0.05 + 1_500 * 0.0009)
    assert burst_seconds([999, 1], 4, round_trip=0.2) == pytest.approx(5 * 2 * 0.2 + 1_000 * 0.0009)
    assert burst_seconds([], 0) == 0


# The heap.


copies = st.builds(
    lambda path, size, mtime, inode, mode, replaces: Copy(
        Entry(path, Kind.FILE, size, mtime, mtime, inode, mode), replaces
    ),
    path=st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=12) | st.just("a/\udcff.html"),
    size=st.integers(0, 1 << 70),
    mtime=st.none() | st.integers(-(1 << 70), 1 << 70),
    inode=st.none() | st.integers(0, 1 << 70),
    mode=st.none() | st.integers(0, 0o777),
    replaces=st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(operations=st.lists(copies, max_size=30), plain=st.integers(0, 5))
def test_compact_copies_come_back_whole_and_in_order(operations: list[Copy], plain: int) -> None:
    heap = CopyHeap(plain=plain)
    for operation in operations:
        heap.push(operation)
    assert sorted(map(repr, heap)) == sorted(map(repr, operations))
    popped = [heap.pop() for _ in operations]
    clamped = sorted(operations, key=lambda it: -min(it.source.size, (1 << 64) - 1))
    assert popped == clamped


def test_what_is_kept_of_an_earlier_attempt_stays_with_its_copy() -> None:
    source = Entry("a", Kind.FILE, 9, 1)
    kept = Kept(".actorsync-1.tmp", source, 5, 1.0)
    heap = CopyHeap(plain=0)
    heap.push(Copy(source, kept=kept))
    assert heap.pop().kept is kept


def test_a_held_copy_takes_less_than_200_bytes() -> None:
    count, heap = 20_000, CopyHeap()
    for number in range(3_000):
        heap.push(copy(f"warm/{number}"))
    tracemalloc.start()
    for number in range(count):
        path = f"archive/2026/section-{number % 97}/page-{number:07d}.html"
        heap.push(Copy(Entry(path, Kind.FILE, 4_000 + number, 10**18 + number, 10**18 + number, 10**6 + number, 0o644)))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / count < 200
