"""What programs do to a tree when they save, as far as a watcher sees it: their system calls.

Those of Vim 9, rsync 3.5 and git 2.39 are as strace shows them. Those of VS Code, JetBrains and build tools follow what
their projects say about saving: they do not run without a screen.

Each function takes the directory that it works in. It blocks, and takes milliseconds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

__all__ = [
    "SAVES",
    "build_anew",
    "git_checkout",
    "jetbrains_save",
    "rsync_receive",
    "vim_save",
    "vscode_save",
]


def vim_save(directory: Path, name: str, text: str) -> None:
    """Vim with ``backupcopy=auto``: a swap file, a probe, the old file as a backup, a new file, its mode, no backup."""
    swap, probe, backup, final = (directory / it for it in (f".{name}.swp", "4913", f"{name}~", name))
    os.close(os.open(swap, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o100644))
    os.chown(probe, os.getuid(), os.getgid())
    probe.unlink()
    had = final.exists()
    if had:
        final.rename(backup)
    descriptor = os.open(final, os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(descriptor, text.encode())
    os.fsync(descriptor)
    os.fchmod(descriptor, 0o644)
    os.close(descriptor)
    if had:
        backup.unlink()
    swap.unlink()


def vscode_save(directory: Path, name: str, text: str) -> None:
    """VS Code: the file is truncated in place and written again, in two openings."""
    final = directory / name
    os.close(os.open(final, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644))
    descriptor = os.open(final, os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(descriptor, text.encode())
    os.fdatasync(descriptor)
    os.close(descriptor)


def jetbrains_save(directory: Path, name: str, text: str) -> None:
    """JetBrains with "safe write": a new file beside, the old one renamed away, the new one renamed to it."""
    new, old, final = directory / f"{name}___jb_tmp___", directory / f"{name}___jb_old___", directory / name
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(descriptor, text.encode())
    os.close(descriptor)
    new.chmod(0o644)
    if final.exists():
        final.rename(old)
    new.rename(final)
    old.unlink(missing_ok=True)


def rsync_receive(directory: Path, name: str, text: str) -> None:
    """Rsync as receiver: a hidden temporary with a random suffix, its mode and times, a rename."""
    temporary = directory / f".{name}.Xk3f9Q"
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, text.encode())
    os.close(descriptor)
    os.utime(temporary, (1_700_000_000, 1_700_000_000))
    temporary.chmod(0o644)
    temporary.rename(directory / name)


def git_checkout(directory: Path, files: Mapping[str, str]) -> None:
    """Git, switching to a branch with exactly ``files``: removes what is gone, with empty directories, writes the rest.

    It removes a file before it writes it anew.
    """
    for path in sorted((it for it in directory.rglob("*") if it.is_file()), reverse=True):
        if str(path.relative_to(directory)) not in files:
            path.unlink()
            above = path.parent
            while above != directory and not any(above.iterdir()):
                above.rmdir()
                above = above.parent
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        os.write(descriptor, text.encode())
        os.close(descriptor)


def build_anew(output: Path, files: Mapping[str, str], *, meanwhile: Callable[[], None] = lambda: None) -> None:
    """A build tool that empties its output and fills it again; ``meanwhile`` is called in between."""
    shutil.rmtree(output)
    meanwhile()
    for name, text in files.items():
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


#: Programs that save one file.
SAVES: Final = {"vim": vim_save, "vscode": vscode_save, "jetbrains": jetbrains_save, "rsync": rsync_receive}
