"""A change of a tree as a line for people, for `plan`, ``--verbose`` and logs. Pure: no I/O, no clock."""

from __future__ import annotations

from typing import Final

from actorsync.model.entry import Kind
from actorsync.model.event import Event
from actorsync.model.operation import Copy, Done, MakeDirectory, Move, Publish, Remove, Respell, SetMode, Side
from actorsync.model.text import display

__all__ = ["arrow_of", "change_of", "change_text"]

#: What shows the side that a two-way run changes: the source is on the left, as in the profile.
_ARROWS: Final = {Side.SOURCE: "<-", Side.TARGET: "->"}


def change_of(event: Event) -> tuple[str, str] | None:
    """Return the symbol and the path of a change, or None.

    The symbols are those of rclone (+ new, * changed, - removed), ! for a removal of what actorsync did not put there,
    > for moved, and % for a new mode.
    """
    match event:
        case Done(Copy(source, replaces)):
            return ("*" if replaces else "+"), display(source.path)
        case Done(Publish(kept, replaced=replaced)):
            return ("+" if replaced is None else "*"), display(kept.path)
        case Done(MakeDirectory(source)):
            return ("+", f"{display(source.path)}/") if source.path else None
        case Done(Move(source, target) | Respell(source, target)):
            return ">", f"{display(target.path)} -> {display(source.path)}"
        case Done(SetMode(source, mode=mode)):
            return "%", f"{display(source.path)}{'/' if source.kind is Kind.DIRECTORY else ''} {mode:04o}"
        case Done(Remove(target, is_foreign=is_foreign)):
            return "!" if is_foreign else "-", display(target.path) + ("/" if target.kind is Kind.DIRECTORY else "")
    return None


def arrow_of(event: Event) -> str:
    """Return which side a change of a two-way run is made on: ``->`` for the target, ``<-`` for the source."""
    return _ARROWS[event.operation.side if isinstance(event, Done) else Side.TARGET]


def change_text(event: Event, *, shows_sides: bool) -> str | None:
    """Return the line of a change, ``+ a.txt``, or None; with ``shows_sides``, ``<- + a.txt``."""
    change = change_of(event)
    if change is None:
        return None
    return " ".join((arrow_of(event), *change) if shows_sides else change)
