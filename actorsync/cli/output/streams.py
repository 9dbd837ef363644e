"""Standard output and standard error as streams that never fail: their reader may have gone away."""

from __future__ import annotations

import io
import sys
import traceback
from typing import Final, TextIO

from actorsync.model.text import display

__all__ = ["FREE", "Sink", "bug_lines", "tell", "tell_bug"]

#: What to do when standard output cannot be written.
FREE: Final = "free some space, or write it elsewhere"

_BUG: Final = (
    "internal error in actorsync; please report it with this traceback; the next run continues from the journal"
)


class Sink(io.TextIOBase):
    """A text stream that discards what cannot be written: a closed pipe, a full disk, no terminal."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.failure: str | None = None
        """Why something could not be written, if that is not because the reader has gone away."""

    @property
    def is_gone(self) -> bool:
        """Whether the underlying stream has failed or is missing."""
        return self._stream is None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream; rich chooses its characters by it."""
        return (self._stream and self._stream.encoding) or "utf-8"

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> int:
        """Write and flush ``text``, or discard it after a failure; return its length either way."""
        if self._stream is not None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except BrokenPipeError:
                self._stream = None
            except (OSError, ValueError) as error:
                self._stream = None
                self.failure = getattr(error, "strerror", None) or str(error)
        return len(text)


def tell(text: str) -> None:
    """Write ``text`` as one line to standard error, prefixed with the program's name."""
    Sink(sys.stderr).write(f"actorsync: {display(text)}\n")


def bug_lines(bug: BaseException) -> list[str]:
    """Return the traceback of an unexpected exception, and one line that says what to do."""
    lines = "".join(traceback.format_exception(bug)).splitlines()
    return [*(display(line) for line in lines), f"actorsync: {_BUG}"]


def tell_bug(bug: BaseException) -> None:
    """Write `bug_lines` to standard error."""
    Sink(sys.stderr).write("".join(f"{line}\n" for line in bug_lines(bug)))
