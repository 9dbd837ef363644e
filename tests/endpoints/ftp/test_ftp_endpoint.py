"""The FTP endpoint on the embedded server: unsendable names, and errors of a connection."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.errors import ConnectionLost
from actorsync.journal import open_journal
from actorsync.planning.selection import Selection
from actorsync.policy import Policy, RunOptions
from actorsync.profile import MaxDelete
from actorsync.supervisor import supervise
from actorsync.testing import EmbeddedFtpServer


def plant(folder: Path) -> Path:
    """Make a directory with one plain file name, and one that FTP cannot send."""
    folder.mkdir()
    (folder / "good").write_bytes(b"good")
    Path(os.fsdecode(os.fsencode(folder) + b"/a\xffb")).write_bytes(b"never")
    return folder


async def test_m074_unsendable_name_fails_alone_and_leaves_no_intent(
    embedded: EmbeddedFtpServer, tmp_path: Path
) -> None:
    source = plant(tmp_path / "source")
    target = FtpEndpoint(embedded.host, embedded.port, embedded.user, lambda: embedded.password)
    policy = Policy(Selection(), MaxDelete.parse("50%"))
    with open_journal(tmp_path / "state", "m074") as journal:
        for copied in (1, 0, 0):
            report = await supervise(LocalEndpoint(source), target, journal, RunOptions(policy))
            assert (report.exit_code, report.copied, report.failed) == (1, copied, 1)
            assert "0xFF" in report.failures[0][1]
            assert journal.pending() == []


async def test_m001_refused_connection_raises_connection_lost_with_the_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionLost, match="Connection refused"):
        async with FtpEndpoint("127.0.0.1", port).open_session():
            pass
