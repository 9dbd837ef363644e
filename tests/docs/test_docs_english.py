"""The documentation and the docstrings keep the rules for plain English that a program can count."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.support.root import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

#: The pages that a new user reads first, and the most words that one of their sentences has.
SHORT_PAGES = [ROOT / "README.md", ROOT / "docs/quickstart.md"]
MOST_WORDS = 35


def sentences_of(markdown: str) -> Iterator[str]:
    """Yield the sentences of the prose: without code blocks, tables, comments and the addresses of links.

    A paragraph, a heading and an item of a list each end a sentence. Inline code and an image count as one word.
    """
    is_in_table = False
    for token in MarkdownIt().enable("table").parse(markdown):
        if token.type in {"table_open", "table_close"}:
            is_in_table = token.type == "table_open"
        elif token.type == "inline" and not is_in_table:
            text = "".join(_text_of(child) for child in token.children or ())
            yield from (sentence for sentence in re.split(r"(?<=[.!?])\s+", text) if sentence)


def _text_of(token: Token) -> str:
    match token.type:
        case "text":
            return token.content
        case "code_inline" | "image":
            return "CODE"
        case "softbreak" | "hardbreak":
            return " "
        case _:
            return ""


def words_of(sentence: str) -> list[str]:
    """Return the words of a sentence; a dash or a dot that stands alone is none."""
    return [word for word in sentence.split() if re.search(r"\w", word)]


def docstrings_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each docstring, and of each text that stands below an attribute."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.strip()


@pytest.mark.parametrize("path", SHORT_PAGES, ids=lambda path: path.name)
def test_pages_for_new_users_have_no_long_sentence(path: Path) -> None:
    long = [it for it in sentences_of(path.read_text("utf-8")) if len(words_of(it)) > MOST_WORDS]
    assert long == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_have_no_masculine_pronoun(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    found = [f"{number}: {line}" for number, line in enumerate(lines, 1) if _PRONOUN.search(line)]
    assert found == []


_PRONOUN = re.compile(r"\b(he|him|his|himself)\b", re.IGNORECASE)


def test_no_docstring_of_the_package_opens_with_give() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.partition(chr(10))[0]}"
        for path in sorted((ROOT / "actorsync").rglob("*.py"))
        for line, text in docstrings_of(path)
        if re.match(r"Gives?\b", text)
    ]
    assert found == []


def test_sentences_are_counted_without_code_tables_and_addresses() -> None:
    page = """
# A heading

One sentence with `inline code of many words` and a
[link](https://example.com/a.b?c). Another one!

| a table | is not |
|---|---|
| counted | at all |

```text
Nor is a block. Of code.
```

<!-- nor a comment. -->

* An item
* Another item: it is one sentence
"""
    assert [len(words_of(sentence)) for sentence in sentences_of(page)] == [2, 7, 2, 2, 6]


def test_docstrings_of_attributes_are_read_too(tmp_path: Path) -> None:
    source = '"""Module."""\nname = 1\n"""Attribute."""\n\ndef f() -> None:\n    """Give."""\n'
    (tmp_path / "module.py").write_text(source)
    assert sorted(docstrings_of(tmp_path / "module.py")) == [(1, "Module."), (3, "Attribute."), (6, "Give.")]
