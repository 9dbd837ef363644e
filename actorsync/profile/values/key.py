"""The metadata of a field that is a key of a profile, the readers of secrets, and hints for keys of other programs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from actorsync.profile.secrets.secret import (
    CommandSecret,
    CredentialSecret,
    EnvSecret,
    FileSecret,
    KeyringSecret,
    PromptSecret,
    Secret,
    SecretSource,
    looks_secret,
)
from actorsync.profile.values.place import Options
from actorsync.profile.values.readers import Reader, Site, read_path, takes

__all__ = ["HINTS", "hint_for", "key", "read_options", "secret_reader", "ssh_key", "tls_key"]

_CHECKED: Final = (
    "the identity of a server is always checked; for SSH use actorsync trust, for TLS {table}.ca-file or "
    "{table}.certificate-sha256"
)
_SCHEMES: Final = (
    "{table}.url says so with its scheme: sftp://, ftpes:// (explicit TLS), ftps:// (implicit TLS) or ftp:// (no TLS)"
)
_SEVERAL: Final = "each of several targets is a table [[target]] with a name and a url of its own"

#: What to write instead of a key that other programs have, or that seems likely: ssh, lftp, rclone, WinSCP, rsync,
#: deployment actions. ``{table}`` is the table of the place, which is ``target`` outside ``[source]``.
HINTS: Final[Mapping[str, str]] = {
    name: hint
    for names, hint in (
        ("host hostname server server-address address ip", 'it is part of {table}.url: "sftp://user@host/dir"'),
        ("port", 'it is part of {table}.url: "sftp://user@host:2222/dir"'),
        ("user username login account", 'it is part of {table}.url: "sftp://user@host/dir"'),
        (
            "dir directory folder root base-path remote-dir remote-path remote-root remote-directory server-dir",
            'it is part of {table}.url: "sftp://user@host/dir"',
        ),
        ("protocol scheme type security secure tls ssl ftps sftp encryption use-tls explicit-tls", _SCHEMES),
        (
            "passive pasv passive-mode active active-mode epsv ftp-mode",
            "FTP is always passive, over EPSV or PASV; remove it",
        ),
        (
            "proxy-jump proxyjump jump-host jump-hosts bastion gateway",
            'use {table}.jump = ["user@bastion.example.com"]',
        ),
        ("proxy-command proxycommand", 'no command is run; use {table}.jump = ["user@bastion.example.com"]'),
        (
            "proxy-host proxy-port proxy-url socks socks-proxy http-proxy",
            'use {table}.proxy = "socks5://proxy.example.com:1080"',
        ),
        ("identity identity-file private-key ssh-key ssh-key-file keyfile pem", "use {table}.key-file"),
        ("pass passwd pwd secret credentials", 'use {table}.password = {{ env = "NAME" }}'),
        ("password-file pass-file", 'use {table}.password = {{ file = "..." }}'),
        ("password-command pass-command", 'use {table}.password = {{ command = ["pass", "shop"] }}'),
        ("password-env pass-env", 'use {table}.password = {{ env = "NAME" }}'),
        (
            "fingerprint host-fingerprint host-key-fingerprint",
            "use {table}.host-key for SSH, {table}.certificate-sha256 for TLS",
        ),
        (
            (
                "insecure verify verify-certificate verify-ssl ssl-verify skip-verify no-check-certificate "
                "ignore-certificate strict-host-key-checking host-key-checking"
            ),
            _CHECKED,
        ),
        ("remote dest destination to dst output out", 'use target.url = "sftp://user@host/dir"'),
        ("local local-dir local-path src from input", 'use source.path = "./public"'),
        ("ignore ignores excludes exclude-glob filter filters skip", 'use sync.exclude = [".git/", "*.tmp"]'),
        ("includes include-glob only", 'use sync.include = ["/docs/a.md"], with sync.exclude for the rest'),
        ("ignore-file exclude-file excludes-from filter-from", 'use sync.exclude-from = ".deployignore"'),
        (
            "threads parallel parallelism transfers checkers workers jobs concurrency connection-limit",
            "use sync.connections = 8",
        ),
        ("dry-run dryrun simulate preview", "it is a command: actorsync plan"),
        ("bandwidth bandwidth-limit rate rate-limit limit-rate speed-limit limit", 'use sync.bwlimit = "2M"'),
        ("interval schedule repeat period cron loop refresh", 'use sync.every = "15m"'),
        ("watch-mode live follow inotify realtime real-time watcher", "use sync.watch = true"),
        ("debounce quiet-period latency", 'use watch.settle = "0.2s"'),
        ("polling poll use-polling", "actorsync polls by itself where changes cannot be noticed; remove it"),
        (
            "mirror prune purge clean delete-extra delete-remote delete-extraneous sync-deletions",
            "use sync.delete = true",
        ),
        ("checksum hash size-only ignore-times update newer", 'use sync.compare = "checksum"'),
        ("chmod perms permissions file-mode dir-mode umask", 'use sync.modes = "0644/0755"'),
        ("symlinks follow-symlinks follow-links copy-links", 'use sync.links = "follow"'),
        ("depth recursion recursive", "use sync.max-depth; all directories are mirrored without it"),
        (
            "timeout timeouts connect-timeout retries retry max-retries keepalive",
            "actorsync waits and tries again by itself; remove it",
        ),
        (
            "atomic temp-file in-place inplace partial-dir",
            "each file is written beside its name and renamed; remove it",
        ),
        ("verbose quiet debug json progress", "it is an option: actorsync run --verbose, --quiet or --json"),
        ("log log-file logfile log-level", "it is an option: actorsync run --log-file FILE"),
        ("audit audits drift", "it is a table: [audit] listings = 50"),
        (
            "metrics prometheus status status-page web http dashboard monitor monitoring",
            'it is a table: [observe] listen = "127.0.0.1:9417"',
        ),
        ("healthcheck healthchecks heartbeat webhook ping-url", 'use observe.ping = "https://hc-ping.com/your-uuid"'),
        ("otel opentelemetry tracing", "use observe.traces = true"),
        ("targets urls remotes destinations servers mirrors", _SEVERAL),
        ("service systemd daemon", "it is a command: actorsync service install"),
        (
            "state state-dir state-name journal cache",
            "the journal has its place in $XDG_STATE_HOME/actorsync; remove it",
        ),
    )
    for name in names.split()
}

#: The same for keys of some tables, where some of these names mean something else. They come first.
_OF_TABLE: Final[dict[str, dict[str, str]]] = {
    "audit": {
        **dict.fromkeys(("enabled", "enable", "disabled", "off", "mode"), "audit.listings = 0 turns audits off"),
        **dict.fromkeys(("interval", "period", "schedule", "repeat"), 'use audit.every = "10m"'),
        **dict.fromkeys(("fix", "action", "mend", "restore"), 'use audit.repair = "fix"'),
        **dict.fromkeys(("count", "number", "directories", "limit"), "use audit.listings = 50"),
    },
    "watch": {
        **dict.fromkeys(("enabled", "enable", "watch", "on", "mode"), "use sync.watch = true"),
        **dict.fromkeys(("delay", "wait", "timeout"), 'use watch.settle = "0.2s"'),
        **dict.fromkeys(("every", "interval", "full-every", "rescan"), 'use watch.reconcile-every = "1h"'),
        **dict.fromkeys(("keepalive", "keep-alive", "warm"), 'use watch.idle = "1m"'),
    },
    "observe": {
        **dict.fromkeys(
            ["address", "bind", "host", "port", "enabled", "enable", "http", "web", "prometheus", "status", "page"],
            'use observe.listen = "127.0.0.1:9417"',
        ),
        **dict.fromkeys(
            ("metrics", "textfile"),
            "use observe.metrics-file for a file; the page of observe.listen has /metrics as well",
        ),
        **dict.fromkeys(["password", "secret", "auth", "key"], 'use observe.token = {{ env = "ACTORSYNC_TOKEN" }}'),
        **dict.fromkeys(("url", "webhook"), 'use observe.ping = "https://hc-ping.com/your-uuid"'),
        **dict.fromkeys(("stale", "max-age", "timeout"), 'use observe.stale-after = "2h"'),
    },
    "target": {"check": "use publish.check, or target.canary-check for a canary"},
}

_FORMS = ("env", "file", "credential", "command", "keyring", "prompt")
_CREDENTIAL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def key(
    reader: Reader,
    example: str = "",
    *,
    doc: str = "",
    default: str | None = None,
    is_text: bool = False,
    is_secret: bool = False,
    schemes: Sequence[str] = (),
    others: str = "",
) -> dict[str, Any]:
    """Return the metadata of a field.

    ``doc`` describes the key and ``example`` shows how it is written: in the template, in docs/profile.md, and in the
    error for a missing key. ``default`` describes a default that the field does not show. ``is_text`` and ``is_secret``
    are for overrides. If ``schemes`` are given, the key is only for them, and ``others`` is the error for other URLs.
    """
    return {
        "reader": reader,
        "example": example,
        "doc": doc,
        "default": default,
        "is_text": is_text,
        "is_secret": is_secret,
        "schemes": schemes,
        "others": others,
    }


def hint_for(unknown: str) -> str | None:
    """Return what to write instead of an unknown key or table that other programs have; None for any other.

    ``unknown`` is ``table.key`` or a name alone, written in any of the ways in use: ``proxyJump``, ``PROXY_JUMP``.
    """
    table, _, name = unknown.rpartition(".")
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower().replace("_", "-")
    if (table, name) == ("target", "path"):
        name = "dir"
    if not table and re.fullmatch(r"target[s_-]?\d+", name):
        return _SEVERAL
    of_table = _OF_TABLE.get(table, {})
    hint = of_table.get(name, None if table == "audit" else HINTS.get(name))
    return None if hint is None else hint.format(table="source" if table == "source" else "target")


def secret_reader(name: str) -> Reader:
    """Return the reader of the secret ``name``. Its errors do not quote the value, which may be a misplaced secret."""

    @takes("[secret](#secrets)")
    def read(value: object, site: Site) -> SecretSource:
        if isinstance(value, str):
            if not value:
                raise ValueError("is empty")
            return Secret(value)
        if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in _FORMS:
            raise ValueError(
                'must be one of { env = "NAME" }, { file = "..." }, { credential = "..." }, { command = ["..."] }, '
                '{ keyring = "..." }, { prompt = true }'
            )
        form, argument = next(iter(value.items()))
        return _source(form, argument, site, site.where(name))

    return read


def _source(form: str, argument: object, site: Site, where: str) -> SecretSource:
    if form == "command":
        if not isinstance(argument, list) or not argument or not all(_is_name(one) for one in argument):
            raise ValueError('command must be a list of strings, run without a shell: { command = ["pass", "shop"] }')
        return CommandSecret(tuple(argument), site.base, where=where)
    if form == "prompt":
        if argument is not True:
            raise ValueError("prompt must be true: { prompt = true }")
        return PromptSecret(where=where)
    if not isinstance(argument, str) or not _is_name(argument):
        raise ValueError(f'{form} must be text: {{ {form} = "..." }}')
    if form == "env":
        return EnvSecret(argument, where=where)
    if form == "file":
        return FileSecret(read_path(argument, site), where=where)
    if form == "credential":
        if not _CREDENTIAL.fullmatch(argument):
            raise ValueError(
                'credential must be a name of letters, digits, ".", "-" and "_": { credential = "password" }'
            )
        return CredentialSecret(argument, where=where)
    return KeyringSecret(argument, where=where)


@takes("table")
def read_options(value: object, site: Site) -> Options:
    """Return the options of a plug-in. Errors do not quote values, which may be secrets."""
    if not isinstance(value, dict):
        raise ValueError('is not a table; write it like options = { region = "eu-central-1" }')  # noqa: TRY004
    values: list[tuple[str, str | int | float | bool]] = []
    secrets: list[tuple[str, SecretSource]] = []
    for name, one in sorted(value.items()):
        if isinstance(one, dict) or (isinstance(one, str) and looks_secret(name)):
            try:
                secrets.append((name, secret_reader(f"options.{name}")(one, site)))
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        elif isinstance(one, str | int | float):
            values.append((name, one))
        else:
            raise ValueError(f'{name} is not a string, a number, true, false or a table such as {{ env = "..." }}')
    return Options(tuple(values), tuple(secrets))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def ssh_key(
    reader: Reader,
    others: str,
    example: str = "",
    *,
    doc: str = "",
    default: str | None = None,
    is_text: bool = False,
    is_secret: bool = False,
) -> dict[str, Any]:
    """Return the metadata of a field for ``sftp://`` only."""
    texts: dict[str, Any] = {"doc": doc, "default": default}
    return key(reader, example, **texts, is_text=is_text, is_secret=is_secret, schemes=("sftp",), others=others)


def tls_key(reader: Reader, others: str, example: str, *, doc: str, default: str | None = None) -> dict[str, Any]:
    """Return the metadata of a field for ``ftpes://`` and ``ftps://`` only."""
    return key(reader, example, doc=doc, default=default, is_text=True, schemes=("ftpes", "ftps"), others=others)
