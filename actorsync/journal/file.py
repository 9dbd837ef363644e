"""The file of a journal: its lock, its creation, and the checks before it is used.

A new journal is made under another name and then renamed, so it is either complete or missing. An existing journal is
checked before anything is written, and a refused journal stays unchanged. `move_aside` renames it to make room for a
new one.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import sqlite3
import stat
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from actorsync.endpoints.shared.filesystem_type import network_name
from actorsync.errors import FatalError, JournalLocked, JournalUnusable
from actorsync.journal import audits, schema
from actorsync.journal.values import meta
from actorsync.model.row import decode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "check_structure",
    "connect_to_memory",
    "hold_lock",
    "move_aside",
    "naming",
    "open_pair",
    "open_reader",
    "require_writable",
]

BUSY_SECONDS = 5.0
"""Seconds to wait for a lock of another program, such as a ``sqlite3`` shell."""

_WAY_OUT: Final = "run once with --rebuild, which moves it aside, surveys the target and deletes nothing"

#: The home directory of a container's user often exists, and belongs to root.
_NOT_WRITABLE: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

#: What to do when files of the journal cannot be written.
_WRITABLE: Final = "make it writable, or set XDG_STATE_HOME to another directory"

#: What to do when the process or the system has as many files open as it may.
_TOO_MANY: Final = "allow more open files (ulimit -n, or LimitNOFILE= of a service), or mirror fewer at the same time"
_NONE_FREE: Final = frozenset({errno.EMFILE, errno.ENFILE})

#: What to do, by a part of what SQLite says.
_WAYS_OUT: Final = {
    "locked": "another program is writing to it, such as a sqlite3 shell; close it",
    "readonly": _WRITABLE,
    "unable to open": _WRITABLE,
    "is full": "free some space there",
    "disk I/O": "check the disk and its free space",
}

#: Suffixes of the files of a journal. The journal itself comes last, so that it is never without the others.
_PARTS: Final = ("-journal", "-wal", "-shm", "")


@contextmanager
def hold_lock(path: Path, name: str) -> Iterator[None]:
    """Hold the lock of the journal at ``path``, or raise `JournalLocked` at once. Make the directory if it is missing.

    The kernel releases the lock when the process dies, however it dies. The lock file contains the number of the
    process. It is never removed, which would be a race.
    """
    lock = path.with_name(f"{path.name}.lock")
    with ExitStack() as stack:
        with naming(str(lock)):
            for directory in reversed([path.parent, *path.parent.parents]):
                if not directory.exists():  # `parents=True` would make the others with mode 777 & ~umask
                    directory.mkdir(mode=0o700, exist_ok=True)
            _refuse_network(path)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 20, 0).strip()
                process = f" (process {holder.decode()})" if holder.isdigit() else ""
                raise JournalLocked(
                    f"another run of {name}{process} holds {path}; wait until it has ended, or stop it"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        try:
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)


def open_pair(path: Path, profile_id: str, name: str) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """Return a writer and a reader of a journal that passed every check. Make it if it is missing or empty.

    The caller holds the lock. Raises `FatalError` if the file cannot be used; the file is then unchanged.
    """
    with naming(str(path)), ExitStack() as stack:
        if not _has_bytes(path):
            _create(path, profile_id, name)
        for what in (path, *_log_of(path), path.parent):
            if not os.access(what, os.W_OK, effective_ids=True):  # SQLite would open it read-only without an error
                raise FatalError(f"journal {path}: no permission to write {what}; {_WRITABLE}")
        # A refused journal must stay unchanged. A reader does not fold the log of a killed run into the file, and
        # neither does a writer that closes before the reader. The structure is checked over the writer: over a
        # read-only connection, SQLite skips the CHECKs.
        reader = stack.enter_context(closing(_connect(path, "ro")))
        _check_identity(reader, path, profile_id)
        writer = stack.enter_context(closing(_connect(path, "rw")))
        check_structure(writer, str(path))
        schema.migrate(writer)
        path.chmod(0o600)
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("PRAGMA synchronous = FULL")
        known_as = meta.read_meta(writer, "name")  # this read opens the log, so that closing removes it
        if name and name != known_as:
            meta.write_meta(writer, "name", name)
        stack.pop_all()
        return writer, reader


def require_writable(path: Path) -> None:
    """Raise the `FatalError` of `hold_lock` and `open_pair` for a place where no journal can be. Makes no file."""
    existing = next(one for one in (path, *path.parents) if one.exists())
    with naming(str(path)):
        if existing != path and not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        _refuse_network(existing if existing == path else existing / path.name)
        if not os.access(existing, os.W_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def open_reader(path: Path, profile_id: str) -> sqlite3.Connection | None:
    """Return a reader that takes no lock, even while a run holds it; None when there is no journal yet."""
    with naming(str(path)), ExitStack() as stack:
        if not _has_bytes(path):
            return None
        reader = stack.enter_context(closing(_connect(path, "ro")))
        _check_identity(reader, path, profile_id)
        stack.pop_all()
        return reader


def connect_to_memory() -> sqlite3.Connection:
    """Return an empty database in memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    schema.prepare(connection)
    return connection


def move_aside(path: Path, now: float) -> Path:
    """Rename a journal, with its log, to an unused name that contains the time; return the new path.

    The caller holds the lock.
    """
    moment = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    names = (path.with_name(f"{path.name}.unusable-{moment}{'-' * (n > 0)}{n or ''}") for n in itertools.count())
    with naming(str(path)):
        aside = next(name for name in names if not any(os.path.lexists(f"{name}{part}") for part in _PARTS))
        for part in _PARTS:
            with suppress(FileNotFoundError):
                os.rename(f"{path}{part}", f"{aside}{part}")
        _sync_directory(path.parent)
    return aside


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Turn errors of SQLite and of the system into `FatalError` with one line that names the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "unable to open" in str(error) and (reason := _why_none_opens()):
            raise FatalError(f"journal {where}: {reason}; {_TOO_MANY}") from error
        way_out = next((f"; {text}" for part, text in _WAYS_OUT.items() if part in str(error)), "")
        raise FatalError(f"journal {where}: {error}{way_out}") from error
    except sqlite3.ProgrammingError as error:  # it was closed
        raise FatalError(f"journal {where}: {error}") from error
    except sqlite3.Error as error:
        raise JournalUnusable(f"journal {where}: {error}; {_WAY_OUT}") from error
    except UnicodeDecodeError as error:  # SQLite repeats bytes of a damaged file in its message
        raise JournalUnusable(f"journal {where}: it is damaged (a text that is not UTF-8); {_WAY_OUT}") from error
    except schema.Unreadable as error:
        raise JournalUnusable(f"journal {where}: it is damaged ({error}); {_WAY_OUT}") from error
    except OSError as error:
        way_out = f"; {_WRITABLE}" if error.errno in _NOT_WRITABLE else ""
        way_out = f"; {_TOO_MANY}" if error.errno in _NONE_FREE else way_out
        raise FatalError(f"journal {where}: {error.strerror or error}{way_out}") from error


def _why_none_opens() -> str | None:
    """Return why hardly a file can be opened, which SQLite does not tell from a missing permission; None if some can.

    SQLite needs several files, and has closed those that it could open: eight are tried.
    """
    opened: list[int] = []
    try:
        for _ in range(8):
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))  # noqa: PERF401 - each is closed below
    except OSError as error:
        return error.strerror if error.errno in _NONE_FREE else None
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return None


def _log_of(path: Path) -> list[Path]:
    """Return the log files of SQLite that exist: they keep the mode that the journal had when they were made."""
    return [log for suffix in ("-wal", "-shm") if (log := path.with_name(path.name + suffix)).exists()]


def _has_bytes(path: Path) -> bool:
    # By its name: opening and closing the file would drop the locks that SQLite holds on it in this process.
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise JournalUnusable(f"journal {path}: it is not a file; {_WAY_OUT}")
    return status.st_size > 0


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    schema.prepare(connection)
    return connection


def _create(path: Path, profile_id: str, name: str) -> None:
    """Make a new journal that is complete and on disk before it gets its name."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    for base in (new, path):  # SQLite would replay an old log into the new file
        for suffix in ("-journal", "-wal", "-shm"):
            base.with_name(base.name + suffix).unlink(missing_ok=True)
    os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(_connect(new, "rw")) as connection:
        schema.create(connection, profile_id, name)
    new.replace(path)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_network(path: Path) -> None:
    """Raise `FatalError` on a network file system: SQLite's log and locks are unreliable there."""
    if (name := network_name(path.parent)) is not None:
        raise FatalError(
            f"journal {path}: it would be on a network file system ({name}), where it cannot be kept safely; "
            "set XDG_STATE_HOME to a directory on a local disk"
        )


def _check_identity(connection: sqlite3.Connection, path: Path, profile_id: str) -> None:
    """Raise `JournalUnusable` for a file of another program, of an unknown version, or of another profile."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != schema.APPLICATION_ID:
        raise JournalUnusable(f"journal {path}: it was not written by actorsync; {_WAY_OUT}")
    version = schema.version_of(connection)
    if not 1 <= version <= schema.SCHEMA_VERSION:
        raise JournalUnusable(
            f"journal {path}: it has schema {version}, and this actorsync knows {schema.SCHEMA_VERSION}; "
            f"use the actorsync that wrote it, or {_WAY_OUT}"
        )
    owner = meta.read_meta(connection, "profile")
    if owner != profile_id:
        raise JournalUnusable(f"journal {path}: it belongs to another profile ({owner!r}); {_WAY_OUT}")
    schema.read_root(connection)
    schema.read_root(connection, "target")
    meta.read_ceiling(connection)
    audits.read_round(connection)
    audits.read_seen(connection)


def check_structure(connection: sqlite3.Connection, where: str) -> None:
    """Raise `JournalUnusable` for a damaged file, or for a row that violates a CHECK."""
    (answer,) = connection.execute("SELECT CAST(quick_check AS BLOB) FROM pragma_quick_check(1)").fetchone()
    if answer != b"ok":
        damage = " ".join(decode(answer).split())
        raise JournalUnusable(f"journal {where}: it is damaged ({damage}); {_WAY_OUT}")
