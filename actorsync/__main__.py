"""``actorsync`` as a program, and ``python -m actorsync``."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command that the arguments name, and leave with its exit code."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # with a character that a terminal cannot show, it is shown escaped
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        # Imported here, so that a Ctrl-C during the import is seen to.
        from actorsync.cli.process.imports import importing

        with importing(is_program=True):
            from actorsync.cli.commands import run_command

        code = run_command(sys.argv[1:], is_program=True)
    except KeyboardInterrupt:
        code = 130
    # From here on, another signal has nothing left to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if code < 128:  # or a thread may hang in a write to a terminal that is stopped
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # there is no reader left
                stream.flush()
    # Not by way of the interpreter's end, which waits for threads: one that a silent server or a disk holds up, or that
    # asyncio's executor has, would keep the process, and no signal could end it any more.
    os._exit(code)


if __name__ == "__main__":
    main()
