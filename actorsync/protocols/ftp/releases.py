"""Dialogues that publish many files in few flights, and take that back. `dialogues` has the rules for all of them.

A flight here is longer than elsewhere: between its first rename and its last, a site is a mixture of two versions.
"""

from __future__ import annotations

from collections.abc import Sequence

from actorsync.classes import frozen
from actorsync.protocols.ftp.dialogues import read_facts, rename_outcome
from actorsync.protocols.ftp.replies import checked, size_of
from actorsync.protocols.ftp.wire import (
    MAX_BURST_BYTES,
    MAX_BURST_COMMANDS,
    Dialogue,
    ProtocolError,
    Reply,
    bursts,
    command_line,
    verb_of,
)

__all__ = [
    "Looked",
    "Names",
    "Renamed",
    "is_shown",
    "look",
    "put_back",
    "rename",
    "set_aside",
]

#: Commands and bytes in one long flight. In clear, the tested servers took 1,000 commands and 80 kB in one write. Under
#: TLS, ProFTPD and Pure-FTPd wait for the socket while they have commands in their buffer, if there are too many.
_MOST_COMMANDS, _MOST_BYTES = 256, 32_000
_DISARM = command_line("RNTO", "/")


@frozen
class Names:
    """The absolute paths of one publication. ``aside`` is None if no old file is to be set aside, or comes back."""

    temporary: str
    final: str
    aside: str | None = None


@frozen
class Looked:
    """What SIZE shows of three names, and MDTM of two: each reply, or None where nothing was asked."""

    temporary: Reply | None
    final: Reply
    final_time: Reply | None
    aside: Reply | None
    aside_time: Reply | None

    @property
    def facts(self) -> tuple[int, int | None] | None:
        """Size and time of the final name; None if the server shows no file."""
        return _facts(self.final, self.final_time)

    @property
    def aside_facts(self) -> tuple[int, int | None] | None:
        """Size and time of the name aside; None if the server shows no file."""
        return _facts(self.aside, self.aside_time)

    @property
    def sizes(self) -> list[Reply]:
        """The replies to SIZE."""
        return [reply for reply in (self.temporary, self.final, self.aside) if reply is not None]


def _facts(size: Reply | None, time: Reply | None) -> tuple[int, int | None] | None:
    if size is None or (shown := size_of(size)) is None:
        return None
    return (shown, None) if time is None else read_facts(size, time)


@frozen
class Renamed:
    """The refusals of the two renames of one file; None for one that was done. The first is None if it was not sent."""

    first: Reply | None
    second: Reply | None


def look(
    items: Sequence[Names], *, temporaries: bool = True, times: bool = True, is_long: bool = True
) -> Dialogue[list[Looked]]:
    """Look at the names of each file: also at the temporary ones, and at the times of the others, if asked for."""
    units: list[tuple[bytes, ...]] = []
    for item in items:
        asked = [("SIZE", item.temporary if temporaries else None), ("SIZE", item.final)]
        asked += [("MDTM", item.final if times else None), ("SIZE", item.aside)]
        asked += [("MDTM", item.aside if times and temporaries else None)]
        units.append(tuple(command_line(verb, path) if path is not None else b"" for verb, path in asked))
    sent = [tuple(filter(None, unit)) for unit in units]
    found: list[Looked] = []
    for unit, answers in zip(units, (yield from _play(sent, is_long=is_long)), strict=True):
        replies = iter(answers)
        temporary, final, *others = (next(replies) if line else None for line in unit)
        assert final is not None, "the final name is always looked at"
        found.append(Looked(temporary, final, *others))
    return found


def set_aside(items: Sequence[Names], *, is_long: bool = True) -> Dialogue[list[Reply | None]]:
    """Set old files aside, and do nothing else. Returns the refusals; None for each that is done."""
    renamed = yield from _rename([[(item.final, item.aside), (item.temporary, None)] for item in items], is_long)
    return [it.first for it in renamed]


def rename(items: Sequence[Names], *, is_long: bool = True) -> Dialogue[list[Renamed]]:
    """Set old files aside, and give the temporaries their final names.

    An impossible rename ends each flight, so that no RNFR stays armed (see `disarm_rename`). Between two files there is
    none: with one, flights of this length were seen to end in silence on ProFTPD 1.3.8, because one command behind it
    had got no reply. What stays armed in a flight is the final name of the same file, which then gets its own name, or
    a temporary that was refused its name. If the server then renames that one for the next file, whose RNFR it has
    refused, `rename_outcome` finds it.
    """
    return (yield from _rename([[(item.final, item.aside), (item.temporary, item.final)] for item in items], is_long))


def put_back(items: Sequence[Names], *, is_published: Sequence[bool], is_long: bool = True) -> Dialogue[list[Renamed]]:
    """Rename published files to their temporary names, and the old files to their final names."""
    steps: list[list[tuple[str, str | None]]] = []
    for item, gets_temporary in zip(items, is_published, strict=True):
        taken = (item.final, item.temporary if gets_temporary else None)
        steps.append([taken, (item.aside or "", item.final if item.aside is not None else None)])
    return (yield from _rename(steps, is_long))


def _rename(steps: Sequence[Sequence[tuple[str, str | None]]], is_long: bool) -> Dialogue[list[Renamed]]:
    """Make the renames of each file that have a new name."""
    units = []
    for pairs in steps:
        lines = [(command_line("RNFR", old), command_line("RNTO", new)) for old, new in pairs if new is not None]
        units.append(tuple(line for pair in lines for line in pair))
    renamed: list[Renamed] = []
    for pairs, done in zip(steps, (yield from _play(units, is_long=is_long, last=_DISARM)), strict=True):
        left = iter(zip(done[::2], done[1::2], strict=True))
        renamed.append(Renamed(*(None if new is None else rename_outcome(*next(left)) for _, new in pairs)))
    return renamed


def is_shown(reply: Reply | None) -> bool:
    """Return whether a reply to SIZE shows a file."""
    return reply is not None and size_of(reply) is not None


def _play(units: Sequence[tuple[bytes, ...]], *, is_long: bool, last: bytes = b"") -> Dialogue[list[list[Reply]]]:
    """Send the lines of each file, many files in a flight, and return the checked replies of each.

    ``last`` is a line that ends each flight, and that every server refuses.
    """
    limits = (_MOST_COMMANDS, _MOST_BYTES) if is_long else (MAX_BURST_COMMANDS, MAX_BURST_BYTES)
    replies: list[Reply] = []
    for lines in bursts(units, *limits):
        answers = yield [*lines, *filter(None, [last])]
        if last and not answers[-1].is_refusal:
            raise ProtocolError(f'the server renamed something onto its root directory: "{answers[-1]}"')
        replies += [checked(verb_of(line), answer) for line, answer in zip(lines, answers, strict=False)]
    left = iter(replies)
    return [[next(left) for _ in unit] for unit in units]
