"""The code blocks of the documentation, in order, with what hidden comments say of them. Nothing is run here."""

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
    """A fenced block. ``line`` is that of its fence; ``mark`` is what the comment before it says, or nothing."""

    page: str
    line: int
    language: str
    text: str
    mark: str = ""

    @property
    def name(self) -> str:
        """``quickstart.md:23``."""
        return f"{self.page}:{self.line}"


@attrs.frozen
class Setup:
    """Python that readers do not see, run before the blocks that follow it."""

    page: str
    line: int
    text: str


@attrs.frozen
class Server:
    """From here on the servers of this page's profiles are an embedded one."""

    kind: Literal["ftp", "sftp"]


Step: TypeAlias = Block | Setup | Server


def steps_in(page: Path) -> list[Step]:
    """Give the steps of a page, in the order in which a reader meets them."""
    return list(_steps(page.name, page.read_text("utf-8")))


def _steps(name: str, text: str) -> Iterator[Step]:
    mark = ""
    for token in MarkdownIt().parse(text):
        line = token.map[0] + 1 if token.map else 0
        is_block = token.type in {"fence", "code_block"}
        if is_block:
            yield Block(name, line, token.info.strip(), token.content, mark)
        elif mark:
            raise ValueError(f"{name}:{line}: there is no block behind the comment that says {mark!r}")
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
                        raise ValueError(f"{name}:{line}: a page can have server=ftp or server=sftp, not {text}")
                    yield Server("ftp" if value == "ftp" else "sftp")


def inline_commands(page: Path) -> list[str]:
    """Give what a page's prose has in backticks and begins with the program's name: commands, with what they take."""
    tokens = MarkdownIt().enable("table").parse(page.read_text("utf-8"))
    spans = [child.content for token in tokens for child in token.children or () if child.type == "code_inline"]
    return [span for span in spans if span.startswith("actorsync ")]
