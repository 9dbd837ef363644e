"""Where a side of the mirror is, how to log in there, and what is believed to be that place."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import quote

import attrs

from actorsync.profile.secret import PromptSecret, Secret, SecretSource

__all__ = [
    "ANONYMOUS",
    "ANONYMOUS_PASSWORD",
    "PLUGGED",
    "PORTS",
    "BothSecrets",
    "Options",
    "Place",
    "Scheme",
    "Secrets",
    "TlsVersion",
]

Scheme = Literal["ftp", "ftpes", "ftps", "sftp", "file"]
TlsVersion = Literal["1.2", "1.3"]

ANONYMOUS = "anonymous"
ANONYMOUS_PASSWORD = Secret("anonymous@")

#: The port of each scheme when the URL has none.
PORTS: dict[str, int] = {"ftp": 21, "ftpes": 21, "ftps": 990, "sftp": 22}

#: Stands for every scheme that is not built in.
PLUGGED = "*"


@attrs.frozen
class Secrets:
    """The secrets of one place, looked up; None where the profile has none."""

    password: Secret | None = None
    passphrase: Secret | None = None
    options: tuple[tuple[str, Secret], ...] = ()


@attrs.frozen
class BothSecrets:
    """The secrets of both sides."""

    source: Secrets = Secrets()
    target: Secrets = Secrets()


@attrs.frozen
class Options:
    """The table ``options`` of a place whose scheme is not built in; ``secrets`` says where each comes from."""

    values: tuple[tuple[str, str | int | float | bool], ...] = ()
    secrets: tuple[tuple[str, SecretSource], ...] = ()


@attrs.frozen
class Place:
    """One side: a directory of this machine, or of a server.

    For ``file``, ``path`` is an absolute path of this machine, and ``host``, ``user`` and ``port`` are empty. For the
    others it is relative to the login directory (``""`` is that directory itself) unless it starts with "/".

    ``password`` is where to get the password from: never None for ``ftp``, ``ftpes`` and ``ftps``, and always for
    ``file``. What follows it belongs to ``sftp`` (``known_hosts`` is never None there) or, from ``ca_file`` on, to
    ``ftpes`` and ``ftps``; for the other schemes it is as it is here.

    ``scheme`` is a `Scheme`, or one that is not built in (``is_plugged``): then ``port`` is 0 and ``host`` is empty
    where the URL has none, and ``options`` is what belongs to it. ``where`` is how errors name the table it is from.
    """

    scheme: str
    path: str
    host: str = ""
    port: int = 0
    user: str = ""
    password: SecretSource | None = None
    key_file: Path | None = None
    passphrase: SecretSource | None = None
    agent: bool | None = None
    known_hosts: Path | None = None
    host_key: str | None = None
    lanes: int | None = None
    fsync: bool = False
    ca_file: Path | None = None
    certificate_sha256: str | None = None
    tls_min_version: TlsVersion = "1.2"
    options: Options = Options()
    where: str = attrs.field(default="", eq=False, repr=False)

    @property
    def display(self) -> str:
        """The place as a user writes it, fit to be shown: there is no password in it."""
        if self.scheme == "file":
            return self.path
        is_told = bool(self.user) if self.is_plugged else self.user != ANONYMOUS or self.scheme == "sftp"
        user = f"{_quoted(self.user, safe='')}@" if is_told else ""
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS.get(self.scheme, 0) else f":{self.port}"
        return f"{self.scheme}://{user}{host}{port}/{_quoted(self.path, safe='/')}"

    @property
    def is_remote(self) -> bool:
        """Whether it is on a server."""
        return self.scheme != "file"

    @property
    def is_plugged(self) -> bool:
        """Whether its endpoint is not built in."""
        return self.scheme != "file" and self.scheme not in PORTS

    @property
    def is_asking(self) -> bool:
        """Whether somebody has to type a secret."""
        sources = (self.password, self.passphrase, *(source for _, source in self.options.secrets))
        return any(isinstance(source, PromptSecret) for source in sources)

    def answered(self) -> Place:
        """Ask for what has to be typed, on the terminal, and give the place with the answers in it.

        Call it in the main thread, before anything else uses the terminal; see `PromptSecret.resolve`.
        """
        place = self
        if isinstance(place.passphrase, PromptSecret):  # first: the key is tried before the password
            place = attrs.evolve(place, passphrase=place.passphrase.resolve())
        if isinstance(place.password, PromptSecret):
            place = attrs.evolve(place, password=place.password.resolve())
        typed = ((name, it.resolve() if isinstance(it, PromptSecret) else it) for name, it in place.options.secrets)
        return attrs.evolve(place, options=attrs.evolve(place.options, secrets=tuple(typed)))

    def look_up(self) -> Secrets:
        """Get the secrets from where they are; blocks. ``ProfileError`` when one cannot be had."""
        return Secrets(
            password=None if self.password is None else self.password.resolve(),
            passphrase=None if self.passphrase is None else self.passphrase.resolve(),
            options=tuple((name, source.resolve()) for name, source in self.options.secrets),
        )


def _quoted(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="surrogateescape")
