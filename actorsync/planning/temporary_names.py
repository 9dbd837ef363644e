"""Under which name a file is staged, and which names a server may not store as they are."""

from __future__ import annotations

import hashlib
import re
import unicodedata

__all__ = ["aside_name", "oddness", "signature", "temporary_name", "trial_name"]

#: Every server at hand stores these as they are, anywhere in a name.
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+,=@#&()[]{}^$!~- ")

#: Most names, told apart from all others at once.
_ORDINARY = re.compile(r"[A-Za-z0-9_.-][A-Za-z0-9_. -]*(?<![ .])")
_NO_TRAITS: frozenset[str] = frozenset()

_ODD_BYTES = 120


def oddness(name: str) -> frozenset[str]:
    """Give the traits of ``name`` that some server is known to change; empty for a name any server can be trusted with.

    Pure-FTPd turns control characters and outer spaces into ``_``, so that three files can land on one; others
    normalize or replace what is not ASCII. A server that was seen to store a name with all of these traits as it is
    will store another such name as it is, too.
    """
    if _ORDINARY.fullmatch(name):
        return _NO_TRAITS
    traits = {character for character in set(name) - _PLAIN if character.isascii()}
    if not name.isascii():
        surrogate = any("\ud800" <= character <= "\udfff" for character in name)
        traits.add("not UTF-8" if surrogate else "NFC" if unicodedata.is_normalized("NFC", name) else "not NFC")
    if name.startswith(" "):
        traits.add("leading space")
    if name.endswith((" ", ".")):
        traits.add("trailing space or dot")
    if name.startswith("~"):
        traits.add("leading ~")
    return frozenset(traits)


def temporary_name(name: str, token: str) -> str:
    """Give the temporary's name for ``name``; ``token`` is random and new for each attempt.

    At most 255 bytes, like any name, and with a leading dot, so that web servers do not serve it. An odd name is staged
    under a temporary that is odd in the same way (a leading space included): a server that changes such names then
    shows it before the final name is touched.
    """
    if not oddness(name):
        return f".actorsync-{token}.tmp"
    lead = name[: len(name) - len(name.lstrip(" ~"))][:8]
    tail = name.encode("utf-8", "surrogateescape")[-_ODD_BYTES:]
    while tail and tail[0] & 0xC0 == 0x80:  # a UTF-8 continuation byte: do not start inside a character
        tail = tail[1:]
    end = tail.decode("utf-8", "surrogateescape")
    missing = oddness(name) - oddness(lead + end)
    samples = "".join(_sample(name, trait) for trait in sorted(missing))
    return f"{lead}.actorsync-{token}-{samples}{end}"


def _sample(name: str, trait: str) -> str:
    """Give the piece of ``name`` that has ``trait``: no more than a character and what combines with it."""
    pieces = (name[start : start + length] for length in (1, 2, 3) for start in range(len(name)))
    return next((piece for piece in pieces if trait in oddness(piece)), "")


_SIGNATURE = re.compile(r"\.actorsync-[0-9a-z]+-?")


def aside_name(temporary: str) -> str:
    """Give the name under which a server that cannot replace a file sets the old one aside, while it is replaced.

    It follows from the temporary's, so whoever has written down the one has written down the other.
    """
    return temporary.replace(".actorsync-", ".actorsync+", 1)


def trial_name(temporary: str) -> str:
    """Give the name of the small file that is tried beside a temporary which was refused, to find out why.

    It follows from the temporary's, like `aside_name`, and is as plain as a name can be: no dot at its beginning, and
    nothing of the name that was refused.
    """
    mark = signature(temporary).rstrip("-")
    if not mark:
        mark = ".actorsync-" + hashlib.sha256(temporary.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"try{mark}"


def signature(temporary: str) -> str:
    """Give the part of a temporary's name that no other file has, and no server changes; empty if it has none."""
    found = _SIGNATURE.search(temporary)
    return found[0] if found else ""
