"""Sessions that stay logged in between passes, on embedded FTP and SFTP servers and on a scripted endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actorsync.endpoints.contract import Capabilities, Endpoint, Session
from actorsync.endpoints.ftp.wire.connection import Knowledge
from actorsync.endpoints.wrappers import warm as warm_module
from actorsync.endpoints.wrappers.warm import KEEP_ALIVE, WarmEndpoint
from actorsync.errors import ConnectionLost, LoginRefused, OperationRefused
from actorsync.model.entry import Entry, Kind, Listing, Root
from actorsync.profile import load_profile
from actorsync.runs.open_endpoints import open_endpoints

IDLE = 60.0


@attrs.define(eq=False)
class Opened:
    """A session that notes what happens to it."""

    number: int
    place: Scripted
    asked: int = 0
    ending: str = ""

    async def list_directory(self, directory: str) -> Listing:
        await trio.lowlevel.checkpoint()
        return Listing(directory)

    async def keep_alive(self) -> None:
        self.asked += 1
        await trio.sleep(self.place.answers_after)
        if self.number in self.place.closed:
            raise ConnectionLost("the server closed the connection")


@attrs.define(eq=False)
class Scripted:
    """An endpoint whose sessions do nothing but open, answer and close."""

    closed: set[int] = attrs.Factory(set)
    answers_after: float = 0.05
    opens_after: float = 0.5
    refusal: Exception | None = None
    opened: list[Opened] = attrs.Factory(list)
    display: str = "scripted"
    capabilities: Capabilities = attrs.Factory(partial(Capabilities, is_remote=True))

    async def identify(self) -> Root:
        raise AssertionError("not used")

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Opened]:
        await trio.sleep(self.opens_after)
        if self.refusal is not None:
            raise self.refusal
        session = Opened(len(self.opened) + 1, self)
        self.opened.append(session)
        try:
            yield session
        except BaseException as error:
            session.ending = type(error).__name__
            raise
        session.ending = "goodbye"


@asynccontextmanager
async def running(place: Scripted | Endpoint, idle: float = IDLE) -> AsyncIterator[WarmEndpoint]:
    """Run a warm endpoint around ``place`` during the block."""
    endpoint = WarmEndpoint(cast(Endpoint, place), idle)
    async with trio.open_nursery() as nursery:
        await nursery.start(endpoint.run)
        yield endpoint
        await endpoint.end()


async def use(endpoint: WarmEndpoint, seconds: float = 0.0, error: Exception | None = None) -> Session:
    async with endpoint.open_session() as session:
        await trio.sleep(seconds)
        if error is not None:
            raise error
    return session


async def test_a_session_is_used_again_and_says_goodbye_at_the_end(autojump_clock: MockClock) -> None:
    place = Scripted()
    async with running(place) as endpoint:
        first = await use(endpoint)
        await trio.sleep(5)
        began = trio.current_time()
        assert await use(endpoint) is first
        assert trio.current_time() - began == pytest.approx(place.answers_after)
        assert [it.ending for it in place.opened] == [""]
    assert [it.ending for it in place.opened] == ["goodbye"]


async def test_a_session_that_was_refreshed_is_used_again_at_once(autojump_clock: MockClock) -> None:
    place = Scripted()
    async with running(place) as endpoint:
        await use(endpoint)
        await trio.sleep(5)
        endpoint.refresh()
        endpoint.refresh()
        await trio.sleep(0.2)
        began = trio.current_time()
        await use(endpoint)
        assert trio.current_time() == began
        assert place.opened[0].asked == 1


async def test_an_idle_session_is_kept_alive_and_closed_after_its_time(autojump_clock: MockClock) -> None:
    place = Scripted()
    async with running(place) as endpoint:
        await use(endpoint)
        await trio.sleep(IDLE - 1)
        (session,) = place.opened
        assert session.asked == (IDLE - 1) // KEEP_ALIVE
        assert session.ending == ""
        await trio.sleep(2)
        assert session.ending == "goodbye"
        assert endpoint.open_sessions == 0


async def test_a_prepared_session_is_on_its_way_when_it_is_needed(autojump_clock: MockClock) -> None:
    place = Scripted()
    async with running(place) as endpoint:
        endpoint.prepare()
        endpoint.prepare()
        await trio.sleep(place.opens_after / 2)
        began = trio.current_time()
        await use(endpoint)
        assert trio.current_time() - began == pytest.approx(place.opens_after / 2)
        endpoint.prepare()
        await use(endpoint)
    assert [it.ending for it in place.opened] == ["goodbye"], "one is idle, so no other is opened"


async def test_a_prepared_session_that_nobody_uses_says_goodbye(autojump_clock: MockClock) -> None:
    place = Scripted()
    async with running(place) as endpoint:
        endpoint.prepare()
        await trio.sleep(1)
    assert [it.ending for it in place.opened] == ["goodbye"]


async def test_why_a_prepared_session_could_not_be_opened_is_told_its_user_alone(autojump_clock: MockClock) -> None:
    place = Scripted(refusal=ConnectionLost("away"))
    async with running(place) as endpoint:
        endpoint.prepare()
        await trio.sleep(1)
        with pytest.raises(ConnectionLost, match="away"):
            await use(endpoint)
        place.refusal = None
        await use(endpoint)


async def test_a_session_in_use_is_not_asked(autojump_clock: MockClock) -> None:
    place = Scripted()
    async with running(place) as endpoint:
        await use(endpoint, seconds=10 * IDLE)
        assert place.opened[0].asked == 0


@pytest.mark.parametrize("answers_after", [0.05, 1e9])
async def test_a_session_that_the_server_has_closed_costs_one_login(
    answers_after: float, autojump_clock: MockClock
) -> None:
    place = Scripted()
    async with running(place) as endpoint:
        await use(endpoint)
        await trio.sleep(5)
        place.closed.add(1)
        place.answers_after = answers_after
        began = trio.current_time()
        session = await use(endpoint)
        assert session is cast(Session, place.opened[1])
        assert trio.current_time() - began <= 5 + place.opens_after + 0.1


async def test_a_session_that_dies_while_it_is_idle_is_dropped(autojump_clock: MockClock) -> None:
    place = Scripted()
    async with running(place) as endpoint:
        await use(endpoint)
        place.closed.add(1)
        await trio.sleep(KEEP_ALIVE + 1)
        assert endpoint.open_sessions == 0
        assert place.opened[0].ending == "Cancelled"


async def test_a_session_with_an_error_is_closed_with_that_error(autojump_clock: MockClock) -> None:
    place = Scripted()
    async with running(place) as endpoint:
        with pytest.raises(ConnectionLost, match="reset"):
            await use(endpoint, error=ConnectionLost("reset"))
        assert [it.ending for it in place.opened] == ["ConnectionLost"]
        await use(endpoint)
        assert [it.number for it in place.opened] == [1, 2]


async def test_a_cancelled_use_closes_the_session_before_it_returns(autojump_clock: MockClock) -> None:
    place = Scripted()
    async with running(place) as endpoint:
        with trio.move_on_after(2):
            await use(endpoint, seconds=10)
        assert [it.ending for it in place.opened] == ["Cancelled"]
        assert endpoint.open_sessions == 0


async def test_a_cancelled_login_leaves_no_session(autojump_clock: MockClock) -> None:
    place = Scripted(opens_after=10)
    async with running(place) as endpoint:
        with trio.move_on_after(2):
            await use(endpoint)
        assert endpoint.open_sessions == 0
        await trio.sleep(20)
        assert place.opened == []


async def test_a_question_that_is_cancelled_leaves_no_session(autojump_clock: MockClock) -> None:
    place = Scripted()
    async with running(place) as endpoint:
        await use(endpoint)
        place.answers_after = 3
        await trio.sleep(5)
        with trio.move_on_after(1):
            await use(endpoint)
        assert endpoint.open_sessions == 0


@pytest.mark.parametrize("begins_after", [0.0, 0.3], ids=["a-login-under-way", "a-login-that-begins-later"])
async def test_a_login_that_a_cancelled_run_cuts_off_fails_as_a_lost_connection(
    autojump_clock: MockClock, begins_after: float
) -> None:
    """What wants it may be shielded: it cleans up."""
    endpoint = WarmEndpoint(cast(Endpoint, Scripted()), IDLE)

    async def clean_up() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(begins_after)
            with pytest.raises(ConnectionLost, match="the run has ended"):
                await use(endpoint)

    async with trio.open_nursery() as nursery:
        await nursery.start(endpoint.run)
        nursery.start_soon(clean_up)
        await trio.sleep(0.2)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("refusal", [LoginRefused("wrong password"), ConnectionLost("no route")])
async def test_an_error_of_a_login_is_raised_where_the_session_was_wanted(
    refusal: Exception, autojump_clock: MockClock
) -> None:
    place = Scripted(refusal=refusal)
    async with running(place) as endpoint:
        with pytest.raises(type(refusal), match=str(refusal)):
            await use(endpoint)
        place.refusal = None
        await use(endpoint)


async def test_there_are_never_more_sessions_than_users_at_once(autojump_clock: MockClock) -> None:
    place, most = Scripted(), 0
    async with running(place) as endpoint:
        for users in (3, 1, 2, 3, 2):
            async with trio.open_nursery() as nursery:
                for _ in range(users):
                    nursery.start_soon(use, endpoint, 1.0)
                await trio.sleep(0.8)
                most = max(most, endpoint.open_sessions)
            await trio.sleep(KEEP_ALIVE - 1)  # some uses meet a session that is being asked
    assert (most, len(place.opened)) == (3, 3)


async def test_a_lower_limit_lets_idle_sessions_go(autojump_clock: MockClock) -> None:
    place = Scripted()
    async with running(place) as endpoint:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(use, endpoint, 1.0)
        endpoint.start_pass(1)
        await wait_all_tasks_blocked()
        assert [it.ending for it in place.opened].count("goodbye") == 3
        assert endpoint.open_sessions == 1


async def test_no_idle_time_closes_a_session_after_its_use(autojump_clock: MockClock) -> None:
    place = Scripted()
    async with running(place, idle=0.0) as endpoint:
        await use(endpoint)
        assert [it.ending for it in place.opened] == ["goodbye"]


async def test_a_server_that_never_says_goodbye_does_not_keep_the_run(autojump_clock: MockClock) -> None:
    @attrs.define(eq=False)
    class Clinging(Scripted):
        @asynccontextmanager
        async def open_session(self) -> AsyncIterator[Opened]:
            async with Scripted.open_session(self) as session:
                yield session
                await trio.sleep_forever()

    async with running(Clinging()) as endpoint:
        await use(endpoint)
        began = trio.current_time()
    assert trio.current_time() - began <= warm_module._GOODBYE + 0.01


# Real sessions.


@pytest.fixture(params=["embedded", "embedded_sftp"])
def server(request: pytest.FixtureRequest) -> Any:
    return (
        request.getfixturevalue(request.param)[0]
        if request.param == "embedded_sftp"
        else request.getfixturevalue(request.param)
    )


@pytest.fixture
def place(server: Any, tmp_path: Path) -> Endpoint:
    (tmp_path / "source").mkdir()
    profile = load_profile(server.write_profile(tmp_path / "profile.toml", tmp_path / "source"))
    return open_endpoints(profile)[1]


async def test_a_real_session_works_again_after_a_rest(place: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_module, "_FRESH", 0.0)
    async with running(place) as endpoint:
        async with endpoint.open_session() as first:
            assert (await first.make_directories(["", "d"]))[1] is not None
        async with endpoint.open_session() as second:
            assert second is first
            assert [it.path for it in (await second.list_directory("")).entries] == ["d"]


@pytest.mark.parametrize("server", ["embedded_sftp"], indirect=True)
async def test_a_directory_that_became_a_link_between_passes_is_noticed(place: Endpoint, server: Any) -> None:
    theirs = Path(server.root) / "theirs"
    async with running(place) as endpoint:
        async with endpoint.open_session() as session:
            await session.make_directories(["", "d", "d/e"])
            await session.remove([Entry("d/e/f", Kind.FILE, 6)])
        theirs.mkdir()
        (theirs / "f").write_text("theirs")
        (theirs.parent / "d" / "e").rmdir()
        (theirs.parent / "d" / "e").symlink_to(theirs)
        endpoint.start_pass(4)
        async with endpoint.open_session() as session:
            (removed,) = await session.remove([Entry("d/e/f", Kind.FILE, 6)])
    assert isinstance(removed, OperationRefused)
    assert (theirs / "f").exists()


def test_an_ftp_server_stays_known_and_its_tree_does_not() -> None:
    known = Knowledge(greeting="hello", has_mlsd=True)
    known.symlink_guard.add("a/b")
    known.identities["a"] = "1"
    known.begin_pass()
    assert known.symlink_guard.unknown(["a/b"]) == ["a/b"]
    assert (known.identities, known.greeting, known.has_mlsd) == ({}, "hello", True)
