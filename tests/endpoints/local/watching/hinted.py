"""What the tests of watching share: hints collected until they say what is expected."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from actorsync.endpoints.hints import Dirty, Hints, Lost
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.local.watching.local_hints import System, watch_directory
from actorsync.planning.selection import Selection

__all__ = ["all_hints", "directories_until", "reason_of", "watched"]

#: Seconds after which a hint counts as missing. No test waits for it to pass.
PATIENCE = 20

_MARK = "mark of the test"


@asynccontextmanager
async def watched(
    root: Path,
    selection: Selection | None = None,
    *,
    links: bool = False,
    system: System | None = None,
) -> AsyncIterator[Hints]:
    """Watch a directory, with another system if that is given."""

    def reopen() -> LocalEndpoint:
        return LocalEndpoint(root, links="follow" if links else "skip")

    with trio.fail_after(PATIENCE):
        async with watch_directory(root, reopen, selection or Selection(), system) as hints:
            yield hints


async def directories_until(hints: Hints, *expected: str) -> set[str]:
    """Receive hints until all expected directories are among them; return all directories, without the mark."""
    found: set[str] = set()
    while not found.issuperset(expected):
        hint = await hints.receive()
        assert isinstance(hint, Dirty), hint
        found |= hint.directories
    return {path for path in found if not path.startswith(_MARK)}


async def all_hints(hints: Hints, root: Path, *, ignored: Sequence[str] = ()) -> set[str]:
    """Return all directories that are hinted until a mark, which is made and removed in the root now, is hinted.

    The mark is a deep directory, so it is hinted after all other new directories. It hints the root as well.
    """
    mark = root / _MARK / "/".join("abcdefgh")
    mark.mkdir(parents=True)
    found = await directories_until(hints, "", str(mark.relative_to(root)))
    marked = hints.directories
    shutil.rmtree(root / _MARK)
    while hints.directories > marked - 9:  # noqa: ASYNC110 - nothing is set when watches are dropped
        await trio.sleep(0.001)
    return found.difference(ignored)


async def reason_of(hints: Hints) -> str:
    """Receive hints until one says that anything may have changed; return its reason."""
    while not isinstance(hint := await hints.receive(), Lost):
        pass
    return hint.reason
