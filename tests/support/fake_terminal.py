"""A stream that claims to be a terminal and keeps what is written to it."""

from __future__ import annotations

import io

__all__ = ["FakeTerminal"]


class FakeTerminal(io.StringIO):
    """Standard error as a terminal, in memory."""

    def isatty(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of standard error."""
        return 2
