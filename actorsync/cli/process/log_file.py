"""The file of ``--log-file``: what ``--verbose`` shows, each line with its time, whatever else is shown."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from actorsync.classes import frozen
from actorsync.cli.output.streams import Sink, bug_lines, tell
from actorsync.errors import ActorsyncError, ProfileError
from actorsync.model.messages import moment
from actorsync.model.text import display

__all__ = ["LogFile", "log_to"]


@frozen(eq=False)
class LogFile:
    """A log file that is open, and the path that it was opened by."""

    path: Path
    stream: TextIO


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[LogFile]:
    """Open a log file for the block, to append to it. A new file is readable only by its owner.

    What the block raises is written to the file as well. Raises `ProfileError` if the file cannot be written.
    """
    if path.suffix == ".toml":  # the file name was left out: `--log-file shop.toml`
        raise ProfileError(f"--log-file {display(str(path))}: the name is that of a profile; use another path")
    try:
        # Without O_NONBLOCK, opening a pipe that nothing reads would wait for ever.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise ProfileError(
            f"--log-file {display(str(path))}: cannot be written: {error.strerror}; use another path"
        ) from None
    os.set_blocking(descriptor, True)
    with _closing(path, open(descriptor, "a", encoding="utf-8")) as stream:
        try:
            yield LogFile(path, stream)
        except ActorsyncError as error:
            _write(stream, [f"actorsync: {display(str(error))}"])
            raise
        except Exception as bug:
            _write(stream, bug_lines(bug))
            raise


@contextlib.contextmanager
def _closing(path: Path, stream: TextIO) -> Iterator[TextIO]:
    """Close a log file after the block. A log that lacks lines is a warning: the run has gone on without it."""
    try:
        yield stream
    finally:
        try:
            stream.close()
        except OSError as error:
            tell(f"--log-file {display(str(path))}: lines are missing: {error.strerror}; free some space there")


def _write(stream: TextIO, lines: list[str]) -> None:
    now = moment(time.time())
    Sink(stream).write("".join(f"{now} {line}\n" for line in lines))
