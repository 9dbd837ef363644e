"""The files that a run itself needs or writes and must never send: the profile, its secrets, the journals, metrics."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from actorsync.endpoints.ssh.settings import usual_key_files
from actorsync.journal import state_directory
from actorsync.profile import FileSecret, Place, Profile
from actorsync.profile.secrets.secret import CommandSecret

__all__ = ["own_files", "private_paths", "protected_paths"]


def private_paths(profile: Profile, more: Iterable[Path] = ()) -> frozenset[str]:
    """Return those of the files that are in the source, as paths below its root. A source on a server has none.

    ``more`` are further files that are never sent. The key files in the files of ssh are among them. A file counts by
    the path that the profile has, and by that of the file itself, where the two differ by a link.
    """
    return frozenset() if profile.source.is_remote else _below(profile.source.path, profile, more)


def protected_paths(profile: Profile, more: Iterable[Path] = ()) -> frozenset[str]:
    """Return those of the files that are in the target, as paths below its root. A target on a server has none."""
    return frozenset() if profile.target.is_remote else _below(profile.target.path, profile, more)


def _below(place: str, profile: Profile, more: Iterable[Path] = ()) -> frozenset[str]:
    root = os.path.realpath(place)
    paths = set()
    for path in (*own_files(profile), *more):
        beside = os.path.join(os.path.realpath(path.parent), path.name)
        for form in (os.path.abspath(path), beside, os.path.realpath(path)):
            below = os.path.relpath(form, root)
            if below != os.curdir and below.split(os.sep, 1)[0] != os.pardir:
                paths.add(below)
    return frozenset(paths)


def own_files(profile: Profile) -> Iterator[Path]:
    """Yield the files and directories that a run of the profile needs: the profile, its secrets, the journals."""
    yield profile.path
    yield state_directory()
    observe = profile.observe
    if observe.metrics_file is not None:
        yield observe.metrics_file
    if observe.listen is not None and observe.listen.path is not None:
        yield observe.listen.path
    if isinstance(observe.token, FileSecret):
        yield observe.token.path
    for place in (profile.source, profile.target, *profile.siblings):
        yield from _secret_files(place)


def _tries_usual_keys(place: Place) -> bool:
    """Return whether the login tries the keys in ``~/.ssh``, at the server or a jump host: there is no key file."""
    is_tried = place.password is None and place.agent is not False and place.ways.identity_files is None
    return is_tried or any(jump.identity_files is None for jump in place.ways.jump)


def _secret_files(place: Place) -> Iterator[Path]:
    ways = place.ways
    if place.key_file is not None:
        yield place.key_file
    elif place.scheme == "sftp" and _tries_usual_keys(place):
        yield from usual_key_files()
    for identities in (ways.identity_files, *(jump.identity_files for jump in ways.jump)):
        yield from identities or ()
    secrets = (place.password, place.passphrase, place.proxy_password, *(it for _, it in place.options.secrets))
    for source in (*secrets, None if ways.codes is None else ways.codes.source):
        if isinstance(source, FileSecret):
            yield source.path
        elif isinstance(source, CommandSecret):  # `@FILE` is how programs are told to read a secret from a file
            names = (one.removeprefix("@") for one in source.arguments if one.startswith("@"))
            yield from (source.directory / name for name in names if name)
