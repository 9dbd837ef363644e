"""The trees that are mirrored. The same name gives the same paths, bytes and times on every machine."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["WORKLOADS", "Workload", "difference", "make_tree", "other_times", "put_in_place"]

KIB, MIB = 1 << 10, 1 << 20
FIRST_MTIME: Final = 1_704_067_200  # 2024-01-01: older than six months, so LIST gives it without a time of day
BLOCK: Final = MIB


@attrs.frozen
class Workload:
    """A tree to make, and what is timed on it."""

    about: str
    files: int
    folders: int
    sizes: tuple[int, int]
    depth: int = 1
    last: int = 0
    """Bytes of one big file that sorts after all the others."""
    in_place: bool = False
    """The target is equal before the first run, and only a run with nothing to do is timed."""

    @property
    def file_count(self) -> int:
        return self.files + bool(self.last)

    @property
    def most_bytes(self) -> int:
        return self.files * self.sizes[1] + self.last


_MANY = Workload("100,000 files of 20 bytes in 1,000 folders", 100_000, 1_000, (20, 20), depth=5)

WORKLOADS: Final[dict[str, Workload]] = {
    "small": Workload("2,000 files of 0.5-8 kB in 100 folders", 2_000, 100, (500, 8_000), depth=4),
    "archive": Workload(
        "90 files of 150-250 kB in 24 folders, then one of 60 MB", 90, 24, (150_000, 250_000), 3, 60_000_000
    ),
    "big": Workload("one file of 1 GiB", 0, 0, (0, 0), last=1 << 30),
    "many": _MANY,
    "nothing-to-do": attrs.evolve(_MANY, about=_MANY.about + ", already in place", in_place=True),
}


def _layout(workload: Workload, rng: random.Random) -> Iterator[tuple[Path, int]]:
    """Every file of the tree as (relative path, size), in the order they are written."""
    folders: list[Path] = []
    for number in range(workload.folders):
        parent = rng.choice(folders) if folders and rng.random() < 0.5 else Path()
        if len(parent.parts) >= workload.depth:
            parent = Path()
        folders.append(parent / f"folder-{number:04d}")
    for number in range(workload.files):
        yield folders[number % len(folders)] / f"file-{number:06d}.dat", rng.randint(*workload.sizes)
    if workload.last:
        yield Path("last.bin"), workload.last


def make_tree(workload: Workload, root: Path, *, seed: int = 1) -> int:
    """Write the tree under ``root`` (made here), and return its size in bytes."""
    rng = random.Random(seed)
    block = rng.randbytes(BLOCK)
    total = 0
    root.mkdir(parents=True)
    for number, (path, size) in enumerate(_layout(workload, rng)):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        offset = rng.randrange(BLOCK // 2)
        with target.open("wb") as file:
            left = size
            while left:
                left -= file.write(block[offset : offset + left])
                offset = rng.randrange(BLOCK // 2)
        os.utime(target, (FIRST_MTIME + number, FIRST_MTIME + number))
        total += size
    return total


def put_in_place(source: Path, target: Path, owner: int) -> None:
    """Copy the tree with its times, as if a run had brought it there."""
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
    subprocess.run(["chown", "-R", f"{owner}:{owner}", str(target)], check=True)


def _paths(root: Path) -> dict[str, bool]:
    """Every path below ``root``, and whether it is a folder."""
    found: dict[str, bool] = {}
    for parent, folders, files in os.walk(root):
        base = os.path.relpath(parent, root)
        found |= {os.path.normpath(os.path.join(base, name)): True for name in folders}
        found |= {os.path.normpath(os.path.join(base, name)): False for name in files}
    return found


def _same_bytes(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        while chunk := left.read(MIB):
            if chunk != right.read(MIB):
                return False
    return True


def difference(source: Path, target: Path) -> str | None:
    """The first difference between two trees in words, None when they are equal byte for byte."""
    wanted, found = _paths(source), _paths(target)
    if missing := sorted(wanted.keys() - found.keys()):
        return f"{len(missing)} missing, the first {missing[0]}"
    if extra := sorted(found.keys() - wanted.keys()):
        return f"{len(extra)} too many, the first {extra[0]}"
    for path, is_folder in sorted(wanted.items()):
        if is_folder != found[path] or not (is_folder or _same_bytes(source / path, target / path)):
            return f"{path} differs"
    return None


def other_times(source: Path, target: Path) -> int:
    """How many files of two equal trees have not the same time, in whole seconds: that much SFTP and FTP carry."""
    files = [path for path, is_folder in _paths(source).items() if not is_folder]
    return sum(int((source / path).stat().st_mtime) != int((target / path).stat().st_mtime) for path in files)
