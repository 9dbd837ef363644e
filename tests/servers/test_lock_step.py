"""FTP servers that do not take commands in a row: whole mirrors, on embedded, scripted and real ones."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from actorsync.endpoints.ftp.wire import trial
from actorsync.model.event import Learned, Reconnecting, Warned
from actorsync.model.operation import Done
from actorsync.testing import EmbeddedFtpServer
from actorsync.testing.network.faults import Cut
from actorsync.testing.network.ftp_proxy import open_fault_proxy
from actorsync.testing.servers.in_a_row import InARow
from tests.support import FtpTarget
from tests.support.mirror import Run, contents, mirror, temporaries
from tests.support.servers import odd_servers
from tests.support.servers.evil import evil_server
from tests.support.servers.ftp import endpoint_for, home

#: All that a server needs: the rest is a convenience.
FEW_VERBS = frozenset({"USER", "PASS", "TYPE", "PASV", "STOR", "LIST", "MKD", "DELE", "RNFR", "RNTO", "RMD"})
MISSING = frozenset(
    [
        "ABOR",
        "ALLO",
        "APPE",
        "CDUP",
        "CWD",
        "EPRT",
        "EPSV",
        "FEAT",
        "MDTM",
        "MFMT",
        "MLSD",
        "MLST",
        "MODE",
        "NLST",
        "NOOP",
        "OPTS",
        "PORT",
        "PWD",
        "QUIT",
        "REIN",
        "REST",
        "RETR",
        "SITE",
        "SIZE",
        "STAT",
        "STOU",
        "STRU",
        "SYST",
        "XMKD",
    ]
)

NOT_IN_A_ROW = "does not take FTP commands in a row"


def write(path: Path, content: bytes, seconds: int = 1_700_000_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (seconds, seconds))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Files of several sizes, an empty one among them, in directories of several levels."""
    root = tmp_path / "source"
    for number in range(30):
        write(root / f"d{number % 4}" / f"e{number % 3}" / f"f{number}", b"x" * (number * 37))
    write(root / "big", os.urandom(300_000))
    return root


def change(source: Path) -> None:
    """Change a file, rename a directory, and remove another."""
    write(source / "d0" / "e0" / "f0", b"changed", 1_700_000_500)
    (source / "d1").rename(source / "renamed")
    shutil.rmtree(source / "d2")


async def run_onto(server: EmbeddedFtpServer | FtpTarget, source: Path, *, folder: str = "site") -> Run:
    """Mirror once, in a run that knows only what the journal knows."""
    state = source.parent / "state"
    return await mirror(source, endpoint_for(server, f"/{folder}", stall_seconds=5), state, connections=3)


async def check_mirror(server: EmbeddedFtpServer | FtpTarget, source: Path) -> Run:
    """Mirror, change the source, and mirror again; each time another run finds nothing to do. Returns the first run."""
    target = server.root / "site"
    first: Run | None = None
    for number in range(2):
        run = await run_onto(server, source)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert contents(target) == contents(source)
        assert temporaries(target) == []
        again = await run_onto(server, source)
        assert (again.report.exit_code, again.report.copied, again.report.removed) == (0, 0, 0)
        first = first or run
        if number == 0:
            change(source)
    assert first is not None
    return first


@pytest.mark.parametrize("way", ["packet", "first", "any order"])
async def test_server_that_mixes_up_commands_in_a_row_is_mirrored_in_lock_step(
    way: InARow, source: Path, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_LEAST_PATIENCE", 0.3)
    (server_folder / "root").mkdir()
    with EmbeddedFtpServer(server_folder / "root", in_a_row=way) as server:
        run = await check_mirror(server, source)
        tried = sum(command.verb == "NOOP" for command in server.commands)
    assert [event.text for event in run.of(Warned) if NOT_IN_A_ROW in event.text] != []
    assert run.of(Reconnecting) == [], "the trial costs no failed attempt"
    assert tried <= 2, "the later runs have the finding from the journal"


async def test_trial_that_is_cut_once_is_made_again(source: Path, server_folder: Path) -> None:
    (server_folder / "root").mkdir()
    with EmbeddedFtpServer(server_folder / "root") as server:
        server.in_a_row = "first"  # for the greeting, which then has no name that is known
        server.restart()
        server.in_a_row = "stream"
        async with open_fault_proxy((server.host, server.port), Cut(verb="NOOP", at_line=2)) as proxy:
            endpoint = endpoint_for(server, "/site", host=proxy.host)
            run = await mirror(source, endpoint, source.parent / "state", connections=1)
            assert len(proxy.fired) == 1
    assert (run.report.exit_code, run.of(Warned)) == (0, [])
    learned = [event.text.split()[1:] for event in run.of(Learned) if event.name == "flights"]
    assert learned == [["burst", "port", "store"]]


async def test_server_that_is_not_known_and_takes_commands_in_a_row_gets_flights(
    source: Path, server_folder: Path
) -> None:
    (server_folder / "root").mkdir()
    with EmbeddedFtpServer(server_folder / "root") as server:
        server.in_a_row = "first"  # for the greeting, which then has no name that is known
        server.restart()
        server.in_a_row = "stream"
        run = await check_mirror(server, source)
        tried = sum(command.verb == "NOOP" for command in server.commands)
    assert run.of(Warned) == []
    learned = [event.text.split()[1:] for event in run.of(Learned) if event.name == "flights"]
    assert learned == [["burst", "port", "store"]]
    assert tried == 2, "once alone, and once among others"


async def test_server_that_is_known_is_not_tried(source: Path, embedded: EmbeddedFtpServer) -> None:
    await check_mirror(embedded, source)
    assert "NOOP" not in {command.verb for command in embedded.commands}


@pytest.mark.parametrize("is_known", [True, False])
async def test_answers_that_get_out_of_step_in_a_run_lead_to_lock_step(
    is_known: bool, source: Path, server_folder: Path
) -> None:
    """The files in hand are done again, and the finding is kept for the next run."""
    (server_folder / "root").mkdir()
    with EmbeddedFtpServer(server_folder / "root") as server:
        server.in_a_row = "stream" if is_known else "first"
        server.restart()
        server.in_a_row = "stream"

        def turn(event: object) -> None:
            if isinstance(event, Done):
                server.in_a_row = "any order"

        endpoint = endpoint_for(server, "/site", stall_seconds=5)
        run = await mirror(source, endpoint, source.parent / "state", connections=3, observer=turn)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert contents(server.root / "site") == contents(source)
        assert len([event for event in run.of(Warned) if NOT_IN_A_ROW in event.text]) == 1
        assert len(run.of(Reconnecting)) >= 1
        change(source)
        later = await run_onto(server, source)
        assert (later.report.exit_code, later.of(Reconnecting), later.of(Warned)) == (0, [], [])
        assert contents(server.root / "site") == contents(source)


async def test_known_server_behind_something_that_drops_commands_is_mirrored(source: Path, server_folder: Path) -> None:
    """A firewall may let only one command of a packet pass. The greeting is then that of a server that is known."""
    (server_folder / "root").mkdir()
    with EmbeddedFtpServer(server_folder / "root") as server:
        server.in_a_row = "first"
        endpoint = endpoint_for(server, "/site", stall_seconds=0.3)
        run = await mirror(source, endpoint, source.parent / "state", connections=2)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert contents(server.root / "site") == contents(source)
        assert len([event for event in run.of(Warned) if NOT_IN_A_ROW in event.text]) == 1


@pytest.mark.parametrize("way", ["stream", "packet", "any order"])
async def test_server_with_a_dozen_commands_is_mirrored(way: InARow, source: Path, server_folder: Path) -> None:
    (server_folder / "root").mkdir()
    with EmbeddedFtpServer(server_folder / "root", without=MISSING, in_a_row=way) as server:
        await check_mirror(server, source)
        accepted = {command.verb for command in server.commands if command.verb in FEW_VERBS}
    assert accepted == FEW_VERBS


@pytest.mark.parametrize("is_empty", [True, False])
async def test_folder_that_exists_is_found_on_a_server_with_a_dozen_commands(
    is_empty: bool, source: Path, server_folder: Path
) -> None:
    """MKD is refused for it, there is no CWD to enter it, and an empty listing shows nothing."""
    site = server_folder / "root" / "site"
    site.mkdir(parents=True)
    if not is_empty:
        write(site / "foreign", b"kept")
    with EmbeddedFtpServer(server_folder / "root", without=MISSING, in_a_row="first") as server:
        run = await run_onto(server, source)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert {path: what for path, what in contents(site).items() if path != "foreign"} == contents(source)


async def test_server_that_shows_no_sizes_is_mirrored_and_the_user_is_told_once(source: Path) -> None:
    """LIST hides names that begin with a dot, and there is no SIZE: nothing shows what was stored."""
    refused = dict.fromkeys(("SIZE", "MLST", "MLSD", "MDTM", "FEAT"), b"502 no")
    async with evil_server(refused, hides_dots=True) as server:
        run = await mirror(source, endpoint_for(server), None, connections=2)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert {path.lstrip("/") for path in server.files} == {
        p for p, data in contents(source).items() if data is not None
    }
    assert len([event for event in run.of(Warned) if "shows no sizes" in event.text]) == 1


async def test_server_that_waits_for_the_data_connection_after_epsv_is_mirrored(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_LEAST_PATIENCE", 0.3)
    async with evil_server(greeting=b"220 hello\r\n", waits_for_data=True) as server:
        run = await mirror(source, endpoint_for(server), None, connections=2)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert {path.lstrip("/") for path in server.files} == {
        p for p, data in contents(source).items() if data is not None
    }
    assert len([event for event in run.of(Warned) if NOT_IN_A_ROW in event.text]) == 1


async def test_name_that_a_server_never_answers_fails_alone_and_hangs_nothing(source: Path) -> None:
    """A lenient decoder takes the line end for the rest of the last character, and waits for the end of the line."""
    for name in (b"menu-\xe8", b"d1/card-\xe9"):
        write(source / os.fsdecode(name), b"odd")
    plain = {path for path, data in contents(source).items() if data is not None and path.isascii()}
    async with evil_server(greeting=b"220 hello\r\n", swallows=True) as server:
        run = await mirror(source, endpoint_for(server, stall_seconds=1), None, connections=2, seconds=30)
    assert run.report.exit_code == 1
    assert len(run.failures) == 2
    assert all("not UTF-8" in why for why in run.failures.values())
    assert {path.lstrip("/") for path in server.files} == {path for path in plain if "\udce8" not in path}


@pytest.mark.full
@pytest.mark.parametrize("name", odd_servers.NAMES)
async def test_real_server_that_does_not_take_commands_in_a_row_is_mirrored(name: str, source: Path) -> None:
    with home() as folder, odd_servers.odd_server(name, folder) as server:
        run = await check_mirror(server, source)
    assert run.of(Reconnecting) == []
