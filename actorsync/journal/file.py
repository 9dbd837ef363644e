"""A journal as a file: its lock, its making, and what is checked before it is believed.

A new journal is made under another name and then renamed: under its own name it is whole, or it is not there. An
existing one is looked at before anything is written, and what is refused is left as it was found. `move_aside` makes
way for a new one, and keeps the old.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import sqlite3
import stat
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from actorsync.errors import FatalError, JournalLocked, JournalUnusable
from actorsync.journal import schema
from actorsync.journal.network_filesystem import network_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["check_structure", "connect_to_memory", "hold_lock", "move_aside", "naming", "open_pair", "open_reader"]

BUSY_SECONDS = 5.0
"""How long somebody with a ``sqlite3`` shell may hold us up."""

_WAY_OUT: Final = "run once with --rebuild, which moves it aside, surveys the target and deletes nothing"

#: What belongs to a journal: the file itself comes last, so that it is never without the others.
_PARTS: Final = ("-journal", "-wal", "-shm", "")


@contextmanager
def hold_lock(path: Path, name: str) -> Iterator[None]:
    """Hold the lock of the journal at ``path``, or raise `JournalLocked` at once. The directory is made if need be.

    The kernel lets go of it when the process dies, however it dies. The lock's file says who holds it, and is left
    behind: to remove it would be a race.
    """
    lock = path.with_name(f"{path.name}.lock")
    with ExitStack() as stack:
        with naming(str(lock)):
            for directory in reversed([path.parent, *path.parent.parents]):
                if not directory.exists():  # `parents=True` would leave those above open to all under umask 000
                    directory.mkdir(mode=0o700, exist_ok=True)
            _refuse_network(path)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 20, 0).strip()
                process = f" (process {holder.decode()})" if holder.isdigit() else ""
                raise JournalLocked(f"another run of {name}{process} holds {path}") from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        try:
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)


def open_pair(path: Path, profile_id: str, name: str) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """Give a writer and a reader of a journal that passed every check, made first if it is missing or has no bytes.

    The caller holds the lock. Raises `FatalError` when the file cannot be used, and then it was not touched.
    """
    with naming(str(path)), ExitStack() as stack:
        if not _has_bytes(path):
            _create(path, profile_id, name)
        for what, name_of_it in ((path, "it"), (path.parent, "its directory")):
            if not os.access(what, os.W_OK, effective_ids=True):  # SQLite would open it all the same, to read it
                raise FatalError(f"journal {path}: {name_of_it} may not be written")
        # A reader folds no log of a killed run into the file, and neither does a writer that closes before it. Only
        # the writer can check the structure: over a read-only connection, SQLite forgets the CHECKs.
        reader = stack.enter_context(closing(_connect(path, "ro")))
        _check_identity(reader, path, profile_id)
        writer = stack.enter_context(closing(_connect(path, "rw")))
        check_structure(writer, str(path))
        schema.migrate(writer)
        path.chmod(0o600)
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("PRAGMA synchronous = FULL")
        known_as = schema.read_meta(writer, "name")  # by reading, the writer joins the log, and will clean up after it
        if name and name != known_as:
            schema.write_meta(writer, "name", name)
        stack.pop_all()
        return writer, reader


def open_reader(path: Path, profile_id: str) -> sqlite3.Connection | None:
    """Give a reader of somebody else's journal, without its lock; None when there is no journal yet."""
    with naming(str(path)), ExitStack() as stack:
        if not _has_bytes(path):
            return None
        reader = stack.enter_context(closing(_connect(path, "ro")))
        _check_identity(reader, path, profile_id)
        stack.pop_all()
        return reader


def connect_to_memory() -> sqlite3.Connection:
    """Give an empty database that is lost when it is closed."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    schema.prepare(connection)
    return connection


def move_aside(path: Path, now: float) -> Path:
    """Give a journal, with what belongs to it, a name with the time in it that nothing has yet; give that name.

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
    """Turn what SQLite and the system say into one line that names the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        holder = "; somebody else writes to it, such as a sqlite3 shell" if "locked" in str(error) else ""
        raise FatalError(f"journal {where}: {error}{holder}") from error
    except sqlite3.ProgrammingError as error:  # it was closed
        raise FatalError(f"journal {where}: {error}") from error
    except sqlite3.Error as error:
        raise JournalUnusable(f"journal {where}: {error}; {_WAY_OUT}") from error
    except UnicodeDecodeError as error:  # what SQLite says of a damaged file may repeat what is in it
        raise JournalUnusable(f"journal {where}: it is damaged (a text that is none); {_WAY_OUT}") from error
    except schema.Unreadable as error:
        raise JournalUnusable(f"journal {where}: it is damaged ({error}); {_WAY_OUT}") from error
    except OSError as error:
        raise FatalError(f"journal {where}: {error.strerror or error}") from error


def _has_bytes(path: Path) -> bool:
    # By its name only: to open and close the file would drop the locks that SQLite holds on it in this process.
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
    """Make a fresh journal that is whole and on disk before it has its name."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    for base in (new, path):  # an old log beside a new file would be replayed into it
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
    """Refuse a place where neither SQLite's log nor its locks can be relied on: a row may be lost, or be read stale."""
    if (name := network_name(path.parent)) is not None:
        raise FatalError(
            f"journal {path}: it would be on a network file system ({name}), where it cannot be kept safely; "
            "set XDG_STATE_HOME to a directory on a local disk"
        )


def _check_identity(connection: sqlite3.Connection, path: Path, profile_id: str) -> None:
    """Refuse a file that is no journal, that we cannot read, or that is somebody else's."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != schema.APPLICATION_ID:
        raise JournalUnusable(f"journal {path}: it was not written by actorsync; {_WAY_OUT}")
    version = schema.version_of(connection)
    if not 1 <= version <= schema.SCHEMA_VERSION:
        raise JournalUnusable(
            f"journal {path}: it has schema {version}, and this actorsync knows {schema.SCHEMA_VERSION}; "
            f"use the actorsync that wrote it, or {_WAY_OUT}"
        )
    owner = schema.read_meta(connection, "profile")
    if owner != profile_id:
        raise JournalUnusable(f"journal {path}: it belongs to another profile ({owner!r}); {_WAY_OUT}")
    schema.read_root(connection)
    schema.read_ceiling(connection)


def check_structure(connection: sqlite3.Connection, where: str) -> None:
    """Refuse a journal whose file makes no sense, or in which a row says what none can say."""
    (answer,) = connection.execute("SELECT CAST(quick_check AS BLOB) FROM pragma_quick_check(1)").fetchone()
    if answer != b"ok":
        damage = " ".join(schema.decode(answer).split())
        raise JournalUnusable(f"journal {where}: it is damaged ({damage}); {_WAY_OUT}")
