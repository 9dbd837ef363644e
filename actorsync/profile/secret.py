"""Passwords and passphrases: a type that does not show itself, and the places that one can come from.

A profile names the place; ``resolve()`` goes there, and is not called before the secret is needed. No text made
here (a repr, a message) contains a secret, the output of a command, or its arguments.
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

from actorsync.errors import ProfileError
from actorsync.profile.files import one_line, read_regular
from actorsync.profile.terminal import ask

__all__ = [
    "CommandSecret",
    "EnvSecret",
    "FileSecret",
    "KeyringSecret",
    "PromptSecret",
    "Secret",
    "SecretSource",
    "line_fault",
    "looks_secret",
    "text_fault",
    "utf8_fault",
]

_COMMAND_SECONDS = 60.0  # long enough to type the passphrase of a key, short enough for an unattended run to end
_MAX_BYTES = 65_536
# What libraries call their secrets, in options that we know nothing else of.
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
# What would end a command line, or be taken for a Telnet command.
_FAULTS = {b"\r": "a carriage return", b"\n": "a line feed", b"\0": "a NUL", b"\xff": "a 0xFF byte"}


@final
class Secret:
    """Text that shows itself as ``***`` wherever it is printed; ``reveal()`` is the one way to the text."""

    # Not an attrs class: ``attrs.asdict`` of a profile would then spell it out.
    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: to be handed to the server, and to nothing else."""
        return self._text

    def resolve(self) -> Secret:
        """Itself: a secret is the place where nothing is left to look up."""
        return self

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not to be pickled or copied: it would be readable there")


def line_fault(text: str) -> str | None:
    """Why ``text`` cannot be an argument of an FTP command (the characters that would end or change it), or None."""
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "is not valid text"
    for byte, name in _FAULTS.items():
        if byte in raw:
            return f"has {name} in it, which cannot be sent in an FTP command"
    return None


def text_fault(text: str) -> str | None:
    """Why ``text`` cannot be sent over SSH, which takes any UTF-8 text, line breaks and all; or None."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not UTF-8 text, and SSH has no other"
    return None


def utf8_fault(text: str) -> str | None:
    """Why ``text`` cannot be handed to an endpoint that is not built in, or None."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not UTF-8 text"
    return None


def looks_secret(name: str) -> bool:
    """Whether an option of that name is more likely a secret than not."""
    return any(word in name.lower() for word in _SECRET_WORDS)


@attrs.frozen
class _Place:
    """Base of the places.

    ``where`` is how an error names the key that asked for it; the key's last word is what the secret is called.
    ``fault`` says why a text cannot be used for what it is meant for, or None.
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
        """The secret in a file or an output: UTF-8, up to one line break at its end."""
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            self._fail(f"the {self._noun} from {origin} is not UTF-8 text")
        return self._accept(text.removesuffix("\n").removesuffix("\r"), origin)


@attrs.frozen
class EnvSecret(_Place):
    """The value of an environment variable."""

    variable: str

    def resolve(self) -> Secret:
        """Read the variable; ``ProfileError`` if it is not set."""
        text = os.environ.get(self.variable)
        if text is None:
            self._fail(f"environment variable {self.variable} is not set; export it before the run")
        return self._accept(text, f"environment variable {self.variable}")


@attrs.frozen
class FileSecret(_Place):
    """The content of a file that nobody but its owner can read."""

    path: Path

    def resolve(self) -> Secret:
        """Read the file; ``ProfileError`` if that fails, or if others could read it as well."""
        try:
            raw, status = read_regular(self.path, _MAX_BYTES)
        except OSError as error:
            self._fail(f"cannot read {self.path}: {error.strerror}")
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            self._fail(f"{self.path} is open to others (mode {mode:04o}); run: chmod 600 {self.path}")
        return self._decode(raw, str(self.path))


@attrs.frozen
class CommandSecret(_Place):
    """What a command writes to its standard output, such as that of a password manager."""

    # Arguments stay out of reprs and errors: a careless one may hold the password itself.
    arguments: tuple[str, ...] = attrs.field(repr=lambda arguments: repr(arguments[:1]))
    directory: Path

    def resolve(self) -> Secret:
        """Run the command, without a shell, in ``directory``; ``ProfileError`` unless it succeeds within a minute."""
        name = self.arguments[0]
        try:
            process = subprocess.Popen(  # noqa: S603 - the command is the profile owner's own
                self.arguments,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a group of its own: what it starts ends with it
            )
        except OSError as error:
            self._fail(f"cannot run command {name}: {error.strerror}")
        with process:
            try:
                output, _ = process.communicate(timeout=_COMMAND_SECONDS)
            except subprocess.TimeoutExpired:
                _kill_group(process)
                self._fail(f"command {name} did not end within {_COMMAND_SECONDS:.0f} seconds")
            except BaseException:
                _kill_group(process)
                raise
        if process.returncode:
            self._fail(f"command {name} {_ended(process.returncode)}; run it by hand to see why")
        return self._decode(output, f"command {name}")


@attrs.frozen
class KeyringSecret(_Place):
    """The system's keyring: the secret that ``service`` keeps for ``user``."""

    service: str
    user: str = ""

    def resolve(self) -> Secret:
        """Ask the keyring; ``ProfileError`` if it is not installed, locked, or does not have it."""
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
            self._fail(f"the keyring has nothing; store it with: keyring set {self.service} {self.user}")
        return self._accept(text, "the keyring")


@attrs.frozen
class PromptSecret(_Place):
    """What somebody types on the terminal of this process, unseen, when asked ``question``."""

    question: str = ""

    def resolve(self) -> Secret:
        """Ask; ``ProfileError`` if there is no terminal, or nothing is typed. ``KeyboardInterrupt`` at a Ctrl-C.

        Call it in the main thread: elsewhere, nobody hears the Ctrl-C.
        """
        try:
            text = ask(one_line(self.question), is_hidden=True)
        except OSError:
            self._fail(f'there is no terminal to ask on; use {self._noun} = {{ env = "..." }} where nobody can type')
        if not text:
            self._fail(f"nothing was typed; try again, and type the {self._noun}")
        return self._accept(text, "the terminal")


SecretSource = Secret | EnvSecret | FileSecret | CommandSecret | KeyringSecret | PromptSecret


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _ended(status: int) -> str:
    return f"ended with exit status {status}" if status > 0 else f"was ended by signal {-status}"
