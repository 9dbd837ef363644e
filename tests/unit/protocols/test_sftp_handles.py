"""The handles of a channel: a handle that two open files have is found, in whatever order a server answers."""

from __future__ import annotations

import pytest

from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.handles import DuplicateHandle, OpenHandles
from actorsync.protocols.sftp.replies import OK, Handle, Status

OPEN, CLOSE_A = sftp.open_new("/a"), sftp.close(b"A")


def test_handle_of_an_open_file_is_refused_for_another() -> None:
    handles = OpenHandles()
    handles.note_sent(1, OPEN)
    handles.note_sent(2, sftp.open_directory("/d"))
    assert not handles.note_answered(1, Handle(b"A"))
    with pytest.raises(DuplicateHandle):
        handles.note_answered(2, Handle(b"A"))


def test_handle_may_be_used_again_after_its_file_is_closed() -> None:
    handles = OpenHandles()
    for first in (1, 4):
        handles.note_sent(first, OPEN)
        assert not handles.note_answered(first, Handle(b"A"))
        handles.note_sent(first + 1, CLOSE_A)
        assert handles.note_answered(first + 1, OK)
    assert (handles.count, handles.most) == (0, 1)


def test_handle_that_was_open_when_the_second_file_was_opened_is_refused() -> None:
    """The CLOSE was sent behind the second OPEN, so a server in order had not carried it out."""
    handles = OpenHandles()
    handles.note_sent(1, OPEN)
    handles.note_answered(1, Handle(b"A"))
    handles.note_sent(2, OPEN)
    handles.note_sent(3, CLOSE_A)
    with pytest.raises(DuplicateHandle):
        handles.note_answered(2, Handle(b"A"))


def test_handle_in_a_reply_before_that_to_an_earlier_close_is_a_new_one() -> None:
    handles = OpenHandles()
    handles.note_sent(1, OPEN)
    handles.note_answered(1, Handle(b"A"))
    handles.note_sent(2, CLOSE_A)
    handles.note_sent(3, OPEN)
    assert not handles.note_answered(3, Handle(b"A"))
    assert not handles.note_answered(2, OK), "the new file is still open"
    assert handles.opened == 1


def test_count_includes_what_was_asked_for_and_falls_with_a_refusal() -> None:
    handles = OpenHandles()
    handles.note_sent(1, OPEN)
    handles.note_sent(2, OPEN)
    handles.note_answered(1, Handle(b"A"))
    assert (handles.count, handles.opened) == (2, 1)
    assert handles.note_answered(2, Status(4))
    assert handles.count == 1
    handles.note_sent(3, CLOSE_A)
    assert handles.count == 1, "a file is open until its CLOSE is answered"
    assert handles.note_answered(3, Status(4))
    assert handles.count == 0
