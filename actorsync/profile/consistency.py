"""What the keys of a profile mean together: two of them may contradict each other."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

import attrs

from actorsync.profile.overlap import overlap
from actorsync.profile.schema import Profile
from actorsync.profile.secrets.secret import PromptSecret
from actorsync.profile.two_way import ONE_TARGET, fault_of_two_way

__all__ = ["fault_of", "fault_of_all"]

_BURST_ALONE = 'only has an effect with publish.mode = "burst"; set that, or remove it'


def fault_of(profile: Profile, given: Mapping[str, object]) -> tuple[str, str] | None:
    """Return the key of the first contradiction, with what is wrong and what to do; None if there is none.

    ``given`` has the keys that are written somewhere, with their values.
    """
    sync, publish, trash = profile.sync, profile.publish, profile.trash
    if (found := fault_of_two_way(profile, given)) is not None:
        return found  # first: it does not propose keys that the mode has no use for
    if sync.max_connections is not None and not sync.is_automatic:
        return "sync.max-connections", 'only used with connections = "auto"; remove it'
    if profile.source.is_remote and sync.links == "follow":
        return "sync.links", "links can only be followed in a source on this machine; remove it"
    if sync.no_links and sync.mode != "two-way" and sync.delete != "everything":
        return "sync.no-links", 'only used with sync.mode = "two-way" or sync.delete = "everything"; remove it'
    if publish.mode != "burst":
        if publish.check:
            return "publish.check", _BURST_ALONE
        if publish.maintenance is not None:
            return "publish.maintenance", _BURST_ALONE
        if not publish.keep_old:
            return "publish.keep-old", _BURST_ALONE
    if publish.check and not publish.keep_old:
        reason = "cannot roll back what publish.keep-old = false does not keep; remove one of them"
        return "publish.check", reason
    if profile.observe.listen is not None and not profile.observe.listen.is_local and profile.observe.token is None:
        reason = "others can reach this address, and there is no observe.token"
        return "observe.listen", f"{reason}; set one, or listen on 127.0.0.1"
    if isinstance(profile.observe.token, PromptSecret):
        return "observe.token", 'a prompt would stop a service each time it starts; use { env = "..." }'
    if profile.canary_check and not profile.is_canary:
        return "target.canary-check", "only used with target.canary = true; set that, or remove it"
    if profile.is_canary and publish.mode != "burst":
        return "target.canary", _BURST_ALONE
    if trash.path is not None and not trash.path.startswith("../") and not trash.inside_target:
        reason = "is below the target, where a web server may show what is in it"
        return "trash.path", f'{reason}; write it like "../.trash", or set trash.inside-target = true'
    if trash.path is not None and _leads_back(profile.target.path, trash.path):
        return "trash.path", 'leads back into the target; write it like "../.trash", or as a path below the target'
    if sync.mode == "two-way" and (fault := _fault_of_trashes(profile)):
        return "trash.path", fault
    if fault := overlap(profile.source, profile.target):
        return "target.url", fault
    return None


def fault_of_all(profiles: Sequence[Profile]) -> tuple[str, str, str] | None:
    """Return the name of a target that does not go with the others, its key, and what is wrong; None if all do."""
    if len(profiles) > 1 and any(profile.sync.mode == "two-way" for profile in profiles):
        return profiles[1].name, "target.name", ONE_TARGET
    canaries = [profile.name for profile in profiles if profile.is_canary]
    if len(canaries) > 1:
        return canaries[1], "target.canary", f"{canaries[0]} is a canary as well, and one goes first; remove it here"
    for number, profile in enumerate(profiles):
        for other in profiles[:number]:
            if fault := overlap(other.target, profile.target, f"target {other.name}"):
                return profile.name, "target.url", fault
    for profile in profiles:
        for other in profiles:
            if other is not profile and _trashes_in(profile, other):
                reason = f"would put the trash of target {profile.name} into target {other.name}; use another path"
                return profile.name, "trash.path", reason
    return None


def _trashes_in(profile: Profile, other: Profile) -> bool:
    """Return whether the trash of a target is another target, or overlaps it."""
    if profile.trash.path is None:
        return False
    path = posixpath.normpath(posixpath.join(profile.target.path, profile.trash.path))
    return overlap(other.target, attrs.evolve(profile.target, path=path)) is not None


def _fault_of_trashes(profile: Profile) -> str | None:
    """Return what is wrong with the trash of either side of a two-way profile; None if nothing is."""
    path = profile.trash.path
    if path is None or not path.startswith("../"):
        return None
    if _leads_back(profile.source.path, path):
        return 'leads back into the source; write it like "../.trash", or as a path below both roots'
    for side, other in ((profile.source, profile.target), (profile.target, profile.source)):
        place = posixpath.normpath(posixpath.join(side.path, path))
        if overlap(other, attrs.evolve(side, path=place)) is not None:
            return "would put the trash of one side into the other side; use another path"
    return None


def _leads_back(target: str, path: str) -> bool:
    """Return whether a trash is written as beside the target, and is the target or below it."""
    root = posixpath.normpath(posixpath.join("/", target))
    place = posixpath.normpath(posixpath.join(root, path))
    return path.startswith("../") and f"{place}/".startswith(f"{root}/")
