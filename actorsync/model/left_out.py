"""How many entries a run does not mirror, and why."""

from __future__ import annotations

from typing import Final

import attrs

from actorsync.classes import frozen

__all__ = ["NOTHING", "LeftOut"]


@frozen
class LeftOut:
    """Numbers of entries that a run does not mirror, by the reason. Of an excluded directory only itself counts.

    In the source: ``excluded`` by the profile; ``links`` that are skipped; ``outside``, links to be followed that lead
    outside the source, nowhere, or in a circle; ``special``: pipes, sockets, devices; ``private``: kept back, because
    it is the profile, a secret, a journal or ``.git``. On the target: ``foreign`` entries that actorsync did not create
    and keeps, as far as the journal knows them. They are counted at the end of a run that was not cancelled.
    """

    excluded: int = 0
    links: int = 0
    outside: int = 0
    special: int = 0
    private: int = 0
    foreign: int = 0

    def __add__(self, other: LeftOut) -> LeftOut:
        """Return the sums of both."""
        return LeftOut(*(mine + its for mine, its in zip(attrs.astuple(self), attrs.astuple(other), strict=True)))


#: The value where nothing is left out.
NOTHING: Final = LeftOut()
