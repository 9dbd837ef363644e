"""The mistakes of a new user, as ``docs/mistakes.md`` lists them: each is made here, and prints the line on the page.

A row of the page has what was typed (``actorsync ...``) and what was written into the profile (``[table] key = ...``).
Without a command, it is ``actorsync check shop.toml``. ``python -m tests.cli.test_mistakes`` fills the page in.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tempfile
from pathlib import Path

import attrs
import pytest

from actorsync.cli.commands import run_command
from tests.support.root import ROOT

PAGE = ROOT / "docs/mistakes.md"

#: How the page names the folder in which the mistakes are made.
FOLDER = "/home/deploy/shop"

ROW = re.compile(r"^\| (?P<made>`.+?) \| `(?P<printed>.*?)` \| (?P<code>\d+) \|$", re.MULTILINE)


@attrs.frozen
class Mistake:
    """One row of the page."""

    made: str
    printed: str
    code: int

    @property
    def command(self) -> list[str]:
        typed = [span for span in self.spans if span.startswith("actorsync ")]
        return shlex.split(typed[0])[1:] if typed else ["check", "shop.toml"]

    @property
    def spans(self) -> list[str]:
        return re.findall(r"`([^`]+)`", self.made)

    def profile(self) -> str:
        """Return the profile of the user: a good one, with what the row has written into it."""
        tables = {"source": {"path": '"public"'}, "target": {"url": '"./www"'}}
        for span in self.spans:
            if (written := re.fullmatch(r"\[(\w+)\] ([\w-]+) = (.*)", span)) is not None:
                table, key, value = written.groups()
                tables.setdefault(table, {})[key] = value
        lines = []
        for table, keys in tables.items():
            lines += [f"[{table}]", *(f"{key} = {value}" for key, value in keys.items())]
        return "\n".join(lines) + "\n"

    def make(self, folder: Path) -> tuple[str, int]:
        """Make the mistake in ``folder``. Return the last line on standard error, and the exit code."""
        for name in ("public", "empty", "photos.d"):
            (folder / name).mkdir()
        (folder / "public" / "index.html").write_text("new")
        profile = folder / "shop.toml"
        profile.write_text(self.profile())
        profile.chmod(0o644)
        errors = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            if "release.plan" in self.command:
                assert run_command(["plan", "shop.toml", "--save", "release.plan"]) == 0
            code = run_command(self.command)
        lines = errors.getvalue().replace(os.path.realpath(folder), FOLDER).splitlines()
        return lines[-1] if lines else "", code


def mistakes() -> list[Mistake]:
    return [Mistake(row["made"], row["printed"], int(row["code"])) for row in ROW.finditer(PAGE.read_text())]


def test_page_has_at_least_thirty_five_mistakes() -> None:
    assert len(mistakes()) >= 35


@pytest.mark.parametrize("mistake", mistakes(), ids=lambda mistake: mistake.made)
def test_mistake_prints_the_line_of_the_page(mistake: Mistake, tmp_path: Path) -> None:
    assert mistake.make(tmp_path) == (mistake.printed, mistake.code)


def filled_in(row: re.Match[str]) -> str:
    """Return a row with what is printed now."""
    with tempfile.TemporaryDirectory() as folder:
        printed, code = Mistake(row["made"], "", 0).make(Path(folder))
    return f"| {row['made']} | `{printed}` | {code} |"


if __name__ == "__main__":
    PAGE.write_text(ROW.sub(filled_in, PAGE.read_text()))
