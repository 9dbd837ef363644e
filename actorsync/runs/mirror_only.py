"""What is possible with a mirror alone."""

from __future__ import annotations

from typing import Final

from actorsync.errors import ProfileError
from actorsync.model.text import display
from actorsync.profile import Profile

__all__ = ["APPLY", "AUDIT", "REHEARSE", "SAVE", "UNDO", "require_mirror"]

_CHANGING: Final = "both sides may change after a plan; use actorsync run"
AUDIT: Final = "audit", "each run looks at both sides as a whole; use actorsync run"
APPLY: Final = "apply", _CHANGING
SAVE: Final = "plan --save", _CHANGING
UNDO: Final = (
    "undo",
    "both sides may have changed since; take a version out of the trash yourself, and use actorsync run",
)
REHEARSE: Final = "rehearse", "it shows what the visitors of a mirror see; use actorsync plan"


def require_mirror(profile: Profile, command: tuple[str, str]) -> None:
    """Raise `ProfileError`, with the way out of the command, if both sides of the profile may change."""
    if profile.sync.mode == "two-way":
        name, why = command
        where = display(str(profile.path))
        raise ProfileError(f'{where}: actorsync {name} is not possible with sync.mode = "two-way": {why}')
