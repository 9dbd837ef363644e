"""All keys of a profile, by table; and what is suggested for one that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import attrs

from actorsync.profile.audit import AuditTable
from actorsync.profile.release import HooksTable, PublishTable, TrashTable
from actorsync.profile.schema import Shutdown, Sync
from actorsync.profile.service import ObserveTable, WatchTable
from actorsync.profile.sides import SourceTable, TargetTable
from actorsync.profile.values.key import hint_for

__all__ = ["KEYS", "SECTIONS", "kebab", "keys", "suggestion", "unknown_key", "variable_name", "with_name"]


def kebab(name: str) -> str:
    return name.replace("_", "-")


SECTIONS: dict[str, type[attrs.AttrsInstance]] = {
    "source": SourceTable,
    "target": TargetTable,
    "sync": Sync,
    "watch": WatchTable,
    "audit": AuditTable,
    "publish": PublishTable,
    "hooks": HooksTable,
    "trash": TrashTable,
    "observe": ObserveTable,
    "shutdown": Shutdown,
}


def keys() -> dict[str, attrs.Attribute[Any]]:
    """Return every key with its field, in the order of the documentation: in each table, required keys come first."""
    return {
        f"{section}.{kebab(field.name)}": field
        for section, table in SECTIONS.items()
        for field in sorted(attrs.fields(table), key=_comes_later)
    }


def _comes_later(field: attrs.Attribute[Any]) -> bool:
    return field.default is not attrs.NOTHING and field.name not in {"path", "url"}


KEYS = keys()


def variable_name(key: str) -> str:
    """Return the environment variable that overrides ``key``."""
    return f"ACTORSYNC_{key.upper().replace('.', '_').replace('-', '_')}"


def with_name(key: str, name: str) -> str:
    """Return a key as it is written for the target ``name``: ``target.berlin.url``. Other tables have no names."""
    section, _, noun = key.partition(".")
    return f"target.{name}.{noun}" if name and section == "target" and noun else key


def unknown_key(key: str) -> str:
    return f"unknown key{suggestion(key, str)}"


def suggestion(unknown: str, written: Callable[[str], str]) -> str:
    """Return a hint or the closest known key as the end of a message.

    ``written`` returns a key as the user wrote this one.

    The keys of all tables are compared by their names alone, because a key is often in the wrong table. Of equally
    close keys, one in the same table comes first, and one in ``[source]``, and then in ``[trash]``, last.
    """
    if (hint := hint_for(unknown)) is not None:
        return f"; {hint}"
    section, _, name = unknown.rpartition(".")
    if not section:
        candidates = [*KEYS, *SECTIONS]
        nearest = difflib.get_close_matches(unknown, candidates, n=1, cutoff=0.7)
    else:
        names = difflib.get_close_matches(name, {one.partition(".")[2] for one in KEYS}, n=1, cutoff=0.7)
        nearest = [one for one in KEYS if one.partition(".")[2] in names]
        nearest.sort(key=lambda one: (not one.startswith(f"{section}."), one.startswith(("source.", "trash."))))
    if nearest:
        return f"; did you mean {written(nearest[0])}?"
    siblings = [written(one) for one in KEYS if one.startswith(f"{section}.")] or list(SECTIONS)
    return f"; known: {', '.join(siblings)}"
