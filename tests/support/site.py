"""A source directory, a target directory and a journal, with ``actorsync run`` between them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

from actorsync.cli.commands import run_command
from actorsync.journal import journal_path, state_directory
from actorsync.profile import load_profile
from tests.support.root import ROOT

__all__ = ["Ran", "Site", "tree"]


@attrs.frozen
class Ran:
    """The exit code of a command and the lines of its output."""

    code: int
    out: Sequence[str]
    errors: Sequence[str]


def tree(top: Path) -> dict[str, bytes]:
    """Return the content of every file below ``top``, by relative path."""
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


@attrs.define(eq=False)
class Site:
    """A profile whose source and target are directories below ``folder``."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    name: str = "site"
    more: Sequence[str] = ("delete = true",)

    def __attrs_post_init__(self) -> None:
        self.source.mkdir(parents=True, exist_ok=True)
        self.write_profile(*self.more)

    def write_profile(self, *sync: str) -> None:
        """Write the profile, with these lines in the table ``sync``."""
        lines = ["[source]", f'path = "{self.source}"', "[target]", f'url = "{self.target}"', "[sync]", *sync]
        self.profile.write_text("\n".join(lines) + "\n")
        self.profile.chmod(0o600)

    @property
    def profile(self) -> Path:
        return self.folder / f"{self.name}.toml"

    @property
    def source(self) -> Path:
        return self.folder / self.name

    @property
    def target(self) -> Path:
        return self.folder / "target"

    @property
    def journal(self) -> Path:
        return journal_path(state_directory(), load_profile(self.profile, []).identity)

    def write(self, path: str, text: str, *, in_target: bool = False) -> Path:
        """Write a file in the source or target, with its parent directories, and return its path."""
        file = (self.target if in_target else self.source) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def command(self, *words: str) -> Ran:
        """Run a command of ``actorsync`` in this process."""
        self.capsys.readouterr()
        code = run_command([words[0], *words[1:], str(self.profile)])
        out, errors = self.capsys.readouterr()
        return Ran(code, out.splitlines(), errors.splitlines())

    def run(self, *options: str) -> Ran:
        """Mirror once."""
        return self.command("run", "-q", *options)

    def program(self, *options: str, command: str = "run") -> list[str]:
        """Return the command line of a process that mirrors once, or carries another command out."""
        return [sys.executable, "-m", "actorsync", command, *options, str(self.profile)]

    def as_user(self, *options: str, command: str = "run") -> Ran:
        """Mirror once in a process that obeys file modes, also when the tests run as root."""
        words = self.program(*options, command=command)
        if os.geteuid() == 0:
            lost = "-dac_override,-dac_read_search"
            words = ["setpriv", f"--bounding-set={lost}", f"--inh-caps={lost}", *words]
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
        return Ran(done.returncode, done.stdout.splitlines(), done.stderr.splitlines())

    def fill(self) -> None:
        """Mirror some files, then remove one of them from the source."""
        for path in ("a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt", "gone.txt"):
            self.write(path, f"this is {path}")
        assert self.run() == Ran(0, [], [])
        (self.source / "gone.txt").unlink()
