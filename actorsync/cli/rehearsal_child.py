"""One run of a rehearsal, in a separate process so that it can be killed.

The argument is a file with the pickled profile that `actorsync.rehearsal.rehearsal` made. Output and exit code are
those of ``actorsync run``. Standard input stays open while the rehearsal lives; the run kills itself when it closes.
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
    """Mirror once and return the exit code."""
    threading.Thread(target=_end_with_the_rehearsal, name="rehearsal", daemon=True).start()
    profile = pickle.loads(Path(arguments[0]).read_bytes())  # noqa: S301 - written by the parent process into its own folder
    try:
        return run(profile, Options(is_once=True, ends_afterwards=True))
    except ActorsyncError as error:
        tell(str(error))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
