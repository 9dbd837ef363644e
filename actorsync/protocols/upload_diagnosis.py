"""Why a server does not take a file: decided by what it does, never by a code or a text alone.

FTP servers say 451 for a full disk and for a broken connection, 553 for a directory that is closed to us and for a disk
without inodes, 550 for anything; SFTP servers say "failure". So a small file with a plain name is tried beside what was
refused, while that is still there. `find` has the conclusions, `judge` the words.
"""

from __future__ import annotations

import enum
import errno
import os
from typing import Literal, TypeAlias

import attrs

from actorsync.errors import OperationRefused, TargetFull

__all__ = ["Attempt", "Finding", "Hint", "find", "full", "hint_of", "judge"]

Hint: TypeAlias = Literal["", "no room", "cut off", "denied"]


@attrs.frozen
class Attempt:
    """One upload, and what became of it: the file that was refused, or the small one that was tried beside it.

    ``said`` is the server's last word on it, fit to be shown, and ``code`` its code. ``is_begun`` says that the server
    had wanted the data before that, ``is_accepted`` that it says to have them all. ``stored`` is what it then had of
    the ``size`` bytes; None for no such file, or for what nobody has looked at. ``may_pass`` is the server's opinion.
    ``hint`` is what its code or its text stands for. It decides nothing alone: it tells which of two reasons it was,
    where looking leaves two.
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
        """Whether it was taken."""
        return self.is_accepted and self.stored == self.size

    @property
    def is_partly_there(self) -> bool:
        """Whether some of its bytes were stored, and not all."""
        return 0 < (self.stored or 0) < self.size


def hint_of(text: str) -> Hint:
    """Read what a text may stand for: most servers put the system's own words into theirs."""
    for errors, hint in _ERRORS:
        if any(os.strerror(error) in text for error in errors):
            return hint
    return ""


_ERRORS: tuple[tuple[tuple[int, ...], Hint], ...] = (
    ((errno.ENOSPC, errno.EDQUOT), "no room"),
    ((errno.EACCES, errno.EPERM, errno.EROFS), "denied"),
)


class Finding(enum.Enum):
    """What a trial has shown."""

    FULL = "nothing more can be stored"
    CLOSED = "nothing can be stored in this directory"
    NAME = "it is the name"
    THIS_FILE = "others can be stored here"
    CUT = "data does not arrive"


def find(refused: Attempt, trial: Attempt, *, nor_others: bool = False) -> Finding:
    """Conclude from a refused upload, and from a small file tried in the same directory.

    ``nor_others`` says that directories which took files before take none now, one after the other.
    """
    match trial.is_whole, refused.is_begun, trial.is_begun:
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
            return Finding.FULL  # the first one could be made, and is there
        case _:
            say_so = refused.hint == trial.hint == "no room"
            return Finding.FULL if nor_others or say_so else Finding.CLOSED


def _is_cut(refused: Attempt, trial: Attempt) -> bool:
    """Whether some bytes of the small file arrived. A full disk keeps none, unless somebody has just made room."""
    says_the_same = trial.code == refused.code and not trial.is_accepted and trial.hint != "cut off"
    return bool(trial.stored) and not says_the_same


def full(why: str) -> TargetFull:
    """Say that the target is full, and what can be done."""
    return TargetFull(f"the target is full: {why}; make room there, or have the quota raised")


def judge(
    refused: Attempt, finding: Finding | None, *, again: bool = False, only_dot: bool = False
) -> OperationRefused:
    """Say in one line what is wrong with an upload, and what can be done. Without a finding, that it was refused.

    ``again`` says that an earlier attempt with the same file came exactly as far, ``only_dot`` that there was nothing
    odd about the name that it had on its way, but the dot at its beginning.
    """
    said, size = refused.said, refused.size
    if finding is Finding.FULL:
        return full(f"not even a small file can be stored any more ({said})")
    if refused.is_accepted:
        stored = "an unknown number" if refused.stored is None else str(refused.stored)
        return OperationRefused(f"the server has {stored} of its {size} bytes", retry=True)
    match finding:
        case Finding.CLOSED:
            why = (
                f"the server lets nothing be stored in its directory ({said}); see who may write there, "
                "and whether there is room for one more file"
            )
        case Finding.NAME if only_dot:
            why = (
                f"the server takes no name with a dot at its beginning ({said}), and every file has one on its way; "
                "have it allow them"
            )
        case Finding.NAME:
            why = (
                f"the server refuses it, and takes a file of another name in the same directory ({said}); "
                "rename or exclude it"
            )
        case Finding.THIS_FILE if refused.hint == "no room":
            why = (
                f"the server has no room for its {size} bytes, but for small files ({said}); make room there, "
                "or have the quota or the limit of a file's size raised"
            )
            return OperationRefused(why)
        case Finding.THIS_FILE if 0 < (refused.stored or 0) < size and (
            again or not (refused.may_pass or refused.hint)
        ):
            why = (
                f"the server takes {refused.stored} of its {size} bytes, and small files ({said}): a file may not be "
                "longer there, or a quota has too little left"
            )
            return OperationRefused(why)
        case _:
            why = f"the server refuses it: {said}"
    return OperationRefused(why, retry=refused.may_pass)
