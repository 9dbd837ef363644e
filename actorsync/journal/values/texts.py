"""Reports and roots as texts in a journal."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING

import attrs

from actorsync.journal.values.meta import Unreadable
from actorsync.model.entry import Entry, Kind, Root
from actorsync.model.report import Report

if TYPE_CHECKING:
    import cattrs

__all__ = ["dump", "parsed_report", "parsed_root"]


def dump(value: Report | Root) -> str:
    """Return a report or a root as JSON in ASCII, exact for any number and any path."""
    if isinstance(value, Root):
        entry = {**attrs.asdict(value.entry), "kind": value.entry.kind.value}
        return json.dumps({"root": entry, "device": value.device})
    return json.dumps(attrs.asdict(value))


def parsed_root(text: str) -> Root:
    """Return the root that `dump` has made a text of. Raises `Unreadable` for any other text."""
    try:
        record = json.loads(text)
        entry = record["root"]
        known = {field.name: entry[field.name] for field in attrs.fields(Entry) if field.name in entry}
        root = Root(Entry(**{**known, "kind": Kind(entry["kind"])}), record.get("device"))
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise Unreadable("not a Root") from error
    numbers = [value for name, value in known.items() if name not in {"path", "kind"}]
    if not isinstance(root.entry.path, str) or not all(isinstance(it, int | None) for it in (*numbers, root.device)):
        raise Unreadable("not a Root")
    return root


@functools.cache
def _converter() -> cattrs.Converter:
    import cattrs  # slow to import, and a run reads no reports

    return cattrs.Converter()


def parsed_report(text: str | bytes) -> Report:
    """Return the report that `dump` has made a text of. Raises `Unreadable` for any other text."""
    try:
        return _converter().structure(json.loads(text), Report)
    except Exception as error:  # cattrs raises many kinds of errors for malformed values
        raise Unreadable("not a Report") from error
