"""Names that a protocol cannot carry, whatever the server is."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["azure_fault", "smb_fault"]

_RESERVED: Final = frozenset('\\:*?"<>|')
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE | re.DOTALL)


def smb_fault(name: str) -> str | None:
    """Return why SMB cannot carry a name, or None (MS-FSCC, 2.1.5; a colon would name a stream of a file)."""
    if found := next((one for one in name if one in _RESERVED or one < " "), None):
        return f"has the character {found!r}, which SMB does not allow; rename it, or exclude it"
    if _DEVICE.fullmatch(name):
        return "is the name of a device, which SMB servers show as another name; rename it, or exclude it"
    if name.endswith((" ", ".")):
        return "ends with a space or a dot, which SMB servers drop; rename it, or exclude it"
    return None


def azure_fault(name: str) -> str | None:
    r"""Return why Azure cannot carry a name, or None.

    The library cuts names at ``?`` and ``#``, and Azure turns ``\\`` into a slash. Listings are XML 1.0: a name with a
    control character makes one unreadable.
    """
    if name.endswith(" "):
        return "ends with a space, and the library of Azure lists no such directory; rename it, or exclude it"
    for one in name:
        if one in "?#\\":
            return f"has the character {one!r}, which Azure or its library takes for an end; rename it, or exclude it"
        if one < " " or "\x7f" <= one < "\xa0":
            return f"has the control character {one!r}, which a listing of Azure cannot show; rename it, or exclude it"
    return None
