"""Names of conflict copies: the version that makes way, on both sides."""

from __future__ import annotations

import re
import time
from collections.abc import Container, Iterable
from typing import Final

from actorsync.model.entry import Entry, Kind, name_of
from actorsync.model.operation import Side

__all__ = ["conflict_name", "copies_of"]

_MOST_BYTES: Final = 255
_COPY: Final = re.compile(r"(.*)(\.conflict-(?:source|target)-\d{8}-\d{4}(?:-\d+)?)(.*)", re.DOTALL)


def conflict_name(name: str, side: Side, when_ns: int, taken: Container[str]) -> str:
    """Return the name of the copy of a file, as in ``report.conflict-target-20261130-1412.ods``.

    The version was found on ``side`` at ``when_ns``, in nanoseconds since the epoch; the name has UTC. A name that is
    ``taken`` gets a number. It has at most 255 bytes: the end of a long stem is left out.
    """
    stem, ending = _parts(name)
    stamp = time.strftime("%Y%m%d-%H%M", time.gmtime(when_ns // 1_000_000_000))
    number = 1
    while True:
        mark = f".conflict-{side.value}-{stamp}" + (f"-{number}" if number > 1 else "")
        found = _marked(stem, mark, ending)
        if found not in taken:
            return found
        number += 1


def copies_of(path: str, entries: Iterable[Entry]) -> list[Entry]:
    """Return those of the entries that are conflict copies of a file, by their names."""
    stem, ending = _parts(name_of(path))
    found = []
    for entry in entries:
        name = name_of(entry.path)
        copy = _COPY.fullmatch(name) if entry.kind is Kind.FILE else None
        if copy is not None and copy[3] == ending and _marked(stem, copy[2], ending) == name:
            found.append(entry)
    return found


def _parts(name: str) -> tuple[str, str]:
    """Return the name without its ending, and the ending with its dot; "" if it has none."""
    stem, dot, ending = name.rpartition(".")
    if not stem.strip(".") or len(ending) > 20:
        return name, ""
    return stem, dot + ending


def _marked(stem: str, mark: str, ending: str) -> str:
    return _shortened(stem, _MOST_BYTES - len(_encoded(mark + ending))) + mark + ending


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _shortened(text: str, room: int) -> str:
    """Return the beginning of a text that has at most ``room`` bytes."""
    while len(_encoded(text)) > room:
        text = text[:-1]
    return text
