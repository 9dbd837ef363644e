"""Two independent checks of a mirror: one of the files on the server's disk, and one of the commands sent to it.

`Observer` reads the server's disk at random moments. `forbidden_commands` searches a command log for commands that lead
out of the root, write to a final name, or remove an entry that was not recorded.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from actorsync.testing.servers.command_log import Command
from actorsync.testing.visitor import Watcher, is_temporary

__all__ = ["Observer", "forbidden_commands", "is_temporary", "is_whole", "self_evident"]


def self_evident(path: str, size: int, rng: random.Random) -> bytes:
    """Return content of about ``size`` bytes that `is_whole` can verify. It has at least one full line."""
    word = b"%016x\n" % rng.getrandbits(64)
    head = b"%s %d " % (os.fsencode(path), size) + word
    return head + word * ((size - len(head)) // len(word) + 1)


def is_whole(path: str, content: bytes) -> bool:
    """Return whether ``content`` is one result of `self_evident` for this path, from the first byte to the last."""
    head, end, rest = content.partition(b"\n")
    try:
        name, size, word = head.rsplit(b" ", 2)
        count = (int(size) - len(head) - 1) // (len(word) + 1) + 1
    except ValueError:
        return False
    word += end
    return end != b"" and os.fsdecode(name) == path and rest == word * count


class Observer(Watcher):
    """Reads a server's disk repeatedly, and keeps broken files in ``wrong``.

    ``is_version`` gets a path below ``root`` and the content of that file, and returns whether it is a whole version.
    Temporary files are left out. A file is read again only after it was replaced or changed.
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
            self.wrong.append(f"{shown}: {len(content)} bytes that are not a whole version")


def forbidden_commands(mutating: Iterable[Command], root: str, *, recorded: Collection[str] = ()) -> list[str]:
    """Return the commands of FTP or SFTP that no mirror of ``root`` may send, as text.

    Every path must be ``root`` or below it. Only temporary files may be written, renamed or have their time set, and
    the new name must not be temporary. Only temporary files and ``recorded`` paths, relative to the root, may be
    removed.
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
