"""Sessions that stay logged in between passes: the next pass need not connect.

Each session is opened and closed by a task of its own, because the pass that uses it ends before it does. A session
that is idle is kept alive. Before it is used again it is asked whether it still works: a server that has closed it
meanwhile costs one login, and no failure.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from actorsync.classes import define
from actorsync.endpoints.contract import Endpoint, Session, keeping_logins
from actorsync.endpoints.keeping import KeepsAlive, begin_pass
from actorsync.endpoints.wrappers.base import EndpointWrapper
from actorsync.errors import ActorsyncError, ConnectionLost
from actorsync.planning.admission.ceiling import Share

__all__ = ["WarmEndpoint"]

#: Seconds without a request after which an idle session is kept alive. Some firewalls forget a connection in a minute.
KEEP_ALIVE: Final = 15.0
#: Seconds in which an idle session must answer. A silent one is given up.
_ANSWER: Final = 5.0
#: Seconds after its last answer in which a session is used again without a question. More than changes wait at most
#: before they are mirrored, by default: so `WarmEndpoint.refresh` saves the question.
_FRESH: Final = 3.0
#: Seconds after its last answer in which `WarmEndpoint.refresh` does not ask it.
_NEW: Final = 1.0
#: Seconds that sessions have to say goodbye.
_GOODBYE: Final = 1.0


@define(eq=False)
class WarmEndpoint(EndpointWrapper[Endpoint]):
    """The endpoint ``real``, whose sessions stay open for ``idle`` seconds after their use. Use it while
    `run` goes on.

    A session that was left with an error is closed, and so is one that cannot be kept alive. There are never more
    sessions than were in use at once: a new one is opened only if none is idle.
    """

    idle: float
    share: Share = attrs.Factory(Share)
    """The logins that it may have, and is told how many there are."""
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _idle: list[_Held] = attrs.field(factory=list, init=False)
    _prepared: _Held | None = attrs.field(default=None, init=False)
    _open: set[_Held] = attrs.field(factory=set, init=False)
    _has_ended: bool = attrs.field(default=False, init=False)
    """Whether no session is opened any more."""
    _ending: trio.Event = attrs.field(factory=trio.Event, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold sessions open until `end`. Where each login needs a code, one login is kept for all of them."""
        self.share.let_go = self.let_go
        async with keeping_logins(self.real), trio.open_nursery() as self._nursery:
            try:
                task_status.started()
                await self._ending.wait()
            finally:
                self._has_ended = True
            idle = [*self._idle, *([] if self._prepared is None else [self._prepared])]
            with trio.move_on_after(_GOODBYE):
                for held in idle:
                    held.close()
                for held in idle:
                    await held.ended.wait()
            self._nursery.cancel_scope.cancel()
        self._ended.set()

    async def end(self) -> None:
        """Let the idle sessions say goodbye, for a second at most, and end `run`. No session is in use."""
        self._ending.set()
        await self._ended.wait()

    def start_pass(self, most: int) -> None:
        """Forget what was seen of the tree, and keep no more than ``most`` idle sessions."""
        begin_pass(self.real)
        self.let_go(len(self._idle) - most)

    def let_go(self, count: int) -> None:
        """Close the ``count`` sessions that have been idle for longest, if there are as many. Does not wait."""
        for held in self._idle[: max(0, count)]:
            self._idle.remove(held)
            held.close()
        self._note()

    def refresh(self) -> None:
        """Ask the idle sessions now whether they still work, because they may be of use soon. Does not wait."""
        for held in self._idle:
            held.refresh()

    @property
    def open_sessions(self) -> int:
        """The number of sessions that are open or being opened."""
        return len(self._open)

    def prepare(self) -> None:
        """Begin to open a session for the next user, unless one is idle or on its way. Does not wait.

        An error is for that user, as if it had opened the session itself.
        """
        if not self._idle and self._prepared is None and not self._has_ended:
            self._prepared = self._opened()

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        """Take an idle session, or open one. It is the session of the real endpoint itself.

        Raises `ConnectionLost` once `run` has ended or was cancelled.
        """
        held = await self._take()
        try:
            assert held.session is not None, "a session was taken that is not open"
            yield held.session
        except BaseException as error:
            await held.fail(error)
            raise
        held.give_back()
        if held.is_kept:
            self._idle.append(held)
            self._note()
        else:
            await held.ended.wait()

    async def _take(self) -> _Held:
        while self._idle:
            held = self._idle.pop()
            try:
                if await held.revive():
                    return held
                await held.ended.wait()  # until then the server counts it
            except trio.Cancelled:
                await held.abort()
                raise
        if self._has_ended:
            raise _over()
        held, self._prepared = self._prepared or self._opened(), None
        try:
            await held.settled.wait()
        except trio.Cancelled:
            await held.abort()
            raise
        if held.error is not None:
            raise held.error
        if held.session is None:
            raise _over()
        return held

    def _opened(self) -> _Held:
        assert self._nursery is not None, "a session is opened while `run` does not go on"
        held = _Held(self.real, self.idle)
        self._nursery.start_soon(self._hold, held)
        return held

    async def _hold(self, held: _Held) -> None:
        self._open.add(held)
        self._note()
        try:
            await held.run()
        finally:
            self._open.discard(held)
            if held in self._idle:
                self._idle.remove(held)
            self._note()

    def _note(self) -> None:
        """Tell how many sessions there are. Those that are being closed are of no use any more."""
        closing = sum(not held.is_kept for held in self._open)
        self.share.note_sessions(len(self._open) - closing, closing)


def _over() -> ConnectionLost:
    """Return why nothing is opened for a user that is still there when the run was cancelled: one that cleans up."""
    return ConnectionLost("no connection is opened, because the run has ended")


@define(eq=False)
class _Held:
    """One session of ``real``, in a task of its own. It is lent to one user at a time, at first at once."""

    real: Endpoint
    idle: float
    session: Session | None = None
    error: Exception | None = None
    """Why it could not be opened."""
    settled: trio.Event = attrs.Factory(trio.Event)
    """Is set once it is open, or could not be opened."""
    ended: trio.Event = attrs.Factory(trio.Event)
    _is_lent: bool = True
    _is_closing: bool = False
    _failure: Exception | None = None
    _idle_until: float = math.inf
    _heard: float = attrs.Factory(trio.current_time)
    """When it last gave a sign of life."""
    _ask_at: float = math.inf
    """When it is asked for one, if it is idle then."""
    _changed: trio.Event = attrs.Factory(trio.Event)
    _asking: trio.Lock = attrs.Factory(trio.Lock)
    _scope: trio.CancelScope = attrs.Factory(trio.CancelScope)

    # The task of the session.

    async def run(self) -> None:
        """Open the session, and hold it until it is to be closed. An error in opening it is for the user."""
        try:
            with self._scope:
                async with self.real.open_session() as self.session:
                    self.settled.set()
                    await self._hold()
        except Exception as error:
            if self.session is None:
                self.error = error
            elif error is not self._failure and not isinstance(error, ActorsyncError):
                raise
        finally:
            self.settled.set()
            self.ended.set()

    async def _hold(self) -> None:
        while not self._is_closing:
            with trio.move_on_at(self._next):
                await self._changed.wait()
            self._changed = trio.Event()
            if self._failure is not None:
                raise self._failure  # the session sees the error that its user has left it with
            if trio.current_time() >= self._idle_until:
                self.close()
                return
            if trio.current_time() >= self._next:
                await self._answers()  # cancels this task if not

    @property
    def _next(self) -> float:
        """When there is something to do for it, unless something changes."""
        return math.inf if self._is_lent else min(self._idle_until, self._ask_at)

    async def _answers(self) -> bool:
        """Make a request, and return whether it was answered. A session that gives no answer is closed at once."""
        async with self._asking:
            with trio.move_on_after(_ANSWER):
                try:
                    assert isinstance(self.session, KeepsAlive), "a session is kept that cannot be kept alive"
                    await self.session.keep_alive()
                except ActorsyncError:
                    pass
                else:
                    self._note_sign_of_life()
                    return True
        self._scope.cancel()
        return False

    def _note_sign_of_life(self) -> None:
        self._heard = trio.current_time()
        self._ask_at = self._heard + KEEP_ALIVE

    # Its user.

    def refresh(self) -> None:
        """Ask it now whether it still works, unless it has just answered."""
        if trio.current_time() - self._heard >= _NEW and not self._asking.locked():
            self._ask_at = trio.current_time()
            self._changed.set()

    @property
    def is_kept(self) -> bool:
        """Whether it stays open for the next user."""
        return not self._is_closing

    async def revive(self) -> bool:
        """Lend it again. Returns False if it has ended, and is to be replaced."""
        self._is_lent = True
        self._changed.set()
        if self.ended.is_set() or self._is_closing:
            return False
        if not self._asking.locked() and trio.current_time() - self._heard < _FRESH:
            return True
        return await self._answers() and not self.ended.is_set()

    def give_back(self) -> None:
        """End its use. It stays open only if it can be kept alive."""
        self._is_lent = False
        self._note_sign_of_life()
        self._idle_until = trio.current_time() + self.idle
        self._is_closing = self.idle <= 0 or not isinstance(self.session, KeepsAlive)
        self._changed.set()

    async def fail(self, error: BaseException) -> None:
        """Close it after an error of its user, and wait until it is closed."""
        if isinstance(error, Exception):
            self._failure = error
            self._changed.set()
            with trio.CancelScope(shield=True):
                await self.ended.wait()
        else:
            await self.abort()

    async def abort(self) -> None:
        """Close it at once, and wait until it is closed."""
        self._scope.cancel()
        with trio.CancelScope(shield=True):
            await self.ended.wait()

    def close(self) -> None:
        """Let it say goodbye and end, in a second at most."""
        self._is_closing = True
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + _GOODBYE)
        self._changed.set()
