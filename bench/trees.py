"""The trees that are mirrored. The same name gives the same paths, bytes and times on every machine."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    Entry = os.DirEntry[str] | None

__all__ = [
    *("WORKLOADS", "Kind", "Workload"),
    *("change", "difference", "files_of", "make_tree", "other_times", "put_in_place", "written_since"),
]

KIB, MIB = 1 << 10, 1 << 20
FIRST_MTIME: Final = 1_704_067_200  # 2024-01-01: older than six months, so LIST gives it without a time of day
CHANGED_MTIME: Final = FIRST_MTIME + 10_000_000  # after every other file's
BLOCK: Final = MIB


@attrs.frozen
class Kind:
    """A kind of file: its name with a place for a number, its share among the kinds, and its least and most bytes."""

    name: str
    share: int
    sizes: tuple[int, int]


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
    """The target is equal before the first run, and only one run is timed."""
    known: bool = False
    """With ``in_place``: a peer that stores state has an untimed run before the timed one."""
    changed: int = 0
    """With ``in_place`` and ``known``: the number of source files that change before the timed run."""
    linked: bool = False
    """With ``in_place``: the target has hard links to the source, which halves the memory. No run may write to it."""
    kinds: tuple[Kind, ...] = ()
    """The kinds of files in each folder, which then also has an ``index.html``; empty for files of one kind."""

    @property
    def file_count(self) -> int:
        return self.files + bool(self.last) + (self.folders if self.kinds else 0)

    @property
    def is_site(self) -> bool:
        """Whether it has pages and what they load, so that the order of the changes matters."""
        return bool(self.kinds)

    @property
    def most_bytes(self) -> int:
        return self.file_count * self.sizes[1] + self.last

    @property
    def only_again(self) -> bool:
        """Whether only a run with nothing to do, and with stored state, is timed."""
        return self.known and not self.changed

    def scaled(self, scale: float) -> Workload:
        """Return the workload with its numbers of files, folders and last bytes multiplied; at least 1 if not 0."""
        counts = {name: getattr(self, name) for name in ("files", "folders", "last", "changed")}
        return attrs.evolve(self, **{name: max(1, round(count * scale)) for name, count in counts.items() if count})


_MANY = Workload("100,000 files of 20 bytes in 1,000 folders", 100_000, 1_000, (20, 20), depth=5)

WORKLOADS: Final[dict[str, Workload]] = {
    "small": Workload("2,000 files of 0.5-8 kB in 100 folders", 2_000, 100, (500, 8_000), depth=4),
    "archive": Workload(
        "90 files of 150-250 kB in 24 folders, then one of 60 MB", 90, 24, (150_000, 250_000), 3, 60_000_000
    ),
    "big": Workload("one file of 1 GiB", 0, 0, (0, 0), last=1 << 30),
    "many": _MANY,
    "adopt": attrs.evolve(_MANY, about=f"{_MANY.about}, already in place, unknown", in_place=True),
    "nothing-to-do": attrs.evolve(_MANY, about=f"{_MANY.about}, already in place", in_place=True, known=True),
    "changed": attrs.evolve(
        _MANY, about=f"{_MANY.about}, in place; 1,000 of them changed", in_place=True, known=True, changed=1_000
    ),
    "million": Workload(
        "990,000 files of 20 bytes in 10,000 folders, already in place",
        *(990_000, 10_000, (20, 20)),
        depth=5,
        in_place=True,
        known=True,
        linked=True,
    ),
    "deploy": Workload(
        "a site of 1,200 files of 1-60 kB in 40 folders, in place; 1,000 of them changed",
        *(1_160, 40, (1_000, 60_000)),
        depth=3,
        in_place=True,
        known=True,
        changed=1_000,
        kinds=(
            Kind("page-{:06d}.html", 15, (3_000, 30_000)),
            Kind("style-{:06d}.css", 3, (2_000, 40_000)),
            Kind("script-{:06d}.js", 4, (1_000, 60_000)),
            Kind("picture-{:06d}.webp", 7, (4_000, 60_000)),
        ),
    ),
}


def _layout(workload: Workload, rng: random.Random) -> Iterator[tuple[Path, int]]:
    """Yield every file of the tree as (relative path, size), in the order in which they are written."""
    folders: list[Path] = []
    for number in range(workload.folders):
        parent = rng.choice(folders) if folders and rng.random() < 0.5 else Path()
        if len(parent.parts) >= workload.depth:
            parent = Path()
        folders.append(parent / f"folder-{number:04d}")
    turns = [
        kind for kind in workload.kinds or (Kind("file-{:06d}.dat", 1, workload.sizes),) for _ in range(kind.share)
    ]
    for number in range(workload.files):
        kind = turns[number // len(folders) % len(turns)]
        yield folders[number % len(folders)] / kind.name.format(number), rng.randint(*kind.sizes)
    if workload.kinds:
        yield from ((folder / "index.html", rng.randint(*workload.kinds[0].sizes)) for folder in folders)
    if workload.last:
        yield Path("last.bin"), workload.last


def make_tree(workload: Workload, root: Path, *, seed: int = 1) -> int:
    """Write the tree to a new folder ``root``, and return its size in bytes."""
    rng = random.Random(seed)
    block = rng.randbytes(BLOCK)
    total, made = 0, set[Path]()
    root.mkdir(parents=True)
    for number, (path, size) in enumerate(_layout(workload, rng)):
        target = root / path
        if path.parent not in made:  # calling mkdir for each file would take longer than writing the file
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        offset = rng.randrange(BLOCK // 2)
        with target.open("wb") as file:
            left = size
            while left:
                left -= file.write(block[offset : offset + left])
                offset = rng.randrange(BLOCK // 2)
        os.utime(target, (FIRST_MTIME + number, FIRST_MTIME + number))
        total += size
    return total


def files_of(root: Path) -> list[Path]:
    """Return the files of a tree, sorted by folder, then by name."""
    return sorted((path for path in root.rglob("*.*") if path.is_file()), key=lambda path: (path.parent, path.name))


def _to_change(root: Path, count: int, rng: random.Random) -> list[Path]:
    """Choose ``count`` files at random, the same number from each folder."""
    files = files_of(root)
    borders = [len(files) * number // count for number in range(count + 1)]
    return [files[rng.randrange(start, end)] for start, end in itertools.pairwise(borders)]


@contextlib.contextmanager
def change(workload: Workload, root: Path, *, seed: int = 2) -> Iterator[list[Path]]:
    """Change the bytes, sizes and times of some files until the block ends, so that every round has the same tree.

    Yield the files.
    """
    rng, kept = random.Random(seed), list[tuple[Path, bytes, float]]()
    try:
        for number, file in enumerate(_to_change(root, workload.changed, rng)):
            content = file.read_bytes()
            kept.append((file, content, file.stat().st_mtime))
            file.write_bytes(rng.randbytes(len(content) + 1 + number % 7))
            os.utime(file, (CHANGED_MTIME + number, CHANGED_MTIME + number))
        yield [file for file, *_ in kept]
    finally:
        for file, content, mtime in kept:
            file.write_bytes(content)
            os.utime(file, (mtime, mtime))


def put_in_place(workload: Workload, source: Path, target: Path, owner: int) -> None:
    """Copy the tree with its times, as a run would.

    Linked files still belong to root. The server's user can replace them, but cannot write into them, which would
    change the source.
    """
    if workload.linked:
        subprocess.run(["cp", "-al", f"{source}/.", str(target)], check=True)
        for folder, *_ in os.walk(target):
            os.chown(folder, owner, owner)
        return
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
    subprocess.run(["chown", "-R", f"{owner}:{owner}", str(target)], check=True)


def _entries(folder: Path) -> dict[str, os.DirEntry[str]]:
    """Return the entries of a folder by name; an empty dictionary when the folder does not exist."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        return {entry.name: entry for entry in found}
    return {}


def _is_folder(entry: os.DirEntry[str] | None) -> bool:
    return entry is not None and entry.is_dir(follow_symlinks=False)


def _pairs(one: Path, other: Path, below: str = "") -> Iterator[tuple[str, Entry, Entry]]:
    """Yield every path of two trees with its entry in each. Reads one folder at a time, because of big trees."""
    left, right = _entries(one / below), _entries(other / below)
    for name in sorted(left.keys() | right.keys()):
        path, pair = os.path.join(below, name), (left.get(name), right.get(name))
        yield path, *pair
        if any(map(_is_folder, pair)):
            yield from _pairs(one, other, path)


def _same_bytes(one: os.DirEntry[str], other: os.DirEntry[str]) -> bool:
    if os.path.samestat(one.stat(), other.stat()):
        return True
    if one.stat().st_size != other.stat().st_size:
        return False
    with open(one, "rb") as left, open(other, "rb") as right:
        while chunk := left.read(MIB):
            if chunk != right.read(MIB):
                return False
    return True


def difference(source: Path, target: Path) -> str | None:
    """Return the first difference between two trees as text, or None when they are equal byte for byte."""
    missing, extra, unlike = list[str](), list[str](), list[str]()
    for path, wanted, found in _pairs(source, target):
        if not found:
            missing.append(path)
        elif not wanted:
            extra.append(path)
        elif _is_folder(wanted) != _is_folder(found) or not (_is_folder(wanted) or _same_bytes(wanted, found)):
            unlike.append(path)
    for paths, what in ((missing, "missing"), (extra, "too many")):
        if paths:
            return f"{len(paths)} {what}, the first {paths[0]}"
    return f"{unlike[0]} differs" if unlike else None


def other_times(source: Path, target: Path) -> int:
    """Return how many files of two equal trees differ in time, in whole seconds, as SFTP and FTP transmit it."""
    return sum(
        int(one.stat().st_mtime) != int(other.stat().st_mtime)
        for _, one, other in _pairs(source, target)
        if one and other and not _is_folder(one)
    )


def written_since(root: Path, moment: float) -> int:
    """Return how many files were written, renamed or had their times set after ``moment``."""
    return sum(file.stat().st_ctime > moment for file in root.rglob("*") if file.is_file())
