"""The tables ``[source]`` and ``[target]``: where the two sides are, and how to log in there."""

from __future__ import annotations

from pathlib import Path

import attrs

from actorsync.classes import frozen
from actorsync.profile.login import LoginTable
from actorsync.profile.values.key import key, ssh_key
from actorsync.profile.values.place import Place
from actorsync.profile.values.readers import read_path, read_switch, read_url
from actorsync.profile.values.release_readers import read_argv
from actorsync.profile.values.service_readers import read_name

__all__ = ["SourceTable", "TargetTable"]

_URL = 'url = "sftp://deploy@www.example.com/srv/www"'


@frozen(kw_only=True)
class SourceTable(LoginTable):
    """The table ``[source]`` as it is written: ``path`` or ``url``. ``Profile.source`` is the resulting place."""

    path: Path | None = attrs.field(
        default=None,
        metadata=key(
            read_path,
            'path = "./public"',
            doc="The local directory to mirror. Either this or `source.url` is required.",
            default="",
            is_text=True,
        ),
    )
    url: Place | None = attrs.field(
        default=None,
        metadata=key(
            read_url,
            _URL,
            doc="The remote directory to mirror, instead of `source.path`. Written like `target.url`; takes the same "
            "login keys as `[target]`.",
            default="",
            is_text=True,
        ),
    )


@frozen(kw_only=True)
class TargetTable(LoginTable):
    """The table ``[target]``, or one of several ``[[target]]``. ``Profile.target`` is the resulting place."""

    name: str = attrs.field(
        default="",
        metadata=key(
            read_name,
            'name = "berlin"',
            doc="The name of the target. Required where there are several: each of them is a table `[[target]]`.",
            default="none",
            is_text=True,
        ),
    )
    canary: bool = attrs.field(
        default=False,
        metadata=key(
            read_switch,
            "canary = true",
            doc='With several targets and `publish.mode = "burst"`: this target goes first. The others send their '
            "files meanwhile, and publish them only when this one has published and passed `canary-check`.",
        ),
    )
    canary_check: tuple[str, ...] = attrs.field(
        default=(),
        metadata=key(
            read_argv,
            'canary-check = ["curl", "--fail", "https://canary.example.com/"]',
            doc="A program that is run when the canary has published. If it fails, the other targets stay as they are.",
        ),
    )

    fsync: bool | None = attrs.field(
        default=None,
        metadata=ssh_key(
            read_switch,
            "only sftp:// can ask the server to flush a file to its disk",
            "fsync = true",
            doc="Ask the server to flush each file to disk before it is renamed to its final name.",
            default="`false`",
        ),
    )
    url: Place = attrs.field(
        metadata=key(
            read_url,
            _URL,
            doc="Where the mirror is: a URL or a local directory. Schemes: `sftp://`, `ftpes://` (FTP with explicit "
            "TLS), `ftps://` (implicit TLS) and `ftp://` (unencrypted). The path of `sftp://user@host:port/dir` is "
            "absolute, and `/~/dir` is in the login directory. With the others, `/dir` is in the login directory, and "
            "`//dir` is absolute.",
            is_text=True,
        )
    )
