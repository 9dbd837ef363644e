"""The files that a run itself needs and must never send: the profile, its secrets, the journals."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from actorsync.journal import state_directory
from actorsync.profile import FileSecret, Place, Profile, SecretSource

__all__ = ["private_paths"]


def private_paths(profile: Profile) -> frozenset[str]:
    """Return those of the files that are in the source, as paths below its root. A source on a server has none.

    A file counts by the path that the profile has, and by that of the file itself, where the two differ by a link.
    """
    if profile.source.is_remote:
        return frozenset()
    root = os.path.realpath(profile.source.path)
    paths = set()
    for path in _own_files(profile):
        beside = os.path.join(os.path.realpath(path.parent), path.name)
        for form in (os.path.abspath(path), beside, os.path.realpath(path)):
            below = os.path.relpath(form, root)
            if below != os.curdir and below.split(os.sep, 1)[0] != os.pardir:
                paths.add(below)
    return frozenset(paths)


def _own_files(profile: Profile) -> Iterator[Path]:
    yield profile.path
    yield state_directory()
    for place in (profile.source, profile.target):
        yield from _secret_files(place)


def _secret_files(place: Place) -> Iterator[Path]:
    if place.key_file is not None:
        yield place.key_file
    sources: list[SecretSource | None] = [place.password, place.passphrase, *(it for _, it in place.options.secrets)]
    for source in sources:
        if isinstance(source, FileSecret):
            yield source.path
