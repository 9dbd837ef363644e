"""The stamp: how a run knows that its journal is the one that the last run has left.

A journal that is older than the trees (it comes back from a backup) would take what was made since for unchanged, and
what is missing for removed. So each run that changes something leaves an empty file in the root of the target, with a
name that its journal has, too. A target that shows another stamp, or none, is compared as in a first run: nothing is
removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from actorsync.classes import frozen

__all__ = ["Stamp"]

_LENGTH: Final = 8
#: Stands in the journal for a stamp that is not there: the run was to leave the first one of all.
_NONE: Final = "-"


@frozen
class Stamp:
    """What a journal knows of the stamp. ``mark`` is that of the pair of trees, ``tokens`` are those that may be there.

    There are two tokens while a run changes something: it may die before its stamp is there, or after. The first run
    of all has one, and ``may_lack``: none may be there.
    """

    mark: str
    tokens: tuple[str, ...] = ()
    may_lack: bool = False

    @classmethod
    def from_text(cls, text: str) -> Stamp | None:
        """Return what `text` of an earlier run says; None if it says nothing."""
        words = text.split()
        if not words or len(words[0]) != _LENGTH:
            return None
        return cls(words[0], tuple(it for it in words[1:] if it != _NONE), may_lack=_NONE in words[1:])

    @property
    def text(self) -> str:
        """What the journal keeps."""
        return " ".join((self.mark, *([_NONE] if self.may_lack else []), *self.tokens))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of which one is in the root of the target."""
        return tuple(self.name(token) for token in self.tokens)

    def name(self, token: str) -> str:
        """Return the name of the file for a token."""
        return f".actorsync-{self.mark}{token[:_LENGTH]}"

    def others(self, names: Iterable[str]) -> list[str]:
        """Return those of the names that are stamps of this pair of trees, and not the newest one."""
        newest = self.name(self.tokens[-1]) if self.tokens else ""
        beginning = f".actorsync-{self.mark}"
        return [it for it in names if it.startswith(beginning) and len(it) == len(beginning) + _LENGTH and it != newest]

    def followed_by(self, token: str) -> Stamp:
        """Return the stamp while a run changes something: the old one, or the new one, may be there."""
        may_lack = self.may_lack or not self.tokens
        return Stamp(self.mark, (*self.tokens[-1:], token[:_LENGTH]), may_lack)

    def settled(self) -> Stamp:
        """Return the stamp at the end of that run."""
        return Stamp(self.mark, self.tokens[-1:])

    def is_shown(self, names: Sequence[str]) -> bool:
        """Return whether the target shows what the last run has left: one of its stamps, or none if it may lack one."""
        if not set(self.names).isdisjoint(names):
            return True
        return self.may_lack and not self.others(names)
