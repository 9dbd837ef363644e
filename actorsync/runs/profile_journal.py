"""The journal of a profile: locked for a run, or read as it is at one moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from actorsync.journal import Journal, journal_path, open_journal, open_memory_journal, state_directory
from actorsync.journal.file import naming, open_reader, require_writable
from actorsync.profile import Profile

__all__ = ["check_journal_of", "copy_journal_of", "is_target_known", "lock_journal_of"]


def lock_journal_of(
    profile: Profile, *, is_rebuilding: bool = False
) -> contextlib.AbstractContextManager[Journal, bool | None]:
    """Return a context manager that opens the journal, locks it, and makes it if there is none. See `open_journal`."""
    return open_journal(state_directory(), profile.identity, name=str(profile.path), is_rebuilding=is_rebuilding)


def check_journal_of(profile: Profile) -> None:
    """Raise the `FatalError` that a run would end with because of its journal. Makes and locks no file."""
    with _reading(profile):
        require_writable(journal_path(state_directory(), profile.identity))


def copy_journal_of(profile: Profile) -> Journal:
    """Return a copy of the journal in memory; an empty journal when there is none yet. Makes and locks no file."""
    with _reading(profile) as journal:
        return open_memory_journal(profile.identity) if journal is None else journal.copy_to_memory()


def is_target_known(profile: Profile) -> bool:
    """Return whether the journal knows the target, so that a plan need not connect to it."""
    with _reading(profile) as journal:
        return journal is not None and not journal.is_fresh


@contextlib.contextmanager
def _reading(profile: Profile) -> Iterator[Journal | None]:
    path = journal_path(state_directory(), profile.identity)
    reader = open_reader(path, profile.identity)
    if reader is None:
        yield None
        return
    with naming(str(path)), contextlib.closing(Journal(reader, reader, str(path))) as journal:
        yield journal
