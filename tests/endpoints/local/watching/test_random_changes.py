"""Another program changes a real tree at random, and a picture of the tree is kept by hints alone: it is right."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterable
from pathlib import Path

import attrs
import pytest
import trio

from actorsync.endpoints.hints import Dirty, Hints
from actorsync.model.entry import join, parent_of
from tests.endpoints.local.watching.hinted import watched
from tests.support.tiers import amount
from tests.support.virtual_time import stream

#: How often each test changes its tree, and how many tests there are.
CHANGES, SEEDS = 200, range(amount("HINTS", short=2, full=20))


@attrs.define
class Picture:
    """What a mirror knows of a tree: each directory with the names, inodes and times of what is in it."""

    root: Path
    known: dict[str, dict[str, tuple[int, int, int]]] = attrs.Factory(dict)

    def look(self, directories: Iterable[str]) -> None:
        """List directories again, and those in them that are new with all that is below, as a partial pass does."""
        waiting = list(directories)
        while waiting:
            path = waiting.pop()
            found, below = listed(self.root, path)
            for gone in [it for it in self.known if parent_of(it) == path and it and it not in below]:
                self._forget(gone)
            if found is None:
                self._forget(path)
                continue
            self.known[path] = found
            waiting += [it for it in below if it not in self.known]

    def _forget(self, path: str) -> None:
        for gone in [it for it in self.known if it == path or it.startswith(f"{path}/") or not path]:
            del self.known[gone]


def listed(root: Path, path: str) -> tuple[dict[str, tuple[int, int, int]] | None, list[str]]:
    """Return what is in a directory, and the directories in it; None if it is not there."""
    found: dict[str, tuple[int, int, int]] = {}
    below: list[str] = []
    try:
        with os.scandir(root / path) as entries:
            for item in entries:
                status = item.stat(follow_symlinks=False)
                if is_directory := item.is_dir(follow_symlinks=False):
                    below.append(join(path, item.name))
                found[item.name] = (status.st_ino, status.st_mode, 0 if is_directory else status.st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError):
        return None, []
    return found, below


def change(root: Path, outside: Path, rng: random.Random, count: int) -> None:
    """Change a tree at random. What another change has made impossible is left out."""
    for number in range(count):
        directories = [root, *(it for it in root.rglob("*") if it.is_dir())]
        files = [it for it in root.rglob("*") if it.is_file()]
        here, there = rng.choice(directories), rng.choice(directories)
        try:
            match rng.randrange(10):
                case 0 | 1:
                    (here / f"d{rng.randrange(6)}/e{rng.randrange(3)}/f{rng.randrange(2)}").mkdir(parents=True)
                case 2 | 3 | 4:
                    (here / f"file{rng.randrange(6)}").write_text(f"{number}")
                case 5 if files:
                    os.rename(rng.choice(files), there / f"file{rng.randrange(6)}")
                case 6 if here != root:
                    os.rename(here, there / f"d{rng.randrange(6)}")
                case 7 if here != root and len(here.parts) > len(root.parts) + 1:
                    shutil.rmtree(here)
                case 8 if here != root:
                    os.rename(here, outside / f"{number}")
                case 9 if any(outside.iterdir()):
                    os.rename(rng.choice(list(outside.iterdir())), there / f"d{rng.randrange(6)}")
                case _ if files:
                    os.utime(rng.choice(files), ns=(number, number))
        except OSError:
            pass


async def keep(picture: Picture, hints: Hints) -> None:
    """Look at what is hinted, as a mirror does."""
    while True:
        hint = await hints.receive()
        assert isinstance(hint, Dirty), hint
        picture.look(hint.directories)


@pytest.mark.scaled
@pytest.mark.parametrize("seed", SEEDS)
async def test_picture_that_is_kept_by_hints_alone_is_right(tmp_path: Path, seed: int) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    rng = stream("changes", seed)
    change(root, outside, rng, 30)
    picture, truth = Picture(root), Picture(root)
    async with watched(root) as hints, trio.open_nursery() as nursery:
        picture.look([""])
        nursery.start_soon(keep, picture, hints)
        await trio.to_thread.run_sync(change, root, outside, rng, CHANGES)
        truth.look([""])
        while picture.known != truth.known:  # noqa: ASYNC110 - the watch is given all the time of `watched`
            await trio.sleep(0.005)
        while hints.directories != len(truth.known):  # noqa: ASYNC110
            await trio.sleep(0.005)
        nursery.cancel_scope.cancel()
