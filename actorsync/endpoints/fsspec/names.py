"""Names that a protocol cannot carry, whatever the server is."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["name_fault"]

_RESERVED: Final = frozenset('\\:*?"<>|')
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE | re.DOTALL)


def name_fault(name: str) -> str | None:
    """Return why SMB cannot carry a name, or None (MS-FSCC, 2.1.5; a colon would name a stream of a file)."""
    if found := next((one for one in name if one in _RESERVED or one < " "), None):
        return f"has the character {found!r}, which SMB does not allow; rename the file, or exclude it"
    if _DEVICE.fullmatch(name):
        return "is the name of a device, which SMB servers show as another name; rename the file, or exclude it"
    if name.endswith((" ", ".")):
        return "ends with a space or a dot, which SMB servers drop; rename the file, or exclude it"
    return None
