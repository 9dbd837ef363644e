"""A program for a user namespace of its own, in which there are few watches: print how a tree is watched.

The arguments are the root, and the number of watches that the namespace has.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from actorsync.endpoints.hints import Lost
from tests.endpoints.local.watching.hinted import reason_of, watched


async def main(root: Path) -> None:
    """Watch a tree that is too big from the beginning, then one that becomes too big."""
    for name in ("big", "grows"):
        async with watched(root / name) as hints:
            print(name, hints.how)
            if name == "grows":
                for number in range(100):
                    (root / name / f"{number}").mkdir()
                print(name, await reason_of(hints))
            assert await hints.receive() == Lost("polling has only just begun")
            print(name, hints.how, hints.why)


if __name__ == "__main__":
    Path("/proc/sys/user/max_inotify_watches").write_text(sys.argv[2])
    trio.run(main, Path(sys.argv[1]))
