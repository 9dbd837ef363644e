"""Why a server refuses an upload: decided by what it does, never by a code or a text alone.

FTP servers send 451 for a full disk and for a broken connection, 553 for a directory without permission and for a disk
without inodes, 550 for anything. SFTP servers send "failure". So a probe, a small file with a plain name, is uploaded
beside the refused file while that still exists. `find` draws the conclusion, and `judge` builds the message.
"""

from __future__ import annotations

import enum
import errno
import os
from typing import Literal, TypeAlias

from actorsync.classes import frozen
from actorsync.errors import OperationRefused, TargetFull

__all__ = ["Attempt", "Finding", "Hint", "find", "full", "hint_of", "judge"]

Hint: TypeAlias = Literal["", "no room", "cut off", "denied"]


@frozen
class Attempt:
    """One upload and its result: of the refused file, or of the probe.

    ``said`` is the server's final reply, escaped for display, and ``code`` its code. ``is_begun`` says that the server
    asked for the data before, and ``is_accepted`` that it reports to have all of them. ``stored`` is how many of the
    ``size`` bytes it then had; None for no such file, when it does not show that, or when that was not checked.
    ``may_pass`` says that the server calls the refusal temporary. ``hint`` is what its code or text stands for. It
    decides nothing alone, but chooses between two reasons where the other facts leave two.
    """

    size: int
    said: str
    code: int
    is_begun: bool
    is_accepted: bool = False
    stored: int | None = None
    may_pass: bool = False
    hint: Hint = ""

    @property
    def is_whole(self) -> bool:
        """Whether the server has all of it."""
        return self.is_accepted and self.stored == self.size

    @property
    def is_unseen(self) -> bool:
        """Whether the server reports to have all of it, and does not show it."""
        return self.is_accepted and self.stored is None


def hint_of(text: str) -> Hint:
    """Return what a text may stand for. Most servers put the system's error message into theirs."""
    for errors, hint in _ERRORS:
        if any(os.strerror(error) in text for error in errors):
            return hint
    return ""


_ERRORS: tuple[tuple[tuple[int, ...], Hint], ...] = (
    ((errno.ENOSPC, errno.EDQUOT), "no room"),
    ((errno.EACCES, errno.EPERM, errno.EROFS), "denied"),
)


class Finding(enum.Enum):
    """What a probe has shown."""

    FULL = "the target is full"
    CLOSED = "no file can be stored in this directory"
    NAME = "the name is rejected"
    THIS_FILE = "other files can be stored here"
    CUT = "data does not arrive"
    UNSEEN = "the server does not show what it has stored"


def find(refused: Attempt, trial: Attempt, *, nor_others: bool = False) -> Finding:
    """Conclude from a refused upload and from a probe in the same directory.

    ``nor_others`` says that several directories which accepted files before accept none now.
    """
    if trial.is_unseen and refused.is_unseen:
        return Finding.UNSEEN
    match trial.is_whole or trial.is_unseen, refused.is_begun, trial.is_begun:
        case True, True, _:
            return Finding.THIS_FILE
        case True, False, _:
            return Finding.THIS_FILE if refused.hint in {"no room", "cut off"} else Finding.NAME
        case _ if trial.hint == "denied":
            return Finding.CLOSED
        case False, _, True:
            return Finding.CUT if _is_cut(refused, trial) else Finding.FULL
        case _ if trial.hint == "cut off":
            return Finding.CUT
        case False, True, False:
            return Finding.FULL  # the refused file could be created, and is there
        case _:
            say_so = refused.hint == trial.hint == "no room"
            return Finding.FULL if nor_others or say_so else Finding.CLOSED


def _is_cut(refused: Attempt, trial: Attempt) -> bool:
    """Return whether some bytes of the probe arrived. A full disk stores none, unless space was just freed."""
    says_the_same = trial.code == refused.code and not trial.is_accepted and trial.hint != "cut off"
    return bool(trial.stored) and not says_the_same


def full(why: str) -> TargetFull:
    """Return the refusal for a full target."""
    return TargetFull(f"the target is full: {why}; free space there, or raise the quota")


def judge(
    refused: Attempt, finding: Finding | None, *, again: bool = False, only_dot: bool = False
) -> OperationRefused:
    """Return the refusal of an upload, with its reason and what to do. Without a finding, it repeats the server.

    ``again`` says that an earlier attempt with the same file stored exactly as many bytes. ``only_dot`` says that the
    temporary's name is plain except for the dot at its beginning.
    """
    said, size = refused.said, refused.size
    if finding is Finding.FULL:
        return full(f"not even a small file could be stored ({said})")
    if finding is Finding.UNSEEN:
        return OperationRefused(
            f"the server accepts files, but does not show their size, so no upload can be verified ({said}); "
            "allow the account to read the size of its files"
        )
    if refused.is_accepted:
        stored = "an unknown number" if refused.stored is None else str(refused.stored)
        return OperationRefused(f"the server stored {stored} of {size} bytes", retry=True)
    match finding:
        case Finding.CLOSED:
            why = (
                f"the server accepts no file in its directory ({said}); check the write permissions and the free "
                "space there"
            )
        case Finding.NAME if only_dot:
            why = (
                f"the server rejects names that begin with a dot, which temporary uploads need ({said}); "
                "allow such names in its settings"
            )
        case Finding.NAME:
            why = (
                f"the server rejects its name, and accepts another name in the same directory ({said}); "
                "rename or exclude it"
            )
        case Finding.THIS_FILE if refused.hint == "no room":
            why = (
                f"the server has no room for {size} bytes, but for small files ({said}); free space there, "
                "or raise the quota or the file size limit"
            )
            return OperationRefused(why)
        case Finding.THIS_FILE if 0 < (refused.stored or 0) < size and (
            again or not (refused.may_pass or refused.hint)
        ):
            why = (
                f"the server stores only {refused.stored} of {size} bytes, and accepts small files ({said}); raise its "
                "file size limit or the quota"
            )
            return OperationRefused(why)
        case _:
            why = f"the server refused the file: {said}"
    return OperationRefused(why, retry=refused.may_pass)
