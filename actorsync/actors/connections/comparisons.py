"""Comparisons: whether the target has the content that would be sent. Nothing is changed, and no doubt is adopted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import attrs

from actorsync.actors.connections.context import ConnectionContext
from actorsync.actors.connections.digest import HashingContent
from actorsync.actors.statistics import LaneLevel
from actorsync.classes import frozen
from actorsync.endpoints.content_hash import ContentHash, content_hashes
from actorsync.endpoints.contract import Content, ReadSession, Session
from actorsync.errors import OperationRefused, SourceLost
from actorsync.model.entry import Record
from actorsync.model.operation import Batch, Compare, Done, Outcome, Returned, Skipped
from actorsync.planning.content_check import MOST_HASHED, Network, Way, way_to_compare
from actorsync.planning.modes import mode_to_set
from actorsync.planning.reconcile import is_racy

__all__ = ["Comparisons"]

#: Bytes that are compared at once.
_PIECE: Final = 256 * 1024

_DIFFERENT: Final = "the target has another content"


@frozen(eq=False)
class Comparisons:
    """Carries out the comparisons of one lane.

    Nothing is kept between two calls. When the connection is lost, the lane calls again with the next session.
    """

    context: ConnectionContext
    level: LaneLevel

    async def carry_out(self, target: Session, batch: Batch) -> list[Outcome]:
        """Return one outcome for each comparison of ``batch``, in order. Raises `ConnectionLost`."""
        self.level.show("comparing")
        compares = [operation for operation in batch if isinstance(operation, Compare)]
        hashes = await self._hashes(target, compares)
        async with self.context.compared.open_session() as source:
            return [await self._compare(source, target, compare, hashes.get(compare.path)) for compare in compares]

    @property
    def _network(self) -> Network:
        context = self.context
        return Network(context.compared.capabilities.is_remote, context.target.capabilities.is_remote)

    async def _hashes(self, target: Session, compares: Sequence[Compare]) -> dict[str, ContentHash]:
        """Return the hashes that the server computes, by path."""
        network = self._network
        files = [
            compare.target
            for compare in compares
            if compare.target.size <= MOST_HASHED
            and way_to_compare(compare.source, compare.target, network, is_hashed=True) is Way.HASH
        ]
        if not files or self.context.shutdown.draining.is_set():
            return {}
        hashes = await content_hashes(target, files)
        return {file.path: found for file, found in zip(files, hashes, strict=True) if found is not None}

    async def _compare(
        self, source: ReadSession, target: Session, compare: Compare, found: ContentHash | None
    ) -> Outcome:
        if self.context.shutdown.draining.is_set():
            return Returned(compare, "the run is stopping")
        way = way_to_compare(compare.source, compare.target, self._network, is_hashed=found is not None)
        if way is Way.SEND:
            return Skipped(compare, "not compared: the target has another time, and reading costs as much as sending")
        try:
            async with source.open(compare.path) as opened:
                ours = HashingContent(opened)
                if found is not None:
                    is_same = await _has_hash(ours, compare.target.size, found)
                else:
                    async with target.open(compare.path) as there:
                        is_same = await self._is_equal(ours, there)
                if is_same and await opened.is_unchanged():
                    return self._equal(compare, ours)
        except SourceLost as lost:
            return Returned(compare, str(lost), tried=True)
        except OperationRefused as refusal:
            return Skipped(compare, f"cannot be compared: {refusal}")
        return Skipped(compare, _DIFFERENT)

    def _equal(self, compare: Compare, ours: HashingContent) -> Done:
        """Return the outcome for a file that the target has as it would be sent."""
        context, entry, digest = self.context, ours.entry, ours.digest()
        mode = compare.source.mode if entry.mode is None else entry.mode
        if mode_to_set(attrs.evolve(entry, mode=mode), Record(None, compare.target), context.modes) is not None:
            mode = None  # not yet: the planner has it set, and so does the next run if this one dies before that
        return Done(
            compare,
            compare.target,
            attrs.evolve(entry, mode=mode),
            digest if is_racy(entry, context.wall_clock_ns()) else None,
            checksum=digest if context.by_content else None,
        )

    async def _is_equal(self, ours: Content, there: Content) -> bool:
        """Return whether two files have the same content."""
        if ours.size not in {None, there.entry.size}:
            return False
        is_same = True
        while is_same and (piece := await ours.read(_PIECE)):
            is_same = await self._read(there, len(piece)) == piece
        is_same = is_same and not await there.read(1)
        if not is_same and self.context.target.capabilities.is_remote and self.context.target.capabilities.lanes == 1:
            # A session that carries one thing at a time may lose its connection when a transfer is broken off.
            while await self._read(there, _PIECE):
                pass
        return is_same

    async def _read(self, there: Content, count: int) -> bytes:
        """Return so many bytes of a file on the target, fewer at its end. Waits for the bandwidth limit.

        Bytes from a source on a server have waited for it already.
        """
        context, data = self.context, b""
        bandwidth = context.statistics.bandwidth
        is_limited = context.target.capabilities.is_remote and not context.compared.capabilities.is_remote
        while len(data) < count:
            most = count - len(data)
            piece = await there.read(most if bandwidth is None or not is_limited else await bandwidth.admit(most))
            if not piece:
                break
            data += piece
        return data


async def _has_hash(ours: Content, size: int, found: ContentHash) -> bool:
    """Return whether a file of the source has the hash of a file of ``size`` bytes on the target."""
    if ours.size not in {None, size}:
        return False
    computed = hashlib.new(found.algorithm)
    while piece := await ours.read(_PIECE):
        computed.update(piece)
    return computed.digest() == found.digest
