"""What each request to a run does. The actors and the loop of passes follow `Control`, `Bandwidth` and `Shutdown`."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from actorsync import __version__
from actorsync.actors.control import path_below
from actorsync.classes import frozen
from actorsync.errors import ProfileError
from actorsync.journal import read_troubles, state_directory
from actorsync.model.event import Changed, Event
from actorsync.model.messages import named
from actorsync.model.text import counted, display, size_text
from actorsync.observe.board import Board
from actorsync.observe.status import status_of
from actorsync.planning.parking import is_parked
from actorsync.profile import format_duration, parse_rate
from actorsync.profile.values.readers import MOST_CONNECTIONS
from actorsync.service.asking.messages import Answer, Request
from actorsync.service.jobs import Job

__all__ = ["Verbs"]


@frozen(eq=False)
class Verbs:
    """The verbs for the run of one job, whose state is on ``board``. ``publish`` shows the run's observers an event."""

    job: Job
    board: Board
    publish: Callable[[Event], None]

    async def act(self, request: Request) -> Answer:
        """Do what is asked for, and return the answer. Raises `ProfileError` if it cannot be done."""
        return await _VERBS[request.verb](self, request.value)

    def _changed(self, text: str) -> Answer:
        self.publish(Changed(text))
        return Answer(text)

    async def _pause(self, _: str) -> Answer:
        if self.job.control.is_paused:
            return Answer("already paused")
        self.job.control.pause()
        return self._changed("paused: no file and no pass begins before resume; files in progress finish")

    async def _resume(self, _: str) -> Answer:
        if not self.job.control.is_paused:
            return Answer("not paused")
        self.job.control.resume()
        return self._changed("resumed")

    async def _drain(self, _: str) -> Answer:
        shutdown = self.job.shutdown
        answer = self._changed(
            f"stopping: files in progress finish, for up to {format_duration(shutdown.drain_seconds)}"
        )
        shutdown.drain()
        return answer

    async def _cancel(self, _: str) -> Answer:
        answer = self._changed("stopping now: files in progress are aborted; the next run sends them")
        self.job.shutdown.cancel()
        return answer

    async def _bwlimit(self, value: str) -> Answer:
        bandwidth = self.job.options.policy.bandwidth
        if bandwidth is None:
            raise ProfileError("the program that runs the mirror has given it no bandwidth limit to change")
        try:
            limit = parse_rate(value)
        except ValueError as error:
            raise ProfileError(f"bwlimit: {error}") from None
        bandwidth.limit = limit
        return self._changed("no bandwidth limit" if limit is None else f"at most {size_text(limit)}/s")

    async def _connections(self, value: str) -> Answer:
        policy = self.job.options.policy.connections
        if value == "auto":
            self.job.control.limit_connections(None)
            return self._changed(f"up to {counted(policy, 'connection')}, as the profile says")
        if not (value.isascii() and value.isdigit()) or not 1 <= int(value) <= MOST_CONNECTIONS:
            raise ProfileError(
                f"connections: {display(value)!r} is not a whole number from 1 to {MOST_CONNECTIONS}, or auto"
            )
        count = min(int(value), policy)
        self.job.control.limit_connections(count)
        bound = "; the profile allows no more" if count < int(value) else ""
        return self._changed(f"up to {counted(count, 'connection')}{bound}")

    async def _retry(self, value: str) -> Answer:
        self._require_next_pass("retry")
        path = path_below(value)
        identity = self.job.profile.identity
        troubles = await trio.to_thread.run_sync(read_troubles, state_directory(), identity, abandon_on_cancel=True)
        if not any(trouble.path == path and is_parked(trouble) for trouble in troubles):
            raise ProfileError(f"retry: {named(path)} is not parked; actorsync status lists the parked paths")
        self.job.control.retry(path)
        return self._changed(f"the next pass tries {named(path)}")

    async def _rescan(self, _: str) -> Answer:
        self._require_next_pass("rescan")
        self.job.control.rescan()
        return self._changed("the next pass compares the whole source")

    async def _reload(self, _: str) -> Answer:
        if self.job.reload is None:
            raise ProfileError("reload: this run ends after its pass; the next run reads the profile again")
        return Answer(await self.job.reload())

    async def _status(self, _: str) -> Answer:
        state = self.job.state
        status = status_of(self.board, __version__, time.time())
        limit, most = self.job.options.policy.bandwidth, self.job.control.connections
        (mirror,) = status["mirrors"]
        mirror["bwlimit"] = None if limit is None else limit.limit
        mirror["connections_limit"] = most
        progress, took = mirror["progress"], state.clock() - (state.began_at or math.inf)
        if state.is_running and progress["rate"] is None and took > 1.0:  # no samples are taken for anybody else
            progress["rate"] = state.statistics.bytes_moved / took
        return Answer("", status=status)

    def _require_next_pass(self, verb: str) -> None:
        if not self.job.control.has_next_pass:
            raise ProfileError(f"{verb}: this run ends after its pass; start another run when it has ended")


_VERBS: Final[dict[str, Callable[[Verbs, str], Awaitable[Answer]]]] = {
    "pause": Verbs._pause,
    "resume": Verbs._resume,
    "drain": Verbs._drain,
    "cancel": Verbs._cancel,
    "bwlimit": Verbs._bwlimit,
    "connections": Verbs._connections,
    "retry": Verbs._retry,
    "rescan": Verbs._rescan,
    "reload": Verbs._reload,
    "status": Verbs._status,
}
