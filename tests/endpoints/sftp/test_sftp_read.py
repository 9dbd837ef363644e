"""Reading over SFTP from a model of a server: short reads, files that change, invalid replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest
import trio
from trio.testing import MockClock

from actorsync.endpoints.sftp.session import SftpSession
from actorsync.errors import ConnectionLost, OperationRefused, Vanished
from actorsync.model.entry import Entry, Kind
from actorsync.protocols.sftp.replies import Data, Reply, Status
from tests.support.servers.sftp_tree import ROOT, Call, SftpTree, only
from tests.support.servers.sftp_tree_wire import session_with


def content(size: int) -> bytes:
    return Random(size).randbytes(size)


async def download(opened: SftpSession, path: str = "f", at_once: int = 1 << 20) -> bytes:
    async with opened.open(path) as found:
        pieces = []
        while piece := await found.read(at_once):
            assert len(piece) <= at_once
            pieces.append(piece)
        return b"".join(pieces)


def shorter(limits: Sequence[int]) -> Callable[[SftpTree], Callable[[Call], Reply | None]]:
    """Return a handler that answers reads with fewer bytes than requested."""
    rng = Random(1)

    def of(tree: SftpTree) -> Callable[[Call], Reply | None]:
        def instead(call: Call) -> Reply | None:
            if call.verb != "READ":
                return None
            data = tree.files()[call.path][call.offset : call.offset + min(call.length, rng.choice(limits))]
            return Data(data) if data else Status(1)

        return instead

    return of


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 3_000_000])
@pytest.mark.parametrize("at_once", [1_000, 1 << 20])
async def test_read_returns_the_whole_file(size: int, at_once: int, autojump_clock: MockClock) -> None:
    tree = SftpTree()
    tree.write(f"{ROOT}/f", content(size))
    async with session_with(tree, order=Random(size)) as (opened, _):
        assert await download(opened, at_once=at_once) == content(size)
        await trio.sleep(1)
        assert tree.open_handles == 0


@pytest.mark.parametrize("limits", [[30_000], [1, 70_000, 999], [65_535, 65_536]])
async def test_short_reads_do_not_end_the_file(limits: list[int], autojump_clock: MockClock) -> None:
    tree = SftpTree()
    tree.write(f"{ROOT}/f", content(700_000))
    tree.instead = shorter(limits)(tree)
    async with session_with(tree) as (opened, _):
        assert await download(opened) == content(700_000)


async def test_entry_describes_the_open_file(autojump_clock: MockClock) -> None:
    tree = SftpTree()
    tree.write(f"{ROOT}/f", b"abc", 77)
    async with session_with(tree) as (opened, _), opened.open("f") as found:
        assert found.entry == Entry("f", Kind.FILE, 3, 77 * 10**9)
        assert found.fileno() is None
        assert await found.is_unchanged()
        tree.nodes[f"{ROOT}/f"].mtime += 1
        assert not await found.is_unchanged()
        tree.write(f"{ROOT}/f", b"abc", 77)
        assert not await found.is_unchanged(), "another file has its name"
        del tree.nodes[f"{ROOT}/f"]
        assert not await found.is_unchanged()


@pytest.mark.parametrize("left", [0, 1, 100_000, 3_500_000])
async def test_m062_shrinking_file_ends_early_and_counts_as_changed(left: int, autojump_clock: MockClock) -> None:
    tree = SftpTree()
    tree.write(f"{ROOT}/f", content(4_000_000))
    async with session_with(tree) as (opened, _), opened.open("f") as found:
        tree.nodes[f"{ROOT}/f"].data = content(4_000_000)[:left]
        data = b""
        while piece := await found.read(1 << 20):
            data += piece
        assert content(4_000_000).startswith(data)
        assert left <= len(data) < 4_000_000, "only what was in flight before the change"
        assert await found.read(1) == b""
        assert not await found.is_unchanged()


async def test_m062_m092_growing_file_is_read_to_its_first_size(autojump_clock: MockClock) -> None:
    tree = SftpTree()
    tree.write(f"{ROOT}/f", content(100_000))
    async with session_with(tree) as (opened, _), opened.open("f") as found:
        tree.nodes[f"{ROOT}/f"].data += b"more"
        data = b""
        while piece := await found.read(7_777):
            data += piece
        assert data == content(100_000)
        assert not await found.is_unchanged()
    assert max(call.offset + call.length for call in tree.calls if call.verb == "READ") == 100_000


@pytest.mark.parametrize("length", [0, 11, 100_000])
async def test_m092_reply_of_the_wrong_length_loses_the_connection(length: int, autojump_clock: MockClock) -> None:
    tree = SftpTree(instead=only("READ", Data(bytes(length))))
    tree.write(f"{ROOT}/f", bytes(10))
    async with session_with(tree) as (opened, _):
        with pytest.raises(ConnectionLost, match=f"sent {length} bytes in reply to a read of 10"):
            await download(opened)


@pytest.mark.parametrize("at", [0, 1, 20, 60])
async def test_refused_read_raises_and_closes_the_handle(at: int, autojump_clock: MockClock) -> None:
    tree = SftpTree(instead=only("READ", lambda call: Status(4, "I/O") if call.offset == at * 65_536 else None))
    tree.write(f"{ROOT}/f", content(61 * 65_536))
    async with session_with(tree) as (opened, _):
        with pytest.raises(OperationRefused, match=r"cannot read 'f': failure \(I/O\)"):
            await download(opened)
        await trio.sleep(1)
        assert tree.open_handles == 0


async def test_unopenable_paths_are_refused_with_the_reason(autojump_clock: MockClock) -> None:
    tree = SftpTree()
    tree.write(f"{ROOT}/f", b"theirs")
    tree.mkdir(f"{ROOT}/d")
    tree.link(f"{ROOT}/l", f"{ROOT}/f")
    tree.link(f"{ROOT}/broken", f"{ROOT}/nothing")
    async with session_with(tree) as (opened, _):
        with pytest.raises(Vanished, match="cannot open 'gone': it is gone"):
            await download(opened, "gone")
        for path, why in (("d", "it is a directory"), ("l", "it is not a regular file"), ("broken", "no such file")):
            with pytest.raises(OperationRefused, match=f"cannot open '{path}': {why}") as caught:
                await download(opened, path)
            assert not isinstance(caught.value, Vanished)
        tree.instead = only("OPEN", Status(3))
        with pytest.raises(OperationRefused, match="cannot open 'f': permission denied"):
            await download(opened)
        tree.instead = only("FSTAT", Status(4))
        with pytest.raises(OperationRefused, match="not a regular file"):
            await download(opened)
        await trio.sleep(1)
        assert tree.open_handles == 0
