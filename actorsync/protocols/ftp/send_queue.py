"""The commands of one connection that wait for their turn, and those that wait for their reply. Does no I/O.

A caller adds a flight and reads one reply for each command. Whether the flight goes in one write is decided here, by
`Flights`: in lock step the next command goes when the reply to the one before it was taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from actorsync.protocols.ftp.flights import Flight, Flights, OutOfStep
from actorsync.protocols.ftp.wire import Reply, is_utf8, verb_of

__all__ = ["SendQueue"]

_NOT_SENT = Reply(503, ("not sent, as there is no file to rename",))


class SendQueue:
    """Owns the order of commands and replies, and knows whether an RNFR is armed."""

    def __init__(self, flights: Flights) -> None:
        self._flights = flights
        self._waiting: deque[bytes] = deque()
        self._kind = Flight.BURST
        #: The commands whose reply is due, and whether each was sent alone.
        self._sent: deque[tuple[bytes, bool]] = deque()
        #: The kind of the last write, if it had several commands; and how many of them were answered.
        self._in_flight: Flight | None = None
        self._answered = 0
        #: The kinds of flights since no reply was due, and whether there was ever one.
        self._unproven: set[Flight] = set()
        self._has_flown = False
        #: RNTO commands that it takes until no RNFR is armed (see `disarm_rename`).
        self._armed = 0

    @property
    def due(self) -> int:
        """The number of commands that were sent, and whose final reply was not taken yet."""
        return len(self._sent)

    @property
    def is_idle(self) -> bool:
        """Whether no command waits, neither for its turn nor for its reply."""
        return not self._sent and not self._waiting

    @property
    def has_flown(self) -> bool:
        """Whether commands were sent in a row on this connection, so that their replies can be out of step."""
        return self._has_flown

    @property
    def is_rename_armed(self) -> bool:
        """Whether the server may still take the next RNTO for an earlier RNFR."""
        return self._armed > 0

    def expect_greeting(self) -> None:
        """Expect a reply that no command asks for."""
        self.add_sent(1)

    def add_sent(self, count: int) -> None:
        """Expect replies to ``count`` commands that a trial sends by itself."""
        self._sent.extend([(b"", False)] * count)

    def add(self, flight: Sequence[bytes], kind: Flight) -> None:
        """Add a flight. `next_write` returns what of it may go now."""
        self._waiting.extend(flight)
        self._kind = kind

    def goes_as_one(self, flight: Sequence[bytes], kind: Flight) -> bool:
        """Return whether all of a flight would go in one write."""
        return self.is_idle and self._flights.allows(kind) and all(self._has_answered(line) for line in flight)

    def next_write(self) -> list[bytes]:
        """Take the commands that go in the next write; none if they must wait for a reply."""
        if not self._waiting:
            return []
        if self._flights.is_known and self._flights.allows(self._kind):
            lines = list(self._waiting)
            self._waiting.clear()
        elif self._flights.allows(self._kind) and self._has_answered(self._waiting[0]):
            lines = self._take_some()
        else:
            lines = [] if self._sent else [self._waiting.popleft()]
        if lines:
            is_alone = len(lines) == 1 and not self._sent
            self._in_flight, self._answered = (None if is_alone else self._kind), 0
            if not is_alone:
                self._unproven.add(self._kind)
                self._has_flown = True
            self._sent.extend((line, is_alone) for line in lines)
        return lines

    def _take_some(self) -> list[bytes]:
        """Take commands that the server has answered alone before, and no second RNFR.

        On a server that runs commands beside each other, the second RNFR may come before the RNTO of the first. A file
        would get the name of another.
        """
        if any(not self._has_answered(line) for line, _ in self._sent):
            return []
        is_renaming = any(_is_rnfr(line) for line, _ in self._sent)
        lines: list[bytes] = []
        while self._waiting and self._has_answered(self._waiting[0]):
            if _is_rnfr(self._waiting[0]):
                if is_renaming:
                    break
                is_renaming = True
            lines.append(self._waiting.popleft())
        return lines

    def _has_answered(self, line: bytes) -> bool:
        return self._flights.has_answered(verb_of(line)) and (is_utf8(line) or self._flights.has_answered(_BYTES))

    def skip(self) -> Reply | None:
        """Return the reply to a command that must not be sent: an RNTO in lock step, when its RNFR was refused."""
        if self._sent or not self._waiting or self._armed or self._flights.allows(self._kind):
            return None
        if verb_of(self._waiting[0]) != "RNTO":
            return None
        self._waiting.popleft()
        return _NOT_SENT

    def take(self, reply: Reply) -> None:
        """Take the final reply to the oldest command that is due.

        Raises:
            OutOfStep: There is none, or the reply refuses in a flight what the server has accepted alone.
        """
        if not self._sent:
            raise OutOfStep(f"the server sent a reply without a command: {reply}")
        line, is_alone = self._sent.popleft()
        self._answered += 1
        if line.startswith(b"RN"):
            self._note_rename(line, reply)
        if line and not self._flights.is_known:
            self._note_command(line, reply, is_alone=is_alone)
        if self._unproven and not self._sent and not self._waiting:
            self._flights.note_proven(self._unproven)
            self._unproven.clear()

    def _note_rename(self, line: bytes, reply: Reply) -> None:
        if _is_rnfr(line):
            self._armed = 2 if reply.code == 350 else self._armed
        else:
            self._armed = max(0, self._armed - 1) if reply.is_refusal else 0

    def _note_command(self, line: bytes, reply: Reply, *, is_alone: bool) -> None:
        verb = verb_of(line)
        if is_alone:
            self._flights.note_alone(verb, reply)
            if not is_utf8(line):
                self._flights.note_alone(_BYTES, reply)
        elif self._flights.contradicts(verb, reply):
            raise OutOfStep(f'{verb} was accepted alone, and in a row with others it is answered with "{reply}"')

    def note_silence(self) -> None:
        """Draw the conclusion from a reply that did not arrive in time."""
        if not self._sent:
            return
        line, _ = self._sent[0]
        if not is_utf8(line) and not self._flights.has_answered(_BYTES):
            self._flights.swallows = True
        elif self._in_flight is not None and self._answered:
            self._flights.note_silence(self._in_flight)

    def patience(self, stall: float) -> float:
        """Return how long to wait for the next reply: not long for what this server has never answered before."""
        if self._flights.is_known or not self._sent:
            return stall
        is_first = self._in_flight is not None and self._answered and not self._flights.is_proven(self._in_flight)
        is_odd = not is_utf8(self._sent[0][0]) and not self._flights.has_answered(_BYTES)
        return min(stall, _PATIENCE) if is_first or is_odd else stall

    def drop_waiting(self) -> None:
        """Drop the commands that were not sent."""
        self._waiting.clear()


#: Seconds.
_PATIENCE = 15.0
#: Stands among the verbs for an argument that is not UTF-8. Some servers read its last byte together with the line end,
#: and wait for the rest of the line.
_BYTES = "bytes that are not UTF-8"


def _is_rnfr(line: bytes) -> bool:
    return line.startswith(b"RNFR ")
