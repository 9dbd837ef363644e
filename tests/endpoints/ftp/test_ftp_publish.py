"""Releases on an FTP server that refuses some of the renames of a flight."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actorsync.endpoints.contract import Staged
from actorsync.endpoints.releases import Publication, Published
from actorsync.errors import OperationRefused
from actorsync.testing import EmbeddedFtpServer
from tests.support.servers.ftp import endpoint_for

SECONDS = 1_700_000_000
FILES = 3


def staged_release(root: Path) -> list[Publication]:
    """Put old files and staged ones on the server's disk."""
    items = []
    for number in range(FILES):
        temporary, new = f".actorsync-{number:016x}.tmp", b"the new %d" % number
        (root / temporary).write_bytes(new)
        os.utime(root / temporary, (SECONDS, SECONDS))
        (root / f"{number}.html").write_bytes(b"old %d" % number)
        staged = Staged(f"{number}.html", temporary, len(new), SECONDS * 10**9)
        items.append(Publication(staged, f".actorsync+{number:016x}.tmp"))
    return items


# The first file is set aside by itself, so its two renames are the first. The others follow in one flight.
@pytest.mark.parametrize(("number", "lost"), [(3, "1.html"), (5, "2.html")])
async def test_old_file_that_cannot_be_set_aside_and_is_replaced_is_named(
    server_folder: Path, number: int, lost: str
) -> None:
    items = staged_release(server_folder)
    with EmbeddedFtpServer(server_folder, faults=[f"refuse@rename:{number}"]) as server:
        async with endpoint_for(server).open_session() as session:
            assert not session.warnings() or all(lost not in it for it in session.warnings())
            results = await session.publish(items)
            warnings = session.warnings()
    published = {it.entry.path: it for it in results if isinstance(it, Published)}
    assert len(published) == FILES, results
    assert {path for path, it in published.items() if it.lost_old} == {lost}
    assert {path for path, it in published.items() if it.has_old} == published.keys() - {lost}
    assert [it for it in warnings if "the old version is lost" in it and lost in it]


async def test_first_old_file_that_cannot_be_set_aside_is_not_replaced(server_folder: Path) -> None:
    items = staged_release(server_folder)
    with EmbeddedFtpServer(server_folder, faults=["refuse@rename:1"]) as server:
        async with endpoint_for(server).open_session() as session:
            results = await session.publish(items)
    refused = [it for it in results if isinstance(it, OperationRefused)]
    assert "cannot be set aside" in str(refused[0])
    assert (server_folder / "0.html").read_bytes() == b"old 0"
