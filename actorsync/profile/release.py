"""The tables ``[publish]``, ``[hooks]`` and ``[trash]``: how files arrive, what is done around it, what is kept."""

from __future__ import annotations

from typing import Literal, get_args

import attrs

from actorsync.classes import frozen
from actorsync.planning.publishing.ranks import DEFAULT, Ranks
from actorsync.profile.values.key import key
from actorsync.profile.values.readers import choice_reader, read_duration, read_switch
from actorsync.profile.values.release_readers import (
    Maintenance,
    read_argv,
    read_maintenance,
    read_order,
    read_size,
    read_trash_path,
)

__all__ = ["HooksTable", "Mode", "PublishTable", "TrashTable"]

Mode = Literal["file", "burst"]


@frozen
class PublishTable:
    """How files get their final names. ``remove_after`` is in seconds."""

    mode: Mode = attrs.field(
        default="file",
        metadata=key(
            choice_reader(get_args(Mode)),
            'mode = "burst"',
            doc="File by file as they are sent, or all at once when everything is on the target.",
            is_text=True,
        ),
    )
    order: Ranks = attrs.field(
        default=DEFAULT,
        metadata=key(
            read_order,
            'order = [["*.html"], ["index.html", "sw.js"]]',
            doc="Which files arrive after which others: patterns in gitignore syntax for each rank after the first. "
            "What matches none arrives first; what matches several has the last of them. `[]`: in no order.",
            default="assets, other files, pages, then `index.*`, service workers, feeds and manifests",
        ),
    )
    remove_after: float = attrs.field(
        default=0.0,
        metadata=key(
            read_duration,
            'remove-after = "10m"',
            doc="How much longer files stay on the target that are gone from the source: open pages may load them.",
            is_text=True,
        ),
    )
    keep_old: bool = attrs.field(
        default=True,
        metadata=key(
            read_switch,
            "keep-old = true",
            doc='With `mode = "burst"`: keep the old files until the release is complete, to be able to roll it back.',
        ),
    )
    check: tuple[str, ...] = attrs.field(
        default=(),
        metadata=key(
            read_argv,
            'check = ["curl", "--fail", "https://www.example.com/"]',
            doc='With `mode = "burst"`: a program that is run after the burst. If it fails, the burst is rolled back.',
        ),
    )
    maintenance: Maintenance | None = attrs.field(
        default=None,
        metadata=key(
            read_maintenance,
            'maintenance = { put = ".maintenance", while = "commit" }',
            doc='With `mode = "burst"`: an empty file that is on the target during the burst.',
            default="none",
        ),
    )


@frozen
class HooksTable:
    """Programs that are run around the changes of a run, and only if there are any."""

    before_commit: tuple[str, ...] = attrs.field(
        default=(),
        metadata=key(
            read_argv,
            'before-commit = ["./backup-database"]',
            doc="A program that is run before the first change can be seen on the target. If it fails, none is made.",
        ),
    )
    after: tuple[str, ...] = attrs.field(
        default=(),
        metadata=key(
            read_argv,
            'after = ["./purge-cache"]',
            doc="A program that is run after a run that has changed something.",
        ),
    )


@frozen
class TrashTable:
    """Where what would be overwritten or removed goes. ``keep`` is in seconds, ``max_size`` in bytes."""

    path: str | None = attrs.field(
        default=None,
        metadata=key(
            read_trash_path,
            'path = "../.trash"',
            doc="A directory of the target's server, relative to the target: what a run would overwrite or remove is "
            "moved there.",
            default="no trash",
            is_text=True,
        ),
    )
    keep: float = attrs.field(
        default=7 * 86_400.0,
        metadata=key(read_duration, 'keep = "30d"', doc="How long old versions stay in the trash.", is_text=True),
    )
    max_size: int | None = attrs.field(
        default=None,
        metadata=key(
            read_size,
            'max-size = "2G"',
            doc="Largest size of the trash; the oldest runs are removed from it first.",
            default="no limit",
            is_text=True,
        ),
    )
    inside_target: bool = attrs.field(
        default=False,
        metadata=key(
            read_switch,
            "inside-target = true",
            doc="Allow a path below the target, where a web server may show what is in the trash.",
        ),
    )
