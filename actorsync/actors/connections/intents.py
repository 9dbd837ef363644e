"""The intents of a lane: the names of temporaries, recorded in the journal before the temporaries are made."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from actorsync.actors.connections.facts import FactChannel, make_durable
from actorsync.actors.messages import Registration
from actorsync.classes import define, frozen
from actorsync.endpoints.contract import Staged
from actorsync.model.entry import Entry, join, name_of, parent_of
from actorsync.model.event import Intended, Swept
from actorsync.model.operation import Copy, Sending, Side
from actorsync.model.trash import Trashed
from actorsync.planning.fingerprint import is_fingerprinted
from actorsync.planning.temporary_names import kept_name, temporary_name

__all__ = ["Intents", "telling"]


def telling(over: Entry, proof: bytes | None) -> Entry:
    """Return what is to be set aside as the journal is to know it: ``proof``, as in `Copy`, says if its time tells."""
    return over if proof is None else attrs.evolve(over, mtime_ns=None)


@frozen
class _Ahead:
    """A registration for a copy whose turn has not come."""

    copy: Sending
    intended: Intended
    registration: Registration


@define(eq=False)
class Intents:
    """Owns the registrations of one lane.

    A registered temporary that is left behind is swept at the end of the run, or by the next run. That holds after a
    lost connection too. Each attempt registers a new name, because a server may go on writing to the old one after
    the connection is lost.

    One registration may be made ahead of its turn. It survives a lost connection, like the batch it belongs to. A name
    that `register` has returned does not: the next attempt calls `register` again.
    """

    _facts: FactChannel
    _token: Callable[[], str]
    _place: Callable[[], str] | None = None
    """Returns a place in the trash; None where old files are overwritten."""
    side: Side = Side.TARGET
    is_careful: bool = False
    """Whether an old file is set aside before it is replaced: its name is registered together with the temporary."""
    _ahead: _Ahead | None = attrs.field(default=None, init=False)
    trashed: Trashed | None = attrs.field(default=None, init=False)
    """Where an old file goes that is replaced by the file registered last."""
    aside: str | None = attrs.field(default=None, init=False)
    """In a two-way run: where it is set aside."""

    def register_ahead(self, copy: Sending) -> None:
        """Send the registration for ``copy``, unless the recorder is busy. `register` then waits for it."""
        ahead = self._new(copy)
        try:
            self._facts.send_nowait(ahead.registration)
        except trio.WouldBlock:
            return  # `register` sends another one when the turn of the file comes
        self._ahead = ahead

    async def register(self, copy: Sending) -> str:
        """Return the path of a new temporary for ``copy``, once a crash cannot lose its registration."""
        if self._ahead is not None and self._ahead.copy is copy:
            ahead, self._ahead = self._ahead, None
        else:
            ahead = self._new(copy)
            await self._facts.send(ahead.registration)
        await ahead.registration.durable.wait()
        self.trashed = ahead.intended.trashed
        self.aside = next(iter(ahead.intended.temporaries[1:]), None)
        return ahead.intended.temporaries[0]

    async def register_again(self, copy: Sending, temporary: str, source: Entry) -> None:
        """Take up a temporary that the journal knows already, made from ``source``.

        A place in the trash belongs to one attempt: an old file that goes there is registered before it does.
        """
        self.trashed = self._to_be_trashed(copy)
        if self.trashed is not None:
            await make_durable(self._facts, Intended((temporary,), source, self.trashed, side=self.side))

    def _to_be_trashed(self, copy: Sending) -> Trashed | None:
        if self._place is None or not isinstance(copy, Copy) or (self.is_careful and copy.over is None):
            return None
        return Trashed(copy.path, "replaced", self._place(), copy.over if self.is_careful else None)

    def _new(self, copy: Sending) -> _Ahead:
        path = join(parent_of(copy.path), temporary_name(name_of(copy.path), self._token()))
        # The size of transformed content is not known yet: `register_size` records it later.
        source = None if is_fingerprinted(copy.source) else copy.source
        paths: tuple[str, ...] = (path,)
        over = None
        if self.is_careful and isinstance(copy, Copy) and copy.over is not None:
            paths = (path, join(parent_of(copy.path), kept_name(name_of(copy.path), self._token())))
            over = telling(copy.over, copy.proof)
        intended = Intended(paths, source, self._to_be_trashed(copy), over=over, side=self.side)
        return _Ahead(copy, intended, Registration(intended, trio.Event()))

    async def register_size(self, staged: Staged, source: Entry) -> None:
        """Record the size of transformed content before the file gets its final name.

        Without it, the run after a crash could not recognize the file under its final name.
        """
        sized = attrs.evolve(source, size=staged.size)
        await make_durable(self._facts, Intended((staged.temporary,), sized, side=self.side))

    async def unregister(self, copy: Sending | None = None) -> None:
        """Withdraw the registration made ahead, because its temporary will not be made.

        If ``copy`` is given, only the registration for that copy is withdrawn.
        """
        if self._ahead is not None and (copy is None or copy is self._ahead.copy):
            await self._facts.send(Swept(self._ahead.intended.temporaries, side=self.side))
            self._ahead = None
