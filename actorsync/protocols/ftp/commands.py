"""Which commands a server has: judged by what worked before, and never by one reply."""

from __future__ import annotations

import attrs

from actorsync.classes import define
from actorsync.protocols.ftp.wire import Reply

__all__ = ["UNKNOWN", "Commands"]

#: The codes for a command that the server does not have, or not in this form.
UNKNOWN = frozenset({500, 502, 504})


@define(eq=False)
class Commands:
    """The commands that a server was seen to have.

    A command that worked once exists: a later ``500`` is about that one call, or about a server that is failing.
    """

    _working: set[str] = attrs.Factory(set)
    _missing: dict[str, set[int]] = attrs.Factory(dict)

    def works(self, verb: str) -> bool:
        """Return whether the server was seen to carry out ``verb``. Its refusals then say something about a path."""
        return verb in self._working

    def note(self, verb: str) -> None:
        """Note that the server has carried out ``verb``."""
        self._working.add(verb)
        self._missing.pop(verb, None)

    def lacks(self, verb: str, reply: Reply) -> bool:
        """Take a reply to ``verb``, and return whether it means that the server does not have this command."""
        if reply.is_positive:
            self.note(verb)
        return reply.code in UNKNOWN and verb not in self._working

    def is_confirmed(self, what: str, connection: int) -> bool:
        """Note that ``what`` fails over a connection. Returns whether it has failed over another one before.

        What ends a run for good has to be confirmed over a fresh connection: a session that is failing answers
        anything.
        """
        missing = self._missing.setdefault(what, set())
        missing.add(connection)
        return len(missing) > 1
