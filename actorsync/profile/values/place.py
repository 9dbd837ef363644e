"""One side of a mirror: where it is, how to log in there, and how its server is identified."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import quote

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.shared.paths import sftp_url_path
from actorsync.endpoints.ssh.settings import JumpHost
from actorsync.profile.secrets.one_time_code import OneTimeCode
from actorsync.profile.secrets.secret import PromptSecret, Secret, SecretSource

__all__ = [
    "ANONYMOUS",
    "ANONYMOUS_PASSWORD",
    "PLUGGED",
    "PORTS",
    "BothSecrets",
    "Options",
    "Place",
    "ProxyPlace",
    "Scheme",
    "Secrets",
    "SshWays",
    "TlsVersion",
]

Scheme = Literal["ftp", "ftpes", "ftps", "sftp", "file"]
TlsVersion = Literal["1.2", "1.3"]

ANONYMOUS = "anonymous"
ANONYMOUS_PASSWORD = Secret("anonymous@")

#: The port of each scheme when the URL has none.
PORTS: dict[str, int] = {"ftp": 21, "ftpes": 21, "ftps": 990, "sftp": 22}

#: Stands for every scheme of a plug-in.
PLUGGED = "*"


@frozen
class Secrets:
    """The secrets of one place, after they were looked up; None where the profile has none."""

    password: Secret | None = None
    passphrase: Secret | None = None
    options: tuple[tuple[str, Secret], ...] = ()
    proxy_password: Secret | None = None


@frozen
class BothSecrets:
    """The secrets of both sides."""

    source: Secrets = Secrets()
    target: Secrets = Secrets()


@frozen
class Options:
    """The table ``options`` of a plug-in scheme. ``secrets`` holds the source of each secret option."""

    values: tuple[tuple[str, str | int | float | bool], ...] = ()
    secrets: tuple[tuple[str, SecretSource], ...] = ()


@frozen
class SshWays:
    """How an ``sftp`` place is reached, beside its key and its password.

    ``jump`` are the hosts on the way. ``certificate_files`` and ``identity_files`` are tried with the keys; None for
    the default key files. ``codes`` are those of a second factor. ``has_user`` and ``has_port`` say what the URL names.
    """

    jump: tuple[JumpHost, ...] = ()
    certificate_files: tuple[Path, ...] = ()
    identity_files: tuple[Path, ...] | None = None
    codes: OneTimeCode | None = None
    has_user: bool = attrs.field(default=True, eq=False, repr=False)
    has_port: bool = attrs.field(default=True, eq=False, repr=False)


@frozen
class ProxyPlace:
    """A proxy: its kind, its address, and the user to log in there, empty for none."""

    scheme: Literal["socks5", "http"]
    host: str
    port: int
    user: str = ""


@frozen
class Address:
    """Where a side is: the fields of `Place` that its URL fills in."""

    scheme: str
    path: str
    host: str = ""
    port: int = 0
    user: str = ""


@frozen
class Place(Address):
    """One side: a directory of this machine, or of a server.

    For ``file``, ``path`` is an absolute path of this machine, and ``host``, ``user`` and ``port`` are empty. For other
    schemes it is relative to the login directory (``""`` is that directory itself) unless it starts with "/".

    ``password`` is the source of the password: never None for ``ftp``, ``ftpes`` and ``ftps``, always None for
    ``file``. The fields from ``key_file`` to ``fsync`` and ``ways`` are for ``sftp``, where ``known_hosts`` is never
    None. Those from ``ca_file`` to ``tls_min_version`` are for ``ftpes`` and ``ftps``. ``proxy`` is for all of these,
    and is no part of what identifies a place. Other schemes have the defaults.

    ``scheme`` is a `Scheme`, or the scheme of a plug-in (``is_plugged``). A plug-in's ``port`` is 0 and its ``host`` is
    empty if the URL has none, and only a plug-in has ``options``. ``where`` is how errors name the table of the place.

    ``below_login`` is the path below the login directory that an ``sftp`` URL with one slash after the host would mean
    if it were read as a relative one, as earlier versions did; empty if the URL can be read in one way only.
    """

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
    proxy: ProxyPlace | None = None
    proxy_password: SecretSource | None = None
    options: Options = Options()
    ways: SshWays = SshWays()
    below_login: str = attrs.field(default="", eq=False, repr=False)
    where: str = attrs.field(default="", eq=False, repr=False)

    @property
    def display(self) -> str:
        """The place as a URL or a path, without the password."""
        if self.scheme == "file":
            return self.path
        is_told = bool(self.user) if self.is_plugged else self.user != ANONYMOUS or self.scheme == "sftp"
        user = f"{_quoted(self.user, safe='')}@" if is_told else ""
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS.get(self.scheme, 0) else f":{self.port}"
        path = sftp_url_path(self.path) if self.scheme == "sftp" else self.path
        return f"{self.scheme}://{user}{host}{port}/{_quoted(path, safe='/')}"

    @property
    def quoted_path(self) -> str:
        """The path, percent-encoded as in a URL."""
        return _quoted(self.path, safe="/")

    @property
    def is_remote(self) -> bool:
        """Whether the place is on a server."""
        return self.scheme != "file"

    @property
    def is_plugged(self) -> bool:
        """Whether its endpoint is a plug-in."""
        return self.scheme != "file" and self.scheme not in PORTS

    @property
    def is_asking(self) -> bool:
        """Whether a secret has to be typed."""
        sources = (self.proxy_password, self.password, self.passphrase, *(source for _, source in self.options.secrets))
        codes = self.ways.codes
        return any(isinstance(source, PromptSecret) for source in sources) or (codes is not None and codes.is_asking)

    def answered(self, *, only_way: bool = False) -> Place:
        """Ask on the terminal for the secrets that have to be typed, and return the place with the answers.

        With ``only_way``, ask only for what leads to the server: the password of the proxy, and the passphrase of the
        key for jump hosts. Call it in the main thread, before anything else uses the terminal; see
        `PromptSecret.resolve`.
        """
        place = self
        if isinstance(place.proxy_password, PromptSecret):
            place = attrs.evolve(place, proxy_password=place.proxy_password.resolve())
        if only_way and not place.ways.jump:
            return place
        if isinstance(place.passphrase, PromptSecret):  # first, because the key is tried before the password
            place = attrs.evolve(place, passphrase=place.passphrase.resolve())
        if only_way:
            return place
        if isinstance(place.password, PromptSecret):
            place = attrs.evolve(place, password=place.password.resolve())
        typed = ((name, it.resolve() if isinstance(it, PromptSecret) else it) for name, it in place.options.secrets)
        place = attrs.evolve(place, options=attrs.evolve(place.options, secrets=tuple(typed)))
        if place.ways.codes is not None and place.ways.codes.is_asking:  # last: a code is valid for a short time
            place.ways.codes.ask()
        return place

    def look_up(self) -> Secrets:
        """Return the secrets, read from their sources. Blocks. Raises `ProfileError` when one is not available."""
        return Secrets(
            password=None if self.password is None else self.password.resolve(),
            passphrase=None if self.passphrase is None else self.passphrase.resolve(),
            options=tuple((name, source.resolve()) for name, source in self.options.secrets),
            proxy_password=None if self.proxy_password is None else self.proxy_password.resolve(),
        )


def _quoted(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="surrogateescape")
