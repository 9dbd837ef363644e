"""Permissions: which mode a file or directory of the target is to have, and when one has to be set.

A mode is nine permission bits. Setuid, setgid and sticky are never taken from a source.

What the target has is known from its own listings and replies where it reports modes, and otherwise only from what was
set. The table of `mode_to_set`, for an entry that the target has with the right content:

=============================  ==================  ==========================================
the source now, and as it was  the target, as far  what follows
recorded                       as it is known
=============================  ==================  ==========================================
as recorded                    any                 nothing: what a server refused once is not
                                                   asked for in every run
another mode                   the wanted mode     nothing
another mode                   another, or unknown set the wanted mode
no mode was recorded           the wanted mode     nothing
no mode was recorded           another mode        set the wanted mode
no mode was recorded           unknown             nothing: the mode that is seen now is
                                                   recorded
=============================  ==================  ==========================================

The last line is a journal of a version that recorded no modes. With another rule than in the last complete run, every
entry counts as one with another mode.
"""

from __future__ import annotations

from typing import Final, Literal

from actorsync.classes import frozen
from actorsync.model.entry import Entry, Kind, Record

__all__ = ["ALONE", "KEEP", "OWNER_ALL", "SOURCE", "Modes", "mode_to_set", "read_modes"]

#: The bits that let the owner of a directory change what is in it. Every directory of a target has them, or the next
#: run could change nothing there.
OWNER_ALL: Final = 0o700

_MOST: Final = 0o777


@frozen
class Modes:
    """A rule for the modes on the target.

    ``alone`` leaves them to the target. ``keep`` gives a new version of a file the mode of the old one, and a new file
    the mode that it has in the source. ``source`` takes every mode from the source. ``fixed`` has one mode for files
    and one for directories.
    """

    rule: Literal["alone", "keep", "source", "fixed"]
    file: int = 0
    directory: int = 0

    @property
    def is_setting(self) -> bool:
        """Whether a mode is set for what the target has already."""
        return self.rule in {"source", "fixed"}

    def wanted(self, source: Entry) -> int | None:
        """Return the mode that the target is to have for an entry of the source; None if none is to be set."""
        if not source.path:  # the root is the user's own
            return None
        is_directory = source.kind is Kind.DIRECTORY
        match self.rule:
            case "fixed":
                return self.directory | OWNER_ALL if is_directory else self.file
            case "source" if source.mode is not None:
                return source.mode & _MOST | OWNER_ALL if is_directory else source.mode & _MOST
            case _:
                return None

    def for_upload(self, source: Entry) -> int | None:
        """Return the mode of a new file; None to leave it to the target. A rule of ``keep`` has it from the source."""
        return source.mode if self.rule == "keep" else self.wanted(source)

    def __str__(self) -> str:
        """Return the rule as it is written in a profile."""
        return f"{self.file:04o}/{self.directory:04o}" if self.rule == "fixed" else self.rule


ALONE: Final = Modes("alone")
KEEP: Final = Modes("keep")
SOURCE: Final = Modes("source")


def read_modes(text: str) -> Modes:
    """Return the rule that a profile writes as ``text``. Raises `ValueError` with what is wrong with it."""
    if text in {"source", "keep"}:
        return SOURCE if text == "source" else KEEP
    file, slash, directory = text.partition("/")
    if not (slash and _is_octal(file) and _is_octal(directory)):
        raise ValueError('is not "source", "keep", or two modes in octal for files and directories: "0644/0755"')
    modes = Modes("fixed", int(file, 8), int(directory, 8))
    if max(modes.file, modes.directory) > _MOST:
        raise ValueError("has more than nine permission bits; setuid, setgid and sticky cannot be set")
    if modes.directory & OWNER_ALL != OWNER_ALL or not modes.file & 0o400:
        raise ValueError(
            'takes rights from the owner that the next run needs; use 04xx/07xx or more, as in "0644/0755"'
        )
    return modes


def _is_octal(text: str) -> bool:
    return 3 <= len(text) <= 5 and text.isascii() and text.isdigit() and not {"8", "9"} & set(text)


def mode_to_set(now: Entry, record: Record, modes: Modes, *, is_new_rule: bool = False) -> int | None:
    """Return the mode that has to be set on the target for an entry that has the right content; None for none.

    ``record`` is the journal's. Of a foreign entry, ``source`` is None: a file of that kind is to be adopted, and gets
    its mode like any other. A directory of that kind was made by another program, perhaps for other users: its mode
    is changed only by a ``fixed`` rule.
    """
    wanted, there = modes.wanted(now), record.target.mode
    if wanted is None or wanted == there:
        return None
    if record.source is None:
        is_asked_for = modes.rule == "fixed" or (now.kind is Kind.FILE and there is not None)
        return wanted if is_asked_for else None
    then = record.source.mode
    if is_new_rule or (then is not None and then != now.mode) or (then is None and there is not None):
        return wanted
    return None
