"""A directory, a mirror of it and a journal, and ``actorsync run`` between them: what it says, and what is left."""

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
    """What a command ended with, and the lines that it wrote."""

    code: int
    out: Sequence[str]
    errors: Sequence[str]


def tree(top: Path) -> dict[str, bytes]:
    """Give every file below ``top``."""
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


@attrs.define(eq=False)
class Site:
    """A profile with a source and a target that are directories, in ``folder``."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    name: str = "site"
    more: Sequence[str] = ("delete = true",)

    def __attrs_post_init__(self) -> None:
        self.source.mkdir(parents=True, exist_ok=True)
        self.write_profile(*self.more)

    def write_profile(self, *sync: str) -> None:
        """Write the profile, with these lines in its table ``sync``."""
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
        """Write a file of the source, making the directories above it."""
        file = (self.target if in_target else self.source) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def command(self, *words: str) -> Ran:
        """Give the command in this process."""
        self.capsys.readouterr()
        code = run_command([words[0], *words[1:], str(self.profile)])
        out, errors = self.capsys.readouterr()
        return Ran(code, out.splitlines(), errors.splitlines())

    def run(self, *options: str) -> Ran:
        """Mirror once."""
        return self.command("run", "-q", *options)

    def program(self, *options: str) -> list[str]:
        """Give the words of a process that mirrors once."""
        return [sys.executable, "-m", "actorsync", "run", *options, str(self.profile)]

    def as_user(self, *options: str) -> Ran:
        """Mirror once in a process to which modes mean something, also when it is root's."""
        words = self.program(*options)
        if os.geteuid() == 0:
            lost = "-dac_override,-dac_read_search"
            words = ["setpriv", f"--bounding-set={lost}", f"--inh-caps={lost}", *words]
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
        return Ran(done.returncode, done.stdout.splitlines(), done.stderr.splitlines())

    def fill(self) -> None:
        """Have some files on both sides, and one that is gone from the source since."""
        for path in ("a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt", "gone.txt"):
            self.write(path, f"this is {path}")
        assert self.run() == Ran(0, [], [])
        (self.source / "gone.txt").unlink()
