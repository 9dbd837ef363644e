"""What a run learns of a server, and the journal keeps for the next run.

A trait is a name and a text that only the endpoint reads, for example how many lanes a server can carry. It saves a
later run from finding it out again, mostly by an error. It is never a promise: an endpoint checks it where a wrong
trait could do harm.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from actorsync.classes import define

__all__ = ["Traits"]


@define(eq=False)
class Traits:
    """The traits of one server. All sessions of an endpoint share them."""

    _known: dict[str, str] = attrs.Factory(dict)
    _news: dict[str, str] = attrs.Factory(dict)

    def get(self, name: str) -> str:
        """Return a trait, or ``""`` if it is not known."""
        return self._known.get(name, "")

    def learn(self, name: str, text: str) -> None:
        """Set a trait. ``""`` forgets it."""
        if self.get(name) != text:
            self._known[name] = self._news[name] = text

    def recall(self, known: Mapping[str, str]) -> None:
        """Take over what an earlier run has learned. What this run knows already stays."""
        self._known = {**known, **self._known}

    def take_news(self) -> list[tuple[str, str]]:
        """Return what was learned since the last call, to be recorded."""
        news, self._news = list(self._news.items()), {}
        return news
