"""Since when the target is behind: the oldest change of the source that was noticed and is not on the target yet."""

from __future__ import annotations

from actorsync.classes import define

__all__ = ["Freshness"]


@define(eq=False)
class Freshness:
    """Times in seconds since the epoch. A pass takes up the changes that were noticed before it began."""

    hinted_at: float | None = None
    """When the oldest change was noticed that is not on the target yet; None if there is none."""
    _during_pass: float | None = None
    """When the first change was noticed since the pass began that is going on."""
    _is_passing: bool = False

    def notice(self, now: float) -> None:
        """Note that a change was noticed."""
        if not self._is_passing:
            self.hinted_at = now if self.hinted_at is None else self.hinted_at
        elif self._during_pass is None:
            self._during_pass = now

    def begin(self) -> None:
        """Note that a pass begins."""
        self._is_passing = True

    def end(self, *, is_in_sync: bool) -> None:
        """Note that the pass has ended, and whether the target has all that the source had at its beginning."""
        if is_in_sync or self.hinted_at is None:
            self.hinted_at = self._during_pass
        self._during_pass, self._is_passing = None, False
