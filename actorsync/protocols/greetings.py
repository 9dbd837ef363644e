"""The first words of a server of another kind: those of an SSH server on the port of FTP, and the reverse.

A wrong scheme or a wrong port in a profile is the most common cause. The verdict is only about words that a server of
the right kind never sends. An endpoint confirms it over another connection before it ends a run.
"""

from __future__ import annotations

import re
from typing import Final

from actorsync.errors import ProtocolError
from actorsync.model.text import display, shorten

__all__ = ["MOST_BYTES", "OtherService", "instead_of_ftp", "instead_of_ssh"]

#: Bytes of a greeting that are looked at. RFC 4253 allows lines of text before the version of an SSH server.
MOST_BYTES: Final = 8 * 1024

_SHOWN: Final = 80

#: How the first line of servers begins that speak first, or that answer to a line that they do not understand.
_FIRST_WORDS: Final = (
    ("SSH-", "an SSH server"),
    ("HTTP/", "a web server"),
    ("<!", "a web server"),
    ("<html", "a web server"),
    ("+OK", "a POP3 mail server"),
    ("* OK", "an IMAP mail server"),
    ("RFB ", "a VNC server"),
)

_REPLY: Final = re.compile(rb"[0-9]{3}[ -]")
_LAST_LINE: Final = re.compile(rb"[0-9]{3} ")
_REFUSAL: Final = re.compile(rb"[45][0-9]{2}[ -]")
_TLS_ALERT: Final = b"\x15\x03"

_SSH_PORT: Final = "the port of the SSH server"


class OtherService(ProtocolError):
    """The server is of another kind than the profile says. The text says which, and what to change."""


def instead_of_ftp(line: str) -> str | None:
    """Return what a server is that sent ``line`` as its first line and is no FTP server, or None if it is not known."""
    for words, name in _FIRST_WORDS:
        if line.startswith(words):
            better = "use sftp:// for SSH, or " if words == "SSH-" else "use "
            return f"this is {name} ({_quoted(line)}), and no FTP server; {better}the port of the FTP server"
    return None


def instead_of_ssh(received: bytes, *, is_all: bool = False) -> str | None:
    """Return what a server is that is no SSH server, or None if it may be one. It was sent the version of a client.

    ``received`` is everything that it has sent so far. An FTP or a mail server greets with a reply, and then refuses
    the version of the client, which is no command. ProFTPD closes the connection instead, and Pure-FTPd falls silent:
    then ``is_all`` is true, and a complete reply is enough.
    """
    if received.startswith(_TLS_ALERT):
        return f"this is a server that expects TLS, and no SSH server; use ftps:// for FTP with TLS, or {_SSH_PORT}"
    lines = [line.rstrip(b"\r") for line in received.split(b"\n")[:-1]]
    if not lines or any(line.startswith(b"SSH-") for line in lines):
        return None
    first = lines[0].decode("utf-8", "surrogateescape")
    is_over = is_all and any(_LAST_LINE.match(line) for line in lines)
    if _REPLY.match(lines[0]) and (is_over or any(_REFUSAL.match(line) for line in lines[1:])):
        better = "use ftpes:// or ftp:// for FTP"
        return f"this is an FTP or mail server ({_quoted(first)}), and no SSH server; {better}, or {_SSH_PORT}"
    for words, name in _FIRST_WORDS:
        if words.startswith(("HTTP", "<")) and first.startswith(words):
            return f"this is {name} ({_quoted(first)}), and no SSH server; use {_SSH_PORT}"
    return None


def _quoted(line: str) -> str:
    return f'"{shorten(display(line), _SHOWN)}"'
