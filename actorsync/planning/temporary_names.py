"""Names of temporaries, and names that a server may store in another form."""

from __future__ import annotations

import hashlib
import re
import unicodedata

__all__ = [
    "aside_name",
    "final_of",
    "forms_of",
    "is_aside",
    "is_own",
    "is_temporary",
    "kept_name",
    "oddness",
    "signature",
    "temporary_name",
    "trial_name",
]

#: All tested servers store these characters unchanged, anywhere in a name.
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+,=@&()[]{}^$!~- ")

#: Most names match this, and need no further look.
_ORDINARY = re.compile(r"[A-Za-z0-9_.-][A-Za-z0-9_. -]*(?<![ .])")
#: What a URL would take for another character. A name with any other "%" proves nothing about it.
_QUOTED = re.compile(r"%[0-9A-Fa-f]{2}")
_NO_TRAITS: frozenset[str] = frozenset()

_ODD_BYTES = 120


def oddness(name: str) -> frozenset[str]:
    """Return the traits of ``name`` that some server is known to change; empty for a name that all servers keep.

    Pure-FTPd turns control characters and outer spaces into ``_``, so that three files can get one name; other servers
    normalize or replace characters outside ASCII. A server that was seen to keep a name with all of these traits keeps
    any other name with the same traits.
    """
    if _ORDINARY.fullmatch(name):
        return _NO_TRAITS
    traits = {character for character in set(name) - _PLAIN if character.isascii()}
    if _QUOTED.search(name):
        traits.add("% and two digits")
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
    """Return the name of the temporary for ``name``; ``token`` is random and new for each attempt.

    It has at most 255 bytes, and a leading dot, so that web servers do not serve it. The temporary of an odd name is
    odd in the same way (a leading space included): a server that changes such names then changes the temporary, before
    the final name is touched.
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
    if samples.endswith("%"):
        samples += "-"  # with digits behind it, the sign would have another meaning
    return f"{lead}.actorsync-{token}-{samples}{end}"


def _sample(name: str, trait: str) -> str:
    """Return the piece of ``name`` that has ``trait``: a character and what combines with it."""
    pieces = (name[start : start + length] for length in (1, 2, 3) for start in range(len(name)))
    return next((piece for piece in pieces if trait in oddness(piece)), "")


def forms_of(name: str) -> list[str]:
    """Return the names that a server may store instead of an odd ``name``, and one that it could confuse with it.

    A server that has ``name`` and none of these stores it apart from others, whatever it makes of it internally.
    """
    forms = {
        name.strip(" "),
        name.rstrip(" ."),
        name.lstrip("~"),
        *(_replaced(name, it) for it in ("_", "?", "\ufffd", "")),
    }
    if not any("\ud800" <= character <= "\udfff" for character in name):
        forms |= {unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)}
    forms.add("".join(_other(character) for character in name))
    return sorted(form for form in forms - {name, "", ".", ".."} if "/" not in form)


def _replaced(name: str, by: str) -> str:
    return "".join(character if character in _PLAIN else by for character in name)


def _other(character: str) -> str:
    """Return another character of the same kind: one that a server confuses with ``character`` if it keeps neither."""
    if character in _PLAIN:
        return character
    if character.isascii():
        return ":" if character != ":" else "*"
    other = chr(ord(character) ^ 1)
    return other if other.isprintable() or "\ud800" <= other <= "\udfff" else "\u00e5"


_SIGNATURE = re.compile(r"\.actorsync-[0-9a-z]+-?")
_KEPT = re.compile(r"[ ~]{0,8}\.actorsync\+[0-9a-f]{16}-(.+)", re.DOTALL)
_MOST_BYTES = 255
_OURS = re.compile(r"\.actorsync[-+][0-9a-f]{16}")


def aside_name(temporary: str) -> str:
    """Return the name for the old file while a server that cannot replace a file gets the new one.

    It follows from the name of the temporary: a journal that has the one knows the other.
    """
    return temporary.replace(".actorsync-", ".actorsync+", 1)


def kept_name(name: str, token: str) -> str:
    """Return the name under which a two-way run sets a file aside, to look at it before it goes for good.

    It holds the name of the file, so that even a run without a journal can restore it. It is as odd as the name,
    see `temporary_name`. A name that is too long loses its beginning.
    """
    lead = name[: len(name) - len(name.lstrip(" ~"))][:8]
    mark = f"{lead}.actorsync+{token}-"
    whole = name.encode("utf-8", "surrogateescape")
    tail = whole[-(_MOST_BYTES - len(mark)) :]
    # A UTF-8 continuation byte: do not start inside a character. A whole name may start with one, if it is not UTF-8.
    while len(tail) < len(whole) and tail and tail[0] & 0xC0 == 0x80:
        tail = tail[1:]
    return mark + tail.decode("utf-8", "surrogateescape")


def is_aside(path: str) -> bool:
    """Return whether a path is that of a file that was set aside, and not of a temporary."""
    return ".actorsync+" in path.rpartition("/")[2]


def final_of(name: str) -> str | None:
    """Return the name of the file that `kept_name` has made a name of; None if it is not one, or not whole."""
    found = _KEPT.fullmatch(name)
    # Of a name that was too long, up to three bytes more are gone: those of a character.
    if found is None or len(name.encode("utf-8", "surrogateescape")) >= _MOST_BYTES - 3:
        return None
    return found[1]


def trial_name(temporary: str) -> str:
    """Return the name of the small file that is uploaded beside a rejected temporary, to find out the reason.

    It follows from the name of the temporary, like `aside_name`, and is plain: no leading dot, and no part of the name
    that was rejected.
    """
    mark = signature(temporary).rstrip("-")
    if not mark:
        mark = ".actorsync-" + hashlib.sha256(temporary.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"try{mark}"


def signature(temporary: str) -> str:
    """Return the part of the name of a temporary that is unique and that no server changes; "" if there is none."""
    found = _SIGNATURE.search(temporary)
    return found[0] if found else ""


def is_temporary(name: str) -> bool:
    """Tell whether a name is one that actorsync gives to a temporary, or to what it sets aside."""
    return _OURS.search(name) is not None


#: A temporary, an old file that was set aside, or a probe; the directory of the journals, wherever a home directory is
#: mirrored to; and a journal that is kept elsewhere, with the files that SQLite and the lock put beside it.
_OWN = re.compile(
    r"(?:^|/)(?:[^/]*\.actorsync[-+][0-9a-z]+[^/]*|[0-9a-f]{16}\.journal(?:[-.][^/]*)?)$|(?:^|/)\.local/state/actorsync(?:/|$)",
    re.IGNORECASE,
)


def is_own(path: str) -> bool:
    """Return whether an entry belongs to a run of actorsync, by its path: of this profile or of any other.

    A temporary may be in use at this moment, by a run of another machine.
    """
    return _OWN.search(path) is not None
