"""Connecting to both sides without changing anything: what the command ``check`` does."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import attrs
import trio

from actorsync.classes import frozen
from actorsync.cli.output.streams import Sink
from actorsync.cli.output.tables import table_lines
from actorsync.endpoints.contract import Endpoint, ReadSession
from actorsync.errors import (
    ConnectionLost,
    FatalError,
    GuardRefused,
    LoginRefused,
    SourceUnreachable,
    TargetUnreachable,
)
from actorsync.model.entry import Listing
from actorsync.model.messages import warning_text
from actorsync.model.text import counted, display
from actorsync.profile import BothSecrets, Profile
from actorsync.profile.values.place import PORTS
from actorsync.runs.doubts import doubts_of
from actorsync.runs.open_endpoints import open_endpoints, require_source
from actorsync.runs.profile_journal import check_journal_of
from actorsync.service.attending import require_observable

__all__ = ["Parent", "check", "report_on"]

#: What to do when the target directory cannot be used.
_ANOTHER: Final = "correct the path in target.url, or give this user access to the directory"


async def check(profile: Profile) -> list[str]:
    """Connect to both sides once and return what was found as lines, the verdict last.

    Raises what a run would end with: `GuardRefused` for an unusable source, `LoginRefused`, `SourceUnreachable`,
    `TargetUnreachable`, `FatalError` or `ProfileError`.
    """
    await trio.to_thread.run_sync(require_source, profile, abandon_on_cancel=True)
    check_journal_of(profile)
    for doubt in await trio.to_thread.run_sync(doubts_of, profile):
        Sink(sys.stderr).write(f"{warning_text(doubt)}\n")  # at once: what follows may fail because of it
    await trio.to_thread.run_sync(require_observable, profile, abandon_on_cancel=True)
    secrets = await trio.to_thread.run_sync(profile.look_up, abandon_on_cancel=True)
    source, target = open_endpoints(profile, secrets)
    above = _above(profile, secrets)
    if profile.source.is_remote:
        return await report_on(source, target, await _look_at_source(source), above)
    await source.identify()
    real = await trio.to_thread.run_sync(os.path.realpath, profile.source.path)
    of_source = _Seen() if real == profile.source.path else _Seen([("source root", real)])
    return await report_on(source, target, of_source, above)


def _above(profile: Profile, secrets: BothSecrets) -> list[Parent]:
    """Return the directories above the target, the nearest first. Only servers of built-in schemes have any."""
    place = profile.target
    found: list[Parent] = []
    while place.scheme in PORTS and place.path.rpartition("/")[2]:
        path, _, name = place.path.rpartition("/")
        path = path or ("/" if place.path.startswith("/") else "")
        place = attrs.evolve(place, path=path, below_login="")
        _, endpoint = open_endpoints(attrs.evolve(profile, target=place), secrets)
        found.append(Parent(endpoint, name))
    return found


@frozen
class Parent:
    """A directory above the target directory. ``name`` is the next part of the path to the target directory."""

    endpoint: Endpoint
    name: str


async def _is_missing(above: Sequence[Parent]) -> bool:
    """Return whether the first directory that can be listed shows that the target directory is missing."""
    for parent in above:
        try:
            async with parent.endpoint.open_session() as session:
                listing = await session.list_directory("")
        except ConnectionLost:
            return False
        if listing.problem is None:
            return all(entry.path != parent.name for entry in listing.entries)
    return False


async def report_on(
    source: Endpoint, target: Endpoint, of_source: _Seen | None = None, above: Sequence[Parent] = ()
) -> list[str]:
    """Return the lines of `check` for two endpoints."""
    of_source = of_source or _Seen()
    pairs, warnings, verdict = await _look(target, above)
    pairs = [("source", source.display), *of_source.pairs, ("target", target.display), *pairs]
    table = table_lines([(display(label), display(text)) for label, text in pairs])
    return [*table, *(warning_text(warning) for warning in [*of_source.warnings, *warnings]), verdict]


@frozen
class _Seen:
    """What a source on a server reported."""

    pairs: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = ()


@runtime_checkable
class _ResolvesRoot(Protocol):
    """A session that can ask the server where the root really is."""

    async def resolve_root(self) -> str | None:
        """Return the absolute path of the root as the server names it, with links resolved where it does so."""


async def _described(session: ReadSession, listing: Listing) -> list[tuple[str, str]]:
    """Return how the session describes its server. A root that is listed also has the server's own name for it."""
    pairs = list(session.describe())
    if listing.problem is not None or not isinstance(session, _ResolvesRoot):
        return pairs
    root = dict(pairs).get("root")
    real = await session.resolve_root()
    if root is None or real is None or display(real) == root:
        return pairs
    return [
        (label, f"{text} (the server calls it {display(real)})" if label == "root" else text) for label, text in pairs
    ]


async def _look_at_source(source: Endpoint) -> _Seen:
    try:
        async with source.open_session() as session:
            listing = await session.list_directory("")
            pairs = [(f"source {label}", text) for label, text in await _described(session, listing)]
            warnings = session.warnings()
    except LoginRefused as refused:
        raise LoginRefused(f"the source {refused}") from None
    except ConnectionLost as error:
        raise SourceUnreachable(f"cannot reach the source {source.display}: {error}") from error
    if listing.problem is not None:
        reason = display(listing.problem.reason)
        raise GuardRefused(f"cannot use the source {source.display} as a root: {reason}")
    return _Seen(pairs, warnings)


async def _look(target: Endpoint, above: Sequence[Parent]) -> tuple[list[tuple[str, str]], list[str], str]:
    try:
        async with target.open_session() as session:
            listing = await session.list_directory("")
            pairs, warnings = await _described(session, listing), list(session.warnings())
    except ConnectionLost as error:
        raise TargetUnreachable(f"cannot reach {target.display}: {error}") from error
    if listing.problem is None:
        count = counted(len(listing.entries), "entry", "entries")
        return pairs, warnings, f"ready: the target directory can be listed ({count})"
    reason = display(listing.problem.reason)
    if (blocking := _blocking_file(target)) is not None:
        raise FatalError(f"cannot use {target.display}: {display(blocking)} is not a directory; {_ANOTHER}")
    # A server may say anything about a directory that does not exist. A directory above it shows whether it does.
    if listing.problem.vanished or not _is_there(target) or await _is_missing(above):
        return pairs, warnings, f"ready: the target directory does not exist yet ({reason}); the first run creates it"
    raise FatalError(f"cannot list {target.display}: {reason}; {_ANOTHER}")


def _blocking_file(target: Endpoint) -> str | None:
    """Return what is in the way of a target directory on this machine: it, or something above it, is no directory."""
    root = getattr(target, "root", None)
    if root is None:
        return None
    existing = next(one for one in (Path(root), *Path(root).parents) if os.path.lexists(one))
    return None if existing.is_dir() else str(existing)


def _is_there(target: Endpoint) -> bool:
    root = getattr(target, "root", None)
    return root is None or os.path.lexists(root)
