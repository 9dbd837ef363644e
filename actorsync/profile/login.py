"""The keys for logging in to a server and for identifying it: the same in every table with a URL."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import attrs

from actorsync.classes import frozen
from actorsync.endpoints.shared.home import home_directory
from actorsync.endpoints.shared.private_files import is_exposed
from actorsync.profile.secrets.files import regular_status
from actorsync.profile.secrets.one_time_code import OneTimeCode
from actorsync.profile.secrets.secret import (
    KeyringSecret,
    PromptSecret,
    Secret,
    SecretSource,
    line_fault,
    proxy_fault,
    text_fault,
    utf8_fault,
)
from actorsync.profile.values.key import key, read_options, secret_reader, ssh_key, tls_key
from actorsync.profile.values.place import (
    ANONYMOUS,
    ANONYMOUS_PASSWORD,
    PLUGGED,
    PORTS,
    Options,
    Place,
    ProxyPlace,
    TlsVersion,
)
from actorsync.profile.values.readers import (
    choice_reader,
    read_certificate,
    read_host_key,
    read_path,
    read_proxy,
    read_switch,
    whole_reader,
)
from actorsync.profile.ways import WaysIn, WrittenHost, read_jump, read_otp, with_ways

__all__ = ["LoginTable", "Misfit", "with_login"]

_MAX_LANES = 64


_CERTIFICATE = "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55"
#: Keys that `with_ways` takes.
_WAYS = frozenset({"certificate_file", "otp", "jump", "ssh_config"})
_NO_KEY = "only sftp:// uses keys"
_NO_CERTIFICATE = "only ftpes:// and ftps:// have certificates; sftp:// has host-key and known-hosts"
_NO_PROXY = "only sftp://, ftpes://, ftps:// and ftp:// can use a proxy"
_NO_HOST_KEY = "only sftp:// has host keys; ftpes:// and ftps:// have ca-file and certificate-sha256"


@frozen(kw_only=True)
class LoginTable:
    """The login keys of a table with a URL; None for keys that it does not set."""

    password: SecretSource | None = attrs.field(
        default=None,
        metadata=key(
            secret_reader("password"),
            'password = { env = "SHOP_PASSWORD" }',
            doc="Where the password comes from: an environment variable (`env`), a file (`file`), the output of a "
            "command (`command`), the system keyring (`keyring`), or a question on the terminal (`prompt`).",
            is_secret=True,
            schemes=(*PORTS, PLUGGED),
            others="a directory needs no password",
        ),
    )
    key_file: Path | None = attrs.field(
        default=None,
        metadata=ssh_key(
            read_path,
            _NO_KEY,
            'key-file = "~/.ssh/id_ed25519"',
            doc="The private key to log in with. Without it and without a password, the SSH agent and "
            "`~/.ssh/id_ed25519`, `id_ecdsa` and `id_rsa` are tried.",
            is_text=True,
        ),
    )
    passphrase: SecretSource | None = attrs.field(
        default=None,
        metadata=ssh_key(
            secret_reader("passphrase"),
            _NO_KEY,
            "passphrase = { prompt = true }",
            doc="Where the passphrase of `key-file` comes from. Written like a password.",
            is_secret=True,
        ),
    )
    certificate_file: Path | None = attrs.field(
        default=None,
        metadata=ssh_key(
            read_path,
            _NO_KEY,
            'certificate-file = "~/.ssh/id_ed25519-cert.pub"',
            doc="A certificate for `key-file`, or for a key in the SSH agent.",
            default="the file named like `key-file` with `-cert.pub`, if there is one",
            is_text=True,
        ),
    )
    agent: bool | None = attrs.field(
        default=None,
        metadata=ssh_key(
            read_switch,
            _NO_KEY,
            "agent = true",
            doc="Whether to try the keys of the SSH agent (`$SSH_AUTH_SOCK`).",
            default="`true` if neither `key-file` nor `password` is set",
        ),
    )
    otp: OneTimeCode | None = attrs.field(
        default=None,
        metadata=ssh_key(
            read_otp,
            "only sftp:// asks for one-time codes",
            "otp = { prompt = true }",
            doc="Where the one-time code of a second factor comes from: a question on the terminal (`prompt`), or the "
            "output of a command (`command`). One login then serves all connections.",
        ),
    )
    jump: tuple[WrittenHost, ...] | None = attrs.field(
        default=None,
        metadata=ssh_key(
            read_jump,
            "only sftp:// can go through jump hosts",
            'jump = ["deploy@bastion.example.com:22"]',
            doc="Servers that the connection goes through, in this order. Each one's host key is checked like the "
            "server's own, and it gets keys only, never the password.",
            default="no jump hosts",
        ),
    )
    ssh_config: bool | None = attrs.field(
        default=None,
        metadata=ssh_key(
            read_switch,
            "only sftp:// follows the files of ssh",
            "ssh-config = true",
            doc="Whether to follow `~/.ssh/config` and `/etc/ssh/ssh_config`: HostName, User, Port, IdentityFile, "
            "CertificateFile and ProxyJump, and nothing else. The URL and the other keys of the profile count first.",
            default="`false`",
        ),
    )
    known_hosts: Path | None = attrs.field(
        default=None,
        metadata=ssh_key(
            read_path,
            _NO_HOST_KEY,
            'known-hosts = "known_hosts"',
            doc="The file of trusted host keys. `actorsync trust` adds a key to it.",
            default='`"~/.ssh/known_hosts"`',
            is_text=True,
        ),
    )
    host_key: str | None = attrs.field(
        default=None,
        metadata=ssh_key(
            read_host_key,
            _NO_HOST_KEY,
            'host-key = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"',
            doc="The fingerprint of the only trusted host key, as `actorsync trust` and `ssh-keygen -l` show it.",
            is_text=True,
        ),
    )
    lanes: int | None = attrs.field(
        default=None,
        metadata=ssh_key(
            whole_reader(1, _MAX_LANES),
            "only sftp:// transfers several files at once on a connection",
            "lanes = 8",
            doc="Number of files in transfer at once on each connection.",
            default=f"{_MAX_LANES}",
        ),
    )
    ca_file: Path | None = attrs.field(
        default=None,
        metadata=tls_key(
            read_path,
            _NO_CERTIFICATE,
            'ca-file = "ca.pem"',
            doc="A PEM file with the certificate authorities that may sign the server's certificate.",
            default="the authorities that the system trusts",
        ),
    )
    certificate_sha256: str | None = attrs.field(
        default=None,
        metadata=tls_key(
            read_certificate,
            _NO_CERTIFICATE,
            f'certificate-sha256 = "{_CERTIFICATE}"',
            doc="The SHA-256 fingerprint of the only accepted certificate. For a self-signed certificate, pin its "
            "fingerprint.",
        ),
    )
    tls_min_version: TlsVersion | None = attrs.field(
        default=None,
        metadata=tls_key(
            choice_reader(get_args(TlsVersion)),
            "only ftpes:// and ftps:// have TLS",
            'tls-min-version = "1.3"',
            doc="The oldest accepted version of TLS.",
            default='`"1.2"`',
        ),
    )
    proxy: ProxyPlace | None = attrs.field(
        default=None,
        metadata=key(
            read_proxy,
            'proxy = "socks5://office@proxy.example.com:1080"',
            doc="A SOCKS5 proxy (`socks5://`) or an HTTP proxy with CONNECT (`http://`) for all connections.",
            is_text=True,
            schemes=tuple(PORTS),
            others=_NO_PROXY,
        ),
    )
    proxy_password: SecretSource | None = attrs.field(
        default=None,
        metadata=key(
            secret_reader("proxy-password"),
            'proxy-password = { env = "PROXY_PASSWORD" }',
            doc="Where the password for the user in `proxy` comes from. Written like a password.",
            is_secret=True,
            schemes=tuple(PORTS),
            others=_NO_PROXY,
        ),
    )
    options: Options | None = attrs.field(
        default=None,
        metadata=key(
            read_options,
            'options = { endpoint_url = "https://s3.example.com", token = { env = "S3_TOKEN" } }',
            doc="Options of a plug-in scheme, in addition to the URL.",
            schemes=(PLUGGED,),
            others="only plug-in schemes take options",
        ),
    )


class Misfit(ValueError):
    """A key that does not fit the URL. ``key`` is its name; the text says why and what to do."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


def with_login(place: Place, table: LoginTable, name: str, *, needs_keys: bool = True) -> Place:
    """Return ``place`` with the login keys of its table and their defaults. Raises `Misfit` if a key does not fit.

    ``name`` is the name of the table. Without ``needs_keys``, key and certificate files are not checked.
    """
    fields = {field.name: field for field in attrs.fields(type(table)) if field.metadata["schemes"]}
    given = {one: value for one in fields if (value := getattr(table, one)) is not None}
    scheme = PLUGGED if place.is_plugged else place.scheme
    for one in given:
        if scheme not in fields[one].metadata["schemes"]:
            raise Misfit(one, f"{fields[one].metadata['others']}; remove it")
    for one in ("key_file", "certificate_file", "ca_file") if needs_keys else ():
        if one in given and (fault := _file_fault(given[one], is_key=one == "key_file")):
            raise Misfit(one, fault)
    if place.scheme == "file":
        return place
    direct = {one: value for one, value in given.items() if one not in _WAYS}
    place = _with_proxy(attrs.evolve(place, **direct), name)
    if place.is_plugged:
        return _with_options(_with_password(place, utf8_fault))
    if place.scheme == "sftp":
        return _with_ssh_login(_with_ways(place, table), name)
    if place.password is None and place.user != ANONYMOUS:
        reason = f'missing, but {name}.url names a user; add password = {{ env = "..." }} to [{name}]'
        raise Misfit("password", reason)
    return _with_password(attrs.evolve(place, password=place.password or ANONYMOUS_PASSWORD), line_fault)


def _file_fault(path: Path, *, is_key: bool) -> str | None:
    """Return why a file cannot be used, or None. As in ssh, only its owner may have access to a private key."""
    try:
        status = regular_status(path)
    except OSError as error:
        return f"cannot read {path}: {error.strerror}; name a file that you can read"
    if is_key and status.st_uid == os.geteuid() and is_exposed(path, status):
        return f"other users can access {path} (mode {stat.S_IMODE(status.st_mode):04o}); run: chmod 600 {path}"
    return None


def _with_ways(place: Place, table: LoginTable) -> Place:
    keys = WaysIn(
        jump=table.jump,
        certificate_file=table.certificate_file,
        codes=table.otp,
        follows_ssh_config=bool(table.ssh_config),
    )
    try:
        return with_ways(place, keys)
    except ValueError as error:
        raise Misfit("ssh_config", str(error)) from None


def _with_ssh_login(place: Place, table: str) -> Place:
    place = _with_password(attrs.evolve(place, known_hosts=place.known_hosts or _default_known_hosts()), text_fault)
    if place.passphrase is None:
        return place
    if place.key_file is None:
        raise Misfit("passphrase", f'only used with a key file; add key-file = "~/.ssh/id_ed25519" to [{table}]')
    question = f"passphrase of {place.key_file} for {place.user}@{place.host}: "
    origin = _completed("passphrase", place.passphrase, text_fault, str(place.key_file), question)
    return attrs.evolve(place, passphrase=origin)


def _default_known_hosts() -> Path:
    """Return ``~/.ssh/known_hosts``; without a home directory, the file of the machine, which is read in any case."""
    home = home_directory()
    return Path(home, ".ssh", "known_hosts") if home is not None else Path("/etc/ssh/ssh_known_hosts")


def _with_proxy(place: Place, table: str) -> Place:
    proxy, password = place.proxy, place.proxy_password
    if password is None:
        if proxy is not None and proxy.user:
            reason = f'missing, but {table}.proxy names a user; add proxy-password = {{ env = "..." }} to [{table}]'
            raise Misfit("proxy_password", reason)
        return place
    if proxy is None or not proxy.user:
        raise Misfit("proxy_password", f'only used with a user in {table}.proxy; write "socks5://user@host:1080"')
    question = f"password of {proxy.user} for the proxy {proxy.host}: "
    origin = _completed("proxy-password", password, proxy_fault, proxy.user, question)
    return attrs.evolve(place, proxy_password=origin)


def _with_options(place: Place) -> Place:
    secrets = []
    for name, source in place.options.secrets:
        completed = _completed(
            f"options.{name}", source, utf8_fault, place.user or name, f"{name} for {place.display}: "
        )
        secrets.append((name, completed))
    return attrs.evolve(place, options=attrs.evolve(place.options, secrets=tuple(secrets)))


def _with_password(place: Place, fault: Callable[[str], str | None]) -> Place:
    if place.password is None:
        return place
    question = f"password for {place.display}: " if place.is_plugged else f"password of {place.user}@{place.host}: "
    return attrs.evolve(place, password=_completed("password", place.password, fault, place.user, question))


def _completed(
    name: str, place: SecretSource, fault: Callable[[str], str | None], user: str, question: str
) -> SecretSource:
    """Return a source completed with what the URL tells: user, question and check. Check a secret in clear text."""
    if isinstance(place, Secret):
        if reason := fault(place.reveal()):
            raise Misfit(name, reason)
        return place
    if isinstance(place, KeyringSecret):
        return attrs.evolve(place, user=user, fault=fault)
    if isinstance(place, PromptSecret):
        return attrs.evolve(place, question=question, fault=fault)
    return attrs.evolve(place, fault=fault)
