"""What is known of how an FTP server shows symbolic links. No standard says how.

A listing may show a link as the directory that it leads to. Some servers then show the link in another way:

* vsftpd, ProFTPD and Pure-FTPd walk along a path, as the system does: PWD after CWD shows where a link leads to. Most
  others only read the text of a path: to them, ``/nothing/..`` is ``/``.
* pyftpdlib shows links in LIST, and not in MLSD.
* ProFTPD with ``ShowSymlinks off`` reads only the text. It calls a link a directory, and gives it the permissions of a
  file (RFC 3659 section 7.5.5).

Twisted, aioftp, and ftpd and ftp-srv of npm show nothing at all.
"""

from __future__ import annotations

from typing import Final

from actorsync.classes import define

__all__ = ["LinkSigns"]

#: Servers that show links to directories in LIST, by their greetings.
_SHOWS_IN_LIST: Final = ("pyftpdlib",)


@define(eq=False)
class LinkSigns:
    """How one server shows links. All its connections share this."""

    is_wanted: bool = False
    """Whether links are to be found by all that the server shows, and nothing is to be changed through one."""
    walks: bool | None = None
    """Whether the server walks along a path, so that PWD shows where a link leads to. None: not known yet."""
    has_shown: bool = False
    """Whether the server has shown a link that leads to a directory, without PWD."""

    def hides(self, greeting: str) -> bool:
        """Return whether a link may look like a directory in every respect."""
        return not self.walks and not self.has_shown and not any(name in greeting for name in _SHOWS_IN_LIST)
