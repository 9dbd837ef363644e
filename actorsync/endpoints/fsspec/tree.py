"""The tree in a file system of fsspec as it is now: looked at, listed and read. Nothing here writes but the
removal of one file.

Only functions of fsspec for a single path are used, never those that take a name for a pattern (``rm``, ``copy``,
``expand``).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from actorsync.classes import define
from actorsync.endpoints.fsspec.entries import Info, entry_of, version_of
from actorsync.endpoints.fsspec.errors import is_missing, outcome_of
from actorsync.endpoints.shared.paths import below, leads_out, why_not_inside
from actorsync.errors import OperationRefused, Vanished
from actorsync.model.entry import Entry, Kind, Listing, Problem, join
from actorsync.model.text import display

__all__ = ["Tree"]

#: How often a listing is tried that fails because an entry disappears meanwhile.
_LOOKS: Final = 3


@define(eq=False)
class Tree:
    """The tree below ``root``, which is a path of ``fs``. Every method blocks, and may be called in any thread.

    ``hide`` removes secrets from a text. ``is_flat``: the store has no directories, only names with slashes in them.
    ``is_strict``: a missing root is a problem, not a directory still to be made. ``fault`` returns why a name cannot be
    used here, or None. ``outside`` is the directory beside the root that may be used; it begins with ``../``.
    """

    fs: Any
    root: str
    hide: Callable[[str], str]
    is_flat: bool = False
    is_strict: bool = False
    fault: Callable[[str], str | None] = lambda _: None
    outside: str = ""

    def at(self, path: str) -> str:
        """Return the path in the file system for ``path``. Raises `OperationRefused` if it cannot be used."""
        if not path:
            return self.root
        names = path.split("/")
        if (why := why_not_inside(path, self.outside, self.root)) is not None or "\0" in path:
            raise OperationRefused(f"{display(path)!r} cannot be used: {why or 'it is not a path below the root'}")
        try:
            path.encode()
        except UnicodeEncodeError:
            raise OperationRefused(f"{display(path)!r} is not UTF-8; rename it, or exclude it") from None
        if any(len(name.encode()) > 255 for name in names):
            raise OperationRefused(f"a name in {display(path)!r} has more than 255 bytes; shorten it, or exclude it")
        if why := next(filter(None, map(self.fault, filter(_is_name, names))), None):
            raise OperationRefused(f"a name in {display(path)!r} {why}")
        if leads_out(path):
            return below(self.root, path)
        return join(self.root.rstrip("/"), path) if self.root != "/" else f"/{path}"

    def look(self, path: str) -> Info | None:
        """Return what the store reports of ``path`` now; None if it does not exist."""
        at = self.at(path)
        self.fs.invalidate_cache()
        try:
            info: Info = self.fs.info(at)
        except OSError as error:
            if is_missing(error):
                return None
            raise
        return info

    def entry(self, path: str) -> Entry | None:
        """Return the entry at ``path`` now, or None."""
        info = self.look(path)
        if info is None:
            return None
        found = entry_of(path, info)
        if found is None:
            raise OperationRefused(f"the store does not report the size of {display(path)!r}")
        return found

    def version(self, path: str) -> tuple[object, ...] | None:
        """Return the facts that distinguish the file at ``path`` from any other version; None if it does not exist."""
        info = self.look(path)
        return None if info is None else version_of(info)

    def list_directory(self, directory: str) -> Listing:
        """List one directory, completely or not at all.

        Some stores list what does not exist as empty: the user may have mistyped the root of a source. In a flat store
        a directory has something in it, or an entry for itself.
        """
        try:
            return self._listing(directory)
        except NotADirectoryError:
            return Listing(directory, problem=Problem(directory, "it is not a directory"))
        except Exception as error:  # noqa: BLE001 - any library may raise anything
            if is_missing(error):
                return self._missing(directory)
            return Listing(directory, problem=Problem(directory, str(outcome_of("list", directory, error, self.hide))))

    def _listing(self, directory: str) -> Listing:
        infos = self._infos(directory)
        is_doubtful = not infos and (self.is_flat if directory else self.is_strict)
        if is_doubtful and self.entry(directory) is None:
            return self._missing(directory)
        if is_doubtful and directory:
            raise OperationRefused("the store has it, but lists nothing in it; rename it, or exclude it")
        return Listing(directory, tuple(self._listed(directory, infos)))

    def _missing(self, directory: str) -> Listing:
        if directory:
            return Listing(directory, problem=Problem(directory, "it does not exist", vanished=True))
        if self.is_flat and not self.is_strict:
            return Listing("")
        return Listing("", problem=Problem("", "the root does not exist", not self.is_strict, has_no_root=True))

    def _listed(self, directory: str, infos: Sequence[Info]) -> Iterator[Entry]:
        at = self.at(directory).strip("/")
        seen: set[str] = set()
        for info in infos:
            name = str(info["name"])
            if name.strip("/") == at:
                if info.get("type") == "file" and not name.endswith("/"):
                    raise NotADirectoryError(errno.ENOTDIR, "")
                continue  # a marker that some object stores keep for an empty directory
            before, _, last = name.strip("/").rpartition("/")
            if before != at or last in {"", ".", ".."}:
                raise OperationRefused(f"the store lists {display(name)!r} in it, which is elsewhere")
            if last in seen:
                raise OperationRefused(f"a file and a directory are both called {display(last)!r}")
            seen.add(last)
            entry = entry_of(join(directory, last), info)
            if entry is None:
                raise OperationRefused(f"the store does not report the size of {display(last)!r}")
            yield entry

    def _infos(self, directory: str) -> Sequence[Info]:
        at = self.at(directory)
        for look in range(_LOOKS):
            self.fs.invalidate_cache()
            try:
                infos: list[Info] = self.fs.ls(at, detail=True)
            except (LookupError, RuntimeError):  # an entry disappeared during the listing
                if look == _LOOKS - 1:
                    raise
            else:
                return infos
        raise AssertionError("unreachable: the loop returns or raises")

    def read(self, path: str, offset: int, end: int) -> bytes:
        """Return the bytes of a file from ``offset`` to ``end``."""
        try:
            return bytes(self.fs.cat_file(self.at(path), start=offset, end=end))
        except Exception as error:
            raise outcome_of("read", path, error, self.hide) from error

    def opened(self, path: str) -> tuple[Entry, tuple[object, ...]]:
        """Return the entry and the version of a file. Raises `Vanished` if it is gone but the root exists."""
        try:
            info = self.look(path)
            is_rootless = info is None and not self.is_flat and self.look("") is None
        except Exception as error:
            raise outcome_of("open", path, error, self.hide) from error
        if is_rootless:
            raise OperationRefused("the root does not exist")
        if info is None:
            raise Vanished(f"cannot open {display(path)!r}: it is gone")
        entry = entry_of(path, info)
        if entry is None or entry.kind is not Kind.FILE:
            raise OperationRefused(f"cannot open {display(path)!r}: it is not a regular file")
        return entry, version_of(info)

    def remove_file(self, path: str) -> None:
        """Remove a file, unless it is gone."""
        try:
            self.fs.rm_file(self.at(path))
        except OSError as error:
            if not is_missing(error):
                raise


def _is_name(name: str) -> bool:
    return name != ".."
