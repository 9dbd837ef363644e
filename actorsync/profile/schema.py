"""The tables of a profile as frozen classes. Each field is a key (in kebab-case); its metadata says how to read it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal, get_args

import attrs

from actorsync.classes import frozen
from actorsync.planning.modes import Modes
from actorsync.planning.pairs.rules import ConflictRule
from actorsync.planning.removal_guard import Deletion
from actorsync.planning.selection import Selection
from actorsync.profile.audit import AuditTable
from actorsync.profile.release import HooksTable, PublishTable, TrashTable
from actorsync.profile.service import ObserveTable, WatchTable
from actorsync.profile.values.key import key
from actorsync.profile.values.place import BothSecrets, Place, Secrets
from actorsync.profile.values.readers import (
    MOST_CONNECTIONS,
    IgnoreFile,
    choice_reader,
    read_connections,
    read_delete,
    read_duration,
    read_extensions,
    read_ignore_file,
    read_max_delete,
    read_mode_rule,
    read_patterns,
    read_rate,
    read_switch,
    whole_reader,
)
from actorsync.profile.values.release_readers import read_resume
from actorsync.profile.values.units import MaxDelete

__all__ = ["Compare", "Links", "Profile", "Shutdown", "Sync"]

Compare = Literal["times", "size-time", "checksum"]
Mode = Literal["mirror", "two-way"]
Links = Literal["skip", "follow", "error"]
#: The default of ``max-connections``.
_AUTOMATIC = 16


@frozen
class Sync:
    """What to mirror, and how.

    ``every`` is in seconds, None to mirror once. ``bwlimit`` is in bytes per second, None for no limit. With
    ``connections`` at ``"auto"``, the run finds out how many connections help; only then is ``max_connections`` used.
    """

    connections: int | Literal["auto"] = attrs.field(
        default=4,
        metadata=key(
            read_connections,
            'connections = "auto"',
            doc='Number of connections to the target. `"auto"` adds connections while they make the run faster and the '
            "server accepts them.",
        ),
    )
    max_connections: int | None = attrs.field(
        default=None,
        metadata=key(
            whole_reader(1, MOST_CONNECTIONS),
            "max-connections = 32",
            doc='Largest number of connections with `connections = "auto"`.',
            default=f"{_AUTOMATIC}",
        ),
    )
    bwlimit: float | None = attrs.field(
        default=None,
        metadata=key(
            read_rate,
            'bwlimit = "2M"',
            doc="Limit on the file data transferred per second, over all connections.",
            default="no limit",
            is_text=True,
        ),
    )
    every: float | None = attrs.field(
        default=None,
        metadata=key(
            read_duration,
            'every = "15m"',
            doc="Repeat the run at this interval until stopped.",
            default="mirror once",
            is_text=True,
        ),
    )
    watch: bool = attrs.field(
        default=False,
        metadata=key(
            read_switch,
            "watch = true",
            doc="Go on after the first pass, and mirror each change as it happens, until stopped. See `[watch]`.",
        ),
    )
    mode: Mode = attrs.field(
        default="mirror",
        metadata=key(
            choice_reader(get_args(Mode)),
            'mode = "mirror"',
            doc="Make the target a mirror of the source, or carry changes of both sides over to the other one: see "
            "[two-way](two-way.md).",
            is_text=True,
        ),
    )
    conflict: ConflictRule = attrs.field(
        default="both",
        metadata=key(
            choice_reader(get_args(ConflictRule)),
            'conflict = "both"',
            doc='With `mode = "two-way"`: what becomes of a file that both sides have changed. Nothing is done, or '
            "both versions are kept: the rule says which one keeps the name.",
            is_text=True,
        ),
    )
    conflict_copies: int = attrs.field(
        default=10,
        metadata=key(
            whole_reader(1, 1000),
            "conflict-copies = 10",
            doc='With `mode = "two-way"`: how many versions of one file conflicts may leave beside it. After that they '
            "stay as they are, and are reported.",
        ),
    )
    no_links: bool = attrs.field(
        default=False,
        metadata=key(
            read_switch,
            "no-links = false",
            doc='With `mode = "two-way"` or `delete = "everything"`: there are no symbolic links to directories on a '
            "server, so removals are allowed although the server does not show links.",
        ),
    )
    compare: Compare = attrs.field(
        default="times",
        metadata=key(
            choice_reader(get_args(Compare)),
            'compare = "checksum"',
            doc="How to detect changed files: by all their times, by size and time alone, or by checksum.",
            is_text=True,
        ),
    )
    delete: Deletion = attrs.field(
        default=False,
        metadata=key(
            read_delete,
            "delete = true",
            doc='Remove files from the target that are no longer in the source; with `"everything"`, also what '
            "actorsync did not put there.",
        ),
    )
    max_delete: MaxDelete = attrs.field(
        default=MaxDelete(50, is_percent=True),
        metadata=key(
            read_max_delete,
            "max-delete = 500",
            doc="A run that would remove more than this removes nothing and ends with exit code 4.",
        ),
    )
    any_device: bool = attrs.field(
        default=False,
        metadata=key(
            read_switch,
            "any-device = true",
            doc="Allow removals although the source is on another device than in the last run.",
        ),
    )
    exclude: tuple[str, ...] = attrs.field(
        default=(),
        metadata=key(
            read_patterns,
            'exclude = [".git/", "*.tmp", "!keep.tmp"]',
            doc="Patterns to exclude, in gitignore syntax. Excluded entries are neither uploaded nor removed from the "
            "target.",
        ),
    )
    include: tuple[str, ...] = attrs.field(
        default=(),
        metadata=key(
            read_patterns,
            'include = ["/docs/a.md"]',
            doc="Patterns to include even if `exclude`, `exclude-from` or `exclude-extensions` excludes them.",
        ),
    )
    exclude_from: IgnoreFile | None = attrs.field(
        default=None,
        metadata=key(
            read_ignore_file,
            'exclude-from = ".deployignore"',
            doc="A file of patterns, one per line, applied before those of `exclude`.",
            is_text=True,
        ),
    )
    exclude_extensions: tuple[str, ...] = attrs.field(
        default=(),
        metadata=key(
            read_extensions,
            'exclude-extensions = [".bak", ".tar.gz"]',
            doc="File extensions to exclude, in upper or lower case, with or without the dot.",
        ),
    )
    max_depth: int | None = attrs.field(
        default=None,
        metadata=key(
            whole_reader(1),
            "max-depth = 12",
            doc="Maximum depth. Files directly in the source have depth 1; deeper entries are excluded.",
            default="no limit",
        ),
    )
    links: Links = attrs.field(
        default="skip",
        metadata=key(
            choice_reader(get_args(Links)),
            'links = "follow"',
            doc="What to do with symbolic links in the source: skip them, mirror their targets, or count each as a "
            "failure.",
            is_text=True,
        ),
    )

    modes: Modes | None = attrs.field(
        default=None,
        metadata=key(
            read_mode_rule,
            'modes = "0644/0755"',
            doc="Permissions on the target: those of the source, those that a replaced file has there, or fixed ones "
            "for files and directories.",
            default='`"source"` on SFTP servers and this machine; elsewhere permissions are left to the target',
            is_text=True,
        ),
    )

    resume: int | None = attrs.field(
        default=64 << 20,
        metadata=key(
            read_resume,
            'resume = "256M"',
            doc="Smallest size of a file that goes on where it broke off, across connections and runs. `false`: every "
            "file is sent from its beginning.",
            default='`"64M"`',
        ),
    )
    resume_keep: float = attrs.field(
        default=3 * 86_400.0,
        metadata=key(
            read_duration,
            'resume-keep = "1d"',
            doc="How long a part of a file, and what is staged for a release, stays on the target to be continued.",
            is_text=True,
        ),
    )

    @property
    def is_automatic(self) -> bool:
        """Whether the run determines the number of connections."""
        return self.connections == "auto"

    @property
    def most_connections(self) -> int:
        """The largest number of connections of a run."""
        return (self.max_connections or _AUTOMATIC) if self.connections == "auto" else self.connections

    def selection(self) -> Selection:
        """Return the selection of files. Patterns of ``exclude_from`` come first, so ``exclude`` can negate them."""
        lines = self.exclude_from.lines if self.exclude_from else ()
        return Selection((*lines, *self.exclude), self.include, self.exclude_extensions, self.max_depth)


@frozen
class Shutdown:
    """How long each stage of stopping may take, in seconds, before the next one begins."""

    drain: float = attrs.field(
        default=30.0,
        metadata=key(
            read_duration,
            'drain = "2m"',
            doc="How long transfers in progress may take to finish after the first Ctrl-C or SIGTERM.",
            is_text=True,
        ),
    )
    cancel: float = attrs.field(
        default=5.0,
        metadata=key(
            read_duration,
            'cancel = "10s"',
            doc="How long the cleanup may take when the drain has timed out.",
            is_text=True,
        ),
    )


@frozen
class Profile:
    """A valid profile: every value is checked, every path is absolute, secrets are not yet looked up.

    It has one target. A file with several makes a profile for each of them, and ``name`` tells which; ``""`` for the
    only one without a name. ``siblings`` are the places of the other targets of the file: their key files and
    passwords are as private as its own.
    """

    path: Path
    source: Place
    target: Place
    sync: Sync
    audit: AuditTable
    shutdown: Shutdown
    publish: PublishTable
    hooks: HooksTable
    trash: TrashTable
    watch: WatchTable
    observe: ObserveTable
    name: str = ""
    is_canary: bool = False
    canary_check: tuple[str, ...] = ()
    siblings: tuple[Place, ...] = ()

    @property
    def repeats(self) -> bool:
        """Whether a run goes on after its first pass, until it is stopped."""
        return self.sync.watch or self.sync.every is not None

    @property
    def identity(self) -> str:
        """The name of the pair of source and target, 16 hexadecimal digits. It changes when either of them moves."""
        source, target = self.source, self.target
        # A local source is its path alone, so that journals from before remote sources keep their names.
        parts = (*(_parts(source) if source.is_remote else (os.path.realpath(source.path),)), *_parts(target))
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def look_up(self, *, only_source: bool = False) -> BothSecrets:
        """Return the secrets of both sides, read from their sources; see `Place.look_up`."""
        return BothSecrets(self.source.look_up(), Secrets() if only_source else self.target.look_up())

    def answered(self, *, only_source: bool = False) -> Profile:
        """Ask for the secrets that have to be typed, and return the profile with the answers.

        Call it in the main thread, before a live view is drawn; see `Place.answered`.
        """
        source = self.source.answered()
        return attrs.evolve(self, source=source, target=self.target if only_source else self.target.answered())


def _parts(place: Place) -> tuple[str, ...]:
    path = place.path if place.is_remote else os.path.realpath(place.path)
    # Options can be part of the location, like a host name. Secrets are not, and they change.
    options = (f"{name}={value!r}" for name, value in place.options.values)
    # Behind another jump host, the same address may be another server.
    jumps = (f"via {jump.host}:{jump.port}" for jump in place.ways.jump)
    return place.scheme, place.user, place.host, str(place.port), path, *options, *jumps
