"""The few settings that actorsync reads from the files of ssh: where a host is, and which keys to try there.

Only HostName, User, Port, IdentityFile, CertificateFile and ProxyJump are read, and nothing about host keys. As in ssh
(ssh_config(5)), the user's file comes before that of the machine, and the first value of a setting counts; key files
add up. ``Match exec`` is never run. The library for SSH has a parser of its own, which runs it, and is slow to import.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import socket
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from glob import glob
from pathlib import Path
from typing import Final, NoReturn

import attrs

from actorsync.classes import define, frozen

__all__ = ["HostSettings", "SshConfig", "SshConfigError"]

_BLOCKS: Final = ("host", "match")
_SINGLE: Final = ("hostname", "user", "port", "proxyjump", "proxycommand")
_SEVERAL: Final = ("identityfile", "certificatefile")
#: Criteria of Match that can be evaluated. A block with another one is refused if it sets what would be read.
_WITH_PATTERN: Final = ("host", "originalhost", "user", "localuser")
_ALONE: Final = ("all", "final", "canonical")
_DEEPEST: Final = 16
_MACHINE: Final = Path("/etc/ssh/ssh_config")


class SshConfigError(ValueError):
    """A file that cannot be used. The text names the file, the line, the reason, and what to do."""


@frozen
class HostSettings:
    """What the files say about one host; None for what they do not say."""

    host: str
    user: str | None = None
    port: int | None = None
    identity_files: tuple[Path, ...] | None = None
    certificate_files: tuple[Path, ...] = ()
    jump: tuple[str, ...] | None = None


@frozen(eq=False)
class _Line:
    """One setting, or the head of a block (``Host``, ``Match``). ``place`` is how errors name it.

    ``heads`` are those of the block that it is in, and of the blocks that include its file. It counts if all apply.
    """

    place: str
    keyword: str
    words: tuple[str, ...]
    heads: tuple[_Line, ...] = ()


@define
class _Found:
    """The values found so far for one host."""

    host: str
    user: str | None
    values: dict[str, tuple[_Line, str]] = attrs.Factory(dict)
    files: dict[str, list[str]] = attrs.Factory(lambda: {keyword: [] for keyword in _SEVERAL})
    is_final: bool = False
    has_final: bool = False

    def value(self, keyword: str) -> str | None:
        """Return the value of a setting; None if it has none."""
        return self.values[keyword][1] if keyword in self.values else None

    @property
    def host_name(self) -> str:
        """The host to connect to, as far as it is known."""
        return (self.value("hostname") or self.host).replace("%h", self.host).replace("%%", "%")


@frozen
class SshConfig:
    """The lines of the files, in their order; obtained from `read`."""

    home: Path
    files: Sequence[Sequence[_Line]]

    @classmethod
    def read(cls, home: Path, machine: Path = _MACHINE) -> SshConfig:
        """Read ``~/.ssh/config`` and the file of the machine. A missing file has no lines.

        Raises:
            SshConfigError: a file cannot be read, or is not written like a file of ssh.
        """
        paths = {home / ".ssh" / "config": home / ".ssh", machine: machine.parent}
        return cls(home, [list(_lines(path, base, home)) for path, base in paths.items()])

    def settings(self, host: str, user: str | None = None, port: int | None = None) -> HostSettings:
        """Return the settings for a host. ``user`` and ``port`` are known already and count before those of the files.

        Raises:
            SshConfigError: a setting is invalid, or is one that actorsync does not follow.
        """
        found = _Found(host, user)
        self._apply(found)
        if found.has_final:  # as in ssh, a second time, with the blocks that are for the final time only
            found.is_final = True
            self._apply(found)
        name, user = found.host_name, user or found.value("user")
        if port is None and "port" in found.values:
            line, text = found.values["port"]
            if not (text.isdecimal() and 0 < int(text) < 65536):
                _fail(line, f"{text!r} is not a port")
            port = int(text)
        jump = self._jump(found)
        paths = {
            keyword: tuple(self._path(text, found, name, user, port) for text in texts if text.lower() != "none")
            for keyword, texts in found.files.items()
        }
        has_files = bool(found.files["identityfile"])
        identities = paths["identityfile"] if has_files else None
        return HostSettings(name.lower(), user, port, identities, paths["certificatefile"], jump)

    def _apply(self, found: _Found) -> None:
        verdicts: dict[_Line, bool | str] = {}
        for line in (line for lines in self.files for line in lines):
            for head in line.heads:
                if head not in verdicts:  # once for each block: its own settings do not change that
                    is_host = head.keyword == "host"
                    verdicts[head] = _matches(head.words, found.host) if is_host else _match(head, found)
            of_line = [verdicts[head] for head in line.heads]
            if all(of_line):
                unknown = next((verdict for verdict in of_line if isinstance(verdict, str)), None)
                if unknown is not None:
                    _fail(line, f"it is in a block with Match {unknown}, which actorsync does not evaluate")
                _take(line, found)

    def _jump(self, found: _Found) -> tuple[str, ...] | None:
        """Return the jump hosts. As in ssh, the first of ProxyJump and ProxyCommand counts."""
        first = next((keyword for keyword in found.values if keyword.startswith("proxy")), None)
        if first is None:
            return None
        line, text = found.values[first]
        if text.lower() == "none":
            return () if first == "proxyjump" else None
        if first == "proxycommand":
            _fail(line, "ProxyCommand is not run; use ProxyJump, or set target.jump in the profile")
        return tuple(part.strip() for part in text.split(","))

    def _path(self, text: str, found: _Found, name: str, user: str | None, port: int | None) -> Path:
        """Return the path of a key file, with ``~``, ``%`` and ``${...}`` replaced as in ssh."""
        local = _local_user()
        tokens = {
            "%": "%",
            "d": str(self.home),
            "h": name,
            "i": str(os.getuid()),
            "L": socket.gethostname().partition(".")[0],
            "l": socket.gethostname(),
            "n": found.host,
            "p": str(port or 22),
            "r": user or local,
            "u": local,
        }
        text = re.sub(r"%(.)", lambda match: tokens.get(match[1], match[0]), text)
        text = re.sub(r"\$\{(\w+)\}", lambda match: os.environ.get(match[1], match[0]), text)
        if text == "~" or text.startswith("~/"):
            text = str(self.home) + text[1:]
        return Path(os.path.abspath(self.home / ".ssh" / text))


def _lines(path: Path, base: Path, home: Path, outer: tuple[_Line, ...] = (), depth: int = 0) -> Iterator[_Line]:
    """Yield the settings of a file, and those of the files that it includes. ``outer`` are the heads around it."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return
    except OSError as error:
        raise SshConfigError(f"{path} cannot be read: {error.strerror}; make it a readable file") from error
    heads = outer
    for number, raw in enumerate(text.splitlines(), 1):
        place = f"{path} line {number}"
        keyword, words = _words(raw, place)
        line = _Line(place, keyword, words, heads)
        if keyword in _BLOCKS:
            heads = (*outer, line)
        elif keyword == "include":
            if depth == _DEEPEST:
                _fail(line, "Include is nested too deeply")
            for name in words:
                for included in sorted(glob(str(base / _expanded(name, home)))):
                    yield from _lines(Path(included), base, home, heads, depth + 1)
        elif keyword in _SINGLE or keyword in _SEVERAL:
            yield line


def _words(raw: str, place: str) -> tuple[str, tuple[str, ...]]:
    """Return the keyword of a line, in lower case, and its arguments; empty ones for a comment."""
    head = re.match(r"\s*(\w+)\s*(?:=\s*|\s|$)(.*)", raw)
    if head is None:
        return "", ()
    keyword, rest = head[1].lower(), head[2].strip()
    if keyword == "proxycommand":  # the rest of the line, quotes and all
        return keyword, (rest,)
    try:
        return keyword, tuple(shlex.split(rest, comments=True))
    except ValueError:
        if keyword not in {*_BLOCKS, "include", *_SINGLE, *_SEVERAL}:
            return keyword, ()
        raise SshConfigError(f"{place}: a quotation mark is missing; add it") from None


def _expanded(name: str, home: Path) -> str:
    return str(home / name[2:]) if name.startswith("~/") else name


def _matches(patterns: Sequence[str], host: str) -> bool:
    """Return whether a host matches a list of patterns, none of which excludes it. Case does not matter."""
    found = False
    for pattern in patterns:
        is_negated, bare = pattern.startswith("!"), pattern.removeprefix("!").lower()
        if fnmatchcase(host.lower(), bare.replace("[", "[[]")):
            if is_negated:
                return False
            found = True
    return found


def _match(line: _Line, found: _Found) -> bool | str:
    """Return whether a Match block applies; the criterion if that cannot be told."""
    words, unknown = list(line.words), ""
    result = True
    while words:
        word = words.pop(0)
        is_negated, criterion = word.startswith("!"), word.removeprefix("!").lower()
        criterion, equals, pattern = criterion.partition("=")
        if criterion in _ALONE:
            found.has_final = found.has_final or criterion == "final"
            holds = criterion == "all" or (criterion == "final" and found.is_final)
        else:
            if not equals and not words:
                _fail(line, f"Match {criterion} has no pattern")
            pattern = pattern if equals else words.pop(0)
            if criterion not in _WITH_PATTERN:
                unknown = unknown or criterion
                continue
            subjects = {
                "host": found.host_name,
                "originalhost": found.host,
                "user": found.user or found.value("user") or _local_user(),
                "localuser": _local_user(),
            }
            holds = _matches(pattern.split(","), subjects[criterion])
        result = result and holds != is_negated
    return unknown if result and unknown else result


def _take(line: _Line, found: _Found) -> None:
    if not line.words:
        _fail(line, "the value is missing")
    if line.keyword in _SEVERAL:
        if line.words[0] not in found.files[line.keyword]:
            found.files[line.keyword].append(line.words[0])
    elif line.keyword not in found.values:
        found.values[line.keyword] = line, line.words[0]


def _local_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _fail(line: _Line, reason: str) -> NoReturn:
    raise SshConfigError(f"{line.place}: {reason}; correct it, or remove ssh-config = true")
