"""A connection is cut at each command of a two-way run, on either side: the same run goes on, and loses no version.

Both sides have every kind of change before the run. The cut is a reset, or silence from then on; it comes before the
server has the command, or before the client has the reply. In half of the cases a user saves a file at that moment or a
few commands before it: the one that the run is busy with.

CI takes a sample of the commands; ``ACTORSYNC_SWEEP=all`` takes every one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Final, Literal

import attrs
import pytest
import trio

from actorsync.endpoints.contract import Endpoint
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.model.report import Report
from actorsync.planning.pairs.rules import ConflictRule, PairRule
from actorsync.testing import EmbeddedSftpServer
from actorsync.testing.network.faults import Cut, How
from actorsync.testing.network.ftp_proxy import FaultProxy, open_fault_proxy
from actorsync.testing.network.proxy import open_wire_proxy
from actorsync.testing.servers.command_log import Command, CommandLog
from tests.support import FtpTarget
from tests.support.mirror import mirror
from tests.support.servers import ftp, ssh_servers
from tests.support.servers.at_request import AtRequest
from tests.support.servers.ssh_target import ASYNCSSH, SshTarget, endpoint_for
from tests.support.sweeps import IS_COMPLETE, some
from tests.support.system.kills import LOCAL, PROFTPD
from tests.support.two_sides.pair_case import PairCase, Tree, is_at_rest
from tests.support.two_sides.sudden_user import SideName, SuddenUser

#: The whole sweep takes an hour.
pytestmark = [pytest.mark.timeout(0)] if IS_COMPLETE else []

Moment = Literal["before", "unanswered"]
#: Is told of each command, by its number and its path.
Notice = Callable[[int, str], None]

#: Number of cuts in CI, for each kind of pair.
SAMPLE: Final = 2
HOWS: tuple[How, ...] = ("rst", "silence")
#: At most so many commands pass after a user has saved a file.
LASTS: Final = 12
_NEVER: Final = 10**9
_AT_ONCE: Final = 6
#: Timeouts of the run that is disturbed, in seconds.
QUICK: Final = {"stall_seconds": 1.0, "connect_seconds": 3.0}

_numbers = itertools.count(1)


@attrs.frozen
class At:
    """Where a connection is cut. ``number`` counts the commands to one server, from 1; 0: nowhere."""

    number: int
    how: How
    rule: ConflictRule

    @property
    def has_user(self) -> bool:
        """Whether a user saves a file: at every second number."""
        return self.number > 0 and self.number % 2 == 0

    @property
    def when(self) -> Moment:
        """One of both moments, for each number and way to cut."""
        return "before" if (self.number // 2 + HOWS.index(self.how)) % 2 else "unanswered"


@attrs.define(eq=False)
class Watched(CommandLog):
    """A log of FTP commands that tells each to ``notice``, before the server has it."""

    notice: Notice

    def record(self, session: int, line: str) -> Command:
        command = super().record(session, line)
        self.notice(len(self), command.argument)
        return command


@attrs.frozen(eq=False)
class Served:
    """One side of a case: as the disturbed run reaches it, and as the others do.

    A proxy of FTP has the disturbed run alone. An SFTP server has all of them, and asks `fault` in the disturbed one.
    """

    disturbed: Endpoint
    direct: Endpoint
    fault: FaultProxy | AtRequest | None = None
    server: EmbeddedSftpServer | None = None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the server of SFTP ask within the block what goes wrong."""
        if self.server is None or not isinstance(self.fault, AtRequest):
            yield
            return
        self.server.instead, self.server.distort = self.fault.instead, self.fault.distort
        yield
        self.server.instead, self.server.distort = None, None

    @property
    def commands(self) -> int:
        """Number of commands so far."""
        match self.fault:
            case FaultProxy(commands=commands):
                return len(commands)
            case AtRequest(seen=seen):
                return seen
            case None:
                return 0

    @property
    def is_fired(self) -> bool:
        return self.fault is not None and bool(self.fault.fired)


@attrs.define(eq=False)
class Cuts:
    """The cases of one sweep. ``names`` are the kinds of both sides; ``cut_on`` is the side that loses connections."""

    names: Mapping[SideName, str]
    cut_on: SideName
    ftp_server: FtpTarget | None
    folder: Path
    expected: dict[ConflictRule, tuple[Tree, Tree]] = attrs.Factory(dict)
    wrong: list[str] = attrs.Factory(list)
    fired: int = 0
    reconnects: int = 0

    async def undisturbed(self, rule: ConflictRule) -> int:
        """Make a run without a cut, to see what is to be expected. Return the number of commands to the server."""
        at = At(0, "rst", rule)
        case = self._new_case(rule)
        async with self._served(case, at, None) as served:
            await self._prepare(case, served)
            first = await self._run(case, served, is_disturbed=True)
            assert first.exit_code == (0 if rule == "both" else 1), first
            commands = served[self.cut_on].commands
            rest = await self._run(case, served)
            self.expected[rule] = case.trees()
            wrong = await trio.to_thread.run_sync(case.faults_at_rest, attrs.asdict(rest), self.expected[rule])
            assert not wrong, "\n".join(wrong)
        return commands

    async def cut(self, at: At) -> None:
        """Make a run with a cut, and note what is wrong. Requires that the same was made without a cut."""
        case = self._new_case(at.rule)
        user = self._user(case, at) if at.has_user else None
        try:
            async with self._served(case, at, user) as served:
                await self._prepare(case, served)
                report = await self._run(case, served, is_disturbed=True)
                wrong = await trio.to_thread.run_sync(self._faults, case, at, user, report)
                runs = [await self._run(case, served)]
                while len(runs) < 3 and not is_at_rest(attrs.asdict(runs[-1])):
                    runs.append(await self._run(case, served))
                good = {0} if at.rule == "both" else {1}
                wrong += [f"the run after it: {it}" for it in runs if it.exit_code not in good]
                last = attrs.asdict(runs[-1])
                wrong += await trio.to_thread.run_sync(case.faults_at_rest, last, self.expected[at.rule])
                self.fired += served[self.cut_on].is_fired
                self.reconnects += report.reconnects
        except Exception as error:  # noqa: BLE001 - reported as a fault of this run
            wrong = [f"the run failed: {error!r}"]
        self.wrong += [f"{at} {at.when} {case.saved}: {text}" for text in wrong]

    def _faults(self, case: PairCase, at: At, user: SuddenUser | None, report: Report) -> list[str]:
        """Return what is wrong after the run with the cut, as text."""
        case.note_saved(None if user is None else user.saved)
        wrong = [f"{it} by the cut" for it in case.lost()]
        source, target = case.trees()
        if user is None:
            if report.exit_code != (0 if at.rule == "both" else 1) or report.failed:
                wrong.append(f"the run with the cut: {report}")
            wrong += [f"{it}, after the cut" for it in case.unlike(self.expected[at.rule])]
        elif report.exit_code not in {0, 1}:
            wrong.append(f"the run with the cut: {report}")
        elif report.exit_code == 0 and user.saved is None and source != target:
            wrong.append("the run says that both sides are in sync, and they differ")
        return wrong

    def _new_case(self, rule: ConflictRule) -> PairCase:
        number = next(_numbers)
        folder, server = self.folder / str(number), self.ftp_server
        roots: dict[SideName, Path] = {}
        uids: dict[SideName, int | None] = {}
        for side, name in self.names.items():
            above = folder / "root" if name != PROFTPD or server is None else server.root
            roots[side] = above / f"{side}{number}"
            uids[side] = None if name != PROFTPD or server is None else server.uid
        return PairCase(roots, folder / "journal", rule, uids)

    def _user(self, case: PairCase, at: At) -> SuddenUser:
        """Return a user who saves a file at most `LASTS` commands before the cut.

        On an FTP side a missing file is only made if nothing goes on after it: see `SuddenUser`.
        """
        rng = random.Random(f"user {at.number} {at.how}")
        lasts = min(at.number - 1, rng.choice([0, 0, rng.randrange(1, LASTS)]))
        is_ftp = {side for side, name in self.names.items() if name == PROFTPD}
        return SuddenUser(
            {side: str(root) for side, root in case.roots.items()},
            at.number - lasts,
            f"saved {at}",
            lasts if at.when == "before" or not is_ftp else _NEVER,
            side=rng.choice([None, None, None, "source", "target"]),
            only_there=next(iter(is_ftp), None),
            uid=case.uids.get("target"),
        )

    @asynccontextmanager
    async def _served(
        self, case: PairCase, at: At, user: SuddenUser | None
    ) -> AsyncIterator[Mapping[SideName, Served]]:
        async with (
            self._side("source", case.roots["source"], at, user) as source,
            self._side("target", case.roots["target"], at, user) as target,
        ):
            yield {"source": source, "target": target}

    @asynccontextmanager
    async def _side(self, side: SideName, root: Path, at: At, user: SuddenUser | None) -> AsyncIterator[Served]:
        """Serve one side, behind a proxy if it is on a server."""
        number = at.number if side == self.cut_on else 0
        notice = user.note if number and user is not None else _notice_nothing
        if self.names[side] == LOCAL:
            yield Served(LocalEndpoint(root), LocalEndpoint(root))
            return
        serving = (
            self._ftp(root, at, number, notice) if self.names[side] == PROFTPD else _sftp(root, at, number, notice)
        )
        async with serving as served:
            yield served

    @asynccontextmanager
    async def _ftp(self, root: Path, at: At, number: int, notice: Notice) -> AsyncIterator[Served]:
        assert self.ftp_server is not None
        path, server = f"/{root.name}", self.ftp_server
        faults = [Cut(at_line=number, how=at.how, when=at.when)] if number else []
        async with open_fault_proxy((server.host, server.port), *faults) as proxy:
            proxy.commands = Watched(notice)
            yield Served(
                ftp.endpoint_for(server, path, host=proxy.host, **QUICK), ftp.endpoint_for(server, path), proxy
            )

    async def _prepare(self, case: PairCase, served: Mapping[SideName, Served]) -> None:
        """Make both sides, a first run, and the changes of the users."""
        await trio.to_thread.run_sync(case.make)
        first = await self._run(case, served)
        assert first.exit_code == 0, first
        await trio.to_thread.run_sync(case.change)

    async def _run(self, case: PairCase, served: Mapping[SideName, Served], *, is_disturbed: bool = False) -> Report:
        source, target = (it.disturbed if is_disturbed else it.direct for it in served.values())
        pair = PairRule(case.rule)
        with served[self.cut_on].applied() if is_disturbed else nullcontext():
            run = await mirror(source, target, case.journal, settled=True, by_size_time=True, pair=pair)
        return run.report


def _notice_nothing(number: int, path: str) -> None:
    """Let a command pass."""


@asynccontextmanager
async def _sftp(root: Path, at: At, number: int, notice: Notice) -> AsyncIterator[Served]:
    """Serve a root with a server of its own, because its settings apply to all of its connections."""
    root.parent.mkdir(parents=True)
    with ExitStack() as stack:

        def serve() -> tuple[EmbeddedSftpServer, SshTarget]:
            return stack.enter_context(ssh_servers.embedded_server(root.parent, root.parent.parent))

        server, login = await trio.to_thread.run_sync(serve)
        async with open_wire_proxy((server.host, server.port)) as wire:
            fault = AtRequest(number, at.when, at.how, wire, counts_all=True)
            fault.on_request = lambda number, request: notice(number, request.path)
            quick = endpoint_for(login, root.name, host=wire.host, **QUICK)
            yield Served(quick, endpoint_for(login, root.name), fault, server)
        with trio.CancelScope(shield=True):  # in a thread: its connections wait for this one
            await trio.to_thread.run_sync(stack.pop_all().close)


@pytest.fixture(scope="module")
def proftpd() -> Iterator[FtpTarget]:
    with ftp.home() as folder, ftp.serving(PROFTPD, folder) as server:
        yield server


@pytest.mark.scaled
@pytest.mark.parametrize(
    ("source", "target", "cut_on"),
    [
        (LOCAL, ASYNCSSH, "target"),
        pytest.param(LOCAL, PROFTPD, "target", marks=pytest.mark.full),
        pytest.param(ASYNCSSH, PROFTPD, "source", marks=pytest.mark.full),
        pytest.param(ASYNCSSH, PROFTPD, "target", marks=pytest.mark.full),
    ],
)
async def test_cut_at_each_command_of_a_two_way_run_loses_no_version(
    source: str, target: str, cut_on: SideName, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    ftp_server = request.getfixturevalue("proftpd") if PROFTPD in {source, target} else None
    cuts = Cuts({"source": source, "target": target}, cut_on, ftp_server, tmp_path)
    count = await cuts.undisturbed("both")
    places: list[At] = []
    for number, how in itertools.product(range(1, count + 1), HOWS):
        places.append(At(number, how, "both" if number // 4 % 2 else "keep"))
    chosen = some(places, SAMPLE, f"{source} {target} {cut_on}")
    if "keep" in {at.rule for at in chosen}:
        await cuts.undisturbed("keep")
    limit = trio.CapacityLimiter(_AT_ONCE)

    async def cut(at: At) -> None:
        async with limit:
            await cuts.cut(at)

    async with trio.open_nursery() as nursery:
        for at in chosen:
            nursery.start_soon(cut, at)
    done = f"{source} to {target}, cut on the {cut_on}: {count} commands, {len(chosen)} runs, {cuts.fired} cuts"
    print(f"{done}, {cuts.reconnects} reconnects, {len(cuts.wrong)} faults")
    if cuts.wrong:
        pytest.fail(f"{done}, {len(cuts.wrong)} faults:\n" + "\n".join(cuts.wrong), pytrace=False)
    assert cuts.fired >= len(chosen) / 3, "the run makes a few commands more or fewer, and not so many"
    if IS_COMPLETE:
        assert cuts.reconnects >= cuts.fired / 2
