"""What may be done next: the rules one by one, and all together on thousands of random mirrors.

The random part is the planner's decisions with a model in place of everything else: a source tree, what the journal
remembers, what the target really holds. Batches are settled in any order, with any failures.
"""

from __future__ import annotations

import itertools
import random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorsync.model.entry import Entry, Kind, Listing, Record, name_of, parent_of
from actorsync.model.operation import (
    Batch,
    Copy,
    Done,
    Failed,
    Fault,
    MakeDirectory,
    Operation,
    Outcome,
    Remove,
    Returned,
    Skipped,
    Survey,
    Sweep,
)
from actorsync.planning.reconcile import Action, reconcile, removals_below
from actorsync.planning.removal_guard import Gone, to_postpone
from actorsync.planning.schedule import BATCH, RETURNS, Schedule
from tests.support.tiers import amount


def file(path: str, size: int = 1) -> Entry:
    return Entry(path, Kind.FILE, size, 1)


def folder(path: str) -> Entry:
    return Entry(path, Kind.DIRECTORY, 0, 1)


def copy(path: str, size: int = 1) -> Copy:
    return Copy(file(path, size))


def make(path: str) -> MakeDirectory:
    return MakeDirectory(folder(path))


def remove(path: str) -> Remove:
    return Remove(file(path))


def remove_folder(path: str) -> Remove:
    return Remove(folder(path))


def schedule_of(*operations: Operation, release: bool = False) -> Schedule:
    schedule = Schedule()
    for operation in operations:
        schedule.add(operation)
    if release:
        schedule.release_removals()
    return schedule


def done(schedule: Schedule, batch: Batch | None) -> None:
    assert batch is not None
    for operation in batch:
        assert schedule.settle(Done(operation)) == []


def play(schedule: Schedule) -> list[Operation]:
    """Do all that can be done, one batch after the other; gives the order."""
    order: list[Operation] = []
    while (batch := schedule.next_batch()) is not None:
        order += batch
        done(schedule, batch)
    return order


# The rules.


def test_the_order_of_work() -> None:
    operations: list[Operation] = [remove_folder("gone"), copy("a"), remove("old"), make("d"), Survey("s"), Sweep("t")]
    order = play(schedule_of(*operations, release=True))
    assert order == [Survey("s"), Sweep("t"), make("d"), remove("old"), copy("a"), remove_folder("gone")]


def test_the_biggest_file_goes_first_and_one_batch_holds_one() -> None:
    schedule = schedule_of(copy("a", 1), copy("b", 9), copy("c", 5), copy("d", 9))
    assert play(schedule) == [copy("b", 9), copy("d", 9), copy("c", 5), copy("a", 1)]


def test_verbs_share_batches_of_one_kind() -> None:
    schedule = schedule_of(*(make(str(n)) for n in range(BATCH + 1)), copy("f"))
    assert len(schedule.next_batch() or ()) == BATCH
    assert len(schedule.next_batch() or ()) == 1
    assert schedule.next_batch() == (copy("f"),)


def test_a_directory_is_made_before_what_is_in_it_or_in_the_same_batch() -> None:
    schedule = schedule_of(make("d"), make("d/e"), copy("d/e/f"))
    batch = schedule.next_batch()
    assert batch == (make("d"), make("d/e"))
    assert schedule.next_batch() is None
    done(schedule, batch)
    assert schedule.next_batch() == (copy("d/e/f"),)


def test_directory_waits_for_its_parent_on_another_connection() -> None:
    schedule = schedule_of(make("d"))
    first = schedule.next_batch()
    schedule.add(make("d/e"))
    assert schedule.next_batch() is None
    done(schedule, first)
    assert schedule.next_batch() == (make("d/e"),)


def test_entry_in_the_way_is_removed_first() -> None:
    schedule = schedule_of(remove("x"), make("x"), copy("x/f"), make("x/y"), release=True)
    assert play(schedule) == [remove("x"), make("x"), make("x/y"), copy("x/f")]


def test_a_directory_goes_after_its_content_and_may_share_a_batch_with_it() -> None:
    schedule = schedule_of(remove("d/e/f"), remove_folder("d/e"), remove_folder("d"), copy("d"), release=True)
    first = schedule.next_batch()
    assert first == (remove("d/e/f"),)
    assert schedule.next_batch() is None
    done(schedule, first)
    assert play(schedule) == [remove_folder("d/e"), remove_folder("d"), copy("d")]


def test_nothing_is_removed_before_the_release() -> None:
    schedule = schedule_of(remove("a"), remove_folder("d"), copy("d"))
    assert schedule.next_batch() is None
    assert schedule.is_idle
    assert schedule.removals == [remove("a"), remove_folder("d")]
    schedule.release_removals()
    assert play(schedule) == [remove("a"), remove_folder("d"), copy("d")]


def test_operation_that_waits_for_a_failure_fails() -> None:
    schedule = schedule_of(make("d"))
    batch = schedule.next_batch()
    for operation in (make("d/e"), copy("d/e/f"), copy("d/g"), copy("h")):
        schedule.add(operation)
    assert batch is not None
    failed = schedule.settle(Failed(batch[0], "no"))
    assert {outcome.operation.path for outcome in failed} == {"d/e", "d/e/f", "d/g"}
    assert all(isinstance(outcome, Failed) for outcome in failed)
    assert play(schedule) == [copy("h")]


def test_operation_added_after_its_directory_failed_fails_at_once() -> None:
    schedule = schedule_of(make("d"))
    batch = schedule.next_batch()
    assert batch is not None
    assert schedule.settle(Failed(batch[0], "no")) == []
    assert [o.operation for o in schedule.add(make("d/e"))] == [make("d/e")]
    assert [o.operation for o in schedule.add(copy("d/e/f"))] == [copy("d/e/f")]
    assert schedule.refuse(make("x"), "in the way") == [Failed(make("x"), "in the way")]
    assert [o.operation for o in schedule.add(copy("x/f"))] == [copy("x/f")]
    assert schedule.next_batch() is None
    assert schedule.is_idle


def test_a_child_in_the_queue_behind_its_parent_fails_with_it() -> None:
    schedule = schedule_of(*(make(str(n)) for n in range(BATCH)), make(f"{BATCH - 1}/child"))
    batch = schedule.next_batch()
    assert batch is not None
    failed = schedule.settle(Failed(batch[-1], "no"))
    assert [outcome.operation for outcome in failed] == [make(f"{BATCH - 1}/child")]


@pytest.mark.parametrize("kind", [Failed, Skipped])
def test_directory_with_kept_content_is_kept_for_the_same_reason(kind: type[Failed | Skipped]) -> None:
    schedule = schedule_of(remove_folder("d/e/k"), remove_folder("d/e"), remove_folder("d"), copy("d"))
    schedule.release_removals()
    batch = schedule.next_batch()
    assert batch == (remove_folder("d/e/k"), remove_folder("d/e"), remove_folder("d"))
    # All three are on the wire; the server says the same of each.
    outcomes = [outcome for operation in batch for outcome in schedule.settle(kind(operation, "not empty"))]
    assert outcomes == [Failed(copy("d"), "an entry in its way could not be removed", Fault.OTHER)]

    schedule = schedule_of(remove("d/e/f"), remove_folder("d/e"), remove_folder("d"), release=True)
    batch = schedule.next_batch()
    assert batch is not None
    kept = schedule.settle(kind(batch[0], "it stays"))
    assert [(type(outcome), outcome.operation.path) for outcome in kept] == [(kind, "d/e"), (kind, "d")]
    assert schedule.is_idle


def test_m067_failure_of_a_tree_deeper_than_the_stack() -> None:
    paths = ["d" + "/d" * depth for depth in range(2_000)]
    schedule = schedule_of(make("d"))
    batch = schedule.next_batch()
    assert batch is not None
    for path in paths[1:]:
        schedule.add(make(path))
    assert len(schedule.settle(Failed(batch[0], "no"))) == len(paths) - 1

    schedule = schedule_of(remove(f"{paths[-1]}/f"), *map(remove_folder, reversed(paths)), release=True)
    batch = schedule.next_batch()
    assert batch is not None
    assert len(schedule.settle(Failed(batch[0], "no"))) == len(paths)
    assert schedule.is_idle


def test_dropped_removals_fail_what_waits_for_them() -> None:
    schedule = schedule_of(remove("x"), make("x"), copy("x/f"), remove("y"))
    outcomes = schedule.drop_removals("a guard refused", frozenset({"x"}))
    assert outcomes[0] == Returned(remove("x"), "a guard refused")
    assert [(type(outcome), outcome.operation) for outcome in outcomes[1:]] == [
        (Failed, make("x")),
        (Failed, copy("x/f")),
    ]
    assert (schedule.left.planned, schedule.left.is_some, schedule.left.is_by_drain) == (4, True, False)
    schedule.release_removals()
    assert play(schedule) == [remove("y")]


def test_returned_operation_is_retried_a_limited_number_of_times() -> None:
    schedule = schedule_of(copy("a"))
    for _ in range(RETURNS):
        batch = schedule.next_batch()
        assert batch == (copy("a"),)
        assert schedule.settle(Returned(batch[0], "busy", tried=True)) == []
        assert not schedule.is_idle
    batch = schedule.next_batch()
    assert batch is not None
    assert schedule.settle(Returned(batch[0], "busy", tried=True)) == [Failed(copy("a"), "busy")]
    assert schedule.is_idle


def test_untried_operation_may_be_returned_any_number_of_times() -> None:
    schedule = schedule_of(copy("a"))
    for _ in range(10 * RETURNS):
        batch = schedule.next_batch()
        assert batch is not None
        assert schedule.settle(Returned(batch[0], "retired")) == []


def test_after_a_drain_only_sweeps_are_given_out_and_the_rest_is_counted() -> None:
    schedule = schedule_of(
        Survey("s"), make("d"), copy("d/f"), copy("a"), copy("b"), remove("x"), make("x"), Sweep("t"), Sweep("u")
    )
    survey, sweeps = schedule.next_batch(), schedule.next_batch()
    assert survey == (Survey("s"),)
    assert sweeps is not None
    schedule.drain()
    schedule.drain()
    assert (schedule.left.planned, schedule.left.is_by_drain) == (6, True)
    schedule.add(copy("late"))
    schedule.settle(Returned(sweeps[0], "retired"))
    assert schedule.left.planned == 7
    done(schedule, survey)
    done(schedule, sweeps[1:])
    assert schedule.is_idle
    schedule.add(Sweep("v"))
    assert not schedule.is_idle, "the run may not end before this is swept"
    assert play(schedule) == [Sweep("v")]


def test_a_drain_with_nothing_left_leaves_nothing() -> None:
    schedule = Schedule()
    schedule.drain()
    assert (schedule.left.planned, schedule.left.is_by_drain, schedule.is_idle) == (0, False, True)


def test_schedule_is_full_only_while_something_can_be_done() -> None:
    schedule = Schedule(window=2)
    schedule.add(copy("a"))
    assert not schedule.is_full
    schedule.add(copy("b"))
    assert schedule.is_full
    play(schedule)
    assert not schedule.is_full


def test_copies_that_wait_for_removals_do_not_fill_the_schedule() -> None:
    schedule = Schedule(window=2)
    for operation in (remove("x"), make("x"), copy("x/a"), copy("x/b"), copy("x/c")):
        schedule.add(operation)
    assert not schedule.is_full


# All together.

Tree = dict[str, Kind]

#: Any path that is at most three names deep.
PATHS = [
    "/".join(names) for depth in (1, 2, 3) for names in itertools.product("abc" if depth == 1 else "ab", repeat=depth)
]


def grow(leaves: list[tuple[str, Kind]]) -> Tree:
    """Return the kind of each path, parents first; what cannot be there, because a file is above it, is not."""
    tree: Tree = {}
    for path, kind in leaves:
        above = [path[:index] for index, character in enumerate(path) if character == "/"]
        if all(tree.get(parent, Kind.DIRECTORY) is Kind.DIRECTORY for parent in above):
            tree.update(dict.fromkeys(above, Kind.DIRECTORY))
            tree.setdefault(path, kind)
    return tree


trees = st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from([Kind.FILE, Kind.DIRECTORY])), max_size=6).map(grow)


@attrs.define
class Model:
    """A target that checks what it is told, and a journal that remembers what it said."""

    tree: Tree
    foreign: frozenset[str]
    records: dict[str, Record]
    busy: set[str] = attrs.Factory(set)
    sent: set[str] = attrs.Factory(set)

    def below(self, path: str) -> list[str]:
        return [other for other in self.tree if other.startswith(path + "/")]

    def do(self, operation: Operation) -> Outcome:
        """Do it as a server would; what it would refuse must not be asked, unless for something foreign."""
        path = operation.path
        parent = parent_of(path)
        match operation:
            case Copy(source):
                assert not parent or self.tree.get(parent) is Kind.DIRECTORY, f"{path!r} is sent before its directory"
                if self.tree.get(path) is Kind.DIRECTORY:
                    assert any(p in self.foreign for p in self.below(path)), (
                        f"{path!r} is sent over a directory of ours"
                    )
                    return Failed(operation, "is a directory")
                self.tree[path] = Kind.FILE
                self.sent.add(path)
                self.records[path] = Record(source, source)
                return Done(operation, source, source)
            case MakeDirectory(source):
                assert not parent or self.tree.get(parent) is Kind.DIRECTORY, f"{path!r} is made before its directory"
                assert self.tree.get(path) is not Kind.FILE, f"{path!r} is made over a file"
                self.tree[path] = Kind.DIRECTORY
                self.records[path] = Record(source, source)
                return Done(operation, source)
            case Remove():
                assert path not in self.foreign, f"{path!r} is foreign, and removed"
                assert self.records[path].source is not None
                assert not self.below(path), f"{path!r} is removed before what is in it"
                self.tree.pop(path, None)
                self.records.pop(path)
                return Done(operation)
        raise AssertionError(operation)


def records_of(remembered: Tree, changed: set[str], foreign: frozenset[str]) -> dict[str, Record]:
    """What a journal could know of a target that holds ``remembered``."""
    records: dict[str, Record] = {}
    for path, kind in remembered.items():
        then = Entry(path, kind, 1, 2 if path in changed else 1)
        records[path] = Record(None, then) if path in foreign else Record(then, Entry(path, kind, 1, 1))
    return records


def plan(source: Tree, model: Model, schedule: Schedule, *, delete: bool) -> tuple[set[str], set[str]]:
    """Do as the planner does with every listing; give the paths that are planned, and those that failed at once."""
    planned: set[str] = set()
    failed: set[str] = set()

    def add(now: Entry) -> None:
        operation = MakeDirectory(now) if now.kind is Kind.DIRECTORY else Copy(now)
        planned.add(now.path)
        failed.update(outcome.operation.path for outcome in schedule.add(operation))

    for directory in ["", *(path for path, kind in source.items() if kind is Kind.DIRECTORY)]:
        entries = tuple(Entry(path, kind, 1, 1) for path, kind in source.items() if parent_of(path) == directory)
        known = {name_of(path): record for path, record in model.records.items() if parent_of(path) == directory}
        for decision in reconcile(Listing(directory, entries), known, lambda path, is_directory: False):
            now, record = decision.now, decision.record
            if decision.action in {Action.REMOVE, Action.REPLACE}:
                assert record is not None
                if not delete and (decision.action is Action.REMOVE or record.target.kind is Kind.DIRECTORY):
                    if now is not None:
                        failed.update(o.operation.path for o in schedule.refuse(Copy(now), "delete is off"))
                    continue
                subtree = [
                    model.records[path] for path in sorted(model.records) if path.startswith(record.target.path + "/")
                ]
                for entry in removals_below(record, subtree, lambda path, is_directory: False):
                    planned.add(f"-{entry.path}")
                    schedule.add(Remove(entry))
            if now is None:
                continue
            match decision.action:
                case Action.COPY | Action.MAKE | Action.REPLACE:
                    add(now)
                case Action.ADOPT:
                    assert record is not None
                    model.records[now.path] = Record(now, record.target)
                case Action.BLOCKED:
                    operation = MakeDirectory(now) if now.kind is Kind.DIRECTORY else Copy(now)
                    failed.update(outcome.operation.path for outcome in schedule.refuse(operation, "in the way"))
    return planned, failed


def execute(schedule: Schedule, model: Model, chance: random.Random, unlucky: float) -> tuple[set[str], set[str]]:
    """Do it all, in any order, with any failures; give what was settled and what failed."""
    settled: set[str] = set()
    failed: set[str] = set()
    hands: list[list[Operation]] = []
    steps = 0

    def settle(outcome: Outcome) -> None:
        model.busy.discard(outcome.operation.path)
        for one in (outcome, *schedule.settle(outcome)):
            key = f"-{one.operation.path}" if isinstance(one.operation, Remove) else one.operation.path
            if isinstance(one, Returned):
                continue
            assert key not in settled, f"{key} has two outcomes"
            settled.add(key)
            if isinstance(one, Failed):
                failed.add(one.operation.path)

    while True:
        steps += 1
        assert steps < 2_000, "it goes round in circles"
        batch = schedule.next_batch() if len(hands) < 4 and (not hands or chance.random() < 0.6) else None
        if batch is not None:
            for operation in batch:
                assert operation.path not in model.busy, f"two operations in flight for {operation.path!r}"
                model.busy.add(operation.path)
            hands.append(list(batch))
            continue
        if not hands:
            assert schedule.is_idle
            return settled, failed
        hand = hands[chance.randrange(len(hands))]
        operation = hand.pop(0)
        luck = chance.random()
        if luck < unlucky:
            settle(Failed(operation, "no luck"))
        elif luck < 2 * unlucky and isinstance(operation, Copy):
            settle(Returned(operation, "busy", tried=True))
        elif luck < 2 * unlucky:
            for one in (operation, *hand):  # the connection retires, and gives back all that it has
                settle(Returned(one, "retired"))
            hand.clear()
        elif _lacks_parent(operation, model, failed):
            settle(Failed(operation, "no directory"))  # its parent stood before it in the same batch, and failed
        elif isinstance(operation, Remove) and model.below(operation.path):
            # The same for removals; what is in it did not go.
            assert unlucky or any(path in model.foreign for path in model.below(operation.path))
            settle(Skipped(operation, "not empty"))
        else:
            settle(model.do(operation))
        hands = [rest for rest in hands if rest]


def _lacks_parent(operation: Operation, model: Model, failed: set[str]) -> bool:
    parent = parent_of(operation.path)
    return isinstance(operation, MakeDirectory) and parent in failed and parent not in model.tree


@pytest.mark.scaled
@settings(max_examples=amount("SCHEDULES", short=500, full=1_500), deadline=None)
@given(
    source=trees,
    target=trees,
    seed=st.integers(0, 1 << 20),
)
def test_any_mirror_in_any_order_with_any_failures(source: Tree, target: Tree, seed: int) -> None:
    chance = random.Random(seed)
    delete, unlucky = chance.random() < 0.6, chance.choice((0.0, 0.0, 0.1, 0.4))
    there = list(target)
    roots = {path for path in there if chance.random() < 0.2}
    # Nothing of ours is in a directory that is not: it would have been adopted first.
    foreign = frozenset(path for path in there if path in roots or any(path.startswith(root + "/") for root in roots))
    changed = {path for path in there if chance.random() < 0.4}
    model = Model(dict(target), foreign, records_of(target, changed, foreign))
    schedule = Schedule()
    planned, failed = plan(source, model, schedule, delete=delete)
    before = dict(model.records)

    settled, failed_before = execute(schedule, model, chance, unlucky)
    assert not any(key.startswith("-") for key in settled), "removed before the release"
    failed |= failed_before
    # As the planner does when all that could be done without removing is done.
    while near := to_postpone(
        {it.path: Gone(Record(None, it.target), it.path) for it in schedule.removals}, map(folder, failed)
    ):
        for outcome in schedule.drop_removals("near", near):
            key = f"-{outcome.operation.path}" if isinstance(outcome, Returned) else outcome.operation.path
            settled.add(key)
            failed |= {outcome.operation.path} if isinstance(outcome, Failed) else set()
    for removal in schedule.removals:
        assert parent_of(removal.path) not in map(parent_of, failed)
    schedule.release_removals()
    after, failed_after = execute(schedule, model, chance, unlucky)
    assert not settled & after
    settled |= after
    failed |= failed_after

    # Every operation has ended, once.
    assert settled | failed >= planned
    assert not model.busy
    # Nothing foreign is gone, unless the source has a file of that name.
    assert all(path in model.tree for path in foreign)
    assert all(source.get(path) is Kind.FILE for path in foreign & model.sent)
    # What failed withholds what is in it, and nothing else: the rest is as in the source.
    for path, kind in source.items():
        chain = {path, *(path[:i] for i in range(len(path)) if path[i] == "/")}
        if not chain & failed:
            assert model.tree.get(path) is kind, f"{path!r} is missing, and nothing above it has failed"
            assert model.records[path].source == Entry(path, kind, 1, 1) or kind is Kind.DIRECTORY
    if not failed and delete:
        # Converged: what is not in the source is foreign, or holds something that is.
        for path in model.tree.keys() - source.keys():
            assert path in foreign or any(p in foreign for p in model.below(path)), f"{path!r} should be gone"
    if not unlucky:
        for path in failed:
            chain = {path, *(path[:i] for i in range(len(path)) if path[i] == "/")}
            in_the_way = {p for p in chain if p in target and target[p] is not source.get(p, target[p])}
            assert in_the_way, f"{path!r} failed, and nothing was in its way"
    if not delete:
        gone = {path for path in before if path not in model.tree}
        assert all(source.get(path) is Kind.DIRECTORY and target[path] is Kind.FILE for path in gone)
