"""The verbs of a release: files get their final names, or lose them again, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

from actorsync.endpoints.contract import Session, Staged
from actorsync.endpoints.releases import Publication, publish, put_back
from actorsync.errors import OperationRefused
from actorsync.model.kept import Kept
from actorsync.model.operation import Batch, Done, Outcome, Publish, PutBack, Returned
from actorsync.model.trash import Trashed
from actorsync.planning.publishing.trash import is_place

__all__ = ["carry_out"]


async def carry_out(target: Session, batch: Batch) -> list[Outcome]:
    """Return one outcome for each `Publish` or `PutBack` of ``batch``, in order. Raises `ConnectionLost`.

    What the target refuses is returned, as tried: one refusal does not decide about a release. Both verbs find out by
    looking what is done already, so that a batch may be repeated.
    """
    parts = [it for it in batch if isinstance(it, Publish)]
    if parts:
        return await _publish(target, parts)
    return await _put_back(target, [it for it in batch if isinstance(it, PutBack)])


async def _publish(target: Session, parts: Sequence[Publish]) -> list[Outcome]:
    results = await publish(target, [_publication(part) for part in parts])
    return [
        Returned(part, str(result), tried=True)
        if isinstance(result, OperationRefused)
        else Done(part, result.entry, part.kept.source, trashed=_trashed(part, has_old=result.has_old))
        for part, result in zip(parts, results, strict=True)
    ]


async def _put_back(target: Session, parts: Sequence[PutBack]) -> list[Outcome]:
    results = await put_back(target, [_publication(part.published) for part in parts])
    return [
        Returned(part, str(result), tried=True) if isinstance(result, OperationRefused) else Done(part, result)
        for part, result in zip(parts, results, strict=True)
    ]


def _trashed(part: Publish, *, has_old: bool) -> Trashed | None:
    """Return whether the old file is in the trash; None where it was set aside elsewhere."""
    if part.aside is None or not is_place(part.aside):
        return None
    return Trashed(part.path, "replaced" if has_old else "made", part.aside)


def _publication(part: Publish) -> Publication:
    return Publication(_staged(part.kept), part.aside)


def _staged(kept: Kept) -> Staged:
    return Staged(kept.path, kept.temporary, kept.size, kept.mtime_ns, kept.mode)
