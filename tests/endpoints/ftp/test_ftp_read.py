"""Downloads over FTP on a failing network: a file is whole, or the error says that it is not."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from actorsync.endpoints.contract import Session
from actorsync.endpoints.ftp.session import FtpSession
from actorsync.endpoints.ftp.wire.data import DataConnection
from actorsync.errors import ConnectionLost, OperationRefused, Vanished
from actorsync.model.entry import Entry, Kind
from actorsync.protocols.ftp.flights import Flight
from actorsync.protocols.ftp.wire import Reply
from actorsync.testing import EmbeddedFtpServer
from actorsync.testing.network.faults import Cut, CutData, Fault, How, RefuseData, Slice, Swallow, Truncate
from actorsync.testing.network.ftp_proxy import FaultProxy, open_fault_proxy
from tests.support import FtpTarget
from tests.support.servers.ftp import endpoint_for, fresh_folder

SIZE = 400_000
DATA = random.Random("reading").randbytes(SIZE)
TIME = 1_700_000_000


def put(server: FtpTarget, folder: str, data: bytes = DATA) -> Path:
    """Put a file on the server, in a fresh folder."""
    file = fresh_folder(server, folder) / "file"
    file.write_bytes(data)
    os.utime(file, (TIME, TIME))
    server.adopt()
    return file


async def read(session: Session, path: str = "file", at_once: int = 50_000) -> bytes:
    data = b""
    async with session.open(path) as content:
        while piece := await content.read(at_once):
            data += piece
        assert await content.is_unchanged()
    return data


@asynccontextmanager
async def through(
    server: FtpTarget | EmbeddedFtpServer, folder: str, *faults: Fault
) -> AsyncIterator[tuple[FtpSession, FaultProxy]]:
    """Open a session through a proxy with faults."""
    async with open_fault_proxy((server.host, server.port), *faults) as proxy:
        target = endpoint_for(server, folder, host=proxy.host, stall_seconds=1.0, connect_seconds=3.0)
        async with target.open_session() as session:
            yield session, proxy


async def test_download_cut_short_is_refused_and_the_session_goes_on(shared_ftp_server: FtpTarget) -> None:
    """The server sends 226, or reports the cut. The session can be used in both cases."""
    put(shared_ftp_server, "short")
    for after in (0, 1, SIZE // 2, SIZE - 1):
        async with through(shared_ftp_server, "short", Truncate(verb="RETR", after=after)) as (session, proxy):
            with pytest.raises(OperationRefused, match=f"the data ended after {after} of {SIZE} bytes") as caught:
                await read(session)
            assert caught.value.retry
            assert proxy.fired
            assert await read(session) == DATA, "over the same connection"
            assert proxy.connections == 1


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_data_connection_cut_during_download_is_refused_with_retry(
    shared_ftp_server: FtpTarget, how: How
) -> None:
    put(shared_ftp_server, f"cut-{how}")
    faults = [CutData(verb="RETR", after=after, how=how) for after in (0, SIZE // 2)]
    async with through(shared_ftp_server, f"cut-{how}", *faults[:1]) as (session, proxy):
        with pytest.raises(OperationRefused, match="the data ended after 0 of"):
            await read(session)
        proxy.arm(faults[1])
        try:
            with pytest.raises(OperationRefused, match="the data ended after"):
                await read(session)
            assert await read(session) == DATA
        except ConnectionLost:
            # Seen once: a reply that is due never comes, and the session is lost, as it should be.
            assert shared_ftp_server.name == "pure-ftpd"
            return
        assert (proxy.fired, proxy.connections) == (faults, 1)


async def test_control_connection_cut_during_download_raises_connection_lost(shared_ftp_server: FtpTarget) -> None:
    put(shared_ftp_server, "control")
    for when in ("before", "unheard", "unanswered"):
        async with through(shared_ftp_server, "control", Cut(verb="RETR", when=when)) as (session, proxy):
            with pytest.raises(ConnectionLost):
                await read(session)
            assert proxy.fired


async def test_missing_226_after_download_raises_connection_lost(shared_ftp_server: FtpTarget) -> None:
    put(shared_ftp_server, "silent", b"small")
    async with through(shared_ftp_server, "silent", Swallow(verb="RETR")) as (session, _):
        with pytest.raises(ConnectionLost):
            await read(session)


async def test_download_in_small_pieces_arrives_whole(shared_ftp_server: FtpTarget) -> None:
    put(shared_ftp_server, "pieces", DATA[:5_000])
    async with through(shared_ftp_server, "pieces", Slice(7)) as (session, _):
        assert await read(session) == DATA[:5_000]


async def test_what_a_file_is_costs_no_round_trip_of_its_own(
    shared_ftp_server: FtpTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked while the data connection is opened, and again before the end is confirmed, with the next port."""
    put(shared_ftp_server, "asked")
    async with through(shared_ftp_server, "asked") as (session, _):
        control, told = session.connection.control, list[str]()
        send, reply, open_data = control.send, control.reply, control.open_data

        async def sending(flight: Sequence[bytes], kind: Flight = Flight.BURST) -> None:
            told.extend(line.split()[0].decode() for line in flight)
            await send(flight, kind)

        async def replied(seconds: float | None = None) -> Reply:
            answer = await reply(seconds)
            told.append(str(answer.code))
            return answer

        async def opening(port: int, commands: Sequence[bytes] = ()) -> DataConnection:
            told.append("connecting")
            data = await open_data(port, commands)
            told.append("connected")
            return data

        monkeypatch.setattr(control, "open_data", opening)
        monkeypatch.setattr(control, "send", sending)
        monkeypatch.setattr(control, "reply", replied)
        for is_first in (True, False):
            told.clear()
            assert await read(session) == DATA
            asked = "MLST" if "MLST" in told else "SIZE"
            assert told.count(asked) == 2
            assert told.index(asked, told.index("RETR")) < told.index("EPSV", told.index("RETR")) < told.index("226")
            is_beside = told.index("connecting") < told.index(asked) < told.index("connected")
            # pyftpdlib would take the end of a file for that of the next one.
            assert is_beside is (not is_first and shared_ftp_server.name != "pyftpdlib")
            assert told.count("EPSV") == 1 + is_first


async def test_unreachable_data_port_raises_connection_lost(shared_ftp_server: FtpTarget) -> None:
    put(shared_ftp_server, "port")
    async with through(shared_ftp_server, "port", RefuseData()) as (session, _):
        with pytest.raises(ConnectionLost):
            await read(session)


async def test_file_changed_during_download_is_reported_as_changed(shared_ftp_server: FtpTarget) -> None:
    file = put(shared_ftp_server, "changing")
    async with endpoint_for(shared_ftp_server, "changing").open_session() as session:
        for change in ("longer", "newer", "shorter"):
            file.write_bytes(DATA)
            os.utime(file, (TIME, TIME))
            async with session.open("file") as content:
                assert content.entry == Entry("file", Kind.FILE, SIZE, TIME * 10**9)
                assert await content.read(1_000)
                if change == "longer":
                    with file.open("ab") as more:
                        more.write(b"more")
                elif change == "newer":
                    os.utime(file, (TIME, TIME + 1))
                else:
                    os.truncate(file, 1_000)
                received = 1_000
                try:
                    while piece := await content.read(1 << 20):
                        received += len(piece)
                except OperationRefused:
                    assert change == "shorter"
                assert received <= SIZE
                assert not await content.is_unchanged()


async def test_unreadable_file_is_refused_but_not_reported_as_vanished(shared_ftp_server: FtpTarget) -> None:
    file = put(shared_ftp_server, "closed")
    file.chmod(0)
    async with endpoint_for(shared_ftp_server, "closed").open_session() as session:
        if shared_ftp_server.uid is not None:  # the other servers run as root
            with pytest.raises(OperationRefused) as caught:
                await read(session)
            assert not isinstance(caught.value, Vanished)
        file.unlink()
        with pytest.raises(Vanished):
            await read(session)


@pytest.mark.parametrize("without", [{"MLST", "MLSD"}, {"MLST"}])
async def test_download_without_mlst_uses_size_and_mdtm(embedded: EmbeddedFtpServer, without: set[str]) -> None:
    embedded.without = frozenset(without)
    embedded.restart()
    (embedded.root / "file").write_bytes(DATA)
    (embedded.root / "folder").mkdir()
    os.utime(embedded.root / "file", (TIME, TIME))
    async with endpoint_for(embedded).open_session() as session:
        async with session.open("file") as content:
            assert content.entry == Entry("file", Kind.FILE, SIZE, TIME * 10**9)
        assert await read(session) == DATA
        assert (await session.list_directory("")).problem is None
        with pytest.raises(OperationRefused, match="not a regular file"):
            await read(session, "folder")
        with pytest.raises(Vanished):
            await read(session, "nothing")


async def test_big_download_stopped_early_gives_up_the_connection(shared_ftp_server: FtpTarget) -> None:
    """The connection is lost at once, without waiting for the rest of the file."""
    put(shared_ftp_server, "unwanted", DATA * 10)
    for is_cancelled in (True, False):
        async with endpoint_for(shared_ftp_server, "unwanted").open_session() as session:
            with trio.fail_after(5), trio.CancelScope() as scope:
                async with session.open("file") as content:
                    assert await content.read(10)
                    if is_cancelled:
                        scope.cancel()
                        await trio.lowlevel.checkpoint()
            with pytest.raises(ConnectionLost):
                await read(session)


async def test_download_cancelled_at_its_end_leaves_the_session_usable(shared_ftp_server: FtpTarget) -> None:
    put(shared_ftp_server, "cancelled")
    async with endpoint_for(shared_ftp_server, "cancelled").open_session() as session:
        with trio.CancelScope() as scope:
            async with session.open("file") as content:
                while await content.read(1 << 20):
                    pass
                assert await content.is_unchanged()
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert await read(session) == DATA
