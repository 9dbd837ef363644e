"""Intents: what a crash must not forget is in the journal before the target hears of it."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from actorsync.actors.messages import Fact, Registration
from actorsync.endpoints.contract import Staged
from actorsync.model.entry import Entry, join, name_of, parent_of
from actorsync.model.event import Event, Intended, MovesIntended, RemovalIntended, Swept
from actorsync.model.operation import Copy
from actorsync.planning.fingerprint import is_fingerprinted
from actorsync.planning.temporary_names import temporary_name

__all__ = ["FactSender", "Intents"]


@attrs.frozen(eq=False)
class FactSender:
    """One lane's use of the channel to the recorder. The connection owns that end, and closes it."""

    facts: trio.MemorySendChannel[Fact]

    async def tell(self, *events: Event) -> None:
        """Send events, even while the task is being cancelled: the next run misjudges what is not written down.

        The wait is short, because the recorder takes facts until the last sender is closed.
        """
        for event in events:
            try:
                self.facts.send_nowait(event)
            except trio.WouldBlock:
                with trio.CancelScope(shield=True):
                    await self.facts.send(event)

    async def until_durable(self, intended: Intended | RemovalIntended | MovesIntended) -> None:
        """Send an intent, and return when the journal has it on disk."""
        registration = Registration(intended, trio.Event())
        await self.facts.send(registration)
        await registration.durable.wait()


@attrs.frozen
class _Ahead:
    """A temporary that was registered before the turn of its file came."""

    copy: Copy
    temporary: str
    registration: Registration


@attrs.define(eq=False)
class Intents:
    """Registers the temporaries of one lane in the journal. Survives a lost connection, as its lane does.

    A temporary that a lost connection leaves on the target stays registered. The end of this run sweeps it, or the
    next run does. Each attempt uses a new name, because a server may still write to the old one.
    """

    sender: FactSender
    token: Callable[[], str]
    _ahead: _Ahead | None = None

    def register_ahead(self, copy: Copy) -> None:
        """Register the temporary of the next file without waiting; do nothing if the recorder is busy."""
        ahead = self._new(copy)
        try:
            self.sender.facts.send_nowait(ahead.registration)
        except trio.WouldBlock:
            return  # `register` asks again when the turn of the file comes
        self._ahead = ahead

    async def register(self, copy: Copy) -> str:
        """Return the path of a temporary for ``copy``, once the journal has it on disk."""
        if self._ahead is not None and self._ahead.copy is copy:
            ahead, self._ahead = self._ahead, None
        else:
            ahead = self._new(copy)
            await self.sender.facts.send(ahead.registration)
        await ahead.registration.durable.wait()
        return ahead.temporary

    async def register_size(self, staged: Staged, source: Entry) -> None:
        """Register the size of content that was made on the way, which only its end tells.

        This comes before the file gets its final name, so that a crash in between does not forget the size.
        """
        await self.sender.until_durable(Intended((staged.temporary,), attrs.evolve(source, size=staged.size)))

    async def withdraw(self, copy: Copy | None = None) -> None:
        """Report a temporary that was registered ahead, for ``copy`` or for any file, as gone: it is never made."""
        if self._ahead is not None and (copy is None or self._ahead.copy is copy):
            await self.sender.facts.send(Swept((self._ahead.temporary,)))
            self._ahead = None

    def _new(self, copy: Copy) -> _Ahead:
        temporary = join(parent_of(copy.path), temporary_name(name_of(copy.path), self.token()))
        # The size of content that is made on the way is not known yet: see `register_size`.
        intended = Intended((temporary,), None if is_fingerprinted(copy.source) else copy.source)
        return _Ahead(copy, temporary, Registration(intended, trio.Event()))
