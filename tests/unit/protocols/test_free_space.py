"""How much room a target tells to have."""

from __future__ import annotations

import struct

import pytest

from actorsync.protocols.ftp.replies import available_of
from actorsync.protocols.ftp.wire import Reply
from actorsync.protocols.sftp.replies import OK, Extended, room_of


@pytest.mark.parametrize(
    ("code", "text", "room"), [(213, "1024", 1024), (213, "0", 0), (213, "plenty", None), (550, "no", None)]
)
def test_free_bytes_of_an_ftp_server_are_told_by_a_number_alone(code: int, text: str, room: int | None) -> None:
    assert available_of(Reply(code, (text,))) == room


def statvfs(block: int, fragment: int, blocks: int, free: int, available: int) -> Extended:
    return Extended(struct.pack(">11Q", block, fragment, blocks, free, available, 0, 0, 0, 0, 0, 255))


def test_free_bytes_of_an_sftp_server_are_those_that_an_ordinary_user_can_store() -> None:
    assert room_of(statvfs(4096, 512, 1000, 100, 90)) == 90 * 512
    assert room_of(statvfs(4096, 0, 1000, 100, 90)) == 90 * 4096
    assert room_of(statvfs(4096, 512, 0, 0, 0)) is None  # the file system counts no blocks
    assert room_of(Extended(b"short")) is None
    assert room_of(OK) is None
