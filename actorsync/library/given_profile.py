"""The profile that a program gives to a run: a file, a loaded profile, or the keys themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from actorsync import profile as profiles
from actorsync.errors import ProfileError
from actorsync.model.text import display
from actorsync.profile import Profile

__all__ = ["Given", "given_profile", "load_profile", "load_profiles", "make_profile"]

#: The tables that are arguments of their own, beside the keys of ``[sync]``.
_TABLES: Final = ("audit", "observe", "shutdown", "watch")

#: A place: a local path, a URL, or a table with the keys of ``[source]`` or ``[target]``.
Given: TypeAlias = str | os.PathLike[str] | Mapping[str, object]


def load_profile(profile: str | os.PathLike[str], overrides: Mapping[str, object] | None = None) -> Profile:
    """Read and check a profile. ``overrides`` are keys that replace its own: ``{"sync.delete": True}``.

    A value of ``overrides`` is what TOML would make of it (``True``, ``8``, ``["*.tmp"]``), or a text as ``--set``
    takes it. Raises `ProfileError`, one line that names the file, the key, the reason, and what to do; also for a file
    with several targets, see `load_profiles`. Blocks.
    """
    found = load_profiles(profile, overrides)
    if len(found) > 1:
        names = ", ".join(display(one.name) for one in found)
        raise ProfileError(
            f"{display(os.fspath(profile))}: has several targets, {names}, and this works on one; use run_many or "
            f'open_syncs, or give one of load_profiles(..., only=["{display(found[0].name)}"])'
        )
    return found[0]


def load_profiles(
    profile: str | os.PathLike[str], overrides: Mapping[str, object] | None = None, *, only: Sequence[str] = ()
) -> tuple[Profile, ...]:
    """Read and check a profile with one or several targets, and return a profile for each, in the order of the file.

    ``only`` are names of targets: the others are left out. Otherwise as `load_profile`.
    """
    if not isinstance(overrides or {}, Mapping):  # such as the texts that ``--set`` takes
        raise TypeError('overrides= takes a mapping: {"sync.delete": True}')
    return profiles.load_profiles(Path(profile), values=overrides or {}, only=only)


def make_profile(source: Given, target: Given, **keys: object) -> Profile:
    """Return a profile without a file: ``make_profile("./public", "sftp://deploy@example.com/srv/www", delete=True)``.

    ``source`` and ``target`` are a local path, a URL, or a table with the keys of ``[source]`` or ``[target]``:
    ``{"url": "sftp://deploy@example.com/srv/www", "key_file": "deploy_key"}``. ``keys`` are those of ``[sync]``,
    and ``audit``, ``observe``, ``shutdown`` and ``watch`` with a table each: ``audit={"repair": "fix"}``. In names of
    keys, ``_`` and ``-`` are the same. A relative path is relative to the current directory. The journal is the one of
    a file with the same source and target. Raises `ProfileError` as `load_profile` does. Blocks.
    """
    from_url = isinstance(source, str) and "://" in source
    places = {"source": _table(source, "url" if from_url else "path"), "target": _table(target, "url")}
    tables = {name: table for name in _TABLES if isinstance(table := keys.get(name), Mapping)}
    sync = {name: value for name, value in keys.items() if name not in tables}
    return profiles.make_profile({**places, **tables, "sync": sync})


def _table(place: Given, key: str) -> Mapping[str, object]:
    return place if isinstance(place, Mapping) else {key: os.fspath(place)}


def given_profile(
    profile: Profile | str | os.PathLike[str] | None,
    overrides: Mapping[str, object] | None,
    source: Given | None,
    target: Given | None,
    keys: Mapping[str, object],
) -> Profile:
    """Return the profile that the arguments of a run describe. With ``overrides``, a loaded profile is loaded again.

    Raises `TypeError` unless they are either a profile, or a source and a target.
    """
    if profile is None:
        if source is None or target is None:
            raise TypeError("give a profile, or source= and target=")
        if overrides:
            raise TypeError("overrides= is for a profile; give the keys of [sync] as arguments instead")
        return make_profile(source, target, **keys)
    if source is not None or target is not None or keys:
        places = {"source": source, "target": target}
        extra = ", ".join([*(name for name, place in places.items() if place is not None), *keys])
        raise TypeError(f"a profile is given as well: {extra}; use overrides= to change keys of a profile")
    if isinstance(profile, Profile):
        if overrides and profile.path.name == profiles.MADE:
            raise TypeError("overrides= is for a profile in a file; give the keys to make_profile instead")
        return load_profile(profile.path, overrides) if overrides else profile
    return load_profile(profile, overrides)
