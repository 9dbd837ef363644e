"""Committing uploads over SFTP: temporaries get their final names."""

from __future__ import annotations

from collections.abc import Sequence

from actorsync.endpoints.contract import Staged
from actorsync.endpoints.sftp.looks.probe import Prober
from actorsync.endpoints.sftp.spelling import SftpSpellings
from actorsync.endpoints.sftp.wire.connection import SftpConnection
from actorsync.endpoints.shared.paths import aside_of, trial_beside
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp.replies import entry_of
from actorsync.protocols.sftp.requests import seconds

__all__ = ["Renamer"]


class Renamer:
    """Renames temporaries to their final names."""

    def __init__(self, connection: SftpConnection, prober: Prober, spellings: SftpSpellings) -> None:
        self._connection = connection
        self._spellings = spellings
        self._prober = prober

    async def commit(self, staged: Sequence[Staged]) -> list[Entry | OperationRefused]:
        """Rename all in one flight, and return what the server then reports for the final names."""
        results: dict[int, Entry | OperationRefused] = {}
        renames: dict[int, ask.Rename] = {}
        for index, item in enumerate(staged):
            if (refusal := await self._refusal(item)) is not None:
                results[index] = refusal
            else:
                renames[index] = self._rename(item)
        if renames:
            dialogue = ask.commit(list(renames.values()), replaces=self._connection.server.replaces)
            outcomes = await self._connection.requests.run(dialogue)
            for index, outcome in zip(renames, outcomes, strict=True):
                path = staged[index].path
                if isinstance(outcome, OperationRefused):
                    results[index] = await self._prober.explain_name(outcome, path)
                else:
                    results[index] = entry_of(path, outcome) or OperationRefused(
                        "the server does not report what kind of entry has the final name"
                    )
        return [results[index] for index in range(len(staged))]

    async def _refusal(self, item: Staged) -> OperationRefused | None:
        """Return why an upload cannot get its final name, as far as it shows before the rename."""
        if why := self._connection.why_unusable(item.temporary) or self._connection.why_unusable(item.path):
            return OperationRefused(why)
        taken = await self._spellings.claim(item.path)
        if taken is not None:
            await self._connection.remove_file(item.temporary)
        return taken

    def _rename(self, item: Staged) -> ask.Rename:
        absolute = self._connection.absolute
        return ask.Rename(
            absolute(item.temporary),
            absolute(item.path),
            absolute(aside_of(item.temporary)),
            item.size,
            seconds(item.mtime_ns),
            absolute(trial_beside(item.temporary)),
        )
