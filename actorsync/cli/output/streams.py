"""Standard output and standard error, as streams that never fail: whoever they lead to may be gone."""

from __future__ import annotations

import io
import sys
import traceback
from typing import TextIO

from actorsync.model.text import display

__all__ = ["Sink", "tell", "tell_bug"]


class Sink(io.TextIOBase):
    """A stream that takes everything, also when what it leads to is gone: a closed pipe, a full disk, no terminal."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def is_gone(self) -> bool:
        """Whether nobody can read this any more."""
        return self._stream is None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What the stream encodes to; rich draws accordingly."""
        return (self._stream and self._stream.encoding) or "utf-8"

    def isatty(self) -> bool:
        """Tell whether a person is watching."""
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> int:
        """Write if it is possible."""
        if self._stream is not None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                self._stream = None
        return len(text)


def tell(text: str) -> None:
    """Say one line on standard error, if there is anybody to hear it."""
    Sink(sys.stderr).write(f"actorsync: {display(text)}\n")


def tell_bug(bug: BaseException) -> None:
    """Show a bug: its traceback, and one line."""
    lines = "".join(traceback.format_exception(bug)).splitlines()
    Sink(sys.stderr).write("".join(f"{display(line)}\n" for line in lines))
    tell("this is a bug in actorsync; what was done is in the journal, and the next run goes on from there")
