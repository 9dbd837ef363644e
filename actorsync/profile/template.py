"""The profile that ``actorsync init`` writes: every key with its description, optional keys commented out.

The descriptions are those of the keys' metadata (`actorsync.profile.login.key`).
"""

from __future__ import annotations

import re
import textwrap
from typing import Any, Final

import attrs

from actorsync.profile.known_keys import keys
from actorsync.profile.values.place import PLUGGED, PORTS
from actorsync.profile.values.units import format_duration

__all__ = ["TEMPLATE", "default_text", "is_described", "schemes_text"]

_HEAD: Final = "A profile of actorsync: what to mirror, and where to. Relative paths are relative to this file."
_WIDTH: Final = 118

#: What is said at the beginning of some tables.
_ABOUT: Final = {
    "target": "Several targets are written as [[target]], one after the other, each with a name and a url of its own.",
    "watch": "How a run with sync.watch = true follows changes.",
    "observe": "What others may see of a run: a status page, metrics, pings. Nothing of it is on without a key.",
}


def is_described(key: str) -> bool:
    """Return whether a key is described by itself. Login keys of ``[source]`` are not: see those of ``[target]``."""
    return not key.startswith("source.") or key in {"source.path", "source.url"}


def default_text(field: attrs.Attribute[Any]) -> str:
    """Return the default of a key in Markdown; "" for keys without one."""
    described, default = field.metadata["default"], field.default
    if described is not None or default is attrs.NOTHING:
        return described or ""
    match default:
        case None | ():
            return "none"
        case bool():
            return f"`{str(default).lower()}`"
        case int():
            return str(default)
        case float():
            return f'`"{format_duration(default)}"`'
        case _:
            return f'`"{default}"`'


def schemes_text(field: attrs.Attribute[Any]) -> str:
    """Return the places that a key is for, in Markdown; "" for keys that are for all places."""
    schemes = field.metadata["schemes"]
    if not schemes:
        return ""
    if set(schemes) >= PORTS.keys():
        return "remote places"
    if PLUGGED in schemes:
        return "[plug-in](endpoints.md) schemes"
    return " and ".join(f"`{scheme}://`" for scheme in schemes)


def _template() -> str:
    lines = [f"# {_HEAD}"]
    section = ""
    for key, field in keys().items():
        if not is_described(key):
            continue
        if (table := key.partition(".")[0]) != section:
            section = table
            lines += ["", *([f"# {_ABOUT[section]}"] if section in _ABOUT else []), f"[{section}]"]
        elif key != "source.url":
            lines.append("")
        lines += textwrap.wrap(
            _plain(" ".join([field.metadata["doc"], *_more(field)])),
            _WIDTH,
            initial_indent="# ",
            subsequent_indent="# ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        is_written = key == "source.path" or field.default is attrs.NOTHING
        lines.append(field.metadata["example"] if is_written else f"# {field.metadata['example']}")
    return "\n".join(lines) + "\n"


def _more(field: attrs.Attribute[Any]) -> list[str]:
    schemes, default = schemes_text(field), default_text(field)
    texts = [f"Only for {schemes}."] if schemes else []
    return [*texts, f"Default: {default}."] if default not in {"", "none"} else texts


def _plain(markdown: str) -> str:
    """Return text without the backticks and the links of Markdown."""
    return re.sub(r"\[(.*?)\]\(.*?\)", r"\1", markdown).replace("`", "")


TEMPLATE: Final = _template()
