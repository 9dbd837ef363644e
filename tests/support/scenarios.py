"""Trees for tests of whole runs with any server: odd names, big files, and all kinds of changes."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

__all__ = [
    "MIB",
    "ODD_NAMES",
    "big_tree",
    "change_everything",
    "tree_to_be_changed",
    "write",
    "write_sparse",
]

MIB = 1024 * 1024

#: Names that caused errors on some server and that any POSIX file system can store.
ODD_NAMES = (
    *("two  words", " lead", "trail ", "-rf", "%41", "*", "[a]", "?", '"', 'quo"te', "'", ";", "|", "$(id)", "#", "&"),
    *("{x}", ".hidden", "..twice", "a:b", "<b>", "`id`", "!", "^", "=", "~x", "~", "a\tb", "a\x01b", "a\x7fb", "a\nb"),
    *("a\r\nDELE victim", "back\\slash", "..\\up", "C:\\x", "CON", "trailing.", "\x1b[31mred", "a\u202eb"),
    *("NFC " + unicodedata.normalize("NFC", "Zürich é"), "NFD " + unicodedata.normalize("NFD", "Zürich é")),
    *("日本語", "\N{PILE OF POO}", os.fsdecode(b"not \xc3\x28 utf-8 \xfe"), "'); DROP TABLE x"),
)


def write(path: Path, content: bytes, seconds: int = 1_700_000_000) -> None:
    """Write a file with a time in the past, which has a fraction of a second that servers do not store."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(seconds * 10**9 + 123_456_789,) * 2)


def write_sparse(path: Path, size: int) -> None:
    """Write a sparse file: a few bytes at its begin and its end, and a hole between them."""
    with open(path, "wb") as file:
        file.write(b"begin")
        file.truncate(size)
        file.seek(-3, os.SEEK_END)
        file.write(b"end")


def big_tree(source: Path, big: int = 100 * MIB) -> None:
    """Write 2,000 files, odd names and folders, empty files, an empty folder, and a sparse file of ``big`` bytes."""
    for folder in range(100):
        for number in range(20):
            write(source / f"folder {folder:02}" / f"{number}.txt", b"%d/%d" % (folder, number) * 40, 10**9 + number)
    for number, name in enumerate(ODD_NAMES):
        write(source / "odd" / name, os.fsencode(name))
        write(source / "odd folders" / name / name, b"" if number % 2 else b"in an odd folder")
    for name in ("empty 1", "empty 2"):
        write(source / name, b"")
    (source / "empty folder").mkdir()
    write_sparse(source / "big", big)


def tree_to_be_changed(source: Path) -> None:
    """Write a tree for `change_everything`."""
    for name in ("same", "changed", "renamed", "deleted", "file to folder", "folder to file/a", "folder to file/b/c"):
        write(source / name, name.encode())
    write(source / "gone/with/all", b"below")
    write(source / "touched", b"only its time")


def change_everything(source: Path) -> None:
    """Change every file but ``same``: content, name, kind, time, or existence."""
    write(source / "changed", b"longer than it was before")
    (source / "renamed").rename(source / "new name")
    (source / "deleted").unlink()
    (source / "file to folder").unlink()
    write(source / "file to folder/inside", b"now a folder")
    shutil.rmtree(source / "folder to file")
    write(source / "folder to file", b"now a file")
    shutil.rmtree(source / "gone")
    write(source / "touched", b"only its time", 1_600_000_000)
