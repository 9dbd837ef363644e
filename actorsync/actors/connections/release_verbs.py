"""The verbs of a release: files get their final names, or lose them again, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from actorsync.actors.connections.context import ConnectionContext
from actorsync.actors.connections.facts import FactChannel, make_durable
from actorsync.endpoints.contract import Session, Staged, Upload
from actorsync.endpoints.own_content import OwnContent
from actorsync.endpoints.releases import Publication, Published, publish, put_back
from actorsync.errors import OperationRefused
from actorsync.model.entry import join, name_of, parent_of
from actorsync.model.event import Intended
from actorsync.model.kept import Kept
from actorsync.model.operation import Batch, Done, Maintain, Outcome, Publish, PutBack, Returned
from actorsync.model.trash import Trashed
from actorsync.planning.publishing.trash import is_place
from actorsync.planning.temporary_names import temporary_name

__all__ = ["carry_out", "maintain"]


async def carry_out(target: Session, batch: Batch) -> list[Outcome]:
    """Return one outcome for each `Publish` or `PutBack` of ``batch``, in order. Raises `ConnectionLost`.

    What the target refuses is returned, as tried: one refusal does not decide about a release. Both verbs find out by
    looking what is done already, so that a batch may be repeated.
    """
    parts = [it for it in batch if isinstance(it, Publish)]
    if parts:
        return await _publish(target, parts)
    return await _put_back(target, [it for it in batch if isinstance(it, PutBack)])


async def maintain(target: Session, part: Maintain, context: ConnectionContext, facts: FactChannel) -> Outcome:
    """Put the file that is there during a release, or remove it. The journal has its names before the target."""
    if not part.begins:
        (gone,) = await target.sweep([part.path])
        return Returned(part, str(gone), tried=True) if isinstance(gone, OperationRefused) else Done(part)
    name = temporary_name(name_of(part.path), context.token())
    temporary = join(parent_of(part.path), name)
    await make_durable(facts, Intended((temporary, part.path)))
    # A stamp of a two-way run tells by its time which clock the target has.
    nothing = OwnContent(b"", context.wall_clock_ns() if context.clocks is None else None)
    staged, _ = await target.stage(Upload(part.path, temporary, nothing))
    (result,) = (staged,) if isinstance(staged, OperationRefused) else await target.commit([staged])
    if isinstance(result, OperationRefused):
        return Returned(part, str(result), tried=True)
    return Done(part, result, temporary=temporary)


async def _publish(target: Session, parts: Sequence[Publish]) -> list[Outcome]:
    results = await publish(target, [_publication(part) for part in parts])
    return [
        Returned(part, str(result), tried=True) if isinstance(result, OperationRefused) else _published(part, result)
        for part, result in zip(parts, results, strict=True)
    ]


async def _put_back(target: Session, parts: Sequence[PutBack]) -> list[Outcome]:
    results = await put_back(target, [_publication(part.published) for part in parts])
    return [
        Returned(part, str(result), tried=True) if isinstance(result, OperationRefused) else Done(part, result)
        for part, result in zip(parts, results, strict=True)
    ]


def _published(part: Publish, result: Published) -> Done:
    """Return the outcome of a part that has its final name. One that has replaced nothing has set nothing aside."""
    trashed = None if result.lost_old else _trashed(part, has_old=result.has_old)
    if not result.has_old and trashed is None:
        part = attrs.evolve(part, aside=None)
    return Done(part, result.entry, part.kept.source, trashed=trashed)


def _trashed(part: Publish, *, has_old: bool) -> Trashed | None:
    """Return whether the old file is in the trash; None where it was set aside elsewhere."""
    if part.aside is None or not is_place(part.aside):
        return None
    return Trashed(part.path, "replaced" if has_old else "made", part.aside)


def _publication(part: Publish) -> Publication:
    return Publication(_staged(part.kept), part.aside)


def _staged(kept: Kept) -> Staged:
    return Staged(kept.path, kept.temporary, kept.size, kept.mtime_ns, kept.mode)
