"""The heads of the sections of docs/profile.md: what each key takes, and what it is for, from the profile's classes.

``python -m tests.support.docs.reference`` brings the page up to date. What follows a head is written by hand. The page
is committed, and not made when the site is built, because it is read on a forge as well.
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


def told() -> dict[str, attrs.Attribute[Any]]:
    """The keys that have a section, in order."""
    return {key: field for key, field in keys().items() if is_told_of(key)}


def faults() -> list[str]:
    """What the keys do not say of themselves, and where it is to be written."""
    found = []
    for key, field in told().items():
        name = key.partition(".")[2]
        if not field.metadata["doc"]:
            found.append(f'{key} does not say what it is for: write key(..., doc="One sentence.") where the field is')
        if not field.metadata["example"].startswith(f"{name} = "):
            found.append(f"{key} has no example: write key(reader, '{name} = ...') where the field is")
        if not getattr(field.metadata["reader"], "takes", ""):
            found.append(f"the reader of {key} does not say what it takes: write @takes(...) before it")
    return found


def head(key: str) -> str:
    """The first paragraph of a key's section."""
    field = told()[key]
    takes = getattr(field.metadata["reader"], "takes", "?")
    default = default_text(field)
    parts = [
        re.sub(r"[a-z]", lambda letter: letter[0].upper(), takes, count=1) if takes[0] != "`" else takes,
        schemes_text(field),
        "required" if field.default is attrs.NOTHING else "",
        f"default {default}" if re.match(r"`|[0-9]|none$", default) else f"default: {default}" if default else "",
    ]
    text = f"{', '.join(part for part in parts if part)}. {field.metadata['doc']} `{field.metadata['example']}`"
    # What is in backticks stays in one line.
    whole = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    lines = textwrap.wrap(whole, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def _literal(text: str) -> str:
    """As a replacement: backslashes are just that."""
    return text.replace("\\", r"\\")


def fill(text: str) -> str:
    """Give the page with the head of every key as it should be; a section that is missing follows the key before it."""
    after = ""
    for key in told():
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
