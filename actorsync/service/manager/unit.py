"""The units of systemd for a profile, as text. Pure, but for the paths of the profile.

A profile that repeats gets a service that runs all the time, any other a service for one run, and a timer.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from actorsync.classes import frozen
from actorsync.errors import ProfileError
from actorsync.model.text import display
from actorsync.profile import Profile

__all__ = ["Scope", "Units", "is_ours", "unit_name", "units_for"]

#: Whose service manager has the unit: that of the user, or that of the system.
Scope = Literal["user", "system"]

#: The first line of each file that `actorsync service install` writes, before the path of the profile.
_MARK: Final = "# Written by actorsync service install for "

#: What the system's service manager may take away from every run.
_HARDENING: Final = (
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "SystemCallArchitectures=native",
)

#: What a service manager of a user may take away: the rest needs privileges or a user namespace.
_HARDENING_OF_USER: Final = ("NoNewPrivileges=yes", "LockPersonality=yes", "RestrictRealtime=yes")

#: Seconds for the last words, beside those that a stop may take.
_MARGIN: Final = 5


@frozen
class Units:
    """The files for one profile by their names, the service first."""

    files: dict[str, str]

    @property
    def enabled(self) -> str:
        """The unit that is enabled: the timer where there is one."""
        return next(reversed(self.files))


def unit_name(profile: Profile, name: str = "") -> str:
    """Return the name of the units without an ending. Raises `ProfileError` for a ``name`` that cannot be one."""
    stem = name or profile.path.stem
    clean = re.sub(r"[^A-Za-z0-9_.-]", "-", stem)
    if not clean.strip(".-") or (name and clean != name) or len(clean) > 100:
        raise ProfileError(f"{display(stem)}: not a name for a unit; use --name with letters, digits, - and _")
    return f"actorsync-{clean}"


def is_ours(text: str, profile: Path | None = None) -> bool:
    """Return whether `actorsync service install` has written a file, for ``profile`` if that is given."""
    first = text.partition("\n")[0]
    return first.startswith(_MARK) and (profile is None or first == f"{_MARK}{display(str(profile))}")


@frozen
class Start:
    """How a service starts actorsync: the command, the user of the run, and the directory of that user's state.

    ``is_configured``: the directory is that of ``$XDG_STATE_HOME``, which a service would not have.
    """

    command: Sequence[str]
    account: str
    state: Path
    is_configured: bool = False


def units_for(profiles: Sequence[Profile], scope: Scope, name: str, start: Start) -> Units:
    """Return the units for the targets of one profile.

    Raises `ProfileError` if a password has to be typed: a service has no terminal.
    """
    for profile in profiles:
        if profile.source.is_asking or profile.target.is_asking:
            raise ProfileError(
                f"{display(str(profile.path))}: a password has to be typed, and a service has no terminal; "
                'use password = { credential = "..." } or { file = "..." }'
            )
    repeats = any(profile.repeats for profile in profiles)
    path = Path(os.path.abspath(profiles[0].path))
    service = "\n".join([f"{_MARK}{display(str(path))}", *_service(profiles, scope, path, start)])
    files = {f"{name}.service": f"{service}\n"}
    if not repeats:
        files[f"{name}.timer"] = "\n".join([f"{_MARK}{display(str(path))}", *_timer(path), ""])
    return Units(files)


def _service(profiles: Sequence[Profile], scope: Scope, path: Path, start: Start) -> Iterator[str]:
    repeats = any(profile.repeats for profile in profiles)
    yield from ("[Unit]", f"Description=actorsync: mirror {_escaped(path.stem)}")
    if scope == "system":
        yield from ("Wants=network-online.target", "After=network-online.target")
    yield from ("", "[Service]")
    stop = max(it.shutdown.drain + it.shutdown.cancel for it in profiles)
    # Only in commands, $ begins the name of a variable.
    words = [_quoted(word.replace("$", "$$")) for word in (*start.command, "run", str(path))]
    if repeats:
        yield from ("Type=notify", "NotifyAccess=main", "WatchdogSec=60")
        yield from ("Restart=on-failure", "RestartSec=30", "RestartPreventExitStatus=2 6")
        yield from (f"ExecStart={' '.join(words)}", "ExecReload=/bin/kill -HUP $MAINPID")
    else:
        yield from ("Type=oneshot", f"ExecStart={' '.join(words)}")
    yield "# 3: stopped by systemctl stop; the next run goes on."
    yield from ("SuccessExitStatus=3", "KillMode=mixed", "KillSignal=SIGTERM")
    yield f"TimeoutStopSec={math.ceil(stop) + 2 + _MARGIN}"
    yield '# For password = { credential = "password" } in the profile; the file belongs to root and has mode 0600:'
    yield "#LoadCredential=password:/etc/actorsync/password"
    if scope == "system":
        if start.account != "root":
            yield from (f"User={_escaped(start.account)}", "CapabilityBoundingSet=")
        yield from _HARDENING
        yield from _paths(profiles, path, start.state / "actorsync")
    else:
        if start.is_configured:
            yield f"Environment={_quoted(f'XDG_STATE_HOME={start.state}')}"
        yield from _HARDENING_OF_USER
    if repeats:
        yield from ("", "[Install]", f"WantedBy={'multi-user' if scope == 'system' else 'default'}.target")


def _paths(profiles: Sequence[Profile], path: Path, state: Path) -> Iterator[str]:
    """Yield what the run may read and write. Programs of the profile are bound by the same."""
    source = [it.source.path for it in profiles[:1] if not it.source.is_remote]
    # A target may have to be made, and so may what is beside it: the parent directory must be writable.
    targets = [os.path.dirname(os.path.abspath(it.target.path)) for it in profiles if not it.target.is_remote]
    observed = [
        str(file.parent)
        for it in profiles
        for file in (it.observe.metrics_file, it.observe.listen.path if it.observe.listen is not None else None)
        if file is not None
    ]
    writable = dict.fromkeys(_existing(it) for it in (str(state), *targets, *observed))
    yield "# Everything is read-only but the journals, local targets, and the files of [observe]. Programs of [hooks]"
    yield "# and [publish] run in here as well: add what they have to write."
    yield from ("ProtectSystem=strict", "ProtectHome=read-only")
    if not any(it.startswith(("/tmp/", "/var/tmp/")) for it in (*writable, *source, str(path))):  # noqa: S108
        yield "PrivateTmp=yes"
    yield from (f"ReadOnlyPaths={_quoted(it)}" for it in source)
    yield from (f"ReadWritePaths={_quoted(it)}" for it in writable)


def _existing(path: str) -> str:
    """Return a path, or the nearest directory above it that exists: systemd starts no service without it."""
    return path if os.path.lexists(path) or path == "/" else _existing(os.path.dirname(path))


def _timer(path: Path) -> Iterator[str]:
    yield from ("[Unit]", f"Description=actorsync: mirror {_escaped(path.stem)} every hour", "", "[Timer]")
    yield from ("OnCalendar=hourly", "RandomizedDelaySec=5min", "Persistent=true", "", "[Install]")
    yield "WantedBy=timers.target"


def _escaped(text: str) -> str:
    """Return a text that systemd takes literally."""
    return display(text).replace("%", "%%")


def _quoted(word: str) -> str:
    """Return a word or a path as systemd reads it."""
    if re.fullmatch(r"[A-Za-z0-9_./:=@+-]+", word):
        return word
    literal = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    return f'"{literal}"'
