"""The home directory of the current user, which containers and services often lack."""

from __future__ import annotations

import os
import pwd
from typing import Final

__all__ = ["NO_HOME", "NO_HOME_REASON", "expand_home", "home_directory"]

#: The home directory of Debian's system users: it never exists.
NO_HOME: Final = "/nonexistent"

NO_HOME_REASON: Final = "there is no home directory: HOME is not set, and the user id has none in /etc/passwd"


def home_directory() -> str | None:
    """Return the absolute path of the home directory: ``$HOME``, else the one in the password database; else None.

    A relative or empty ``$HOME`` counts as not set, because files would end up in the working directory.
    """
    home = os.environ.get("HOME", "")
    if not os.path.isabs(home):
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            return None
    return home if os.path.isabs(home) and home != NO_HOME else None


def expand_home(text: str) -> str:
    """Return a path with ``~`` and ``~user`` replaced, as a shell does.

    Raises:
        ValueError: the path begins with ``~``, and there is no home directory. Otherwise a directory named "~" would
            be used.
    """
    if text != "~" and not text.startswith("~/"):
        return os.path.expanduser(text)
    home = home_directory()
    if home is None:
        raise ValueError(f"{NO_HOME_REASON}; write an absolute path instead of ~, or set HOME")
    return home.rstrip("/") + text[1:] or "/"
