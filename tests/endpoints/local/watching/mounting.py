"""A program for a namespace of its own: mount and unmount in and over a watched tree, and print what is told.

The argument is the root. Its directory ``a`` exists.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import trio

from actorsync.endpoints.hints import Hints, Lost
from actorsync.endpoints.local.watching.local_hints import System
from tests.endpoints.local.watching.hinted import watched


async def say(hints: Hints, place: Path) -> None:
    """Print the reason of the next hint, and that a change is hinted after it."""
    while not isinstance(hint := await hints.receive(), Lost):
        pass
    print(hint.reason, flush=True)
    (place / "file").write_text("x")
    await hints.receive()
    print("hinted", flush=True)


async def main(root: Path) -> None:
    """Mount a file system on a directory of the root, then one on the root, and unmount each."""
    async with watched(root, system=System(tick=0.02)) as hints:
        for place in (root / "a", root):
            for command in (["mount", "-t", "tmpfs", "tmpfs", str(place)], ["umount", "-l", str(place)]):
                await trio.run_process(command, stdout=subprocess.DEVNULL)
                await say(hints, place)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
