"""Dialogues that publish many files in few flights, and take that back. `dialogues` has the rules for all of them.

A flight here is longer than elsewhere: between its first rename and its last, a site is a mixture of two versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from actorsync.protocols.ftp.dialogues import read_facts, rename_outcome
from actorsync.protocols.ftp.replies import checked, size_of
from actorsync.protocols.ftp.wire import Dialogue, ProtocolError, Reply, command_line, verb_of

__all__ = ["MOST_FILES", "Looked", "Names", "Renamed", "look", "put_back", "rename"]

#: Files and bytes in one flight. The tested servers took 1,000 commands and 80 kB in one write.
MOST_FILES = 64
_MOST_BYTES = 32_000


@attrs.frozen
class Names:
    """The absolute paths of one publication. ``aside`` is None if no old file is to be set aside, or comes back."""

    temporary: str
    final: str
    aside: str | None = None


@attrs.frozen
class Looked:
    """What SIZE and MDTM show of three names: the reply to each SIZE, and size and time; None where none is shown."""

    temporary: Reply
    final: Reply
    aside: Reply | None
    facts: tuple[int, int | None] | None
    aside_facts: tuple[int, int | None] | None


@attrs.frozen
class Renamed:
    """The refusals of the two renames of one file; None for one that was done. The first is None if it was not sent."""

    first: Reply | None
    second: Reply | None


def look(items: Sequence[Names]) -> Dialogue[list[Looked]]:
    """Look at the three names of each file."""
    units = []
    for item in items:
        lines = [command_line("SIZE", item.temporary), command_line("SIZE", item.final)]
        lines.append(command_line("MDTM", item.final))
        if item.aside is not None:
            lines += [command_line("SIZE", item.aside), command_line("MDTM", item.aside)]
        units.append(tuple(lines))
    found: list[Looked] = []
    for replies in (yield from _play(units)):
        temporary, final, time, *others = replies
        aside, aside_time = others or (None, None)
        about_aside = None if aside is None or aside_time is None else read_facts(aside, aside_time)
        found.append(Looked(temporary, final, aside, read_facts(final, time), about_aside))
    return found


def rename(items: Sequence[Names]) -> Dialogue[list[Renamed]]:
    """Set old files aside, and give the temporaries their final names.

    An impossible rename ends each file, so that no RNFR stays armed for the next (see `disarm_rename`). One that stays
    armed within a file does no harm: it is of the final name, which then gets its own name.
    """
    return (yield from _rename([[(item.final, item.aside), (item.temporary, item.final)] for item in items]))


def put_back(items: Sequence[Names], *, is_published: Sequence[bool]) -> Dialogue[list[Renamed]]:
    """Give files that are published their temporary names, and the old files their final names."""
    steps: list[list[tuple[str, str | None]]] = []
    for item, gets_temporary in zip(items, is_published, strict=True):
        taken = (item.final, item.temporary if gets_temporary else None)
        steps.append([taken, (item.aside or "", item.final if item.aside is not None else None)])
    return (yield from _rename(steps))


def _rename(steps: Sequence[Sequence[tuple[str, str | None]]]) -> Dialogue[list[Renamed]]:
    """Make the renames of each file that have a new name."""
    units = []
    for pairs in steps:
        lines = [(command_line("RNFR", old), command_line("RNTO", new)) for old, new in pairs if new is not None]
        units.append((*(line for pair in lines for line in pair), command_line("RNTO", "/")))
    renamed: list[Renamed] = []
    for pairs, replies in zip(steps, (yield from _play(units)), strict=True):
        *done, disarmed = replies
        if not disarmed.is_refusal:
            raise ProtocolError(f'the server renamed something onto its root directory: "{disarmed}"')
        left = iter(zip(done[::2], done[1::2], strict=True))
        renamed.append(Renamed(*(None if new is None else rename_outcome(*next(left)) for _, new in pairs)))
    return renamed


def is_shown(reply: Reply | None) -> bool:
    """Return whether a reply to SIZE shows a file."""
    return reply is not None and size_of(reply) is not None


def _play(units: Sequence[tuple[bytes, ...]]) -> Dialogue[list[list[Reply]]]:
    """Send the lines of each file, many files in a flight, and return the checked replies of each."""
    found: list[list[Reply]] = []
    for flight in _flights(units):
        lines = [line for unit in flight for line in unit]
        answers = yield lines
        replies = iter([checked(verb_of(line), answer) for line, answer in zip(lines, answers, strict=True)])
        found += [[next(replies) for _ in unit] for unit in flight]
    return found


def _flights(units: Iterable[tuple[bytes, ...]]) -> Iterator[list[tuple[bytes, ...]]]:
    flight: list[tuple[bytes, ...]] = []
    size = 0
    for unit in units:
        length = sum(map(len, unit))
        if flight and (len(flight) == MOST_FILES or size + length > _MOST_BYTES):
            yield flight
            flight, size = [], 0
        flight.append(unit)
        size += length
    if flight:
        yield flight
