"""What the keys of a profile mean when both sides may change: some mean nothing then, and some mean more.

A key that means nothing is refused, because its user expects something of it. docs/two-way.md has both tables, printed
from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from actorsync.profile.known_keys import KEYS
from actorsync.profile.schema import Profile
from actorsync.profile.values.readers import MOST_CONNECTIONS

__all__ = ["MEANINGLESS", "ONE_TARGET", "as_markdown", "fault_of_two_way"]

ONE_TARGET: Final = "a two-way profile has one target; write a profile for each pair of directories"

_ONE_BY_ONE: Final = "each file gets its name by itself, on the side that lacks it"
_AS_A_WHOLE: Final = "each run looks at both sides as a whole"

#: Keys that are refused, unless they have their defaults: why they mean nothing.
MEANINGLESS: Final[Mapping[str, str]] = {
    "sync.links": "symbolic links are left as they are on both sides",
    "sync.resume-keep": "no part of a file is kept for a later run",
    "audit.listings": _AS_A_WHOLE,
    "audit.repair": _AS_A_WHOLE,
    "audit.every": _AS_A_WHOLE,
    "publish.mode": _ONE_BY_ONE,
    "publish.order": _ONE_BY_ONE,
    "publish.remove-after": "both sides have the same files",
    "publish.keep-old": _ONE_BY_ONE,
    "publish.check": _ONE_BY_ONE,
    "publish.maintenance": _ONE_BY_ONE,
    "target.canary": "there is only one target",
    "target.canary-check": "there is only one target",
}

#: Keys that mean more than in a mirror, or something else. All others mean the same, on both sides.
_OTHERWISE: Final[Mapping[tuple[str, ...], str]] = {
    ("sync.connections",): "for each server, and shared by what is read there and what is written; at least 2",
    ("sync.bwlimit",): "for both directions together",
    ("sync.delete",): "`true` or nothing: what is removed on one side is removed on the other one. `false` and "
    '`"everything"` are refused',
    ("sync.max-delete",): "asked for each side by itself",
    ("sync.any-device",): "allows removals although the root of a side is another directory than in the last run",
    (
        "sync.exclude",
        "sync.include",
        "sync.exclude-from",
        "sync.exclude-extensions",
        "sync.max-depth",
    ): "for both sides alike",
    ("sync.modes",): "for each file that is sent, on the side that it is sent to. A change of permissions alone is not "
    "carried over",
    ("sync.resume",): "only for what is read from a server: a big file goes on over another connection in the same run",
    ("trash.path",): "relative to the root of each side: both have a trash",
    ("trash.keep", "trash.max-size"): "for what both sides have in their trashes together",
    ("trash.inside-target",): "allows a trash below both roots",
    ("hooks.before-commit", "hooks.after"): "around the changes of both sides",
}

#: Keys that need the mode.
_TWO_WAY_ONLY: Final = ("sync.conflict", "sync.conflict-copies")


def fault_of_two_way(profile: Profile, given: Mapping[str, object]) -> tuple[str, str] | None:
    """Return the key of the first contradiction with the mode, with what is wrong; None if there is none.

    ``given`` has the keys that are written somewhere, with their values: what was left out cannot be wrong.
    """
    sync = profile.sync
    if sync.mode != "two-way":
        for key in _TWO_WAY_ONLY:
            if key in given and given[key] != KEYS[key].default:
                return key, 'only used with sync.mode = "two-way"; set that, or remove it'
        return None
    for key, why in MEANINGLESS.items():
        if key in given and given[key] != KEYS[key].default:
            return key, f'has no meaning with sync.mode = "two-way", because {why}; remove it'
    if sync.delete == "everything" or given.get("sync.delete") is False:
        shown = '"everything"' if sync.delete else "false"
        why = "what is removed on one side is removed on the other one"
        return "sync.delete", f'{shown} has no meaning with sync.mode = "two-way", because {why}; remove it'
    is_remote = profile.source.is_remote or profile.target.is_remote
    most = sync.most_connections if sync.is_automatic else sync.connections
    if is_remote and isinstance(most, int) and most < 2:
        return "sync.connections", f"two-way reads and writes a server at the same time; set 2 to {MOST_CONNECTIONS}"
    return None


def as_markdown() -> str:
    """Return the table of keys for docs/two-way.md: first what means something else, then what is refused."""
    lines = ["| key | with two-way |", "|---|---|"]
    lines += [f"| {_listed(keys)} | {meaning} |" for keys, meaning in _OTHERWISE.items()]
    by_reason: dict[str, list[str]] = {}
    for key, why in MEANINGLESS.items():
        by_reason.setdefault(why, []).append(key)
    lines += [f"| {_listed(keys)} | refused: {why} |" for why, keys in by_reason.items()]
    return "\n".join([*lines, "| all others | as in a mirror, for both sides |"])


def _listed(keys: Iterable[str]) -> str:
    """Return keys in a row, each with a link to its section in docs/profile.md."""
    return ", ".join(f"[`{key}`](profile.md#{key.replace('.', '')})" for key in keys)
