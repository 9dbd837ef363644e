"""The journal of a profile: locked for a run, or read as it is at one moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import attrs

from actorsync.errors import ProfileError
from actorsync.journal import Journal, journal_path, open_journal, open_memory_journal, state_directory
from actorsync.journal.file import naming, open_reader, require_writable
from actorsync.model.text import display
from actorsync.profile import Place, Profile

__all__ = ["check_journal_of", "copy_journal_of", "is_target_known", "lock_journal_of", "refuse_moved"]


def lock_journal_of(
    profile: Profile, *, is_rebuilding: bool = False
) -> contextlib.AbstractContextManager[Journal, bool | None]:
    """Return a context manager that opens the journal, locks it, and makes it if there is none. See `open_journal`."""
    refuse_moved(profile)
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


def refuse_moved(profile: Profile) -> None:
    """Raise `ProfileError` if the profile has another meaning now than when its journal was written.

    Earlier versions read ``sftp://host/www`` as ``www`` in the login directory. A profile with such a URL and such a
    journal would mirror everything anew, to another directory. So it has to say which one it means: ``/~/www``, which
    continues with the journal, or ``//www``, which is absolute for every version.
    """
    if not (profile.source.below_login or profile.target.below_login):
        return
    former = attrs.evolve(profile, source=_below_login(profile.source), target=_below_login(profile.target))
    directory = state_directory()
    if journal_path(directory, profile.identity).exists():
        return
    if not journal_path(directory, former.identity).exists():
        return
    now, then = profile.target, former.target
    if not now.below_login:
        now, then = profile.source, former.source
    host = attrs.evolve(now, path="").display
    raise ProfileError(
        f"{now.where}.url: means {display(now.path)} on the server now, and earlier runs used {display(then.path)} in "
        f"the login directory; write {then.display} to go on there, or {host}{now.quoted_path} for {display(now.path)}"
    )


def _below_login(place: Place) -> Place:
    return attrs.evolve(place, path=place.below_login, below_login="") if place.below_login else place


@contextlib.contextmanager
def _reading(profile: Profile) -> Iterator[Journal | None]:
    refuse_moved(profile)
    path = journal_path(state_directory(), profile.identity)
    reader = open_reader(path, profile.identity)
    if reader is None:
        yield None
        return
    with naming(str(path)), contextlib.closing(Journal(reader, reader, str(path))) as journal:
        yield journal
