"""The profiles of a process by the names of their mirrors, and the files that hold none that can be used.

Imports no trio: an error in a profile does without, because the import is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import attrs

from actorsync.classes import frozen
from actorsync.errors import ActorsyncError, ProfileError, ReleaseRefused
from actorsync.model.text import display
from actorsync.profile import Place, Profile, load_profiles
from actorsync.service.names import name_all, refuse_doubles

__all__ = ["Chosen", "Refused", "choose", "profiles_in"]


@frozen
class Refused:
    """A mirror that cannot begin, and why."""

    name: str
    error: ActorsyncError
    profile: Profile | None = None
    """The profile, if it could be loaded."""

    @property
    def text(self) -> str:
        """The name and the error, as one line."""
        return f"{self.name}: {self.error}"

    def leads(self, other: Profile) -> bool:
        """Return whether it is the canary of another target of the same profile."""
        mine = self.profile
        return mine is not None and mine.is_canary and mine.path == other.path and mine.target in other.siblings


@frozen
class Chosen:
    """What a user has chosen to mirror: profiles by name, each with one target.

    ``refused`` are the mirrors that cannot begin. ``files`` are all files that were named as profiles.
    """

    profiles: Mapping[str, Profile]
    refused: Sequence[Refused] = ()
    files: Sequence[Path] = ()

    @classmethod
    def of(cls, profile: Profile) -> Chosen:
        """Return the choice of one profile."""
        return cls(name_all([profile]), files=[profile.path])

    @property
    def is_several(self) -> bool:
        """Whether there is more than one mirror, so that each is shown with its name."""
        return len(self.profiles) + len(self.refused) > 1

    def the_one(self) -> Profile:
        """Return the only profile. Raises `ProfileError` if there are several."""
        if len(self.profiles) != 1:
            names = ", ".join(map(display, self.profiles))
            raise ProfileError(f"there are several targets: {names}; choose one: --only {next(iter(self.profiles))}")
        return next(iter(self.profiles.values()))

    def answered(self, ask: Callable[[Profile], Profile]) -> Chosen:
        """Call ``ask`` with each profile, one after the other, and return the choice with what it returns.

        A source that several profiles share is asked about once. A profile for which ``ask`` raises an
        `ActorsyncError` is refused; if it is the only one, the error is raised.
        """
        profiles: dict[str, Profile] = {}
        refusals = list(self.refused)
        sources: list[tuple[Place, Place]] = []
        for name, profile in self.profiles.items():
            source = next((answered for asked, answered in sources if asked == profile.source), profile.source)
            try:
                profiles[name] = ask(attrs.evolve(profile, source=source))
            except ActorsyncError as error:
                if not self.is_several:
                    raise
                refusals.append(Refused(name, error, profile))
            else:
                sources.append((profile.source, profiles[name].source))
        return attrs.evolve(self, profiles=profiles, refused=refusals)

    def without_followers(self) -> Chosen:
        """Return the choice without the targets whose canary is refused: they would publish what nothing has tried."""
        profiles: dict[str, Profile] = {}
        refusals = list(self.refused)
        for name, profile in self.profiles.items():
            canary = next((it for it in self.refused if it.leads(profile)), None)
            if canary is None:
                profiles[name] = profile
            else:
                why = f"its canary {canary.name} did not begin: {canary.error}"
                refusals.append(Refused(name, ReleaseRefused(f"nothing was published: {why}")))
        return attrs.evolve(self, profiles=profiles, refused=refusals)


def profiles_in(directory: Path) -> Sequence[Path]:
    """Return the files ``*.toml`` in a directory, sorted, without hidden ones. Raises `ProfileError` without any."""
    shown = display(str(directory))
    try:
        found = sorted(path for path in directory.iterdir() if path.suffix == ".toml" and path.name[0] != ".")
    except OSError as error:
        raise ProfileError(f"--all {shown}: cannot be read: {error.strerror}; name a directory with profiles") from None
    if not found:
        raise ProfileError(f"--all {shown}: has no profile (*.toml); create one: actorsync init {shown}/NAME.toml")
    return found


def choose(
    files: Sequence[Path],
    overrides: Sequence[str] = (),
    *,
    values: Mapping[str, object] = MappingProxyType({}),
    only: Sequence[str] = (),
    needs_keys: bool = True,
) -> Chosen:
    """Load the profiles in ``files``, and return those that ``only`` names; all of them without names.

    A name is that of a target. With several files, it may also be that of a file without ``.toml``, or both with a
    slash between them. Of several files, those that cannot be used are refused, and the others are returned. Raises
    `ProfileError` if the only file cannot be used, if a name fits nothing, or if two profiles would share a journal.
    """
    loaded: list[Profile] = []
    refusals: list[Refused] = []
    for file in files:
        try:
            loaded += load_profiles(
                file, overrides, values=values, needs_keys=needs_keys, only=only if len(files) == 1 else ()
            )
        except ProfileError as error:
            if len(files) == 1:
                raise
            refusals.append(Refused(file.stem, error))
    profiles = name_all(loaded)
    if only and len(files) > 1:
        profiles, refusals = _only(profiles, only), []
    refuse_doubles(profiles)
    return Chosen(profiles, refusals, files)


def _only(profiles: Mapping[str, Profile], names: Sequence[str]) -> Mapping[str, Profile]:
    for name in names:
        if not any(name in _names(full, profile) for full, profile in profiles.items()):
            there = f"there are: {', '.join(map(display, profiles))}" if profiles else "no profile can be used"
            raise ProfileError(f"--only {display(name)}: no target and no profile has this name; {there}")
    return {full: it for full, it in profiles.items() if any(name in _names(full, it) for name in names)}


def _names(full: str, profile: Profile) -> set[str]:
    return {full, profile.name, profile.path.stem}
