"""Which commands a server has: judged by what worked before, and never by one reply."""

from __future__ import annotations

import attrs

from actorsync.protocols.ftp.wire import Reply

__all__ = ["UNKNOWN", "Commands"]

#: The codes for a command that the server does not have, or not in this form.
UNKNOWN = frozenset({500, 502, 504})


@attrs.define(eq=False)
class Commands:
    """The commands that a server was seen to have.

    A command that worked once exists: a later ``500`` is about that one call, or about a server that is failing.
    """

    _working: set[str] = attrs.Factory(set)

    def works(self, verb: str) -> bool:
        """Return whether the server was seen to carry out ``verb``. Its refusals then say something about a path."""
        return verb in self._working

    def note(self, verb: str) -> None:
        """Note that the server has carried out ``verb``."""
        self._working.add(verb)

    def lacks(self, verb: str, reply: Reply) -> bool:
        """Take a reply to ``verb``, and return whether it means that the server does not have this command."""
        if reply.is_positive:
            self._working.add(verb)
        return reply.code in UNKNOWN and verb not in self._working
