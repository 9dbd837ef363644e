"""One run of a rehearsal, in a process of its own so that it can be killed.

The argument is a file with the profile as `actorsync.rehearsal.rehearsal` has made it, pickled. Everything else is as
in ``actorsync run``: what is said goes to standard error, and the exit code is that of the run. Standard input is open
for as long as the rehearsal lives; a run does not outlive it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
from pathlib import Path

from actorsync.cli.foreground import Options, run
from actorsync.cli.output.streams import tell
from actorsync.errors import ActorsyncError

__all__ = ["main"]


def _end_with_the_rehearsal() -> None:
    with contextlib.suppress(OSError):
        os.read(0, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: list[str]) -> int:
    """Mirror once, and give the exit code."""
    threading.Thread(target=_end_with_the_rehearsal, name="rehearsal", daemon=True).start()
    profile = pickle.loads(Path(arguments[0]).read_bytes())  # noqa: S301 - written a moment ago, into a folder of ours
    try:
        return run(profile, Options(is_once=True, ends_afterwards=True))
    except ActorsyncError as error:
        tell(str(error))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
