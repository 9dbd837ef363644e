"""A user who saves a file at a moment of a run that a test chooses: the file that the run is busy with."""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
import time
from pathlib import Path
from typing import Any, Final, Literal

import attrs

from actorsync.planning.temporary_names import final_of, is_own

__all__ = ["Saved", "SuddenUser"]

SideName = Literal["source", "target"]

#: Seconds in which a server on this machine has done what it was told.
_QUIET: Final = 0.03
_AT_FOLDER, _EXCHANGE = -100, 2
_libc = ctypes.CDLL(None, use_errno=True)


@attrs.frozen
class Saved:
    """What a user has saved, and the version that this user had: it was overwritten, and need not be kept."""

    side: SideName
    path: str
    digest: str
    over: str | None = None


@attrs.define
class SuddenUser:
    """Saves one file at the ``at``-th step of a run, or as soon after it as the run is busy with a file.

    The file is that which the step is about, on ``side``; None: on the side that the step is about. ``lasts`` is how
    many steps go on after it, before the run is killed or cut.

    FTP has no rename that refuses to replace a file, so a file that a user makes just before the server renames another
    one to its name is lost: see docs/two-way.md. So where ``only_there`` has a side, a file that does not exist there
    is not made in the middle of a run, but only at its end.
    """

    roots: dict[SideName, str]
    at: int
    seed: str
    lasts: int = 0
    side: SideName | None = None
    only_there: SideName | None = None
    uid: int | None = None
    saved: Saved | None = attrs.field(default=None, init=False)
    _last: tuple[SideName, str] | None = attrs.field(default=None, init=False)

    def settings(self) -> dict[str, Any]:
        """Return the arguments that make this user, for JSON."""
        return {name: getattr(self, name) for name in ("roots", "at", "seed", "lasts", "side", "only_there", "uid")}

    def note(self, step: int, path: str) -> None:
        """Take notice of a step, and save a file if it is time.

        ``path`` is what the step is about: a path on this machine, or one on a server that begins with the name of the
        root. Others are passed over.
        """
        self._last = self._known(path) or self._last
        if step >= self.at and self.saved is None:
            self._save(is_last=step >= self.at + self.lasts)

    def _known(self, path: str) -> tuple[SideName, str] | None:
        """Return the side and the path below its root that a step is about, by the name that a user knows."""
        for side, root in self.roots.items():
            name = os.path.basename(root)
            beginning = next((it for it in (f"{root}/", f"/{name}/", f"{name}/") if path.startswith(it)), None)
            if beginning is not None:
                parts = [final_of(part) or part for part in path.removeprefix(beginning).rstrip("/").split("/")]
                return None if any(map(is_own, parts)) else (side, "/".join(parts))
        return None

    def _save(self, *, is_last: bool) -> None:
        if self._last is None:
            return
        side = self.side or self._last[0]
        place = Path(self.roots[side], self._last[1])
        if place.is_dir():
            place /= "saved"
        if side == self.only_there and not place.exists():
            if not is_last:
                return
            time.sleep(_QUIET)
        rng = random.Random(self.seed)
        data = rng.randbytes(10_000 + rng.randrange(1_000))
        beside = Path(self.roots[side]).parent / f"{place.name}.saving"
        over = _save(place, beside, data, self.uid if side == "target" else None, in_place=rng.random() < 0.5)
        path = str(place.relative_to(self.roots[side]))
        self.saved = Saved(side, path, _digest(data), None if over is None else _digest(over))


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data).hexdigest()


def _save(place: Path, beside: Path, data: bytes, uid: int | None, *, in_place: bool) -> bytes | None:
    """Write a file in place, or over it from ``beside``. Return exactly the version that was overwritten, if any."""
    _make(place.parent, uid)
    try:
        descriptor = os.open(place, os.O_RDWR)
    except FileNotFoundError:
        _write(beside, data, uid)
        os.link(beside, place)
        beside.unlink()
        return None
    with open(descriptor, "r+b") as file:
        old = file.read()
        if in_place:
            file.seek(0)
            file.truncate()
            file.write(data)
            return old
    _write(beside, data, uid)
    if _libc.renameat2(_AT_FOLDER, os.fsencode(beside), _AT_FOLDER, os.fsencode(place), _EXCHANGE):
        raise OSError(ctypes.get_errno(), f"{place} was not exchanged")
    old = beside.read_bytes()
    beside.unlink()
    return old


def _write(file: Path, data: bytes, uid: int | None) -> None:
    file.write_bytes(data)
    file.chmod(0o666)
    if uid is not None:
        os.chown(file, uid, uid)


def _make(folder: Path, uid: int | None) -> None:
    if not folder.is_dir():
        _make(folder.parent, uid)
        folder.mkdir(exist_ok=True)
        if uid is not None:
            os.chown(folder, uid, uid)
