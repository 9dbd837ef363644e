"""Permissions over SFTP: of files and directories that the server has already."""

from __future__ import annotations

from collections.abc import Sequence

from actorsync.classes import frozen
from actorsync.endpoints.sftp.wire.connection import SftpConnection
from actorsync.endpoints.shared.symlink_guard import link_refusal
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry, Kind, parent_of
from actorsync.protocols.sftp import dialogues as ask
from actorsync.protocols.sftp.replies import Attributes, Status, entry_of

__all__ = ["ModeSetter"]


@frozen(eq=False)
class ModeSetter:
    """Sets the modes of entries."""

    _connection: SftpConnection

    async def set_modes(self, entries: Sequence[Entry]) -> list[Entry | OperationRefused]:
        """Look at all entries in one flight, and set the modes that differ in the next.

        SETSTAT follows links and replaces setgid: so it is sent only for what was seen to be a file or directory, with
        the upper bits that a directory was seen to have.
        """
        connection = self._connection
        results: dict[int, Entry | OperationRefused] = {}
        links = await connection.find_links(sorted({parent_of(entry.path) for entry in entries}))
        for index, entry in enumerate(entries):
            if why := connection.why_unusable(entry.path):
                results[index] = OperationRefused(why)
            elif link := links.get(parent_of(entry.path)):
                results[index] = link_refusal(link)
        asked = [index for index in range(len(entries)) if index not in results]
        looks = await connection.requests.run(
            ask.lstat_all([connection.absolute(entries[index].path) for index in asked])
        )
        changes: dict[int, int] = {}
        for index, found in zip(asked, looks, strict=True):
            entry, now = entries[index], entry_of(entries[index].path, found) if isinstance(found, Attributes) else None
            if now is None or now.kind is not entry.kind or entry.mode is None:
                results[index] = OperationRefused(f"its mode is not set: {_why(entry, found)}")
            elif now.mode == entry.mode:
                results[index] = now
            else:
                assert isinstance(found, Attributes)
                upper = (found.permissions or 0) & 0o7000 if entry.kind is Kind.DIRECTORY else 0
                changes[index] = entry.mode | upper
        dialogue = ask.set_modes([(connection.absolute(entries[index].path), mode) for index, mode in changes.items()])
        for index, (status, found) in zip(changes, await connection.requests.run(dialogue), strict=True):
            results[index] = self._judge(entries[index], status, found)
        return [results[index] for index in range(len(entries))]

    def _judge(self, entry: Entry, status: Status, found: Attributes | Status) -> Entry | OperationRefused:
        now = entry_of(entry.path, found) if isinstance(found, Attributes) else None
        if now is None:
            return OperationRefused(f"its mode is not set: {_why(entry, found)}")
        if now.mode != entry.mode:
            reason = "the server ignores it" if status.is_ok else f"the server refuses it: {status}"
            self._connection.knowledge.unset_modes.note(entry.path, reason)
        return now


def _why(entry: Entry, found: Attributes | Status) -> str:
    if isinstance(found, Status):
        return f"the server does not show it: {found}"
    return f"it is no {entry.kind.value} any more"
