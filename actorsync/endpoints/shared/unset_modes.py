"""Permissions that a target has not set: what the user is told of them."""

from __future__ import annotations

from collections.abc import Sequence

from actorsync.classes import define
from actorsync.model.text import display, shorten

__all__ = ["UnsetModes"]

_SHOWN = 200


@define(eq=False)
class UnsetModes:
    """The first mode that a target has not set, with the reason. All sessions of an endpoint share it."""

    first: str | None = None
    is_impossible: bool = False
    """Whether the target has no command for modes, so that none is sent any more."""

    def note(self, path: str, reason: str) -> None:
        """Note that a mode was not set."""
        if self.first is None:
            self.first = f"{path}: {reason}"

    @property
    def warnings(self) -> Sequence[str]:
        """The sentence for the user; none while every mode was set."""
        if self.first is None:
            return ()
        first = shorten(display(self.first), _SHOWN)
        hint = 'allow it on the target, or leave permissions alone with sync.modes = "keep"'
        return (f"permissions are not set as sync.modes says (first: {first}); {hint}",)
