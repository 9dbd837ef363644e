"""Every SFTP dialogue with a model of a server: interrupted anywhere, in any order of execution, and repeated."""

from __future__ import annotations

import contextlib
import itertools
from random import Random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorsync.errors import ConnectionLost, OperationRefused, ProtocolError
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp.replies import OK, Attributes, Limits, Names, Reply, Status
from actorsync.protocols.sftp.requests import Dialogue
from tests.support.servers.sftp_tree import EXTENSIONS, POSIX_RENAME, ROOT, Call, SftpTree, only, play

WITHOUT_POSIX_RENAME = {name: of for name, of in EXTENSIONS.items() if name != POSIX_RENAME}

HINT = "check the permissions, the free space and the rules for names on the server"

orders = st.none() | st.integers(0, 99)


def order_of(seed: int | None) -> Random | None:
    """Return the source of a random order for the server; None for the order of the requests."""
    return None if seed is None else Random(seed)


def reasons(results: list[OperationRefused | None]) -> list[str | None]:
    return [None if result is None else str(result) for result in results]


# --- Moves


@given(orders)
def test_move_replaces_nothing(seed: int | None) -> None:
    tree = SftpTree(extensions=EXTENSIONS)
    for name in ("one", "two", "taken"):
        tree.write(f"{ROOT}/d0/{name}", name.encode(), 11)
    pairs = [(f"{ROOT}/d0/{old}", f"{ROOT}/d0/{new}") for old, new in (("one", "uno"), ("two", "taken"), ("no", "x"))]
    results = play(ask.move_files(pairs), tree, order=order_of(seed))
    assert [status.is_ok for status, _ in results] == [True, False, False]
    assert tree.files() == {f"{ROOT}/d0/{name}": data for name, data in MOVED.items()}


MOVED = {"uno": b"one", "two": b"two", "taken": b"taken"}


# --- Commits


NEW, OLD = b"the new content", b"old"


@attrs.frozen
class Site:
    """Files to replace or create, each with its temporary, on one server."""

    tree: SftpTree
    renames: list[ask.Rename]

    def commit(self, seed: int | None = None, requests: int | None = None) -> list[Attributes | OperationRefused]:
        dialogue = ask.commit(self.renames, replaces=POSIX_RENAME in self.tree.extensions)
        return play(dialogue, self.tree, order=order_of(seed), requests=requests)

    def sweep(self, seed: int | None = None, requests: int | None = None) -> list[OperationRefused | None]:
        left = [ask.Temporary(item.temporary, item.aside, item.final) for item in self.renames]
        return play(ask.sweep(left), self.tree, order=order_of(seed), requests=requests)

    def check(self, call: Call | None = None) -> None:
        """Check that the old or new content is complete under the final name, or the old one is set aside."""
        for number, item in enumerate(self.renames):
            files = self.tree.files()
            if was_there(number):
                there = files.get(item.final) in {NEW, OLD} or files.get(item.aside) == OLD
                assert there, f"{call} took the only copy of {item.final}"
            assert files.get(item.final) in {NEW, OLD, None}

    def check_end(self) -> None:
        """Check that all files are new, and nothing else exists."""
        assert self.tree.files() == {item.final: NEW for item in self.renames}


def was_there(number: int) -> bool:
    return number % 2 == 0


def site(count: int = 1, *, replaces: bool = True, sees_target_first: bool = False, tells_times: bool = True) -> Site:
    """Return a site with temporaries for ``count`` files, of which every second one exists already."""
    tree = SftpTree(
        extensions=EXTENSIONS if replaces else WITHOUT_POSIX_RENAME,
        sees_target_first=sees_target_first,
        tells_times=tells_times,
    )
    renames = []
    for number in range(count):
        path = f"{ROOT}/d{number}"
        item = ask.Rename(f"{path}/t", f"{path}/f", f"{path}/a", len(NEW), 77 if tells_times else None)
        tree.write(item.temporary, NEW, 77)
        if was_there(number):
            tree.write(item.final, OLD, 11)
        renames.append(item)
    made = Site(tree, renames)
    tree.after = made.check
    return made


kinds = st.fixed_dictionaries(
    {"replaces": st.booleans(), "sees_target_first": st.booleans(), "tells_times": st.booleans()}
)


@given(kinds, st.integers(1, 3), orders, st.lists(st.integers(0, 14), max_size=4))
@settings(max_examples=300, deadline=None)
def test_m033_m050_interrupted_commit_can_be_repeated(
    kind: dict[str, bool], count: int, seed: int | None, cuts: list[int]
) -> None:
    made = site(count, **kind)
    for cut in cuts:
        try:
            made.commit(seed, cut)
        except ConnectionLost:
            made.check()
    results = made.commit(seed)
    assert [result for result in results if not isinstance(result, Attributes)] == []
    assert [result.size for result in results if isinstance(result, Attributes)] == [len(NEW)] * count
    made.check_end()
    assert made.commit(seed) == results, "a second repetition gives the same results"
    made.check_end()


@pytest.mark.parametrize("sees_target_first", [False, True])
@pytest.mark.parametrize("replaces", [False, True])
def test_m033_m050_commit_interrupted_after_any_request_can_be_repeated(
    replaces: bool, sees_target_first: bool
) -> None:
    for cut in itertools.count():
        made = site(2, replaces=replaces, sees_target_first=sees_target_first)
        try:
            made.commit(requests=cut)
        except ConnectionLost:
            assert all(isinstance(result, Attributes) for result in made.commit())
            made.check_end()
        else:
            assert cut >= 4
            break


@given(kinds, st.integers(1, 3), orders, st.integers(0, 14), st.lists(st.integers(0, 14), max_size=3))
@settings(max_examples=200, deadline=None)
def test_m033_m111_sweep_cleans_up_after_an_interrupted_commit(
    kind: dict[str, bool], count: int, seed: int | None, cut: int, cuts: list[int]
) -> None:
    """The process died during the commit: each file is old or new, and no temporary is left."""
    made = site(count, **kind)
    with contextlib.suppress(ConnectionLost):
        made.commit(seed, cut)
    for again in cuts:
        try:
            made.sweep(seed, again)
        except ConnectionLost:
            made.check()
    assert made.sweep(seed) == [None] * count
    files = made.tree.files()
    assert set(files) <= {item.final for item in made.renames}, "no temporary is left"
    for number, item in enumerate(made.renames):
        assert files.get(item.final) in ({NEW, OLD} if was_there(number) else {NEW, None})


def test_commit_with_posix_rename_is_one_flight() -> None:
    made = site(3)
    made.commit()
    assert made.tree.verbs() == ["POSIX-RENAME", "LSTAT"] * 3


@pytest.mark.parametrize("replaces", [False, True])
def test_m034_rename_without_effect_is_refused(replaces: bool) -> None:
    made = site(2, replaces=replaces)
    verb = "POSIX-RENAME" if replaces else "RENAME"
    made.tree.instead = lambda call: OK if call.verb == verb and call.path.endswith("/t") else None
    results = made.commit()
    assert [str(result) for result in results] == ["the server reported that it renamed the file, but did not"] * 2
    assert made.tree.files() == {made.renames[0].final: OLD}, "the temporaries are removed, the old file is kept"


def test_m034_rename_that_loses_the_file_is_retried() -> None:
    made = site(2)

    def lose(call: Call) -> Reply | None:
        if call.verb != "POSIX-RENAME":
            return None
        del made.tree.nodes[call.path]
        return OK

    made.tree.instead = lose
    results = made.commit()
    assert [isinstance(result, OperationRefused) and result.retry for result in results] == [True, True]
    assert str(results[0]) == "after the rename the server reports 3 bytes for the final name"
    assert str(results[1]) == "after the rename the server reports no such file for the final name"


@pytest.mark.parametrize("mtime", [78, None])
def test_time_changed_by_the_server_is_accepted(mtime: int | None) -> None:
    made = site()
    shown = Attributes(len(NEW), 0o100644, mtime)
    made.tree.instead = only("LSTAT", shown, path=made.renames[0].final)
    assert made.commit() == [shown]


@pytest.mark.parametrize("replaces", [False, True])
def test_directory_under_the_final_name_refuses_the_commit(replaces: bool) -> None:
    made = site(2, replaces=replaces)
    made.tree.nodes.pop(made.renames[0].final)
    made.tree.after = lambda call: None
    made.tree.write(f"{made.renames[0].final}/theirs", b"theirs")
    first, second = made.commit()
    assert isinstance(first, OperationRefused) and not first.retry
    assert str(first) == "a directory is in its place"
    assert isinstance(second, Attributes)
    assert made.tree.files() == {f"{made.renames[0].final}/theirs": b"theirs", made.renames[1].final: NEW}


@pytest.mark.parametrize("replaces", [False, True])
def test_link_under_the_final_name_is_replaced(replaces: bool) -> None:
    made = site(1, replaces=replaces)
    made.tree.after = lambda call: None
    made.tree.write("/elsewhere", b"theirs")
    made.tree.link(made.renames[0].final, "/elsewhere")
    assert isinstance(made.commit()[0], Attributes)
    assert made.tree.files() == {made.renames[0].final: NEW, "/elsewhere": b"theirs"}


@pytest.mark.parametrize("code", [3, 4, 5, 8, 99])
@pytest.mark.parametrize("replaces", [False, True])
def test_m039_refused_rename_is_reported_for_each_file(replaces: bool, code: int) -> None:
    made = site(2, replaces=replaces)
    verb = "POSIX-RENAME" if replaces else "RENAME"
    made.tree.instead = lambda call: Status(code, "no!") if call.verb == verb and call.new.endswith("/f") else None
    results = made.commit()
    for result in results:
        assert isinstance(result, OperationRefused) and not result.retry
        assert "the server refused the rename to the final name: " in str(result) and "no!" in str(result)
    if replaces:  # otherwise the refused rename prevents the restore as well
        assert made.tree.files() == {made.renames[0].final: OLD}


def test_m033_old_file_is_restored_when_the_rename_is_refused() -> None:
    made = site(1, replaces=False)
    made.tree.instead = only("RENAME", Status(3), path=made.renames[0].temporary)
    (result,) = made.commit()
    assert str(result) == f"the server refused the rename to the final name: permission denied; {HINT}"
    assert made.tree.files() == {made.renames[0].final: OLD}
    assert made.tree.nodes[made.renames[0].final].mtime == 11


@pytest.mark.parametrize("sees_target_first", [False, True])
def test_m033_file_left_aside_by_an_earlier_attempt_is_removed(sees_target_first: bool) -> None:
    """The old file was set aside, and then another program created a file under the final name."""
    made = site(1, replaces=False, sees_target_first=sees_target_first)
    made.tree.write(made.renames[0].aside, OLD, 11)
    assert isinstance(made.commit()[0], Attributes)
    made.check_end()


@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize("sees_target_first", [False, True])
def test_missing_temporary_is_retried(replaces: bool, sees_target_first: bool) -> None:
    made = site(2, replaces=replaces, sees_target_first=sees_target_first)
    for item in made.renames:
        made.tree.nodes.pop(item.temporary)
    for result in made.commit():
        assert isinstance(result, OperationRefused) and result.retry
        assert str(result) == "its temporary is gone: no such file"
    assert made.tree.files() == {made.renames[0].final: OLD}


def test_unsendable_path_prevents_the_whole_commit() -> None:
    made = site(2)
    renames = [*made.renames, attrs.evolve(made.renames[0], final="/a\0b")]
    with pytest.raises(OperationRefused, match="cannot be sent"):
        play(ask.commit(renames, replaces=True), made.tree)
    assert made.tree.calls == []


# --- Sweeps


@pytest.mark.parametrize("knows", [True, False])
def test_m033_sweep_restores_or_removes_files_set_aside(knows: bool) -> None:
    tree = SftpTree()
    for name, content in [("t1", NEW), ("a1", OLD), ("f1", NEW), ("t2", NEW), ("a2", OLD), ("f3", OLD)]:
        tree.write(f"{ROOT}/{name}", content)
    left = [ask.Temporary(f"{ROOT}/t{n}", f"{ROOT}/a{n}", f"{ROOT}/f{n}" if knows else None) for n in (1, 2, 3, 4)]
    assert play(ask.sweep(left), tree) == [None] * 4
    aside = {} if knows else {f"{ROOT}/a1": OLD, f"{ROOT}/a2": OLD}
    back = {f"{ROOT}/f2": OLD} if knows else {}
    assert tree.files() == {f"{ROOT}/f1": NEW, f"{ROOT}/f3": OLD} | aside | back


def test_m033_failed_restore_is_refused() -> None:
    tree = SftpTree()
    tree.write(f"{ROOT}/a", OLD)
    tree.instead = only("RENAME", Status(3))
    (result,) = play(ask.sweep([ask.Temporary(f"{ROOT}/t", f"{ROOT}/a", f"{ROOT}/f")]), tree)
    assert isinstance(result, OperationRefused)
    assert "permission denied" in str(result)
    assert tree.files() == {f"{ROOT}/a": OLD}


def test_sweep_of_nothing_sends_nothing() -> None:
    tree = SftpTree()
    assert play(ask.sweep([]), tree) == []
    assert tree.calls == []


def test_temporary_that_cannot_be_removed_is_refused() -> None:
    tree = SftpTree()
    tree.mkdir(f"{ROOT}/t")
    left = [ask.Temporary(f"{ROOT}/t", f"{ROOT}/a"), ask.Temporary("/not/there", "/not/here", "/not/at/all")]
    assert reasons(play(ask.sweep(left), tree)) == ["the server did not remove it: failure", None]


# --- Directories


@given(st.permutations(["/r/a", "/r/a/b", "/r/a/b/c", "/r/d", "/r/d/e"]), orders, st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_interrupted_making_of_directories_can_be_repeated(paths: list[str], seed: int | None, cut: int) -> None:
    tree = SftpTree()
    with contextlib.suppress(ConnectionLost):
        play(ask.make_directories(paths), tree, order=order_of(seed), requests=cut)
    assert play(ask.make_directories(paths), tree, order=order_of(seed)) == [None] * len(paths)
    assert set(tree.nodes) == {"/", "/r", *paths}


def test_entry_under_the_name_of_a_directory_is_refused() -> None:
    tree = SftpTree()
    tree.mkdir("/r/there")
    tree.write("/r/file", b"")
    tree.link("/r/link", "/r/there")
    tree.link("/r/nowhere", "/r/not/there")
    paths = ["/r/new", "/r/there", "/r/file", "/r/file/sub", "/r/link", "/r/nowhere", "/r/missing/sub", "/r/new"]
    assert reasons(play(ask.make_directories(paths), tree)) == [
        None,
        None,
        "a file is in its place",
        "parent directory missing or inaccessible",
        "a symbolic link is in its place",
        "a symbolic link is in its place",
        "parent directory missing or inaccessible",
        None,
    ]
    follow = play(ask.make_directories(["/r/file", "/r/link", "/r/nowhere", "/r/link/sub"], follow=True), tree)
    assert reasons(follow) == [
        "a file is in its place",
        None,
        f"the server did not make the directory: failure; {HINT}",
        None,
    ]
    assert "/r/there/sub" in tree.nodes


def test_existing_entry_of_unknown_kind_counts_as_a_directory() -> None:
    tree = SftpTree(instead=only("LSTAT", Attributes(size=4096)))
    tree.mkdir("/r/there")
    assert play(ask.make_directories(["/r/there"]), tree) == [None]


def test_empty_batches_send_nothing() -> None:
    tree = SftpTree()
    assert (play(ask.make_directories([]), tree), play(ask.remove_directories([]), tree)) == ([], [])
    assert (play(ask.remove_files([]), tree), play(ask.lstat_all([]), tree)) == ([], [])
    assert tree.calls == []


@given(st.permutations(["/r/a", "/r/a/b", "/r/a/b/c", "/r/d", "/r/d/e"]), orders, st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_interrupted_removal_of_directories_can_be_repeated(paths: list[str], seed: int | None, cut: int) -> None:
    tree = SftpTree()
    for path in paths:
        tree.mkdir(path)
    tree.write("/r/d/theirs", b"")
    with contextlib.suppress(ConnectionLost):
        play(ask.remove_directories(paths), tree, order=order_of(seed), requests=cut)
    results = play(ask.remove_directories(paths), tree, order=order_of(seed))
    assert dict(zip(paths, results, strict=True)) == {path: path != "/r/d" for path in paths}
    assert set(tree.nodes) == {"/", "/r", "/r/d", "/r/d/theirs"}


def test_directories_that_cannot_be_removed_are_refused() -> None:
    tree = SftpTree(instead=only("RMDIR", Status(3)))
    for path in ("/r/empty", "/r/closed"):
        tree.mkdir(path)
    tree.write("/r/full/f", b"")
    refused = play(ask.remove_directories(["/r/empty", "/r/full"]), tree)
    assert refused[1] is False
    assert str(refused[0]) == "the server did not remove it: permission denied"
    tree.instead = lambda call: Status(3) if call.verb in {"RMDIR", "OPENDIR"} else None
    (closed,) = play(ask.remove_directories(["/r/closed"]), tree)
    assert isinstance(closed, OperationRefused), "it is unknown whether the directory is empty"


def test_removal_of_files_accepts_missing_ones() -> None:
    tree = SftpTree()
    tree.write("/r/f", b"")
    tree.link("/r/l", "/r/f")
    tree.mkdir("/r/d")
    assert reasons(play(ask.remove_files(["/r/f", "/r/l", "/r/gone", "/r/d"]), tree)) == [
        *(None, None, None),
        "the server did not remove it: failure",
    ]


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 300])
def test_flights_hold_at_most_128_requests(count: int) -> None:
    tree = SftpTree()
    lengths = []

    def measured() -> Dialogue[list[Attributes | Status]]:
        dialogue = ask.lstat_all([f"/r/{number}" for number in range(count)])
        with contextlib.suppress(StopIteration):
            flight = next(dialogue)
            while True:
                lengths.append(len(flight))
                flight = dialogue.send((yield flight))
        return []

    play(measured(), tree)
    assert sum(lengths) == len(tree.calls) == count
    assert max(lengths, default=0) <= 128


# --- Listings


@given(st.integers(0, 40), st.integers(1, 9), orders)
@settings(max_examples=50, deadline=None)
def test_listing_is_complete(count: int, at_once: int, seed: int | None) -> None:
    tree = SftpTree(names_at_once=at_once)
    for number in range(count):
        tree.write(f"/r/f{number}", bytes(number))
    tree.write("/r/d/below", b"")
    tree.link("/r/l", "/r/d")
    found = play(ask.list_directory("/r"), tree, order=order_of(seed))
    assert not isinstance(found, Status)
    assert {name: of.size for name, of in found} == {f"f{n}": n for n in range(count)} | {"d": 4096, "l": 4096}
    assert tree.open_handles == 0


def test_missing_directory_and_file_give_a_status() -> None:
    tree = SftpTree()
    tree.write("/r/f", b"")
    assert play(ask.list_directory("/r/f"), tree) == play(ask.list_directory("/r/gone"), tree) == Status(2)
    tree.link("/r/l", "/r")
    found = play(ask.list_directory("/r/l"), tree)
    assert not isinstance(found, Status) and [name for name, _ in found] == ["f", "l"]


@pytest.mark.parametrize("after", range(6))
@pytest.mark.parametrize("status", [Status(3), Status(4, "disk"), Status(8), Status(0)])
def test_m061_interrupted_listing_is_a_problem(after: int, status: Status) -> None:
    tree = SftpTree(names_at_once=1)
    for number in range(20):
        tree.write(f"/r/{number}", b"")
    reads = itertools.count()
    tree.instead = lambda call: status if call.verb == "READDIR" and next(reads) == after else None
    assert play(ask.list_directory("/r"), tree) == status
    assert tree.open_handles == 0, "the handle is closed as well"


@pytest.mark.parametrize("count", [0, 1_000, 5_000])
def test_m046_m092_endless_listing_raises(count: int) -> None:
    answer = Names(tuple((f"n{number}", Attributes()) for number in range(count)))
    tree = SftpTree(instead=only("READDIR", answer))
    with pytest.raises(ProtocolError, match="names in one directory"):
        play(ask.list_directory("/r"), tree)
    assert len(tree.calls) <= 1_100


def test_small_directory_is_read_in_two_round_trips() -> None:
    tree = SftpTree(names_at_once=100)
    tree.write("/r/f", b"")
    play(ask.list_directory("/r"), tree)
    assert tree.verbs() == ["OPENDIR", "READDIR", "READDIR", "CLOSE"]


# --- The login directory


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Names((("/home/é", Attributes()),)), "/home/é"),
        (Names(()), "/"),
        (Names((("/a", Attributes()), ("/b", Attributes()))), "/"),
        (Names((("home", Attributes()),)), "/"),
        (Names((("", Attributes()),)), "/"),
        (Status(3), "/"),
    ],
)
def test_login_directory_is_an_absolute_path(reply: Reply, expected: str) -> None:
    assert play(ask.login_facts({}), SftpTree(instead=only("REALPATH", reply))) == (expected, Limits(), [])
