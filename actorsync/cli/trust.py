"""Getting to know an SSH server: what the command ``trust`` does.

Nothing is added to a known_hosts file unless somebody said that this very key is the right one; and a key that takes
the place of another, or is revoked, is never added.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

import attrs

from actorsync.endpoints.ssh.known_hosts import lines_about
from actorsync.endpoints.ssh.settings import ShownHostKey
from actorsync.errors import ConnectionLost, LoginRefused, ProfileError, TargetUnreachable
from actorsync.model.text import display
from actorsync.profile import Profile

__all__ = ["SYSTEM_FILE", "ShowsHostKey", "Visit", "show", "visit_of"]

#: What the administrator of this machine knows; read besides the user's own file, and never written.
SYSTEM_FILE: Final = Path("/etc/ssh/ssh_known_hosts")

_YES: Final = "yes"


class ShowsHostKey(Protocol):
    """An endpoint that can be asked for its host key before anybody logs in."""

    async def show_host_key(self) -> ShownHostKey:
        """Give the key that the server shows now. Raises `ConnectionLost` when there is no server."""


async def show(endpoint: ShowsHostKey, name: str) -> ShownHostKey:
    """Ask ``endpoint`` once; `TargetUnreachable` when it cannot be reached. ``name`` is for the error."""
    try:
        return await endpoint.show_host_key()
    except ConnectionLost as error:
        raise TargetUnreachable(f"{name} cannot be reached: {error}") from error


def visit_of(profile: Profile, path: Path, *, is_source: bool = False) -> Visit:
    """Give what `Visit` has to know; ``ProfileError``, naming ``path``, when that side has no host key."""
    place, table = (profile.source, "source") if is_source else (profile.target, "target")
    if place.scheme != "sftp":
        instead = f"its certificate is checked instead: see {table}.ca-file and {table}.certificate-sha256"
        reasons = {
            "ftpes": instead,
            "ftps": instead,
            "ftp": "there is nothing to know its server by; use sftp:// or ftpes:// if the server can",
            "file": "it is a directory of this machine",
        }
        key = "source.path" if is_source and place.scheme == "file" else f"{table}.url"
        other = "; to ask the server of [source], add --source"
        more = other if not is_source and profile.source.scheme == "sftp" else ""
        reason = reasons.get(place.scheme, f"who answers for {place.scheme}:// is the affair of its plug-in")
        raise ProfileError(f"{path}: {key}: only sftp:// has a host key; {reason}{more}")
    assert place.known_hosts is not None, "an SFTP server has a known_hosts file"
    name = place.host if place.port == 22 else f"[{place.host}]:{place.port}"
    return Visit(path, name, place.display, place.known_hosts, place.host_key, table=table)


@attrs.frozen
class Visit:
    """Who is visited, and what is known of it. ``profile`` is the file, as the user named it."""

    profile: Path
    host: str
    url: str
    known_hosts: Path
    pinned: str | None = None
    system_file: Path = SYSTEM_FILE
    table: str = "target"

    def trust(self, shown: ShownHostKey, fingerprint: str | None, ask: Callable[[str], str]) -> Iterator[str]:
        """Tell what ``shown`` means, and add it where somebody says so; give each line when it is to be seen.

        That somebody is ``fingerprint``, when it is exactly that of the key; without it, who answers to ``ask`` with
        ``yes``. ``LoginRefused`` when the key was neither known nor added.
        """
        yield f"server       {self.url}"
        yield f"algorithm    {shown.algorithm}"
        yield f"fingerprint  {shown.fingerprint}"
        if fingerprint is not None and fingerprint != shown.fingerprint:
            raise LoginRefused(f"{self.host} shows {shown.fingerprint}, and not {fingerprint}; nothing was added")
        if self.pinned is not None:
            yield self._compared(shown)
        elif shown.standing == "known":
            yield f"known: {self._told_by(shown) or 'the key'} is this one; there is nothing to add"
        elif shown.standing == "unknown":
            yield "unknown: compare the fingerprint with one that you have from whoever runs the server"
            if fingerprint is None:
                self._confirm(shown, ask)
            self._add(shown.line)
            yield f"added to {self.known_hosts}; try: actorsync check {self.profile}"
        else:
            self._refuse(shown)

    def _compared(self, shown: ShownHostKey) -> str:
        if shown.fingerprint != self.pinned:
            raise LoginRefused(
                f"{self.host} shows {shown.fingerprint}, and {self.table}.host-key is {self.pinned}; nothing was added"
            )
        return f"known: {self.table}.host-key is this one; there is nothing to add"

    def _confirm(self, shown: ShownHostKey, ask: Callable[[str], str]) -> None:
        try:
            answer = ask(display(f"Is this the server you expect? Type {_YES} to add it to {self.known_hosts}: "))
        except OSError:
            side = "--source " if self.table == "source" else ""
            raise LoginRefused(
                f"the host key of {self.host} is unknown, and there is no terminal to ask on; "
                f"if it is the right one, run: actorsync trust {side}{self.profile} --fingerprint {shown.fingerprint}"
            ) from None
        if answer.strip() != _YES:
            raise LoginRefused(f"the host key of {self.host} stays unknown; nothing was added")

    def _add(self, line: str) -> None:
        try:
            _append(self.known_hosts, line)
        except OSError as error:
            raise ProfileError(
                f"{self.table}.known-hosts: cannot add to {self.known_hosts}: {error.strerror}; name another file"
            ) from error

    def _refuse(self, shown: ShownHostKey) -> None:
        where = self._told_by(shown) or f"{self.known_hosts} or {self.system_file}"
        if shown.standing == "revoked":
            raise LoginRefused(
                f"the host key of {self.host} is REVOKED: see {where}; nothing was added; ask who runs the server"
            )
        raise LoginRefused(
            f"the host key of {self.host} has CHANGED: see {where}; nothing was added; either the server has a new key "
            "(ask who runs it, then remove what is there), or somebody is between you and it"
        )

    def _told_by(self, shown: ShownHostKey) -> str:
        """Name the lines that say what the key's standing is; ``""`` when none could be found."""
        found = [line for path in (self.known_hosts, self.system_file) for line in lines_about(path, self.host)]
        _, _, blob = shown.line.split()[:3]
        match shown.standing:
            case "revoked":
                found = [one for one in found if one.marker == "@revoked"]
            case "known":
                found = [one for one in found if not one.marker and one.blob == blob]
            case _:
                found = [one for one in found if one.marker != "@revoked" and one.blob != blob]
        return ", ".join(f"{one.path} line {one.number}" for one in found)


def _append(path: Path, line: str) -> None:
    """Add a line in one write, which no other writer can come between; make the file, for its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        is_open_ended = status.st_size > 0 and os.pread(descriptor, 1, status.st_size - 1) != b"\n"
        data = (("\n" if is_open_ended else "") + line.strip() + "\n").encode()
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
