"""What the FTP endpoint says and forgets, on the embedded server."""

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
    """Make a directory with a file whose name is fine, and one whose name FTP cannot say."""
    folder.mkdir()
    (folder / "good").write_bytes(b"good")
    Path(os.fsdecode(os.fsencode(folder) + b"/a\xffb")).write_bytes(b"never")
    return folder


async def test_m074_a_name_that_cannot_be_sent_fails_alone_and_leaves_nothing_behind(
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


async def test_m001_a_refused_connection_is_called_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionLost, match="Connection refused"):
        async with FtpEndpoint("127.0.0.1", port).open_session():
            pass
