"""The names of the mirrors of a process, made from their files and targets. Imports no trio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from actorsync.errors import ProfileError
from actorsync.model.text import display
from actorsync.profile import Profile

__all__ = ["name_all", "refuse_doubles"]


def name_all(profiles: Sequence[Profile]) -> Mapping[str, Profile]:
    """Return the profiles by names that tell them apart, in the same order.

    The name is that of the target if all are of one file, otherwise that of the file without ``.toml``, followed by a
    slash and the name of the target if the file has several. Files with the same name in different directories are
    told apart by their paths.
    """
    if len({profile.path for profile in profiles}) == 1:
        return _unique(profiles, lambda profile: profile.name or profile.path.stem)
    stems = {profile.path: profile.path.stem for profile in profiles}
    doubled = {stem for stem in stems.values() if list(stems.values()).count(stem) > 1}

    def name(profile: Profile) -> str:
        stem = stems[profile.path]
        of_file = str(profile.path.with_suffix("")) if stem in doubled else stem
        return f"{of_file}/{profile.name}" if profile.name else of_file

    return _unique(profiles, name)


def _unique(profiles: Sequence[Profile], name: Callable[[Profile], str]) -> Mapping[str, Profile]:
    named: dict[str, Profile] = {}
    for profile in profiles:
        if name(profile) in named:
            raise ProfileError(f"{display(str(profile.path))}: named twice; name each profile once")
        named[name(profile)] = profile
    return named


def refuse_doubles(profiles: Mapping[str, Profile]) -> None:
    """Raise `ProfileError` if two profiles have the same source and the same target: they would share a journal."""
    seen: dict[str, str] = {}
    for name, profile in profiles.items():
        other = seen.setdefault(profile.identity, name)
        if other != name:
            raise ProfileError(
                f"{display(other)} and {display(name)} mirror the same source to the same target, and would share one "
                "journal; run only one of them"
            )
