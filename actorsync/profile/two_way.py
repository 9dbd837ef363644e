"""What the keys of a profile mean when both sides may change: some have no meaning then."""

from __future__ import annotations

from actorsync.profile.release import PublishTable
from actorsync.profile.schema import Profile
from actorsync.profile.values.readers import MOST_CONNECTIONS

__all__ = ["fault_of_two_way"]

_MIRROR_ONLY = 'has no meaning with sync.mode = "two-way"; remove it'


def fault_of_two_way(profile: Profile) -> tuple[str, str] | None:
    """Return the key of the first contradiction with the mode, with what is wrong; None if there is none."""
    sync = profile.sync
    if sync.mode != "two-way":
        if sync.conflict != "both":
            return "sync.conflict", 'only used with sync.mode = "two-way"; set that, or remove it'
        if sync.conflict_copies != 10:
            return "sync.conflict-copies", 'only used with sync.mode = "two-way"; set that, or remove it'
        return None
    if sync.delete == "everything":
        return "sync.delete", f"{_MIRROR_ONLY}: what is removed on one side is removed on the other one anyway"
    if sync.links == "follow":
        return "sync.links", 'with sync.mode = "two-way", what is behind a link cannot be replaced; remove it'
    if profile.publish.mode == "burst":
        return "publish.mode", _MIRROR_ONLY
    if profile.publish.order != PublishTable().order:
        return "publish.order", _MIRROR_ONLY
    if profile.publish.remove_after:
        return "publish.remove-after", _MIRROR_ONLY
    if profile.trash.path is not None:
        return "trash.path", f"{_MIRROR_ONLY}: versions in conflict are kept beside the file, see sync.conflict"
    if profile.audit.repair == "fix":
        return "audit.repair", f"{_MIRROR_ONLY}: each run looks at both sides as a whole"
    if profile.name:
        return "target.name", "a two-way profile has one target; write a profile for each pair of directories"
    is_remote = profile.source.is_remote or profile.target.is_remote
    most = sync.most_connections if sync.is_automatic else sync.connections
    if is_remote and isinstance(most, int) and most < 2:
        return "sync.connections", (f"two-way reads and writes a server at the same time; set 2 to {MOST_CONNECTIONS}")
    return None
