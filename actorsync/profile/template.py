"""The profile that ``actorsync init`` writes: every key, with what it means; the optional ones commented out.

Its words are those that the keys have with them (``actorsync.profile.login.key``).
"""

from __future__ import annotations

import textwrap
from typing import Any, Final

import attrs

from actorsync.profile.load import keys
from actorsync.profile.place import PLUGGED, PORTS
from actorsync.profile.units import format_duration

__all__ = ["TEMPLATE", "default_text", "is_told_of", "schemes_text"]

_HEAD: Final = "A profile of actorsync: what to mirror, and where to. Relative paths are relative to this file."
_WIDTH: Final = 118


def is_told_of(key: str) -> bool:
    """Whether a key is told of. Those of a login are as keys of ``[target]``, and not again as keys of ``[source]``."""
    return not key.startswith("source.") or key in {"source.path", "source.url"}


def default_text(field: attrs.Attribute[Any]) -> str:
    """What holds without a key, in Markdown; nothing where that goes without saying."""
    told, default = field.metadata["default"], field.default
    if told is not None or default is attrs.NOTHING:
        return told or ""
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
    """Which URLs a key goes with, in Markdown; nothing where it goes with all of them."""
    schemes = field.metadata["schemes"]
    if not schemes:
        return ""
    if set(schemes) >= PORTS.keys():
        return "not for a directory"
    if PLUGGED in schemes:
        return "for a scheme that is [plugged in](endpoints.md) only"
    return f"{' and '.join(f'`{scheme}://`' for scheme in schemes)} only"


def _template() -> str:
    lines = [f"# {_HEAD}"]
    section = ""
    for key, field in keys().items():
        if not is_told_of(key):
            continue
        if (table := key.partition(".")[0]) != section:
            section = table
            lines += ["", f"[{section}]"]
        elif key != "source.url":
            lines.append("")
        told = [field.metadata["doc"], *(f"{text[0].upper()}{text[1:]}." for text in _more(field))]
        lines += textwrap.wrap(
            " ".join(told).replace("`", ""),
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
    default = default_text(field)
    return [
        text for text in (schemes_text(field), f"default: {default}" if default != "none" and default else "") if text
    ]


TEMPLATE: Final = _template()
