"""Names that a target may store in another form: how that is found out, and what the user is told.

`actorsync.planning.temporary_names.oddness` says which names that are. The temporary file for an odd name is odd in the
same way, so a look at how it was stored shows the fault before a final name is touched.
"""

from __future__ import annotations

from actorsync.errors import OperationRefused
from actorsync.model.text import display
from actorsync.planning.temporary_names import oddness

__all__ = ["siblings", "stored_differently"]

_FIRST_SURROGATE, _SURROGATES = 0xDC80, 0x80
_LETTERS = "éèüï"  # precomposed, as most names have them


def stored_differently(traits: frozenset[str]) -> OperationRefused:
    """Return the refusal of a name that the server does not store unchanged."""
    shown = display(", ".join(sorted(traits)))
    return OperationRefused(f"the server stores this name differently (it contains: {shown}); rename or exclude it")


def siblings(name: str) -> list[str]:
    """Return other names that a target which changes odd names could take for ``name``: one for each kind of oddness.

    In each, the characters of one kind are replaced by others of that kind. A target that has a file under ``name`` and
    none under any of them tells such names apart, whatever its listings show. The result is empty if ``name`` is odd by
    its first or last character: no other name shows what becomes of that.
    """
    kinds = dict.fromkeys(kind for character in name if (kind := _kind(character)))
    if not oddness(name) or oddness(name) & {"leading space", "trailing space or dot", "leading ~"}:
        return []
    return ["".join(_other(c) if _kind(c) == kind else c for c in name) for kind in kinds]


def _kind(character: str) -> str:
    """Return the kind of an odd character; ``""`` for one that all targets keep."""
    if character.isascii():
        return character if oddness(f"a{character}a") else ""
    return "not UTF-8" if "\ud800" <= character <= "\udfff" else "not ASCII"


def _other(character: str) -> str:
    code = ord(character)
    if _FIRST_SURROGATE <= code < _FIRST_SURROGATE + _SURROGATES:
        return chr(_FIRST_SURROGATE + (code - _FIRST_SURROGATE + 1) % _SURROGATES)
    if character.isascii():
        return "*" if character != "*" else ":"
    return next(letter for letter in _LETTERS if letter != character)
