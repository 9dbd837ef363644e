"""A source that changes between runs, and remembers every content that each of its files ever had."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from pathlib import Path

__all__ = ["FILES", "KIB", "Source"]

FILES = 60
KIB = 1024


class Source:
    """A tree of files below ``root``. Every tenth one is big."""

    def __init__(self, root: Path, rng: random.Random, files: int = FILES) -> None:
        self.root, self.rng, self.files = root, rng, files
        self._versions: dict[str, set[str]] = defaultdict(set)
        self._folders = [f"d{number}" for number in range(5)]
        for number in range(files):
            self.write(self._path_of(number))

    def _path_of(self, number: int) -> str:
        return f"{self._folders[number % 5]}/{number}"

    def write(self, path: str) -> None:
        """Write a new content to a file."""
        number = int(path.rpartition("/")[2])
        size = self.rng.randrange(1 << 20, 5 << 20) if number % 10 == 0 else self.rng.randrange(100 * KIB)
        content = self.rng.randbytes(64) * (size // 64 + 1)
        self._versions[path].add(_digest_of(content))
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def change(self, count: int) -> None:
        """Write a new content to so many files."""
        for number in self.rng.sample(range(self.files), count):
            self.write(self._path_of(number))

    def rename(self) -> None:
        """Rename a folder. What is in it may be any version that it had under the old one."""
        place = self.rng.randrange(5)
        old, new = self._folders[place], f"r{self.rng.randrange(1 << 30)}"
        self._folders[place] = new
        for number in range(place, self.files, 5):
            self._versions[f"{new}/{number}"] |= self._versions[f"{old}/{number}"]
        (self.root / old).rename(self.root / new)

    def is_version(self, path: str, content: bytes) -> bool:
        """Tell whether a file held this content at any time."""
        return _digest_of(content) in self._versions[path]


def _digest_of(content: bytes) -> str:
    return hashlib.blake2b(content).hexdigest()
