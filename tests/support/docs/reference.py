"""The generated parts of docs/profile.md: the table of all keys, and the head of each key's section.

``python -m tests.support.docs.reference`` updates the page. The text after a head is written by hand. The page is
committed, not only built with the site, because it is also read on the forge.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import attrs

from actorsync.profile.known_keys import keys, variable_name
from actorsync.profile.template import default_text, is_described, schemes_text
from tests.support.root import ROOT

__all__ = ["DOCUMENT", "described_keys", "faults", "fill", "head", "table"]

DOCUMENT = ROOT / "docs" / "profile.md"
_WIDTH = 120
_BEGIN, _END = "<!-- table of keys: begin -->", "<!-- table of keys: end -->"


def described_keys() -> dict[str, attrs.Attribute[Any]]:
    """Return the keys that have a section, in order."""
    return {key: field for key, field in keys().items() if is_described(key)}


def faults() -> list[str]:
    """Return what is missing in the metadata of the keys, and where to add it."""
    found = []
    for key, field in described_keys().items():
        name = key.partition(".")[2]
        if not field.metadata["doc"].endswith("."):
            found.append(f'{key} has no description: add key(..., doc="One sentence.") to the field')
        if not field.metadata["example"].startswith(f"{name} = "):
            found.append(f"{key} has no example: add key(reader, '{name} = ...') to the field")
        if not _type_of(field):
            found.append(f"the reader of {key} has no type: add @takes(...) to the reader")
    return found


def head(key: str) -> str:
    """Return the head of a key's section: a description, then the same lines for every key."""
    field = described_keys()[key]
    lines = textwrap.wrap(
        _keep_code_whole(field.metadata["doc"]), _WIDTH, break_long_words=False, break_on_hyphens=False
    )
    facts = {
        "Type": _type_of(field),
        "Only for": schemes_text(field),
        "Default": "none; the key is required" if field.default is attrs.NOTHING else default_text(field) or "none",
        "Environment variable": f"`{variable_name(key)}`",
        "Example": f"`{field.metadata['example']}`",
    }
    text = "\n".join([*lines, "", *(f"- {name}: {fact}" for name, fact in facts.items() if fact)])
    return text.replace("\N{NO-BREAK SPACE}", " ")


def table() -> str:
    """Return the table of all keys, with a link from each to its section."""
    rows = ["| key | type | default | description |", "|---|---|---|---|"]
    for key, field in keys().items():
        section = key if is_described(key) else f"target.{key.partition('.')[2]}"
        default = "required" if field.default is attrs.NOTHING else default_text(field) or "none"
        sentence = re.split(r"(?<=\.) ", field.metadata["doc"])[0]
        link = f"[`{key}`](#{section.replace('.', '')})"
        rows.append(f"| {link} | {_type_of(field)} | {default} | {sentence} |")
    return "\n".join(rows)


def _type_of(field: attrs.Attribute[Any]) -> str:
    return getattr(field.metadata["reader"], "takes", "")


def _keep_code_whole(text: str) -> str:
    """Return ``text`` with no-break spaces in code, so that code is not wrapped."""
    return re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "\N{NO-BREAK SPACE}"), text)


def fill(text: str) -> str:
    """Return the page with its generated parts up to date. A missing section is added after that of the key before."""
    start, _, rest = text.partition(_BEGIN)
    text = f"{start}{_BEGIN}\n{table()}\n{_END}{rest.partition(_END)[2]}"
    after = ""
    for key in described_keys():
        title = f"### `{key}`"
        # A head ends with the list item of the example.
        section = re.compile(rf"^{re.escape(title)}\n(?:(?!###? ).*\n)*?- Example: .*", re.MULTILINE)
        new = f"{title}\n{head(key)}"
        if found := section.search(text):
            text = f"{text[: found.start()]}{new}{text[found.end() :]}"
        elif before := re.search(rf"^{re.escape(after)}\n.*?(?=\n##|\Z)", text, re.MULTILINE | re.DOTALL):
            text = f"{text[: before.end()]}\n{new}\n{text[before.end() :]}"
        after = title
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(fill(DOCUMENT.read_text("utf-8")), "utf-8")
