"""Connecting to both sides without changing anything: what the command ``check`` does."""

from __future__ import annotations

import os
from collections.abc import Sequence

import attrs
import trio

from actorsync.cli.output.messages import warning_text
from actorsync.endpoints.contract import Endpoint
from actorsync.errors import (
    ConnectionLost,
    FatalError,
    GuardRefused,
    LoginRefused,
    SourceUnreachable,
    TargetUnreachable,
)
from actorsync.model.text import display
from actorsync.profile import Profile
from actorsync.runs.open_endpoints import open_endpoints

__all__ = ["check", "report_on"]


async def check(profile: Profile) -> list[str]:
    """Look at both sides, and give what is there as lines, the verdict last. Changes nothing, and tries once.

    Raises what a run would end with: `GuardRefused` for a source that cannot be used, `LoginRefused`,
    `TargetUnreachable`, `ProfileError`.
    """
    secrets = await trio.to_thread.run_sync(profile.look_up, abandon_on_cancel=True)
    source, target = open_endpoints(profile, secrets)
    if profile.source.is_remote:
        return await report_on(source, target, await _look_at_source(source))
    await source.identify()
    return await report_on(source, target)


async def report_on(source: Endpoint, target: Endpoint, of_source: _Seen | None = None) -> list[str]:
    """Give the lines of `check` for two endpoints."""
    of_source = of_source or _Seen()
    pairs, warnings, verdict = await _look(target)
    pairs = [("source", source.display), *of_source.pairs, ("target", target.display), *pairs]
    width = max(len(label) for label, _ in pairs)
    lines = [f"{label:<{width}}  {text}" for label, text in pairs]
    return [*lines, *(warning_text(warning) for warning in [*of_source.warnings, *warnings]), verdict]


@attrs.frozen
class _Seen:
    """What was seen of a source that is on a server."""

    pairs: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = ()


async def _look_at_source(source: Endpoint) -> _Seen:
    try:
        async with source.open_session() as session:
            listing = await session.list_directory("")
            pairs = [(f"source {label}", text) for label, text in session.describe()]
            warnings = session.warnings()
    except LoginRefused as refused:
        raise LoginRefused(f"the source {refused}") from None
    except ConnectionLost as error:
        raise SourceUnreachable(f"the source {source.display} cannot be reached: {error}") from error
    if listing.problem is not None:
        reason = display(listing.problem.reason)
        raise GuardRefused(f"cannot use the source {source.display} as a root: {reason}")
    return _Seen(pairs, warnings)


async def _look(target: Endpoint) -> tuple[list[tuple[str, str]], list[str], str]:
    try:
        async with target.open_session() as session:
            listing = await session.list_directory("")
            pairs, warnings = list(session.describe()), list(session.warnings())
    except ConnectionLost as error:
        raise TargetUnreachable(f"{target.display} cannot be reached: {error}") from error
    if listing.problem is None:
        count = len(listing.entries)
        return (
            pairs,
            warnings,
            f"ready: the target can be listed, and has {count} entr{'y' if count == 1 else 'ies'} at its top",
        )
    reason = display(listing.problem.reason)
    if listing.problem.vanished or not _is_there(target):
        return pairs, warnings, f"ready: the target directory is not there yet ({reason}); the first run makes it"
    raise FatalError(f"{target.display} cannot be listed: {reason}")


def _is_there(target: Endpoint) -> bool:
    root = getattr(target, "root", None)
    return root is None or os.path.lexists(root)
