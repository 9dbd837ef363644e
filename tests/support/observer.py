"""A source that changes between runs, and a visitor of the target who looks all the time, and keeps what is wrong."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["FILES", "Observer", "Source"]

FILES = 60
KIB = 1024


class Source:
    """A tree that changes between runs, and remembers every content that each of its files ever had."""

    def __init__(self, root: Path, rng: random.Random, files: int = FILES) -> None:
        self.root, self.rng, self.files = root, rng, files
        self.versions: dict[str, set[str]] = defaultdict(set)
        for number in range(files):
            self.write(f"d{number % 5}/{number}")

    def write(self, path: str) -> None:
        """Give a file a new content; every tenth file is big."""
        number = int(path.rpartition("/")[2])
        size = self.rng.randrange(1 << 20, 5 << 20) if number % 10 == 0 else self.rng.randrange(100 * KIB)
        content = self.rng.randbytes(64) * (size // 64 + 1)
        self.versions[path].add(digest_of(content))
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def change(self, count: int) -> None:
        for number in self.rng.sample(range(self.files), count):
            self.write(f"d{number % 5}/{number}")


def digest_of(content: bytes) -> str:
    return hashlib.blake2b(content).hexdigest()


class Observer:
    """Looks at the server's disk all the time, as a visitor of the site would, and keeps what it should not see."""

    def __init__(self, root: Path, source: Source) -> None:
        self.root, self.source = root, source
        self.looks = 0
        self.wrong: list[str] = []
        self._seen: set[tuple[str, int, int, int]] = set()
        self._stopping = threading.Event()

    def look(self) -> None:
        for folder, _, names in os.walk(self.root):
            for name in names:
                if ".actorsync-" not in name:
                    self._look_at(os.path.join(folder, name))
        self.looks += 1

    def _look_at(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                shown = os.path.relpath(path, self.root)
                key = (shown, status.st_ino, status.st_size, status.st_mtime_ns)
                if key in self._seen:  # looked at before: contents never change in place
                    return
                digest = digest_of(file.read())
        except FileNotFoundError:
            return
        self._seen.add(key)
        if digest not in self.source.versions[shown]:
            self.wrong.append(f"{shown}: {status.st_size} bytes of no version")

    def run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            time.sleep(0.002)

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join()
