"""What a profile says, as frozen classes. Each field is a key (in kebab-case); its metadata is how it is read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal, get_args

import attrs

from actorsync.planning.selection import Selection
from actorsync.profile.login import LoginTable, key, ssh_key
from actorsync.profile.place import BothSecrets, Place, Secrets
from actorsync.profile.readers import (
    MOST_CONNECTIONS,
    IgnoreFile,
    choice_reader,
    read_connections,
    read_duration,
    read_extensions,
    read_ignore_file,
    read_max_delete,
    read_path,
    read_patterns,
    read_rate,
    read_switch,
    read_url,
    whole_reader,
)
from actorsync.profile.units import MaxDelete

__all__ = ["Compare", "Links", "Profile", "Shutdown", "SourceTable", "Sync", "TargetTable"]

Compare = Literal["times", "checksum"]
Links = Literal["skip", "follow", "error"]
#: The most connections that a run takes which finds out how many are of use, unless the profile says otherwise.
_AUTOMATIC = 16
_URL = 'url = "sftp://deploy@www.example.com/www"'


@attrs.frozen(kw_only=True)
class SourceTable(LoginTable):
    """The table ``[source]`` as it is written, with one of the two; ``Profile.source`` is all of it put together."""

    path: Path | None = attrs.field(
        default=None,
        metadata=key(
            read_path,
            'path = "./public"',
            doc="The directory of this machine that is mirrored.",
            default="",
            is_text=True,
        ),
    )
    url: Place | None = attrs.field(
        default=None,
        metadata=key(
            read_url,
            _URL,
            doc="Or instead of it, the directory on a server that is mirrored, in the forms of `target.url`; with it "
            "go the keys that `[target]` has for a login.",
            default="",
            is_text=True,
        ),
    )


@attrs.frozen(kw_only=True)
class TargetTable(LoginTable):
    """The table ``[target]`` as it is written; ``Profile.target`` is all of it put together."""

    fsync: bool | None = attrs.field(
        default=None,
        metadata=ssh_key(
            read_switch,
            "only sftp:// can ask the server to flush a file to its disk",
            "fsync = true",
            doc="Ask the server to write each file to its disk before it gets its final name.",
            default="`false`",
        ),
    )
    url: Place = attrs.field(
        metadata=key(
            read_url,
            _URL,
            doc="Where the mirror is: `sftp://user@host:port/dir`, relative to the login directory, where `//dir` is "
            "absolute; `ftpes://` (FTP with TLS), `ftps://` (the same on a port of its own), `ftp://` (in clear); or a "
            "directory of this machine.",
            is_text=True,
        )
    )


@attrs.frozen
class Sync:
    """What is mirrored, and how. Durations are in seconds; ``every`` is None for a run that is done once.

    ``bwlimit`` is in bytes a second, None for no limit.
    ``connections`` is ``"auto"`` where the run finds out how many are of use; ``max_connections`` is only for that.
    """

    connections: int | Literal["auto"] = attrs.field(
        default=4,
        metadata=key(
            read_connections,
            'connections = "auto"',
            doc='How many connections to the target; `"auto"` takes as many as make the run quicker and the server '
            "lets in.",
        ),
    )
    max_connections: int | None = attrs.field(
        default=None,
        metadata=key(
            whole_reader(1, MOST_CONNECTIONS),
            "max-connections = 32",
            doc='The most that `connections = "auto"` takes.',
            default=f"{_AUTOMATIC}",
        ),
    )
    bwlimit: float | None = attrs.field(
        default=None,
        metadata=key(
            read_rate,
            'bwlimit = "2M"',
            doc="The most file data to move in a second, over all connections.",
            default="no limit",
            is_text=True,
        ),
    )
    every: float | None = attrs.field(
        default=None,
        metadata=key(
            read_duration,
            'every = "15m"',
            doc="Mirror again, this often, until stopped.",
            default="once",
            is_text=True,
        ),
    )
    compare: Compare = attrs.field(
        default="times",
        metadata=key(
            choice_reader(get_args(Compare)),
            'compare = "checksum"',
            doc="How to tell whether a file has changed: by its times, or, where they differ, by its checksum as well.",
            is_text=True,
        ),
    )
    delete: bool = attrs.field(
        default=False,
        metadata=key(
            read_switch,
            "delete = true",
            doc="Remove from the target what is no longer in the source.",
        ),
    )
    max_delete: MaxDelete = attrs.field(
        default=MaxDelete(50, is_percent=True),
        metadata=key(
            read_max_delete,
            "max-delete = 500",
            doc="A run that would remove more than this removes nothing, and ends with exit code 4.",
        ),
    )
    exclude: tuple[str, ...] = attrs.field(
        default=(),
        metadata=key(
            read_patterns,
            'exclude = [".git/", "*.tmp", "!keep.tmp"]',
            doc="What to leave alone, on both sides, in gitignore syntax: it is not sent, and not removed from the "
            "target.",
        ),
    )
    include: tuple[str, ...] = attrs.field(
        default=(),
        metadata=key(
            read_patterns,
            'include = ["/docs/a.md"]',
            doc="What takes part although `exclude`, `exclude-from` or `exclude-extensions` say otherwise.",
        ),
    )
    exclude_from: IgnoreFile | None = attrs.field(
        default=None,
        metadata=key(
            read_ignore_file,
            'exclude-from = ".deployignore"',
            doc="A file of patterns, one a line, that come before those of `exclude`.",
            is_text=True,
        ),
    )
    exclude_extensions: tuple[str, ...] = attrs.field(
        default=(),
        metadata=key(
            read_extensions,
            'exclude-extensions = [".bak", ".tar.gz"]',
            doc="Files to leave alone by the end of their names, upper or lower case, with or without the dot.",
        ),
    )
    max_depth: int | None = attrs.field(
        default=None,
        metadata=key(
            whole_reader(1),
            "max-depth = 12",
            doc="How deep to go: files directly in the source have depth 1, and what is deeper is left alone.",
            default="no limit",
        ),
    )
    links: Links = attrs.field(
        default="skip",
        metadata=key(
            choice_reader(get_args(Links)),
            'links = "follow"',
            doc="What to do with symbolic links in the source: leave them alone, mirror what they lead to, or count "
            "each as a failure.",
            is_text=True,
        ),
    )

    @property
    def is_automatic(self) -> bool:
        """Whether the run finds out how many connections are of use."""
        return self.connections == "auto"

    @property
    def most_connections(self) -> int:
        """How many connections a run may keep."""
        return (self.max_connections or _AUTOMATIC) if self.connections == "auto" else self.connections

    def selection(self) -> Selection:
        """What takes part in the run. The lines of ``exclude_from`` come first, so ``exclude`` can take them back."""
        lines = self.exclude_from.lines if self.exclude_from else ()
        return Selection((*lines, *self.exclude), self.include, self.exclude_extensions, self.max_depth)


@attrs.frozen
class Shutdown:
    """How long, in seconds, each way of stopping may take before the next harder one."""

    drain: float = attrs.field(
        default=30.0,
        metadata=key(
            read_duration,
            'drain = "2m"',
            doc="After the first Ctrl-C or SIGTERM: how long to finish what is in flight.",
            is_text=True,
        ),
    )
    cancel: float = attrs.field(
        default=5.0,
        metadata=key(
            read_duration,
            'cancel = "10s"',
            doc="When the drain took too long: how long to clean up.",
            is_text=True,
        ),
    )


@attrs.frozen
class Profile:
    """A profile that can be used: every value checked, every path absolute, the secrets not yet looked up."""

    path: Path
    source: Place
    target: Place
    sync: Sync
    shutdown: Shutdown

    @property
    def identity(self) -> str:
        """Names the pair of source and target: the same for as long as neither moves, 16 hexadecimal digits."""
        source, target = self.source, self.target
        # A directory as source is its path alone, as it was before a source could be anything else.
        parts = (*(_parts(source) if source.is_remote else (os.path.realpath(source.path),)), *_parts(target))
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def look_up(self, *, only_source: bool = False) -> BothSecrets:
        """Get the secrets of both sides from where they are; see `Place.look_up`."""
        return BothSecrets(self.source.look_up(), Secrets() if only_source else self.target.look_up())

    def answered(self, *, only_source: bool = False) -> Profile:
        """Ask for the secrets that have to be typed, and give the profile with the answers in it.

        See `Place.answered`: it is for the main thread, before a screen is drawn.
        """
        source = self.source.answered()
        return attrs.evolve(self, source=source, target=self.target if only_source else self.target.answered())


def _parts(place: Place) -> tuple[str, ...]:
    path = place.path if place.is_remote else os.path.realpath(place.path)
    # Options may say where it is, as the address of a server does. Secrets never do, and are changed now and then.
    options = (f"{name}={value!r}" for name, value in place.options.values)
    return place.scheme, place.user, place.host, str(place.port), path, *options
