"""The first paragraph of each key in docs/profile.md, generated from the classes of the profile.

``python -m tests.support.docs.reference`` updates the page. The text after the first paragraph is written by hand. The
page is committed, and not generated with the site, because people also read it in the repository.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import attrs

from actorsync.profile.load import keys
from actorsync.profile.template import default_text, is_told_of, schemes_text
from tests.support.root import ROOT

__all__ = ["DOCUMENT", "faults", "fill", "head"]

DOCUMENT = ROOT / "docs" / "profile.md"
_WIDTH = 120


def documented_keys() -> dict[str, attrs.Attribute[Any]]:
    """Return the keys that have a section, in order."""
    return {key: field for key, field in keys().items() if is_told_of(key)}


def faults() -> list[str]:
    """Return what is missing in the definitions of keys, and where to write it."""
    found = []
    for key, field in documented_keys().items():
        name = key.partition(".")[2]
        if not field.metadata["doc"]:
            found.append(f'{key} has no description: write key(..., doc="One sentence.") at its field')
        if not field.metadata["example"].startswith(f"{name} = "):
            found.append(f"{key} has no example: write key(reader, '{name} = ...') at its field")
        if not getattr(field.metadata["reader"], "takes", ""):
            found.append(f"the reader of {key} has no type: write @takes(...) before it")
    return found


def head(key: str) -> str:
    """Return the first paragraph of a key's section."""
    field = documented_keys()[key]
    takes = getattr(field.metadata["reader"], "takes", "?")
    default = default_text(field)
    parts = [
        re.sub(r"[a-z]", lambda letter: letter[0].upper(), takes, count=1) if takes[0] != "`" else takes,
        schemes_text(field),
        "required" if field.default is attrs.NOTHING else "",
        f"default {default}" if re.match(r"`|[0-9]|none$", default) else f"default: {default}" if default else "",
    ]
    text = f"{', '.join(part for part in parts if part)}. {field.metadata['doc']} `{field.metadata['example']}`"
    # Do not break lines within inline code.
    whole = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    lines = textwrap.wrap(whole, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def _literal(text: str) -> str:
    """Escape a text as a replacement of ``re.sub``."""
    return text.replace("\\", r"\\")


def fill(text: str) -> str:
    """Return the page with the right first paragraph for each key. Add missing sections after the previous key."""
    after = ""
    for key in documented_keys():
        title = f"### `{key}`"
        section = re.compile(rf"^{re.escape(title)}\n.*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
        new = f"{title}\n{head(key)}"
        if section.search(text):
            text = section.sub(_literal(new), text, count=1)
        else:
            place = re.compile(rf"^{re.escape(after)}\n.*?(?=\n##|\Z)", re.MULTILINE | re.DOTALL)
            text = place.sub(rf"\g<0>\n{_literal(new)}\n", text, count=1)
        after = title
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(fill(DOCUMENT.read_text("utf-8")), "utf-8")
