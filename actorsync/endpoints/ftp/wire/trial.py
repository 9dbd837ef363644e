"""The trial of a server that is not known: does it take commands in a row?

It asks for the sizes of files that do not exist, and changes nothing. Each command is answered alone first. Then all go
together, and the reply codes must be the same in the same order. `SIZE` needs the disk and the others do not, so a
server that works on several commands at once answers them in another order. The line that is cut in the middle shows a
server that takes each packet for a command. What is found holds for all connections, and for the runs after this one.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import trio

from actorsync.endpoints.ftp.wire.control import ControlConnection
from actorsync.errors import ConnectionLost
from actorsync.model.text import display
from actorsync.protocols.ftp.flights import Flight, Flights
from actorsync.protocols.ftp.wire import ProtocolError, Reply, command_line

__all__ = ["try_flights"]

#: Seconds to wait for a reply that may never come, beside ten times what a command took alone.
_LEAST_PATIENCE = 3.0
#: Seconds between the two pieces, so that they arrive as two packets.
_PAUSE = 0.05
_UNKNOWN = frozenset({500, 502, 504})


async def try_flights(control: ControlConnection, flights: Flights, root: str) -> bool:
    """Find out which flights the server takes, and record it. Returns whether the connection can be used further.

    If the connection is cut before anything is known, the first time proves nothing: the next connection tries again.
    """
    try:
        return await _try(control, flights, root)
    except ConnectionLost as lost:
        if flights.is_settled:  # bursts were earned before
            flights.warn(str(lost))
        elif isinstance(lost, ProtocolError) or not flights.note_cut():
            flights.earn([])
            flights.warn(str(lost))
        return False


async def _try(control: ControlConnection, flights: Flights, root: str) -> bool:
    missing = [command_line("SIZE", f"{root}/.actorsync-{secrets.token_hex(8)}") for _ in range(2)]
    where, binary, nothing = command_line("PWD"), command_line("TYPE", "I"), command_line("NOOP")
    alone: dict[bytes, int] = {}
    slowest = 0.0
    for line in (*missing, where, binary, nothing, where):
        began = trio.current_time()
        (reply,) = await control.exchange([line])
        alone[line] = reply.code
        slowest = max(slowest, trio.current_time() - began)
    patience = _LEAST_PATIENCE + 10 * slowest
    if alone[missing[0]] in _UNKNOWN or alone[missing[0]] == 213 or alone[where] in _UNKNOWN:
        flights.earn([])  # without a command that takes long, the order of the replies shows nothing
        return True
    lines = [missing[0], where, nothing, missing[1], binary, where]
    data = b"".join(lines)
    cut = data.index(nothing) + 2
    if (why := await _differs(control, [data[:cut], data[cut:]], lines, alone, patience)) is not None:
        flights.earn([])
        flights.warn(why)
        return False
    flights.earn([Flight.BURST])
    ahead = [command_line("EPSV"), missing[0], where]
    if (why := await _differs(control, [b"".join(ahead)], ahead, {**alone, ahead[0]: 229}, patience)) is not None:
        # The rest of the plan needs a server that reads one command after the other, and this one may not.
        flights.warn(why)
        return False
    flights.earn(list(Flight))
    return True


async def _differs(
    control: ControlConnection,
    pieces: Sequence[bytes],
    lines: Sequence[bytes],
    alone: dict[bytes, int],
    patience: float,
) -> str | None:
    """Send command lines in a row. Returns what differs from the replies that they got alone, or None."""
    await control.send_in_pieces(pieces, len(lines), _PAUSE)
    for line in lines:
        reply = await control.reply_within(patience)
        if reply is None:
            return f"no answer to {_shown(line)}"
        if reply.code != alone[line] and not _is_refused_port(line, reply):
            return f'{_shown(line)} was answered with "{reply}"'
    return None


def _is_refused_port(line: bytes, reply: Reply) -> bool:
    """Return whether a server does not have EPSV, which is not asked for ahead then."""
    return line.startswith(b"EPSV") and reply.is_refusal


def _shown(line: bytes) -> str:
    return display(line.split(b" ")[0].decode("ascii").strip())
