"""actorsync keeps a server an exact mirror of a directory, over N connections.

A script calls `run`, `plan` and `apply`: they block, and Ctrl-C stops them gracefully. A program on trio uses
`open_sync`. `run_many` and `open_syncs` mirror several targets. Events are in ``actorsync.events``, errors in
``actorsync.errors``, endpoints of your own begin with ``actorsync.endpoints``, and embedded servers and faults for
tests are in ``actorsync.testing``. A name in ``__all__`` of one of these is public. Everything else may change.

The layout, from the bottom up. Each layer imports only the layers before it:

* ``classes``: how classes are made. ``errors``, ``model``: frozen nouns. No I/O.
* ``planning``, ``protocols``: decisions and wire formats. Pure: no trio, no I/O, no clock.
* ``endpoints``: where trees are (local, memory, FTP, SFTP, fsspec), behind one contract; ``transforms`` for content
  made on the way.
* ``journal``: what both sides looked like when they last agreed, in one SQLite file for each profile.
* ``actors``: one actor, one file. ``planner`` and ``connections`` are folders, because each needs several.
* ``policy``: what a run may do, and what its caller supplies. ``assembly`` builds the actors from it, ``supervisor``
  opens the channels and starts them, ``ending`` reports how the run ended.
* ``profile``: what the user wants, from a TOML file.
* ``runs``: from a profile to runs: once, repeated, as a plan.
* ``observe``: what others may see of runs. ``service``: several mirrors in one process, and control while they run.
* ``library``: what programs call: a run in one call, or as a block on trio.
* ``cli``, ``rehearsal``: the commands, and what they print.
* ``testing``: embedded servers, faults, and the conformance suite that every endpoint passes.

``api`` imports the public names of this package. `__getattr__` imports ``api`` when one of them is first used, so that
``actorsync --version`` starts fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actorsync.api import *  # noqa: F403 - the names are listed there, once

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import every public name when one of them, or ``__all__``, is first asked for."""
    found: dict[str, Any] = {}
    if name == "__all__" or not name.startswith("_"):
        from importlib import import_module

        api = import_module(f"{__name__}.api")
        found = {key: value for key, value in vars(api).items() if not key.startswith("_")}
        found["__all__"] = [*found, "__version__"]
    if name not in found:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals().update(found)
    return found[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
