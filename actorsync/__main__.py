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
        from actorsync.cli import run_command  # here, so that a Ctrl-C during the import is seen to

        code = run_command(sys.argv[1:], is_program=True)
    except KeyboardInterrupt:
        code = 130
    # From here on, another signal has nothing left to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if code >= 128:
        os._exit(code)  # a thread may hang in a write to a terminal that is stopped: it is not waited for
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    sys.exit(code)


def _flush(stream: object) -> None:
    """Write what is left; where nobody reads any more, have the interpreter not complain about it at its end."""
    try:
        stream.flush()  # type: ignore[attr-defined]
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())  # type: ignore[attr-defined]
            os.close(null)
    except AttributeError:
        pass  # it was closed before we were started


if __name__ == "__main__":
    main()
