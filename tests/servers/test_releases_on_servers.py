"""Releases on real servers: published, refused in the middle, taken back, and broken off."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import pytest
import trio

from actorsync.endpoints.contract import Endpoint, Session, Staged
from actorsync.endpoints.ftp import publish as ftp_publish
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.releases import Publication, Published, publish, put_back
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.testing.network.faults import Cut, When
from actorsync.testing.network.ftp_proxy import open_fault_proxy
from tests.support import FtpTarget
from tests.support.servers import ssh_servers
from tests.support.servers.ftp import endpoint_for, fresh_folder
from tests.support.servers.ssh_target import SshTarget
from tests.support.servers.ssh_target import endpoint_for as ssh_endpoint_for

FILES, WITH_OLD, TAKEN = 130, 100, 77
OLD_SECONDS, NEW_SECONDS = 1_600_000_000, 1_700_000_000


def write(root: Path, path: str, data: bytes, seconds: int, uid: int | None = None) -> None:
    (root / path).write_bytes(data)
    os.utime(root / path, (seconds, seconds))
    if uid is not None:
        os.chown(root / path, uid, uid)


def staged_release(root: Path, count: int, old: int, uid: int | None = None, size: int = 0) -> list[Publication]:
    """Put temporaries on the server's disk, and the first ``old`` of the files that they replace."""
    items = []
    for number in range(count):
        temporary, aside = f".actorsync-{number:016x}.tmp", f".actorsync+{number:016x}.tmp"
        data = b"new %d" % number + b"." * size
        write(root, temporary, data, NEW_SECONDS, uid)
        if number < old:
            write(root, f"{number}.html", b"old %d" % number, OLD_SECONDS, uid)
        staged = Staged(f"{number}.html", temporary, len(data), NEW_SECONDS * 10**9)
        items.append(Publication(staged, aside))
    return items


def everything(root: Path) -> dict[str, tuple[bytes, int]]:
    """Return content and time of each file below a directory."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), int(path.stat().st_mtime))
        for path in root.rglob("*")
        if path.is_file()
    }


async def release_and_return(endpoint: Endpoint, folder: Path, uid: int | None) -> None:
    items = staged_release(folder, FILES, WITH_OLD, uid)
    (folder / f"{TAKEN}.html").unlink()
    (folder / f"{TAKEN}.html").mkdir()
    write(folder, f"{TAKEN}.html/kept", b"kept", OLD_SECONDS, uid)
    before = everything(folder)
    async with endpoint.open_session() as session:
        results = await publish(session, items)
        refused = [number for number, it in enumerate(results) if isinstance(it, OperationRefused)]
        assert refused == [TAKEN], [results[number] for number in refused]
        assert "directory" in str(results[TAKEN])
        after = everything(folder)
        for number, item in enumerate(items):
            if number != TAKEN:
                result = results[number]
                assert isinstance(result, Published)
                assert result.has_old is (number < WITH_OLD)
                assert after[item.staged.path] == (b"new %d" % number, NEW_SECONDS)
                old = after.get(item.aside or "")
                assert old == ((b"old %d" % number, OLD_SECONDS) if number < WITH_OLD else None)
        assert not [it for it in await put_back(session, items[::-1]) if isinstance(it, OperationRefused)]
    assert everything(folder) == before


async def test_release_with_a_refusal_is_taken_back_byte_for_byte_on_ftp_servers(ftp_server: FtpTarget) -> None:
    folder = fresh_folder(ftp_server, "site")
    await release_and_return(endpoint_for(ftp_server, "/site"), folder, ftp_server.uid)


async def test_release_with_a_refusal_is_taken_back_byte_for_byte_on_sftp_servers(
    shared_sftp_server: SshTarget,
) -> None:
    folder = ssh_servers.fresh_folder(shared_sftp_server, "site")
    await release_and_return(ssh_endpoint_for(shared_sftp_server, "site"), folder, shared_sftp_server.uid)


CUTS = [(when, line) for when in ("before", "unanswered") for line in range(1, 11)]


@pytest.mark.parametrize(("when", "line"), CUTS)
async def test_release_that_a_lost_connection_interrupts_is_completed_and_keeps_the_old_files(
    embedded: FtpTarget, monkeypatch: pytest.MonkeyPatch, when: When, line: int
) -> None:
    monkeypatch.setattr(ftp_publish, "_QUIET", 0.05)
    items = staged_release(embedded.root, 4, 3)
    before = everything(embedded.root)
    async with open_fault_proxy((embedded.host, embedded.port), Cut(verb="RNTO", at_line=line, when=when)) as proxy:
        endpoint = endpoint_for(embedded, host=proxy.host)
        for verb in (publish, put_back):
            proxy.arm(Cut(verb="RNTO", at_line=line, when=when))
            results: list[object] = []
            while not results:
                try:
                    async with endpoint.open_session() as session:
                        results = [*await verb(session, items)]
                except ConnectionLost:
                    results = []
            assert not [it for it in results if isinstance(it, OperationRefused)]
            if verb is publish:
                now = everything(embedded.root)
                assert [now[f"{number}.html"][0] for number in range(4)] == [b"new %d" % n for n in range(4)]
                assert [now[items[number].aside or ""][0] for number in range(3)] == [b"old %d" % n for n in range(3)]
    assert everything(embedded.root) == before


@contextmanager
def reading(files: list[Path]) -> Iterator[list[Path]]:
    """Open files all the time in a thread, and collect those that are missing at some moment."""
    missing: list[Path] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            missing.extend(path for path in files if not path.exists())

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield missing
    finally:
        stop.set()
        thread.join()


async def no_gap(opening: AbstractAsyncContextManager[Session], folder: Path, uid: int | None) -> None:
    items = staged_release(folder, 60, 60, uid)
    with reading([folder / item.staged.path for item in items]) as missing:
        async with opening as session:
            for _ in range(3):
                assert all(isinstance(it, Published) for it in await publish(session, items))
                assert not [it for it in await put_back(session, items) if isinstance(it, OperationRefused)]
                await trio.lowlevel.checkpoint()
    assert missing == []


async def test_reader_of_a_local_target_never_misses_a_file_that_is_replaced(tmp_path: Path) -> None:
    await no_gap(LocalEndpoint(tmp_path).open_session(), tmp_path, None)


async def test_reader_of_an_sftp_target_with_links_never_misses_a_file_that_is_replaced(
    shared_sftp_server: SshTarget,
) -> None:
    folder = ssh_servers.fresh_folder(shared_sftp_server, "read")
    await no_gap(ssh_endpoint_for(shared_sftp_server, "read").open_session(), folder, shared_sftp_server.uid)
