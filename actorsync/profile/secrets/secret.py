"""Passwords and passphrases: a type that hides its text, and the sources that a secret can come from.

A profile names the source; ``resolve()`` reads it, and is called only when the secret is needed. No repr and no error
of this module contains a secret, the output of a command or its arguments.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, final

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.shared.private_files import is_exposed
from actorsync.errors import ProfileError
from actorsync.profile.secrets.files import one_line, read_regular
from actorsync.profile.secrets.terminal import ask

__all__ = [
    "CommandSecret",
    "CredentialSecret",
    "EnvSecret",
    "FileSecret",
    "KeyringSecret",
    "PromptSecret",
    "Secret",
    "SecretSource",
    "line_fault",
    "looks_secret",
    "proxy_fault",
    "text_fault",
    "utf8_fault",
]

_COMMAND_SECONDS = 60.0  # enough to type a passphrase, short enough for an unattended run to fail soon
_MAX_BYTES = 65_536
# Words in the names of secret options. The options of plug-ins are not known otherwise.
_SECRET_WORDS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "account_key",
    "connection_string",
)
# Bytes that would end an FTP command line, or begin a Telnet command.
_FAULTS = {b"\r": "a carriage return", b"\n": "a line feed", b"\0": "a NUL", b"\xff": "a 0xFF byte"}


@final
class Secret:
    """Text whose repr and str are ``***``; only ``reveal()`` returns the text."""

    # Not an attrs class: ``attrs.asdict`` of a profile would then spell it out.
    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself. Pass it only to the server."""
        return self._text

    def resolve(self) -> Secret:
        """Return itself: there is nothing to look up."""
        return self

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied: its text would be readable in the result")


def line_fault(text: str) -> str | None:
    """Return why ``text`` cannot be an argument of an FTP command, or None.

    Some characters would end the command or begin another one.
    """
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "is not valid text"
    for byte, name in _FAULTS.items():
        if byte in raw:
            return f"contains {name}, which cannot be sent in an FTP command"
    return None


def text_fault(text: str) -> str | None:
    """Return why ``text`` cannot be sent over SSH, or None. SSH takes any UTF-8 text, including line breaks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not UTF-8 text, which SSH requires"
    return None


def utf8_fault(text: str) -> str | None:
    """Return why ``text`` cannot be passed to the endpoint of a plug-in, or None."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not UTF-8 text"
    return None


def proxy_fault(text: str) -> str | None:
    """Return why ``text`` cannot be the user or the password of a proxy, or None. SOCKS5 counts it in one byte."""
    if not text.isascii() or not text.isprintable():
        return "has characters other than printable ASCII, on which proxies do not agree"
    return "has more than 255 characters" if len(text) > 255 else None


def looks_secret(name: str) -> bool:
    """Return whether an option of that name is probably a secret."""
    return any(word in name.lower() for word in _SECRET_WORDS)


@frozen
class _Source:
    """Base class of the sources.

    ``where`` is the key as errors name it; its last part is the noun for the secret. ``fault`` returns why a text
    cannot be used as this secret, or None.
    """

    where: str = attrs.field(default="target.password", kw_only=True, eq=False, repr=False)
    fault: Callable[[str], str | None] = attrs.field(default=line_fault, kw_only=True, eq=False, repr=False)

    @property
    def _noun(self) -> str:
        return self.where.rpartition(".")[2]

    def _fail(self, reason: str) -> NoReturn:
        raise ProfileError(one_line(f"{self.where}: {reason}")) from None

    def _accept(self, text: str, origin: str) -> Secret:
        if not text:
            self._fail(f"the {self._noun} from {origin} is empty")
        if fault := self.fault(text):
            self._fail(f"the {self._noun} from {origin} {fault}")
        return Secret(text)

    def _decode(self, raw: bytes, origin: str) -> Secret:
        """Return the secret in a file or an output: UTF-8 text, without one line break at its end."""
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            self._fail(f"the {self._noun} from {origin} is not UTF-8 text")
        return self._accept(text.removesuffix("\n").removesuffix("\r"), origin)


@frozen
class EnvSecret(_Source):
    """The value of an environment variable."""

    variable: str

    def resolve(self) -> Secret:
        """Return the value of the variable. Raises `ProfileError` if it is not set."""
        text = os.environ.get(self.variable)
        if text is None:
            self._fail(f"environment variable {self.variable} is not set; export it before the run")
        return self._accept(text, f"environment variable {self.variable}")


@frozen
class FileSecret(_Source):
    """The content of a file that only its owner can read, or that was mounted as a secret."""

    path: Path

    def resolve(self) -> Secret:
        """Return the content of the file. Raises `ProfileError` if it is unreadable or not private."""
        try:
            raw, status = read_regular(self.path, _MAX_BYTES)
        except OSError as error:
            self._fail(f"cannot read {self.path}: {error.strerror}")
        if is_exposed(self.path, status):
            mode = stat.S_IMODE(status.st_mode)
            self._fail(f"other users can access {self.path} (mode {mode:04o}); run: chmod 600 {self.path}")
        return self._decode(raw, str(self.path))


@frozen
class CredentialSecret(_Source):
    """The content of a credential of systemd (``LoadCredential=``): a file in ``$CREDENTIALS_DIRECTORY``."""

    name: str

    def resolve(self) -> Secret:
        """Return the content. Raises `ProfileError` outside of a service, or if the service has no such credential."""
        directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
        if not os.path.isabs(directory):
            reason = "this process is no service with LoadCredential= in its unit; run it with systemctl"
            self._fail(f"no credential {self.name}: {reason}")
        path = Path(directory, self.name)
        try:
            raw, _ = read_regular(path, _MAX_BYTES)
        except OSError as error:
            way_out = f"add LoadCredential={self.name}:FILE to the unit"
            self._fail(f"cannot read credential {path}: {error.strerror}; {way_out}")
        return self._decode(raw, f"credential {self.name}")


@frozen
class CommandSecret(_Source):
    """The standard output of a command, such as a password manager."""

    # Arguments do not appear in reprs and errors: one of them may contain the password.
    arguments: tuple[str, ...] = attrs.field(repr=lambda arguments: repr(arguments[:1]))
    directory: Path

    def resolve(self) -> Secret:
        """Run the command in ``directory``, without a shell. Raises `ProfileError` after a failure or a minute."""
        name = self.arguments[0]
        try:
            process = subprocess.Popen(  # noqa: S603 - the owner of the profile chose the command
                self.arguments,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a separate process group, so that its children can be killed with it
            )
        except OSError as error:
            self._fail(f"cannot run command {name}: {error.strerror}")
        with process:
            try:
                output, _ = process.communicate(timeout=_COMMAND_SECONDS)
            except subprocess.TimeoutExpired:
                _kill_group(process)
                limit = f"{_COMMAND_SECONDS:.0f} seconds"
                self._fail(f"command {name} did not end within {limit}; run it by hand to see why")
            except BaseException:
                _kill_group(process)
                raise
        if process.returncode:
            self._fail(f"command {name} {_ended(process.returncode)}; run it by hand to see why")
        return self._decode(output, f"command {name}")


@frozen
class KeyringSecret(_Source):
    """The secret that the system's keyring holds for ``service`` and ``user``."""

    service: str
    user: str = ""

    def resolve(self) -> Secret:
        """Return the entry. Raises `ProfileError` if the keyring is not installed or locked, or has no such entry."""
        try:
            import keyring  # an optional extra, and slow to import
            import keyring.errors
        except ImportError:
            self._fail("the keyring package is not installed; run: pip install 'actorsync[keyring]'")
        try:
            text = keyring.get_password(self.service, self.user)
        except (keyring.errors.KeyringError, OSError, RuntimeError) as error:
            self._fail(f"the keyring cannot be used ({type(error).__name__}); try: keyring diagnose")
        if text is None:
            self._fail(f"the keyring has no entry; add it with: keyring set {self.service} {self.user}")
        return self._accept(text, "the keyring")


@frozen
class PromptSecret(_Source):
    """The answer to ``question``, typed without echo on the terminal of this process.

    ``instead`` is how the source is written that needs no terminal.
    """

    question: str = ""
    instead: str = '{ env = "..." }'

    def resolve(self) -> Secret:
        """Ask and return the answer. Raises `ProfileError` without a terminal or an answer.

        Call it in the main thread: a Ctrl-C raises `KeyboardInterrupt` only there.
        """
        try:
            text = ask(one_line(self.question), is_hidden=True)
        except OSError:
            self._fail(f"no terminal to ask for the {self._noun}; use {self._noun} = {self.instead} instead")
        if not text:
            self._fail(f"no {self._noun} was entered; try again")
        return self._accept(text, "the terminal")


SecretSource = Secret | EnvSecret | FileSecret | CredentialSecret | CommandSecret | KeyringSecret | PromptSecret


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _ended(status: int) -> str:
    return f"ended with exit status {status}" if status > 0 else f"was ended by signal {-status}"
