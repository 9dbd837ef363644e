"""Parse the code blocks of the documentation and the hidden comments about them. Nothing is run here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import attrs
from markdown_it import MarkdownIt

from tests.support.root import ROOT

__all__ = ["PAGES", "ROOT", "Block", "Server", "Setup", "Step", "inline_commands", "steps_in"]

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_COMMENT = re.compile(r"<!--\s*(block|blocks|setup)\b(?::[ \t]*)?(.*?)-->", re.DOTALL)
_SERVERS = ("ftp", "sftp")


@attrs.frozen
class Block:
    """A fenced block. ``line`` is the line of its fence; ``mark`` is the text of the comment before it, or empty."""

    page: str
    line: int
    language: str
    text: str
    mark: str = ""

    @property
    def name(self) -> str:
        """The page and the line, such as ``quickstart.md:23``."""
        return f"{self.page}:{self.line}"


@attrs.frozen
class Setup:
    """Hidden Python code that runs before the next blocks."""

    page: str
    line: int
    text: str


@attrs.frozen
class Server:
    """A comment that replaces the servers of the page's profiles by an embedded server, from here on."""

    kind: Literal["ftp", "sftp"]


Step: TypeAlias = Block | Setup | Server


def steps_in(page: Path) -> list[Step]:
    """Return the steps of a page, from top to bottom. Raises ``ValueError`` for a wrong comment."""
    return list(_steps(page.name, page.read_text("utf-8")))


def _steps(name: str, text: str) -> Iterator[Step]:
    mark = ""
    for token in MarkdownIt().parse(text):
        line = token.map[0] + 1 if token.map else 0
        is_block = token.type in {"fence", "code_block"}
        if is_block:
            yield Block(name, line, token.info.strip(), token.content, mark)
        elif mark:
            raise ValueError(f"{name}:{line}: no block follows the comment {mark!r}; put it right before its block")
        mark = ""
        if token.type == "html_block":
            for kind, text in _COMMENT.findall(token.content):
                if kind == "setup":
                    yield Setup(name, line, text)
                elif kind == "block":
                    mark = text.strip()
                else:
                    key, _, value = text.strip().partition("=")
                    if key != "server" or value not in _SERVERS:
                        raise ValueError(f"{name}:{line}: unknown server {text}; write server=ftp or server=sftp")
                    yield Server("ftp" if value == "ftp" else "sftp")


def inline_commands(page: Path) -> list[str]:
    """Return the inline code of a page that begins with ``actorsync``: commands with their arguments."""
    tokens = MarkdownIt().enable("table").parse(page.read_text("utf-8"))
    spans = [child.content for token in tokens for child in token.children or () if child.type == "code_inline"]
    return [span for span in spans if span.startswith("actorsync ")]
