"""A tree in a file system of fsspec: the blocking half of ``actorsync.endpoints.fsspec.endpoint``.

Of fsspec only what is about one path is used, never what takes a name for a pattern (``rm``, ``copy``, ``expand``).
Three kinds of stores are told apart by how a temporary gets its final name:

* **flat**: object stores. There are no directories, only names with slashes in them, and no renaming: the store copies,
  which is all or nothing, and the temporary is removed.
* **renaming**: what has a rename of its own. Where that replaces nothing, the old file is set aside meanwhile.
* what has neither is copied as well, and whether half a copy can be seen is the store's affair.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs

from actorsync.endpoints.contract import Relocation, Staged
from actorsync.endpoints.fsspec.entries import Info, entry_of, version_of
from actorsync.endpoints.fsspec.errors import is_missing, outcome_of
from actorsync.endpoints.shared.case_folding import Folding, other_case
from actorsync.endpoints.shared.paths import aside_of
from actorsync.errors import ConnectionLost, OperationRefused, Vanished
from actorsync.model.entry import Entry, Kind, Listing, Problem, join, name_of, parent_of
from actorsync.model.text import display
from actorsync.planning.temporary_names import oddness

__all__ = ["Store", "Writer"]

#: How often a listing is asked for that comes to grief over what goes meanwhile.
_LOOKS: Final = 3
#: Temporaries that are known to have been whole; and directories, and traits of names, that are known to be there.
_MOST: Final = 20_000

_ItemT = TypeVar("_ItemT")
_ResultT = TypeVar("_ResultT")


@attrs.define(eq=False)
class Store:
    """The tree below ``root``, which is a path of ``fs``. Every method blocks, and may be called in any thread.

    ``is_strict``: a root that is not there is a problem, and not only still to be made. ``move`` renames one file
    to another's name; None where the store copies. ``fault`` says why a name cannot be used here, or None.
    """

    fs: Any
    root: str
    hide: Callable[[str], str]
    move: Callable[[str, str], object] | None = None
    is_flat: bool = False
    is_strict: bool = False
    fault: Callable[[str], str | None] = lambda _: None
    _replaces: bool = True
    _folding: Folding = attrs.Factory(Folding)
    _whole: OrderedDict[str, None] = attrs.Factory(OrderedDict)
    _moved: OrderedDict[str, None] = attrs.Factory(OrderedDict)
    _there: OrderedDict[str, None] = attrs.Factory(OrderedDict)
    _traits: set[str] = attrs.Factory(set)
    _lock: threading.RLock = attrs.Factory(threading.RLock)

    # Looking.

    def at(self, path: str) -> str:
        """Give the path of the file system for one below the root, or refuse it."""
        if not path:
            return self.root
        names = path.split("/")
        if not {"", ".", ".."}.isdisjoint(names) or "\0" in path:
            raise OperationRefused(f"{display(path)!r} is not a path below the root")
        try:
            path.encode()
        except UnicodeEncodeError:
            raise OperationRefused(f"{display(path)!r} is not UTF-8, and there is no other name here") from None
        if any(len(name.encode()) > 255 for name in names):
            raise OperationRefused(f"a name in {display(path)!r} has more than 255 bytes")
        if why := next(filter(None, map(self.fault, names)), None):
            raise OperationRefused(f"a name in {display(path)!r} {why}")
        return join(self.root.rstrip("/"), path) if self.root != "/" else f"/{path}"

    def look(self, path: str) -> Info | None:
        """Say what is at ``path`` now; None for nothing."""
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
        """Describe what is at ``path`` now."""
        info = self.look(path)
        if info is None:
            return None
        found = entry_of(path, info)
        if found is None:
            raise OperationRefused(f"the size of {display(path)!r} is not told")
        return found

    def version(self, path: str) -> tuple[object, ...] | None:
        """Give what tells the file that is at ``path`` now from any other; None for nothing."""
        info = self.look(path)
        return None if info is None else version_of(info)

    def list_directory(self, directory: str) -> Listing:
        """List one directory, completely or not at all."""
        try:
            return Listing(directory, tuple(self._listed(directory)))
        except FileNotFoundError:
            if directory:
                return Listing(directory, problem=Problem(directory, "it is not there", vanished=True))
            if self.is_flat and not self.is_strict:
                return Listing("")
            return Listing("", problem=Problem("", "the root is not there", vanished=not self.is_strict))
        except NotADirectoryError:
            return Listing(directory, problem=Problem(directory, "it is not a directory"))
        except Exception as error:  # noqa: BLE001 - any library may raise anything
            return Listing(directory, problem=Problem(directory, str(outcome_of("list", directory, error, self.hide))))

    def _listed(self, directory: str) -> Iterator[Entry]:
        at = self.at(directory).strip("/")
        seen: set[str] = set()
        for info in self._infos(directory):
            name = str(info["name"])
            if name.strip("/") == at:
                if info.get("type") == "file" and not name.endswith("/"):
                    raise NotADirectoryError(errno.ENOTDIR, "")
                continue  # what some object stores keep so that an empty directory is seen
            before, _, last = name.strip("/").rpartition("/")
            if before != at or last in {"", ".", ".."}:
                raise OperationRefused(f"what is listed in it is not in it: {display(name)!r}")
            if last in seen:
                raise OperationRefused(f"there is a file and a directory called {display(last)!r}")
            seen.add(last)
            entry = entry_of(join(directory, last), info)
            if entry is None:
                raise OperationRefused(f"the size of {display(last)!r} is not told")
            yield entry

    def _infos(self, directory: str) -> Sequence[Info]:
        at = self.at(directory)
        for look in range(_LOOKS):
            self.fs.invalidate_cache()
            try:
                infos: list[Info] = self.fs.ls(at, detail=True)
            except (LookupError, RuntimeError):  # something went while it was looked at
                if look == _LOOKS - 1:
                    raise
            else:
                return infos
        raise AssertionError("it was raised, or returned")

    def read(self, path: str, offset: int, end: int) -> bytes:
        """Read some bytes of a file."""
        try:
            return bytes(self.fs.cat_file(self.at(path), start=offset, end=end))
        except Exception as error:
            raise outcome_of("read", path, error, self.hide) from error

    def opened(self, path: str) -> tuple[Entry, tuple[object, ...]]:
        """Describe a file that is to be read. Raises `Vanished` when it is gone, and not all of the tree with it."""
        try:
            info = self.look(path)
            is_rootless = info is None and not self.is_flat and self.look("") is None
        except Exception as error:
            raise outcome_of("open", path, error, self.hide) from error
        if is_rootless:
            raise OperationRefused("the root is not there")
        if info is None:
            raise Vanished(f"cannot open {display(path)!r}: it is gone")
        entry = entry_of(path, info)
        if entry is None or entry.kind is not Kind.FILE:
            raise OperationRefused(f"cannot open {display(path)!r}: it is not a regular file")
        return entry, version_of(info)

    # Writing.

    def check_place(self, path: str, temporary: str) -> None:
        """Refuse what could not be staged: where there are directories, its own has to be there."""
        if parent_of(temporary) != parent_of(path):
            raise ValueError(f"{temporary!r} is not in the directory of {path!r}")
        self.at(path)
        if not self.is_flat and not self._is_there(parent_of(path)):
            raise OperationRefused(f"the directory of {display(path)!r} is not there")

    def put(self, path: str, temporary: str, data: bytes) -> None:
        """Write all of a small file."""
        try:
            self.check_place(path, temporary)
            self.fs.pipe_file(self.at(temporary), data)
        except Exception as error:
            raise outcome_of("write", path, error, self.hide) from error

    def verified(self, path: str, temporary: str, size: int) -> Staged:
        """Read back what a temporary is, by its own name and no other, or refuse and remove it."""
        try:
            found = self._of_size(path, temporary, size)
            self._learn(temporary)
        except Exception as error:
            self.discard(temporary)
            raise outcome_of("write", path, error, self.hide) from error
        self._remember(self._whole, temporary)
        return Staged(path, temporary, size, found.mtime_ns)

    def _of_size(self, path: str, temporary: str, size: int) -> Entry:
        found = self.entry(temporary)
        if found is None or (found.kind, found.size) != (Kind.FILE, size):
            arrived = 0 if found is None else found.size
            raise OperationRefused(f"cannot write {display(path)!r}: {arrived} of {size} bytes arrived", retry=True)
        return found

    def discard(self, temporary: str) -> None:
        """Remove a temporary if that can be done; else it is left to a sweep."""
        with contextlib.suppress(Exception):
            self.sweep_one(temporary, None)

    def _learn(self, path: str) -> None:
        """Find out from something that was just made how names are taken here. Refuses one that was not kept."""
        if unproven := oddness(name_of(path)) - self._traits:
            listing = self.list_directory(parent_of(path))
            if path not in (entry.path for entry in listing.entries):
                raise OperationRefused(f"the name {display(name_of(path))!r} is not kept as it is")
            self._traits |= unproven
        if self._folding.is_on is None and other_case(path) != path:
            self._folding.is_on = not self.is_flat and self.look(other_case(path)) is not None

    def _claim(self, path: str) -> None:
        """Take a name, or refuse it: another file's may differ from it by upper and lower case only."""
        with self._lock:
            directory = parent_of(path)
            if self._folding.lacks(directory):
                listing = self.list_directory(directory)
                if listing.problem is not None:
                    reason = listing.problem.reason
                    raise OperationRefused(f"whether another file has its name cannot be seen: {reason}")
                self._folding.load(directory, [name_of(entry.path) for entry in listing.entries])
            if (taken := self._folding.claim(path)) is not None:
                raise taken

    def commit_one(self, staged: Staged) -> Entry:
        """Give a temporary its final name."""
        if parent_of(staged.temporary) != parent_of(staged.path):
            raise ValueError(f"{staged.temporary!r} is not in the directory of {staged.path!r}")
        temporary, final = self.at(staged.temporary), self.at(staged.path)
        before = self.entry(staged.path)
        if before is not None and before.kind is not Kind.FILE:
            raise OperationRefused(f"cannot put {display(staged.path)!r} in place: a {before.kind.value} has its name")
        self._claim(staged.path)
        try:
            if self.move is None:
                self.fs.cp_file(temporary, final)
                self._remove_file(staged.temporary)
            else:
                self._rename(self.move, staged, is_new=before is None)
        except OSError as error:
            if not is_missing(error):
                raise
            return self._committed_before(staged, before)
        now = self.entry(staged.path)
        if now is None or (now.kind, now.size) != (Kind.FILE, staged.size):
            raise OperationRefused(f"{display(staged.path)!r} was put in place, and is not as it was sent", retry=True)
        return now

    def _rename(self, move: Callable[[str, str], object], staged: Staged, *, is_new: bool) -> None:
        """Rename a temporary; where that replaces nothing, with the old file set aside for as long as it takes."""
        temporary, final, aside = (self.at(it) for it in (staged.temporary, staged.path, aside_of(staged.temporary)))
        if is_new or self._replaces:
            try:
                move(temporary, final)
            except OSError as error:
                if error.errno != errno.EEXIST or is_new:
                    raise
                self._replaces = False
            else:
                if not self._replaces:
                    self._remove_file(aside_of(staged.temporary))  # of an attempt that did not come to its end
                return
        if self.look(staged.temporary) is None:  # it was put in place before: nothing is to make way for it again
            raise FileNotFoundError(errno.ENOENT, temporary)
        move(final, aside)
        try:
            move(temporary, final)
        except BaseException:
            with contextlib.suppress(Exception):
                move(aside, final)
            raise
        self._remove_file(aside_of(staged.temporary))

    def _committed_before(self, staged: Staged, found: Entry | None) -> Entry:
        """The temporary is gone. It was committed, if it was whole once, and what is there has its size.

        Nobody but us takes a temporary away, and we do so after it was copied. One that was never seen here may be
        another run's: its time would have to tell, and is not the source's.
        """
        found = self.entry(staged.path) or found
        if staged.temporary in self._whole and found is not None and found.size == staged.size:
            return found
        raise OperationRefused(f"cannot put {display(staged.path)!r} in place: its temporary is gone", retry=True)

    def move_one(self, item: Relocation) -> Entry:
        """Give a file that is as its entry says a name that nobody has."""
        was, path = item.entry, item.path
        found, there = self.entry(was.path), self.entry(path)
        if found is None and there is not None and there.size == was.size and f"{was.path}\0{path}" in self._moved:
            return there  # by an earlier call
        if found is None or found.kind is not Kind.FILE or _is_changed(was, found):
            raise OperationRefused(f"{display(was.path)!r} was changed by somebody else: not moved")
        if there is not None or not (self.is_flat or self._is_there(parent_of(path))):
            raise OperationRefused(f"cannot move to {display(path)!r}: its name is taken, or its directory not there")
        if oddness(name_of(path)) - self._traits:
            raise OperationRefused(f"it is not known whether the name {display(name_of(path))!r} is kept: not moved")
        self._claim(path)
        if self.move is None:
            self.fs.cp_file(self.at(was.path), self.at(path))
            self._remove_file(was.path)
        else:
            self.move(self.at(was.path), self.at(path))
        self._remember(self._moved, f"{was.path}\0{path}")
        self._folding.give_up(was.path)
        now = self.entry(path)
        if now is None or (now.kind, now.size) != (Kind.FILE, was.size):
            raise OperationRefused(f"{display(path)!r} was moved, and is not as it was", retry=True)
        return now

    # Directories, and removals.

    def make_one(self, path: str) -> Entry:
        """Make a directory, or find it there. Where there are none, that is all of it."""
        at = self.at(path)
        found = self.entry(path)
        if found is None and path:
            self._make(path, at)
        elif found is None:
            self._make_root(at)
        elif found.kind is not Kind.DIRECTORY:
            raise OperationRefused(f"{display(path)!r} is not a directory, but a {found.kind.value}")
        self._remember(self._there, path)
        return Entry(path, Kind.DIRECTORY)

    def _make(self, path: str, at: str) -> None:
        if self.is_flat:
            return
        if not self._is_there(parent_of(path)):
            raise OperationRefused(f"the directory of {display(path)!r} is not there")
        with self._lock:
            try:
                self.fs.mkdir(at, create_parents=False)
            except OSError as error:
                if error.errno not in {errno.EEXIST, None}:
                    raise
                if (found := self.entry(path)) is None or found.kind is not Kind.DIRECTORY:
                    raise
        if self.look(path) is None:
            self.is_flat = True  # it took the directory, and has none
            return
        try:
            self._learn_directory(path)
        except OperationRefused:
            with contextlib.suppress(Exception):
                self.fs.rmdir(at)
            raise

    def _learn_directory(self, path: str) -> None:
        self._learn(path)
        if oddness(name_of(path)) and (problem := self.list_directory(path).problem) is not None:
            raise OperationRefused(f"{display(path)!r} was made, and cannot be listed: {problem.reason}")

    def _make_root(self, at: str) -> None:
        if not self.is_flat:
            self.fs.makedirs(at, exist_ok=True)
        elif "/" not in at.strip("/") or self.fs.info(at.strip("/").partition("/")[0]) is None:
            raise OperationRefused(f"{display(at)!r} is not there; make the bucket first")

    def _is_there(self, directory: str) -> bool:
        if directory in self._there:
            return True
        found = self.entry(directory)
        if found is None or found.kind is not Kind.DIRECTORY:
            return False
        self._remember(self._there, directory)
        return True

    def remove_one(self, entry: Entry) -> bool:
        """Remove what is still as its entry says."""
        if not entry.path:
            raise OperationRefused("the root is never removed")
        found = self.entry(entry.path)
        if found is None:
            if not self.is_flat and self.look("") is None:
                raise OperationRefused("the root is not there")
            return True
        if found.kind is not entry.kind or (entry.kind is Kind.FILE and _is_changed(entry, found)):
            raise OperationRefused(f"{display(entry.path)!r} was changed by somebody else: not removed")
        if entry.kind is Kind.FILE:
            self._remove_file(entry.path)
            self._folding.give_up(entry.path)
            return True
        return self._remove_directory(entry.path)

    def _remove_directory(self, path: str) -> bool:
        listing = self.list_directory(path)
        if listing.problem is not None:
            if listing.problem.vanished:
                return True
            raise OperationRefused(f"{display(path)!r} cannot be listed: {listing.problem.reason}")
        if listing.entries:
            return False
        self._there.pop(path, None)
        if self.is_flat:
            return self.look(path) is None
        try:
            self.fs.rmdir(self.at(path))
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                return False
            if not is_missing(error):
                raise
        return True

    def _remove_file(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.at(path))

    def sweep_one(self, temporary: str, final: str | None) -> bool:
        """Remove a temporary, and see to what was set aside for it."""
        found = self.entry(temporary)
        if found is not None and found.kind is Kind.DIRECTORY:
            raise OperationRefused(f"{display(temporary)!r} is a directory")
        if found is not None:
            self._remove_file(temporary)
        self._whole.pop(temporary, None)
        if self.move is not None and self.entry(aside_of(temporary)) is not None:
            if final is not None and self.entry(final) is None:
                self.move(self.at(aside_of(temporary)), self.at(final))
            else:
                self._remove_file(aside_of(temporary))
        return True

    # Batches.

    def each(
        self,
        doing: str,
        items: Sequence[_ItemT],
        path_of: Callable[[_ItemT], str],
        do: Callable[[_ItemT], _ResultT],
        stop: threading.Event,
    ) -> list[_ResultT | OperationRefused]:
        """Do one after the other, until ``stop``: then, nobody hears of the rest. Raises `ConnectionLost`."""
        results: list[_ResultT | OperationRefused] = []
        for item in items:
            if stop.is_set():
                raise ConnectionLost("it was given up")
            try:
                results.append(do(item))
            except Exception as error:  # noqa: BLE001 - as above
                results.append(outcome_of(doing, path_of(item), error, self.hide))
        return results

    def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str], stop: threading.Event
    ) -> list[bool | OperationRefused]:
        """Remove temporaries, one after the other."""
        return self.each("remove", temporaries, lambda it: it, lambda it: self.sweep_one(it, finals.get(it)), stop)

    def _remember(self, known: OrderedDict[str, None], path: str) -> None:
        with self._lock:
            known[path] = None
            known.move_to_end(path)
            if len(known) > _MOST:
                known.popitem(last=False)


def _is_changed(entry: Entry, found: Entry) -> bool:
    """Tell whether a file is another than it was, as far as both are told."""
    pairs = ((entry.mtime_ns, found.mtime_ns), (entry.inode, found.inode))
    return entry.size != found.size or any(None not in pair and pair[0] != pair[1] for pair in pairs)


class Writer:
    """A big file on its way, piece by piece, each perhaps in another thread. End it with `finish` or `discard`."""

    def __init__(self, store: Store, path: str, temporary: str, block_size: int) -> None:
        self._store, self._path, self._temporary, self._block_size = store, path, temporary, block_size
        self._lock = threading.Lock()
        self._file: Any = None

    def put(self, piece: bytes) -> None:
        """Write the next piece."""
        try:
            with self._lock:
                if self._file is None:
                    self._store.check_place(self._path, self._temporary)
                    at = self._store.at(self._temporary)
                    self._file = self._store.fs.open(at, "wb", block_size=self._block_size)
                rest = memoryview(piece)
                while rest:  # what is no buffered file may take less than it is given
                    rest = rest[self._file.write(rest) or len(rest) :]
        except Exception as error:
            raise outcome_of("write", self._path, error, self._store.hide) from error

    def finish(self) -> None:
        """Write what is still held back."""
        try:
            with self._lock:
                self._file.close()
                self._file = None
        except Exception as error:
            raise outcome_of("write", self._path, error, self._store.hide) from error

    def discard(self) -> None:
        """Give it up: stop what the store knows of it, and remove the temporary if that can be done."""
        with self._lock:
            file, self._file = self._file, None
        if file is None:
            return
        with contextlib.suppress(Exception):
            if hasattr(file, "forced"):  # fsspec's own kind would be finished when it is forgotten, half as it is
                file.discard()
                file.closed = True
            else:
                file.close()
        self._store.discard(self._temporary)
