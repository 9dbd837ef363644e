"""What a session learns of its server, and how careful it is until then, with a model of the server."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from actorsync.endpoints.contract import Relocation, Staged, Upload
from actorsync.endpoints.sftp.wire.host import Host
from actorsync.endpoints.shared.odd_names import siblings
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Kind
from actorsync.model.traits import Traits
from actorsync.planning.temporary_names import temporary_name
from actorsync.protocols.sftp.replies import Names, Reply, Status
from actorsync.testing.conformance.contents import MTIME_NS, MemoryContent
from tests.support.servers.sftp_tree import ROOT, Call, SftpTree, only
from tests.support.servers.sftp_tree_wire import TreeEndpoint, session_with

VERSION = "SSH-2.0-Files_1.0"
_tokens = itertools.count()


def new_host(traits: Traits | None = None, version: str = VERSION) -> Host:
    """Return what is known of a server after its first login."""
    host = Host(traits or Traits())
    host.greet(version)
    return host


def upload(path: str, data: bytes = b"content") -> Upload:
    above, _, name = path.rpartition("/")
    temporary = temporary_name(name, f"{next(_tokens):016x}")
    return Upload(path, f"{above}/{temporary}" if above else temporary, MemoryContent(data))


def told(staged: Staged | OperationRefused) -> str:
    assert isinstance(staged, OperationRefused)
    return str(staged)


# --- Traits


def test_traits_count_for_the_version_that_showed_them_only() -> None:
    traits = Traits()
    host = new_host(traits)
    host.limit_handles(3)
    assert new_host(traits).handles == 3
    assert new_host(traits, "SSH-2.0-Files_1.1").handles == 0


def test_lower_limit_of_handles_stays() -> None:
    host = new_host()
    host.limit_handles(5)
    host.limit_handles(9)
    assert host.handles == 5
    host.limit_handles(1)
    assert host.handles == 1


@pytest.mark.parametrize(
    ("version", "is_known"),
    [
        ("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u2", True),
        ("SSH-2.0-dropbear_2022.83", True),
        ("SSH-2.0-mod_sftp", True),
        ("SSH-2.0-AsyncSSH_2.24.0", True),
        ("SSH-2.0-Erlang/4.15", False),
        ("SSH-2.0-ssh2js1.17.0", False),
        ("SSH-2.0-NotOpenSSH", False),
    ],
)
def test_only_known_servers_get_requests_ahead_at_first(version: str, is_known: bool) -> None:
    host = new_host(version=version)
    assert (host.keeps_order, host.watches_order) == (is_known, not is_known)


def test_order_that_is_kept_long_enough_is_relied_on_and_remembered() -> None:
    traits = Traits()
    host = new_host(traits)
    for _ in range(1_000):
        assert host.note_order(is_kept=True)
    assert host.keeps_order
    assert new_host(traits).keeps_order


def test_order_that_is_not_kept_is_remembered_with_a_warning() -> None:
    traits = Traits()
    host = new_host(traits)
    assert host.note_order(is_kept=False), "it was not relied on"
    assert (host.keeps_order, host.watches_order) == (False, False)
    later = new_host(traits)
    assert (later.keeps_order, later.watches_order) == (False, False)
    assert "in another order" in later.warnings[0]


def test_order_that_breaks_after_it_was_relied_on_costs_the_connection() -> None:
    traits = Traits()
    traits.recall({"order": f"kept @ {VERSION}"})
    host = new_host(traits)
    assert host.keeps_order
    assert not host.note_order(is_kept=False)
    assert not host.keeps_order


# --- Order


async def test_unknown_server_gets_each_step_of_a_file_alone(autojump_clock: MockClock) -> None:
    """A server that carries out requests at the same time must not get the CLOSE before the bytes are written."""
    tree = SftpTree()
    at: dict[str, float] = {}

    def note(call: Call) -> None:
        at.setdefault(call.verb, trio.current_time())

    tree.after = note
    async with session_with(tree, host=new_host(), delay=1.0) as (session, _):
        staged, _ = await session.stage(upload("f"))
        assert isinstance(staged, Staged)
    assert at["WRITE"] + 1 <= at["FSETSTAT"]
    assert at["FSETSTAT"] + 1 <= at["CLOSE"]


async def test_known_server_gets_a_small_file_in_two_round_trips(autojump_clock: MockClock) -> None:
    traits = Traits()
    traits.recall({"content": "right @ SSH-2.0-OpenSSH_9.2"})
    host = new_host(traits, "SSH-2.0-OpenSSH_9.2")
    async with session_with(SftpTree(), host=host, delay=1.0) as (session, _):
        began = trio.current_time()
        staged, _ = await session.stage(upload("f"))
        assert isinstance(staged, Staged)
        assert trio.current_time() - began == pytest.approx(2.0)


async def test_writes_to_an_unknown_server_are_short(autojump_clock: MockClock) -> None:
    tree = SftpTree()
    endpoint = TreeEndpoint(tree, host=new_host(), takes_long_packets=False)
    async with endpoint.open_session() as session:
        staged, _ = await session.stage(upload("f", bytes(300_000)))
        assert isinstance(staged, Staged)
    assert max(len(call.data) for call in tree.calls) == 32 * 1024


# --- Handles


async def test_second_open_file_with_the_same_handle_loses_the_connection(autojump_clock: MockClock) -> None:
    tree = SftpTree()
    host = new_host()
    lost: list[str] = []
    tree.same_handle = True
    async with session_with(tree, host=host) as (session, _):

        async def send(path: str) -> None:
            try:
                await session.stage(upload(path))
            except ConnectionLost as error:
                lost.append(str(error))

        async with trio.open_nursery() as nursery:
            for path in "abc":
                nursery.start_soon(send, path)
    assert len(lost) == 3 and "same handle" in lost[0]
    assert host.handles == 1
    async with session_with(tree, host=host) as (session, _), trio.open_nursery() as nursery:
        for path in "abcdefgh":
            nursery.start_soon(session.stage, upload(path))
    assert [data for path, data in sorted(tree.files().items()) if tree.nodes[path].mtime > 1_000_001] == [
        b"content"
    ] * 8


# --- Content


async def stage_each(tree: SftpTree, host: Host, paths: Sequence[str]) -> list[Staged | OperationRefused]:
    async with session_with(tree, host=host) as (session, _):
        return [(await session.stage(upload(path)))[0] for path in paths]


async def test_content_of_the_first_files_is_read_back_and_then_no_more(autojump_clock: MockClock) -> None:
    tree, host = SftpTree(), new_host()
    await stage_each(tree, host, [str(number) for number in range(60)])
    reads = tree.verbs().count("READ")
    assert 0 < reads < 60
    assert not host.is_sampling
    await stage_each(tree, host, ["more"])
    assert tree.verbs().count("READ") == reads
    assert not new_host(host.traits).is_sampling, "a later run reads nothing back"


async def test_wrong_content_of_the_right_size_is_refused(autojump_clock: MockClock) -> None:
    tree = SftpTree()

    def spoil(call: Call) -> None:
        if call.verb == "CLOSE":
            for node in tree.nodes.values():
                node.data = node.data.swapcase()

    tree.after = spoil
    (refused,) = await stage_each(tree, new_host(), ["f"])
    assert "returned other bytes than it was sent" in told(refused)
    assert tree.files() == {}


async def test_wrong_content_among_open_files_loses_the_connection(autojump_clock: MockClock) -> None:
    """None of the files gets its final name, and later connections open one at a time."""
    tree, host = SftpTree(), new_host()
    lost: list[str] = []

    def mix_up(call: Call) -> Reply | None:
        if call.verb != "WRITE":
            return None
        for node in tree.nodes.values():
            if node.data or node.kind == tree.nodes[call.path].kind:
                node.data = call.data
        return Status(0)

    tree.instead = mix_up
    async with session_with(tree, host=host) as (session, _):

        async def send(path: str) -> None:
            try:
                await session.stage(upload(path, path.encode() * 20))
            except ConnectionLost as error:
                lost.append(str(error))

        async with trio.open_nursery() as nursery:
            for path in "abcd":
                nursery.start_soon(send, path)
    assert lost and "bytes of another file" in lost[0]
    assert host.handles == 1


async def test_server_that_lets_nothing_be_read_back_leads_to_one_warning(autojump_clock: MockClock) -> None:
    tree = SftpTree(instead=lambda call: Status(3) if call.verb == "OPEN" and call.flags == 1 else None)
    host = new_host()
    staged = await stage_each(tree, host, [str(number) for number in range(20)])
    assert all(isinstance(one, Staged) for one in staged)
    assert [warning for warning in host.warnings if "read back" in warning]
    assert not host.is_sampling


async def test_few_files_are_read_back_from_a_known_server_even_if_many_are_begun_at_once(
    autojump_clock: MockClock,
) -> None:
    tree, host = SftpTree(), new_host(version="SSH-2.0-OpenSSH_9.2")
    async with session_with(tree, host=host) as (session, _), trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(session.stage, upload(str(number)))
    assert 0 < tree.verbs().count("READ") <= 16


async def test_every_file_begun_before_the_verdict_is_read_back_from_an_unknown_server(
    autojump_clock: MockClock,
) -> None:
    tree = SftpTree()
    async with session_with(tree, host=new_host()) as (session, _), trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(session.stage, upload(str(number)))
    assert tree.verbs().count("READ") == 100


# --- Opening


async def test_server_without_exclusive_open_gets_files(autojump_clock: MockClock) -> None:
    tree = SftpTree(instead=lambda call: Status(4) if call.verb == "OPEN" and call.flags & 0x20 else None)
    host = new_host()
    staged = await stage_each(tree, host, ["a", "b"])
    assert all(isinstance(one, Staged) for one in staged)
    assert [call.flags for call in tree.calls if call.verb == "OPEN" and call.flags != 1] == [0x3A, 0x1A, 0x1A]
    assert not new_host(host.traits).opens_exclusively


async def test_exclusive_open_is_not_given_up_where_it_has_worked(autojump_clock: MockClock) -> None:
    tree, host = SftpTree(), new_host()
    await stage_each(tree, host, ["a"])
    tree.instead = only("OPEN", Status(3))
    (refused,) = await stage_each(tree, host, ["b"])
    assert isinstance(refused, OperationRefused)
    assert all(call.flags in {1, 0x3A} for call in tree.calls if call.verb == "OPEN")


async def test_time_is_set_by_path_where_fsetstat_is_refused(autojump_clock: MockClock) -> None:
    tree, host = SftpTree(instead=only("FSETSTAT", Status(8))), new_host()
    for _ in range(2):
        async with session_with(tree, host=host) as (session, _):
            staged, _ = await session.stage(upload("f"))
            assert isinstance(staged, Staged)
            assert staged.mtime_ns == MTIME_NS // 10**9 * 10**9
    assert tree.verbs().count("FSETSTAT") == 1
    assert host.warnings == ()


async def test_file_that_the_server_does_not_show_is_no_full_target(autojump_clock: MockClock) -> None:
    tree = SftpTree(instead=only("LSTAT", Status(3)))
    (refused,) = await stage_each(tree, new_host(), ["f"])
    assert "full" not in told(refused)
    assert "does not show the file" in told(refused)
    assert "STATVFS" not in tree.verbs()


# --- Names


def to_text(name: str) -> str:
    """Replace what is not UTF-8, as servers in many languages do."""
    return os.fsencode(name).decode("utf-8", "replace")


ODD = [os.fsdecode(b"menu-\xe8"), os.fsdecode(b"menu-\xe9")]


async def test_names_that_the_server_takes_for_one_are_refused_both(autojump_clock: MockClock) -> None:
    tree, host = SftpTree(stores=to_text), new_host()
    staged = await stage_each(tree, host, [*ODD, "menu-é"])
    assert ["stores this name differently" in told(one) for one in staged[:2]] == [True, True]
    assert isinstance(staged[2], Staged), "a name that is UTF-8 is kept"
    assert len(tree.files()) == 1


async def test_directories_that_the_server_takes_for_one_are_refused_and_removed(autojump_clock: MockClock) -> None:
    tree = SftpTree(stores=to_text)
    async with session_with(tree, host=new_host()) as (session, _):
        made = await session.make_directories([*ODD, "plain"])
    assert ["stores this name differently" in str(one) for one in made] == [True, True, False]
    assert set(tree.nodes) == {"/", ROOT, f"{ROOT}/plain"}


async def test_directory_of_another_program_is_not_removed_for_its_name(autojump_clock: MockClock) -> None:
    tree = SftpTree(stores=to_text)
    tree.mkdir(f"{ROOT}/{to_text(ODD[0])}")
    async with session_with(tree, host=new_host()) as (session, _):
        (made,) = await session.make_directories([ODD[0]])
    assert isinstance(made, OperationRefused)
    assert f"{ROOT}/{to_text(ODD[0])}" in tree.nodes


@pytest.mark.parametrize("shows", [lambda name: name.encode("ascii", "replace").decode(), lambda name: ""])
async def test_names_that_listings_show_otherwise_or_not_at_all_are_kept(
    shows: object, autojump_clock: MockClock
) -> None:
    """The server tells the names apart, whatever it lists."""
    assert callable(shows)
    tree = SftpTree()

    def listed(call: Call) -> Reply | None:
        if call.verb != "READDIR":
            return None
        reply = tree._readdir(call)
        if isinstance(reply, Names):
            return Names(tuple((shows(name), of) for name, of in reply.names if shows(name)))
        return reply

    tree.instead = listed
    staged = await stage_each(tree, new_host(), [*ODD, "menu-é", "menu-è"])
    assert all(isinstance(one, Staged) for one in staged)


async def test_kept_names_are_checked_once(autojump_clock: MockClock) -> None:
    tree = SftpTree()
    async with session_with(tree, host=new_host()) as (session, _):
        for name in ODD:
            assert isinstance((await session.stage(upload(name)))[0], Staged)
    assert tree.verbs().count("OPENDIR") == 1


async def test_file_is_not_moved_to_a_name_that_the_server_may_change(autojump_clock: MockClock) -> None:
    tree = SftpTree(stores=to_text)
    tree.write(f"{ROOT}/plain", b"x")
    entry = Entry("plain", Kind.FILE, 1, 1_000_000 * 10**9)
    async with session_with(tree, host=new_host()) as (session, _):
        (refused,) = await session.move([Relocation(entry, ODD[0])])
    assert "not known yet" in str(refused)
    assert set(tree.files()) == {f"{ROOT}/plain"}


@pytest.mark.parametrize(
    ("name", "count"), [("menu-é", 1), (ODD[0], 1), (f"{ODD[0]}é*", 3), ("plain", 0), (" é", 0), ("é.", 0)]
)
def test_siblings_differ_in_one_kind_of_character_each(name: str, count: int) -> None:
    found = siblings(name)
    assert len(found) == count
    assert all(len(other) == len(name) and other != name for other in found)


async def test_name_that_kills_the_server_is_refused_after_the_second_time(autojump_clock: MockClock) -> None:
    tree, host = SftpTree(), new_host()
    endpoint = TreeEndpoint(tree, host=host)

    def die(call: Call) -> Reply | None:
        if not call.path.isascii():
            endpoint.channels[-1].requests.lose("the server closed the connection")
        return None

    tree.instead = die
    for _ in range(2):
        async with endpoint.open_session() as session:
            with pytest.raises(ConnectionLost):
                await session.stage(upload(ODD[0]))
    async with endpoint.open_session() as session:
        staged, _ = await session.stage(upload(ODD[0]))
        assert "closes the connection over a name that is not UTF-8" in told(staged)
        assert await session.sweep([f".actorsync-1-{ODD[0]}"]) == [True], "the server has no such file"
        assert isinstance((await session.stage(upload("plain")))[0], Staged)


# --- Gone


def vaguely(call: Call, reply: Reply | None) -> Reply | None:
    """Say "failure" of all that does not exist, as Twisted's server does."""
    return Status(4) if isinstance(reply, Status) and reply.code == 2 else reply


def vague_tree() -> SftpTree:
    tree = SftpTree()
    tree.instead = lambda call: vaguely(call, getattr(tree, "_" + call.verb.lower().replace("-", "_"))(call))
    return tree


async def test_file_that_is_gone_counts_as_gone_where_the_server_says_failure(autojump_clock: MockClock) -> None:
    tree = vague_tree()
    tree.write(f"{ROOT}/other", b"x")
    async with session_with(tree, host=new_host()) as (session, _):
        file = Entry("f", Kind.FILE, 1, None)
        assert await session.remove([file, Entry("d", Kind.DIRECTORY)]) == [True, True]
        assert await session.sweep([".actorsync-1.tmp", "gone/.actorsync-2.tmp"]) == [True, True]
        problem = (await session.list_directory("gone")).problem
        assert problem is not None
        assert problem.vanished


async def test_file_that_cannot_be_looked_at_does_not_count_as_gone(autojump_clock: MockClock) -> None:
    tree = SftpTree(instead=lambda call: Status(4) if call.verb in {"LSTAT", "REMOVE"} else None)
    tree.write(f"{ROOT}/f", b"x")
    async with session_with(tree, host=new_host()) as (session, _):
        (refused,) = await session.remove([Entry("f", Kind.FILE, 1, None)])
        assert isinstance(refused, OperationRefused)
        (kept,) = await session.sweep(["f"])
        assert isinstance(kept, OperationRefused)


async def test_nothing_counts_as_gone_when_the_directory_is_not_listed(autojump_clock: MockClock) -> None:
    tree = SftpTree(instead=lambda call: Status(4) if call.verb in {"LSTAT", "OPENDIR", "REMOVE"} else None)
    async with session_with(tree, host=new_host()) as (session, _):
        (refused,) = await session.remove([Entry("f", Kind.FILE, 1, None)])
    assert isinstance(refused, OperationRefused)


@pytest.mark.parametrize("code", [2, 4])
async def test_empty_listing_of_what_is_not_there_is_no_empty_directory(code: int, autojump_clock: MockClock) -> None:
    tree = SftpTree()
    tree.write(f"{ROOT}/other", b"x")

    def pretend(call: Call) -> Reply | None:
        if call.verb == "OPENDIR" and call.path not in tree.nodes:
            return tree._open_handle(call.path, tree.nodes[ROOT])
        if call.verb in {"STAT", "LSTAT"} and call.path not in tree.nodes:
            return Status(code)
        return None

    tree.instead = pretend
    async with session_with(tree, host=new_host()) as (session, _):
        problem = (await session.list_directory("gone")).problem
        assert problem is not None
        assert problem.vanished
        tree.mkdir(f"{ROOT}/empty")
        assert (await session.list_directory("empty")).problem is None


async def test_rename_that_was_done_before_is_recognized_where_the_server_says_failure(
    autojump_clock: MockClock,
) -> None:
    tree = vague_tree()
    async with session_with(tree, host=new_host()) as (session, _):
        staged, _ = await session.stage(upload("f"))
        assert isinstance(staged, Staged)
        for _ in range(2):
            (entry,) = await session.commit([staged])
            assert isinstance(entry, Entry)
    assert tree.files() == {f"{ROOT}/f": b"content"}
