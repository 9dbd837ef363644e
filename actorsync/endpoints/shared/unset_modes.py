"""The warning about permissions that a target has not set."""

from __future__ import annotations

from actorsync.model.text import display, shorten

__all__ = ["warning_about"]

_SHOWN = 200


def warning_about(first: str) -> str:
    """Return one line about modes that were not set. ``first`` names the first path and says why."""
    return (
        f"permissions are not set as sync.modes says (first: {shorten(display(first), _SHOWN)}); allow it on the "
        'target, or leave permissions alone with sync.modes = "keep"'
    )
