"""The verbs of `actorsync ctl`. Imports nothing that is slow to import: the help of the command shows them."""

from __future__ import annotations

from typing import Final

__all__ = ["TAKES_VALUE", "VERBS"]

#: The verbs, and what each does in a few words.
VERBS: Final = {
    "pause": "begin no file and no pass until resume",
    "resume": "continue after pause",
    "drain": "finish the transfers in progress and end, like the first Ctrl-C",
    "cancel": "abort the transfers in progress and end, like the second Ctrl-C",
    "bwlimit": "limit bytes per second: 512K, 2M; off removes the limit",
    "connections": "use at most this many connections; auto: as many as the profile says",
    "retry": "try this parked path in the next pass",
    "rescan": "compare the whole source in the next pass, and begin it now",
    "reload": "read the profile again when the pass in progress has ended",
    "status": "show what the run does",
}

#: The verbs that take a value.
TAKES_VALUE: Final = frozenset({"bwlimit", "connections", "retry"})
