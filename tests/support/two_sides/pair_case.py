"""One case of a sweep over a two-way run: two folders with every kind of change on both sides, and what must hold.

A case is made anew each time, not copied, because a renamed file is recognized by its inode.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs

from actorsync.journal import open_journal
from actorsync.model.operation import Side
from actorsync.planning.pairs.rules import ConflictRule
from actorsync.planning.temporary_names import is_own
from tests.support.mirror import contents
from tests.support.scenarios import write
from tests.support.two_sides.sudden_user import Saved, SideName

__all__ = ["PairCase", "Tree", "is_at_rest", "undated"]

Tree = dict[str, str | None]

#: What both sides have before their users change anything.
_AGREED: Final = (
    *("d/same", "d/edited-s", "d/edited-t", "d/gone-s", "d/gone-t", "d/revived-s", "d/revived-t", "d/both"),
    *("gone-s/x", "gone-s/deep/y", "gone-t/x", "gone-t/deep/y", "d/named-s", "d/named-t"),
    *("kind-s", "kind-t", "turned-s", "turned-t", "d/untouched/file"),
)
#: The name of the empty file in the root of the target by which a journal is recognized.
_STAMP: Final = re.compile(r"\.actorsync-[0-9a-f]{16}")
_COPY: Final = re.compile(r"\.conflict-(source|target)-\d{8}-\d{4}(-\d+)?")


def is_at_rest(report: Mapping[str, Any] | None) -> bool:
    """Return whether a run has found nothing to do."""
    counts = ("copied", "removed", "moved", "directories_made", "failed", "left")
    return report is not None and not any(report[name] for name in counts)


def undated(path: str) -> str:
    """Return a path without the times in the names of conflict copies."""
    return _COPY.sub(r".conflict-\1", path)


@attrs.define(eq=False)
class PairCase:
    """Both sides and the journal. ``uids`` are the users to whom the files of a side on a server belong."""

    roots: Mapping[SideName, Path]
    journal: Path
    rule: ConflictRule = "both"
    uids: Mapping[SideName, int | None] = attrs.Factory(dict)
    agreed: Tree = attrs.field(init=False, factory=dict)
    #: The versions that must not be lost, and those of them that may be: a user has overwritten or removed them.
    versions: set[str] = attrs.field(init=False, factory=set)
    may_go: set[str] = attrs.field(init=False, factory=set)
    saved: Saved | None = attrs.field(init=False, default=None)

    def make(self) -> None:
        """Write what both sides have in common. The caller then makes the first run."""
        self.saved = None
        for root in (*self.roots.values(), self.journal):
            shutil.rmtree(root, ignore_errors=True)
        for root in self.roots.values():
            root.mkdir(parents=True)
            for path in _AGREED:
                write(root / path, _content(f"agreed {path}"))
        self.adopt()

    def adopt(self) -> None:
        """Make the users of the servers the owners of all files."""
        for side, root in self.roots.items():
            if (uid := self.uids.get(side)) is not None:
                for folder, _, files in os.walk(root):
                    for path in [folder, *(os.path.join(folder, name) for name in files)]:
                        os.chown(path, uid, uid)

    def change(self) -> None:
        """Change both sides as their users do: the same kinds of changes on each, to different files."""
        self.agreed = contents(self.roots["source"])
        for side, other in (("source", "target"), ("target", "source")):
            here, there = self.roots[side], self.roots[other]  # type: ignore[index]
            letter = side[0]
            write(here / f"d/edited-{letter}", _content(f"edited on the {side}"))
            write(here / f"new-{letter}/deep/new", _content(f"new on the {side}"))
            write(here / "d/both", _content(f"both on the {side}"))
            write(here / "d/new-both", _content(f"new in both on the {side}"))
            write(here / f"d/revived-{letter}", _content(f"revived on the {side}"))
            (there / f"d/revived-{letter}").unlink()
            (here / f"d/gone-{letter}").unlink()
            shutil.rmtree(here / f"gone-{letter}")
            (here / f"d/named-{letter}").rename(here / f"new-{letter}/named")
            for name in (f"kind-{letter}", f"turned-{letter}"):
                (here / name).unlink()
                write(here / name / "inside", _content(f"{name} on the {side}"))
            write(there / f"kind-{letter}", _content(f"kind-{letter} on the other side"))
        self.adopt()
        trees = [contents(root) for root in self.roots.values()]
        self.versions = {digest for tree in trees for digest in tree.values() if digest is not None}
        self.may_go = {
            digest
            for path, digest in self.agreed.items()
            if digest is not None and any(tree.get(path) != digest for tree in trees)
        }

    def note_saved(self, saved: Saved | None) -> None:
        """Take notice of what a user has saved while the run was going on."""
        if saved is not None:
            self.saved = saved
            self.versions.add(saved.digest)
            self.may_go |= set() if saved.over is None else {saved.over}

    def trees(self) -> tuple[Tree, Tree]:
        """Return both trees with undated names, without what belongs to actorsync itself."""
        source, target = (_shown(contents(root)) for root in self.roots.values())
        return source, target

    def lost(self) -> list[str]:
        """Return what is lost, as text, once a server has done what it was told last."""
        last: set[str | None] | None = None
        while True:
            with suppress(FileNotFoundError):
                now = {digest for root in self.roots.values() for digest in contents(root).values()}
                if now == last:
                    return [f"{self._named(digest)} is lost" for digest in self.versions - self.may_go - now]
                last = now
            time.sleep(0.02)

    def _named(self, digest: str) -> str:
        if self.saved is not None and digest == self.saved.digest:
            return f"what a user has saved as {self.saved.path} on the {self.saved.side}"
        names = [path for tree in (self.agreed,) for path, it in tree.items() if it == digest]
        return f"a version of {names or 'a changed file'}"

    def unlike(self, expected: tuple[Tree, Tree]) -> list[str]:
        """Return in what both sides differ from the ``expected`` trees, as text; not in what a user has saved."""
        wrong = []
        for side, now, then in zip(self.roots, self.trees(), expected, strict=True):
            paths = {path for path in {*now, *then} if now.get(path, "") != then.get(path, "")}
            wrong += [
                f"on the {side}, {path} is {_what(now, path)}, not {_what(then, path)}"
                for path in sorted(paths)
                if not self._concerns_saved(path, then)
            ]
        return wrong

    def _concerns_saved(self, path: str, expected: Tree) -> bool:
        """Return whether a path is that of the file that was saved, of a copy of it, or of a directory above it.

        The file may have been renamed just after it was saved.
        """
        if self.saved is None:
            return False
        over, plain = self.saved.over, _plain(path)
        renamed = [it for it, digest in expected.items() if over is not None and digest == over]
        tops = [_plain(it) for it in (self.saved.path, *renamed)]
        return any(plain == top or plain.startswith(f"{top}/") or top.startswith(f"{plain}/") for top in tops)

    def faults_at_rest(self, report: Mapping[str, Any] | None, expected: tuple[Tree, Tree]) -> list[str]:
        """Return what is wrong after the last run, which must have found nothing to do."""
        if report is None:
            return ["the last run did not end"]
        source, target = self.trees()
        conflicts = {path for path in {*source, *target} if source.get(path, "") != target.get(path, "")}
        wrong = self.lost() + self.unlike(expected)
        wrong += [] if is_at_rest(report) else [f"not at rest: {report}"]
        if (report["exit_code"] == 0) != (not conflicts) or report["exit_code"] not in {0, 1}:
            wrong.append(f"exit code {report['exit_code']} with differences at {sorted(conflicts)}: {report}")
        if conflicts and self.rule == "both":
            wrong.append(f"the sides differ at {sorted(conflicts)}")
        if bool(report["conflicts"]) != bool(conflicts):
            wrong.append(f"{report['conflicts']} conflicts, and differences at {sorted(conflicts)}")
        if not conflicts and not self.versions - self.may_go <= set(source.values()):
            wrong.append("a version is not on both sides")
        return wrong + self._litter()

    def _litter(self) -> list[str]:
        wrong = [
            f"{path} was left on the {side}"
            for side, root in self.roots.items()
            for path in contents(root)
            if is_own(path) and not (side == "target" and _STAMP.fullmatch(path))
        ]
        with open_journal(self.journal, "test") as journal:
            wrong += [f"still in the journal: {it.path}" for side in Side for it in journal.pairs.pending(side)]
        return wrong


def _plain(path: str) -> str:
    """Return the path of the file that a path is a copy of."""
    return re.sub(r"\.conflict-(source|target)|, once more", "", undated(path))


def _content(seed: str) -> bytes:
    rng = random.Random(seed)
    return rng.randbytes(rng.randrange(100, 9_000))


def _shown(tree: Tree) -> Tree:
    found: Tree = {}
    for path, digest in tree.items():
        if not is_own(path):
            name = undated(path)
            found[f"{name}, once more" if name in found else name] = digest
    return found


def _what(tree: Tree, path: str) -> str:
    if path not in tree:
        return "missing"
    digest = tree[path]
    return "a directory" if digest is None else f"the version {digest[:8]}"
