"""The table ``[audit]``."""

from __future__ import annotations

from typing import Literal, get_args

import attrs

from actorsync.classes import frozen
from actorsync.profile.values.key import key
from actorsync.profile.values.readers import choice_reader, read_duration, whole_reader

__all__ = ["AuditTable", "Repair"]

Repair = Literal["report", "fix"]


@frozen
class AuditTable:
    """How a run looks at a target that it knows: other programs may have changed it. ``every`` is in seconds."""

    listings: int = attrs.field(
        default=50,
        metadata=key(
            whole_reader(0),
            "listings = 200",
            doc="How many directories of the target a run lists, beside the root, to find what others have changed. "
            "`0`: a run trusts its journal, and does not connect when there is nothing to do.",
        ),
    )
    repair: Repair = attrs.field(
        default="report",
        metadata=key(
            choice_reader(get_args(Repair)),
            'repair = "fix"',
            doc="What to do with what others have changed: report it (exit code 9), or make it like the source again.",
            is_text=True,
        ),
    )
    every: float = attrs.field(
        default=600.0,
        metadata=key(
            read_duration,
            'every = "1h"',
            doc="With `sync.every` and `sync.watch`: how often the repeated runs look at the target, at most.",
            is_text=True,
        ),
    )
