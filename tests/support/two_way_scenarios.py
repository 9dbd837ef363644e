"""Scenarios of two-way, as facts: how trees are made of them, and what they expect."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from actorsync.model.entry import Kind, join, parent_of

__all__ = ["SCENARIOS", "Changeable", "change", "expected", "put", "versions", "walk"]

_FILE: Final = Path(__file__).with_name("two_way_scenarios.json")
SCENARIOS: Final[list[dict[str, Any]]] = json.loads(_FILE.read_text())["scenarios"]


class Changeable(Protocol):
    """A tree that a test changes as users do."""

    def find(self, path: str) -> object | None: ...

    def mkdir(self, path: str) -> None: ...

    def write(self, path: str, data: bytes, mtime_ns: int | None = None) -> None: ...

    def delete(self, path: str) -> None: ...

    def rename(self, old: str, new: str) -> None: ...

    def put_special(self, path: str, kind: Kind) -> None: ...


_YEARS: Final = {"2000": 0, "2001": 1, "2002": 2, "2004": 4, "2005": 5, "2006": 6, "later": 9}


def _mtime(text: str | None) -> int | None:
    """Return a time for a date of a scenario: only the order of the dates matters."""
    if text is None:
        return None
    year, _, rest = text.partition("-")
    return 10**18 + _YEARS[year] * 10**16 + int(rest.replace("-", "") or 0) * 10**12


def walk(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield paths with what is there, parents first: None for a directory."""
    for name, what in tree.items():
        path = join(above, name)
        is_directory = isinstance(what, Mapping) and not any(key.startswith("$") for key in what)
        yield path, None if is_directory else what
        if is_directory:
            yield from walk(what, path)


def _content(what: Any) -> str | None:
    """Return the content of a file; None for what is no file."""
    if isinstance(what, str):
        return what
    return what.get("$text") if isinstance(what, Mapping) else None


def put(endpoint: Changeable, path: str, what: Any) -> None:
    content = _content(what)
    if what is None:
        endpoint.mkdir(path)
    elif content is not None:
        endpoint.write(path, content.encode(), _mtime(what.get("mtime")) if isinstance(what, Mapping) else None)
    else:  # left out, or not to be looked at: to a run it is there, and that is all
        endpoint.put_special(path, Kind.OTHER)


def change(endpoint: Changeable, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Make a tree into another one, as users would: a file that has moved is moved."""
    old, new = dict(walk(before)), dict(walk(after))
    gone = [path for path in old if path not in new or not _is_alike(old[path], new[path])]
    come = [path for path in new if path not in old or not _is_alike(old[path], new[path])]
    moved: dict[str, str] = {}
    for path in come:
        content = _content(new[path])
        places = [it for it in gone if content and _content(old[it]) == content and it not in moved]
        places = [it for it in places if not path.startswith(f"{it}/")]
        if places and path not in old:
            moved[places[0]] = path
    for path, place in moved.items():
        for above in [it for it in come if place.startswith(f"{it}/")]:
            if new[above] is None and endpoint.find(above) is None:
                endpoint.mkdir(above)
        if (parent_of(place) in old and old[parent_of(place)] is None) or endpoint.find(parent_of(place)) is not None:
            endpoint.rename(path, place)
    for path in sorted(gone, reverse=True):
        if path not in moved and endpoint.find(path) is not None:
            kinds = old[path] is None, path in new and new[path] is None
            if _content(old[path]) is None or path not in new or _content(new[path]) is None or any(kinds):
                endpoint.delete(path)
    for path in come:
        if path not in moved.values() and not (new[path] is None and endpoint.find(path) is not None):
            put(endpoint, path, new[path])


def _is_alike(one: Any, two: Any) -> bool:
    return (one is None) == (two is None) and (one == two)


def expected(tree: Mapping[str, Any]) -> dict[str, str | None]:
    """Return what must be there by path, without what is left out."""
    return {path: _content(it) for path, it in walk(tree) if it is None or _content(it) is not None}


def versions(tree: Mapping[str, str | None]) -> list[str]:
    return sorted(content for content in tree.values() if content is not None)
