"""Showing and storing the host key of an SSH server: what the command ``trust`` does.

A key is added to a known_hosts file only after the user has confirmed exactly this key. A key that differs from the
known one, or is revoked, is never added.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import attrs

from actorsync.classes import frozen
from actorsync.cli.output.tables import table_lines
from actorsync.endpoints.ssh.known_hosts import lines_about
from actorsync.endpoints.ssh.settings import ShownHostKey
from actorsync.errors import ConnectionLost, LoginRefused, ProfileError, TargetUnreachable
from actorsync.model.text import display
from actorsync.profile import Profile

__all__ = ["SYSTEM_FILE", "HostKeyCheck", "ShowsHostKey", "host_key_checks", "show", "with_way"]

#: The known_hosts file of the machine; read in addition to the user's file, and never written.
SYSTEM_FILE: Final = Path("/etc/ssh/ssh_known_hosts")

_YES: Final = "yes"


@runtime_checkable
class ShowsHostKey(Protocol):
    """An endpoint that can show its host key without a login."""

    async def show_host_key(self, index: int, wanted: Collection[str]) -> ShownHostKey:
        """Return the key that a server of the way shows now: the jump hosts in their order, then the server itself.

        Of several keys, one with a fingerprint in ``wanted`` is preferred. Raises `ConnectionLost` when the server
        cannot be reached, and `LoginRefused` when a jump host before it is not trusted or rejects the login.
        """


async def show(endpoint: ShowsHostKey, check: HostKeyCheck, wanted: Collection[str] = ()) -> ShownHostKey:
    """Return the host key of the server of ``check``. Tries once; raises `TargetUnreachable` with its URL."""
    try:
        return await endpoint.show_host_key(check.index, wanted)
    except ConnectionLost as error:
        raise TargetUnreachable(f"cannot reach {check.url}: {error}") from error


def host_key_checks(profile: Profile, path: Path, *, is_source: bool = False) -> list[HostKeyCheck]:
    """Return a `HostKeyCheck` for each server on the way to one side of ``profile``: its jump hosts, and the server.

    ``path`` is the file of the profile, as the user named it. Raises `ProfileError` if that side has no host key.
    """
    place, table = (profile.source, "source") if is_source else (profile.target, "target")
    if place.scheme != "sftp":
        instead = f"FTPS servers have certificates: see {table}.ca-file and {table}.certificate-sha256"
        reasons = {
            "ftpes": instead,
            "ftps": instead,
            "ftp": "plain FTP cannot identify its server; use sftp:// or ftpes:// if the server supports it",
            "file": "this side is a local directory",
        }
        key = "source.path" if is_source and place.scheme == "file" else f"{table}.url"
        other = "; to check the server of [source], add --source"
        more = other if not is_source and profile.source.scheme == "sftp" else ""
        reason = reasons.get(place.scheme, f"the plug-in of {place.scheme}:// identifies its server")
        raise ProfileError(f"{path}: {key}: only sftp:// servers have a host key; {reason}{more}")
    assert place.known_hosts is not None, "an SFTP server has a known_hosts file"
    checks = [
        HostKeyCheck(path, _name(jump.host, jump.port), jump.name, place.known_hosts, None, table=table, index=index)
        for index, jump in enumerate(place.ways.jump)
    ]
    name = _name(place.host, place.port)
    server = HostKeyCheck(path, name, place.display, place.known_hosts, place.host_key, table=table, index=len(checks))
    return [*(attrs.evolve(check, is_jump_host=True) for check in checks), server]


def with_way(profile: Profile, *, is_source: bool) -> Profile:
    """Ask for the secrets on the way to one side that have to be typed, and return the profile with them."""
    if is_source:
        return attrs.evolve(profile, source=profile.source.answered(only_way=True))
    return attrs.evolve(profile, target=profile.target.answered(only_way=True))


def _name(host: str, port: int) -> str:
    return host if port == 22 else f"[{host}]:{port}"


@frozen
class HostKeyCheck:
    """The server whose key is checked, and where its key may be known.

    ``profile`` is the file as the user named it. ``pinned`` is the fingerprint from ``host-key``. ``table`` is the
    table of the profile that names the server. ``index`` is its number on the way, as `ShowsHostKey` counts.
    """

    profile: Path
    host: str
    url: str
    known_hosts: Path
    pinned: str | None = None
    system_file: Path = SYSTEM_FILE
    table: str = "target"
    index: int = 0
    is_jump_host: bool = False

    def trust(self, shown: ShownHostKey, fingerprints: Collection[str], ask: Callable[[str], str]) -> Iterator[str]:
        """Check ``shown`` and, once it is confirmed, add it to the known_hosts file. Yield each line to print.

        A key is confirmed if its fingerprint is one of ``fingerprints`` or, without any, by the answer ``yes`` to
        ``ask``. A jump host that is known needs no confirmation. Raises `LoginRefused` when the key is neither known
        nor added.
        """
        label = "jump host" if self.is_jump_host else "server"
        pairs = [(label, self.url), ("algorithm", shown.algorithm), ("fingerprint", shown.fingerprint)]
        yield from table_lines([(label, display(text)) for label, text in pairs])
        is_settled = self.is_jump_host and shown.standing == "known"
        if fingerprints and shown.fingerprint not in fingerprints and not is_settled:
            wanted = " or ".join(fingerprints)
            raise LoginRefused(f"{self.host} shows {shown.fingerprint}, not {wanted}; nothing was added")
        if self.pinned is not None:
            yield self._compared(shown)
        elif shown.standing == "known":
            yield f"known: the key matches {self._recorded_at(shown) or 'the known one'}; nothing to add"
        elif shown.standing == "unknown":
            yield "unknown: compare this fingerprint with the one from your administrator"
            if not fingerprints:
                self._confirm(shown, ask)
            self._add(shown.line)
            then = "" if self.is_jump_host else f"; next, run: actorsync check {self.profile}"
            yield f"added to {self.known_hosts}{then}"
        else:
            self._refuse(shown)

    def _compared(self, shown: ShownHostKey) -> str:
        if shown.fingerprint != self.pinned:
            raise LoginRefused(
                f"{self.host} shows {shown.fingerprint}, but {self.table}.host-key is {self.pinned}; nothing was added"
            )
        return f"known: the key matches {self.table}.host-key; nothing to add"

    def _confirm(self, shown: ShownHostKey, ask: Callable[[str], str]) -> None:
        try:
            answer = ask(display(f"Do the fingerprints match? Type {_YES} to add the key to {self.known_hosts}: "))
        except OSError:
            side = "--source " if self.table == "source" else ""
            raise LoginRefused(
                f"the host key of {self.host} is unknown, and there is no terminal to ask on; "
                f"if it is correct, run: actorsync trust {side}{self.profile} --fingerprint {shown.fingerprint}"
            ) from None
        if answer.strip() != _YES:
            raise LoginRefused(f"the host key of {self.host} was not confirmed; nothing was added")

    def _add(self, line: str) -> None:
        try:
            _append(self.known_hosts, line)
        except OSError as error:
            raise ProfileError(
                f"{self.table}.known-hosts: cannot write to {self.known_hosts}: {error.strerror}; name another file"
            ) from error

    def _refuse(self, shown: ShownHostKey) -> None:
        where = self._recorded_at(shown) or f"{self.known_hosts} or {self.system_file}"
        if shown.standing == "revoked":
            raise LoginRefused(
                f"the host key of {self.host} is REVOKED: see {where}; nothing was added; ask your administrator"
            )
        raise LoginRefused(
            f"the host key of {self.host} has CHANGED: see {where}; nothing was added; the server may have a new key "
            "(ask your administrator, then remove that line), or an attacker intercepts the connection"
        )

    def _recorded_at(self, shown: ShownHostKey) -> str:
        """Return the known_hosts lines that decide the standing of the key, or ``""`` when none was found."""
        found = [
            place
            for path in dict.fromkeys((self.known_hosts, self.system_file))
            for place in lines_about(path, self.host)
        ]
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
    """Append ``line`` in one write, so that concurrent writers do not mix. Create a missing file with mode 0600."""
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
