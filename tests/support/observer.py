"""Two witnesses of a mirror that trust neither it nor its server: one reads the disk, one reads what was asked for.

`Observer` looks at the server's disk at random instants, as a visitor of the site would. `strays` goes through a
command log for whatever leads out of the root, writes onto a final name, or removes what nobody had recorded.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from actorsync.testing.servers.command_log import Command
from actorsync.testing.visitor import Watcher, is_temporary

__all__ = ["Observer", "is_temporary", "is_whole", "self_evident", "strays"]


def self_evident(path: str, size: int, rng: random.Random) -> bytes:
    """Give a content of about ``size`` bytes, at least its first line, that proves to be whole: see `is_whole`."""
    word = b"%016x\n" % rng.getrandbits(64)
    head = b"%s %d " % (os.fsencode(path), size) + word
    return head + word * ((size - len(head)) // len(word) + 1)


def is_whole(path: str, content: bytes) -> bool:
    """Tell whether a file holds one version of `self_evident` for this path, from the first byte to the last."""
    head, end, rest = content.partition(b"\n")
    try:
        name, size, word = head.rsplit(b" ", 2)
        count = (int(size) - len(head) - 1) // (len(word) + 1) + 1
    except ValueError:
        return False
    word += end
    return end != b"" and os.fsdecode(name) == path and rest == word * count


class Observer(Watcher):
    """Looks at a server's disk again and again, and keeps in ``wrong`` what a visitor should never see.

    ``is_version`` tells of a path below ``root``, and of what a file of that name holds, whether that is one whole
    version. Names of temporaries are left out. A file that was looked at is looked at again only when it is another
    one, or has changed.
    """

    def __init__(self, root: Path, is_version: Callable[[str, bytes], bool] = is_whole) -> None:
        super().__init__()
        self.root, self.is_version = root, is_version
        self.looks = 0
        self.wrong: list[str] = []
        self._seen: dict[str, tuple[int, int, int]] = {}

    def look(self) -> None:
        """Look at everything once."""
        for folder, _, names in os.walk(self.root):
            for name in names:
                if not is_temporary(name):
                    self._look_at(os.path.join(folder, name))
        self.looks += 1

    def _look_at(self, path: str) -> None:
        shown = os.path.relpath(path, self.root)
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                identity = (status.st_ino, status.st_size, status.st_mtime_ns)
                if self._seen.get(shown) == identity:
                    return
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            return
        self._seen[shown] = identity
        if not self.is_version(shown, content):
            self.wrong.append(f"{shown}: {len(content)} bytes of no version")


def strays(mutating: Iterable[Command], root: str, *, recorded: Collection[str] = ()) -> list[str]:
    """Give the commands that no mirror of ``root`` may send, of FTP or SFTP, as text.

    Every path has to lead below ``root``. What is written, renamed and given times is a temporary; what it is renamed
    to is none. Removed are temporaries, and what is ``recorded``: paths below the root.
    """
    allowed = {f"{root}/{path}" for path in recorded}
    found = []
    for command in mutating:
        paths = command.argument.split(" -> ")
        if command.verb in ("MFMT", "MDTM"):
            paths = [command.argument.partition(" ")[2]]
        if not all(_is_below(path, root) for path in paths) or not _is_fit(command.verb, paths, allowed):
            found.append(str(command))
    return found


def _is_below(path: str, root: str) -> bool:
    return (path == root or path.startswith(f"{root}/")) and {"", ".", ".."}.isdisjoint(path.split("/")[1:])


def _is_fit(verb: str, paths: list[str], recorded: Collection[str]) -> bool:
    match verb:
        case "STOR" | "MFMT" | "MDTM" | "CREATE" | "WRITE" | "FSETSTAT":
            return is_temporary(paths[0])
        case "RNTO":
            return not is_temporary(paths[0])
        case "POSIX-RENAME" | "RENAME":
            return is_temporary(paths[0]) or is_temporary(paths[1])
        case "DELE" | "REMOVE":
            return is_temporary(paths[0]) or paths[0] in recorded
        case "RMD" | "RMDIR":
            return paths[0] in recorded
        case "MKD" | "MKDIR":
            return not is_temporary(paths[0])
        case _:
            return False
