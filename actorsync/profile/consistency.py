"""What the keys of a profile mean together: two of them may contradict each other."""

from __future__ import annotations

import posixpath

from actorsync.profile.overlap import overlap
from actorsync.profile.schema import Profile
from actorsync.profile.secrets.secret import PromptSecret

__all__ = ["fault_of"]

_BURST_ALONE = 'only has an effect with publish.mode = "burst"; set that, or remove it'


def fault_of(profile: Profile) -> tuple[str, str] | None:
    """Return the key of the first contradiction, with what is wrong and what to do; None if there is none."""
    sync, publish, trash = profile.sync, profile.publish, profile.trash
    if sync.max_connections is not None and not sync.is_automatic:
        return "sync.max-connections", 'only used with connections = "auto"; remove it'
    if profile.source.is_remote and sync.links == "follow":
        return "sync.links", "links can only be followed in a source on this machine; remove it"
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
    if trash.path is not None and not trash.path.startswith("../") and not trash.inside_target:
        reason = "is below the target, where a web server may show what is in it"
        return "trash.path", f'{reason}; write it like "../.trash", or set trash.inside-target = true'
    if trash.path is not None and _leads_back(profile.target.path, trash.path):
        return "trash.path", 'leads back into the target; write it like "../.trash", or as a path below the target'
    if fault := overlap(profile.source, profile.target):
        return "target.url", fault
    return None


def _leads_back(target: str, path: str) -> bool:
    """Return whether a trash is written as beside the target, and is the target or below it."""
    root = posixpath.normpath(posixpath.join("/", target))
    place = posixpath.normpath(posixpath.join(root, path))
    return path.startswith("../") and f"{place}/".startswith(f"{root}/")
