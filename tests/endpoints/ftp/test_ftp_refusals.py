"""Refusals of a scripted FTP server that can refuse anything: no probe is sent without need.

Real servers are in ``test_target_refusals``, the decisions alone in ``test_upload_diagnosis``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from actorsync.endpoints.contract import Session, Staged, Upload
from actorsync.errors import OperationRefused, TargetFull
from actorsync.model.entry import Entry
from actorsync.testing.conformance.contents import MemoryContent
from actorsync.testing.network.faults import Cut
from actorsync.testing.network.ftp_proxy import open_fault_proxy
from tests.support.mirror import mirror
from tests.support.servers.evil import EvilServer, evil_server
from tests.support.servers.ftp import endpoint_for

_tokens = iter(range(10**6))


async def stage(session: Session, path: str, data: bytes) -> Staged | OperationRefused:
    folder, slash, _ = path.rpartition("/")
    staged, _ = await session.stage(
        Upload(path, f"{folder}{slash}.actorsync-{next(_tokens):08x}.tmp", MemoryContent(data))
    )
    return staged


async def put(session: Session, path: str, data: bytes) -> Entry | OperationRefused:
    staged = await stage(session, path, data)
    return staged if isinstance(staged, OperationRefused) else (await session.commit([staged]))[0]


# ---- no probe without need


async def test_successful_uploads_send_no_extra_command() -> None:
    """Three uploads send only what they need. Their directory and the case folding of the server are checked once."""
    async with evil_server(folders={"/", "/d"}) as server, endpoint_for(server).open_session() as session:
        begun = len(server.commands)
        for name in "abc":
            assert isinstance(await put(session, f"d/{name}", b"content"), Entry)
    verbs = [line.split()[0] for line in server.commands[begun:] if line != "QUIT"]
    first = ["CWD", "PWD", "CWD", "PWD", "EPSV", "STOR", "SIZE", "MFMT", "SIZE", "RNFR", "RNTO", "SIZE", "MDTM"]
    assert verbs == [*first, *["EPSV", "STOR", "SIZE", "MFMT", "RNFR", "RNTO", "SIZE", "MDTM"] * 2]


async def test_m031_m039_many_refusals_send_a_limited_number_of_probes() -> None:
    folders = {"/", *(f"/{number}" for number in range(40))}
    async with (
        evil_server({"STOR": b"553 no"}, folders=folders) as server,
        endpoint_for(server).open_session() as session,
    ):
        began = trio.current_time()
        for number in range(400):
            refused = await stage(session, f"{number % 40}/f", b"x")
            assert isinstance(refused, OperationRefused) and "553 no" in str(refused)
            assert not isinstance(refused, TargetFull)
        seconds = trio.current_time() - began
    trials = sum("try.actorsync-" in line for line in server.commands if line.startswith("STOR"))
    assert 10 <= trials <= 16 * (1 + seconds / 10), "16 in ten seconds"
    assert server.count("STOR") == 400 + trials


@pytest.mark.parametrize("says", [b"451 no more", b"452 no more", b"552 no more", b"426 no more", b"550 no more"])
async def test_m031_m032_full_target_is_found_by_a_probe_whatever_the_reply(says: bytes) -> None:
    """A second connection uses the finding of the first."""
    async with evil_server(room=100_000, full=says) as server:
        endpoint = endpoint_for(server)
        async with endpoint.open_session() as one, endpoint.open_session() as other:
            assert isinstance(await put(one, "a", bytes(90_000)), Entry)
            for session in (one, other):
                for name in "bc":
                    refused = await stage(session, name, bytes(20_000))
                    assert isinstance(refused, TargetFull), refused
                    assert says.decode() in str(refused)
    assert server.files.keys() == {"/a"}
    assert sum("try.actorsync-" in line for line in server.commands if line.startswith("STOR")) == 1


async def test_m032_file_size_limit_is_refused_without_retry_at_the_second_attempt() -> None:
    """The second attempt stores exactly as many bytes as the first, so that there is no third."""
    async with evil_server(limit=50_000) as server, endpoint_for(server).open_session() as session:
        first, second = [await stage(session, "big", bytes(60_000)) for _ in range(2)]
        assert isinstance(first, OperationRefused) and first.retry
        assert str(first) == "the server refused the file: 451 no more", "it could be the network as well"
        assert isinstance(second, OperationRefused) and not second.retry
        assert str(second).startswith(
            "the server stores only 50000 of 60000 bytes, and accepts small files (451 no more)"
        )
        assert isinstance(await put(session, "small", b"small"), Entry)
    assert server.files == {"/small": b"small"}


async def test_m018_226_without_a_stored_byte_means_full_target() -> None:
    async with evil_server(room=0, full=b"226 fine") as server, endpoint_for(server).open_session() as session:
        refused = await stage(session, "file", b"content")
        assert isinstance(refused, TargetFull)
        assert "226 fine" in str(refused)
    assert server.files == {}


@pytest.mark.parametrize("at", [b"425 no data connection", b"426 cut off"])
async def test_m016_probe_without_a_data_connection_is_no_finding(at: bytes) -> None:
    async with evil_server({"STOR": at}) as server, endpoint_for(server).open_session() as session:
        refused = await stage(session, "file", b"content")
        assert not isinstance(refused, TargetFull)
        assert str(refused) == f"the server refused the file: {at.decode()}"


async def test_m031_several_directories_without_room_mean_full_target() -> None:
    """A disk without inodes, on a server that sends the reply for a directory without permission."""
    folders = {"/", *(f"/{number}" for number in range(4))}
    async with evil_server(folders=folders) as server, endpoint_for(server).open_session() as session:
        for number in range(4):
            assert isinstance(await put(session, f"{number}/f", b"one"), Entry)
        server.answers = {"STOR": b"553 no"}
        refused = [await stage(session, f"{number}/g", b"two") for number in range(4)]
        assert [isinstance(one, TargetFull) for one in refused] == [False, False, True, True]


# ---- renames


def does_not_replace(server: EvilServer) -> Callable[[str], bytes | None]:
    """Refuse to rename onto an existing file, as IIS does."""
    return lambda path: b"550 it exists" if path in server.files else None


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}").write_bytes(b"a new version of %d" % number)
    return folder


def watch(server: EvilServer) -> list[str]:
    """Check before each rename and removal that every file has its old or new version, in place or set aside."""
    faults: list[str] = []

    def look(argument: str) -> None:
        for number in range(4):
            whole = {b"old %d" % number, b"a new version of %d" % number}
            named = {server.files.get(f"/{number}")}
            aside = {data for path, data in server.files.items() if ".actorsync+" in path}
            if not whole & (named | aside):
                faults.append(f"{argument} left no version of {number}")

    refuse = does_not_replace(server)
    server.answers = {
        "RNTO": lambda path: look(path) or refuse(path),  # type: ignore[func-returns-value]
        "DELE": lambda path: look(path),
    }
    return faults


async def test_m033_server_that_refuses_to_replace_gets_files_in_steps(source: Path) -> None:
    async with evil_server() as server:
        faults = watch(server)
        server.files |= {f"/{number}": b"old %d" % number for number in range(4)}
        run = await mirror(source, endpoint_for(server), None)
    assert (run.report.exit_code, run.failures, faults) == (0, {}, [])
    assert server.files == {f"/{number}": b"a new version of %d" % number for number in range(4)}


@pytest.mark.parametrize("line", range(8, 92, 4))
async def test_m033_connection_lost_at_any_step_of_a_replacement_converges(source: Path, line: int) -> None:
    async with evil_server() as server:
        faults = watch(server)
        server.files |= {f"/{number}": b"old %d" % number for number in range(4)}
        when = ("before", "unanswered", "after")[line % 3]
        async with open_fault_proxy(("127.0.0.1", server.port), Cut(at_line=line, when=when)) as proxy:  # type: ignore[arg-type]
            run = await mirror(source, endpoint_for(server, host=proxy.host), None, connections=1)
    assert (run.report.exit_code, run.failures, faults) == (0, {}, [])
    assert server.files == {f"/{number}": b"a new version of %d" % number for number in range(4)}


@pytest.mark.parametrize("is_replaced", [True, False])
async def test_m033_sweep_restores_a_file_that_was_set_aside(is_replaced: bool) -> None:
    async with evil_server() as server, endpoint_for(server).open_session() as session:
        server.files |= {"/.actorsync+0a.tmp": b"old", "/.actorsync-0a.tmp": b"ne", "/try.actorsync-0a": b"tried"}
        if is_replaced:
            server.files["/f"] = b"new"
        assert await session.sweep([".actorsync-0a.tmp"], {".actorsync-0a.tmp": "f"}) == [True]
        assert server.files == {"/f": b"new" if is_replaced else b"old"}


async def test_m033_file_that_cannot_be_put_back_is_reported() -> None:
    async with evil_server({"RNTO": b"550 no"}) as server, endpoint_for(server).open_session() as session:
        server.files["/.actorsync+0a.tmp"] = b"old"
        (result,) = await session.sweep([".actorsync-0a.tmp"], {".actorsync-0a.tmp": "f"})
        assert isinstance(result, OperationRefused)
        assert "set aside and could not be put back: 550 no" in str(result)
        assert server.files == {"/.actorsync+0a.tmp": b"old"}


async def test_m033_m039_file_that_cannot_be_replaced_or_set_aside_stays() -> None:
    def refuse(path: str) -> bytes | None:
        return b"550 not that one" if path == "/f" or ".actorsync+" in path else None

    async with evil_server({"RNTO": refuse}) as server, endpoint_for(server).open_session() as session:
        server.files["/f"] = b"old"
        refused = await put(session, "f", b"the new version")
        assert isinstance(refused, OperationRefused)
        assert "neither replaces the existing file nor renames it aside (550 not that one)" in str(refused)
        assert server.files == {"/f": b"old"}


async def test_m082_rejected_final_name_differs_from_closed_directory() -> None:
    def refuse(path: str) -> bytes | None:
        return b"553 what a name" if "bad" in path else b"550 no renames" if "shut" in path else None

    folders = {"/", "/shut"}
    async with evil_server({"RNTO": refuse}, folders=folders) as server, endpoint_for(server).open_session() as session:
        named, shut = [await put(session, path, b"content") for path in ("bad", "shut/f")]
        assert "accepts another name in the same directory (553 what a name); rename or" in str(named)
        assert str(shut) == "the server refused the rename to the final name: 550 no renames"
        assert isinstance(await put(session, "good", b"good"), Entry)
    assert server.files == {"/good": b"good"}


async def test_m031_disk_full_at_the_rename_means_full_target() -> None:
    def refuse(path: str) -> bytes | None:
        server.room = 0
        return b"451 no"

    async with evil_server({"RNTO": refuse}) as server, endpoint_for(server).open_session() as session:
        refused = await put(session, "f", b"content")
        assert isinstance(refused, TargetFull), refused
    assert server.files == {}


# ---- REST


async def test_m024_broken_upload_restarts_under_a_new_name(source: Path) -> None:
    """A broken upload starts again under another name, with neither REST nor APPE."""
    cuts = [Cut(verb="STOR", when="unanswered", times=3)]
    async with evil_server() as server, open_fault_proxy(("127.0.0.1", server.port), *cuts) as proxy:
        run = await mirror(source, endpoint_for(server, host=proxy.host), None, connections=1)
    assert (run.report.exit_code, run.failures) == (0, {})
    stored = [line for line in server.commands if line.startswith("STOR")]
    assert len(stored) == len(set(stored)) == 7
    assert not {"REST", "APPE"} & {line.split()[0] for line in server.commands}


# ---- links


async def test_m036_path_printed_in_another_form_is_checked_by_listing() -> None:
    """Servers print paths in different forms. The listing decides."""
    answers = {"PWD": b'257 "/d/as the server sees it"'}
    async with evil_server(answers, folders={"/", "/d"}) as server, endpoint_for(server, "/").open_session() as session:
        assert isinstance(await put(session, "d/f", b"content"), Entry)
        assert isinstance(await put(session, "d/g", b"content"), Entry)
    assert server.count("MLSD") == 1


# ---- upper and lower case


async def test_m049_case_folding_server_keeps_the_first_of_two_files(tmp_path: Path) -> None:
    """Neither file overwrites the other in any run, and the one that is not sent is reported."""
    source, journal = tmp_path / "source", tmp_path / "journal"
    for path in ("A", "a", "d/other", "d/Other", "d/own"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(path.encode())
    async with evil_server(folds=True) as server:
        kept: set[bytes] = set()
        for _ in range(2):
            run = await mirror(source, endpoint_for(server), journal)
            assert run.report.exit_code == 1
            assert len(run.failures) == 2
            assert all("takes both names for one" in why for why in run.failures.values())
            there = set(server.files.values())
            assert there == {b"A", b"a", b"d/other", b"d/Other", b"d/own"} - {path.encode() for path in run.failures}
            assert kept in (set(), there), "the same one in each run"
            kept = there
        for path in run.failures:
            (source / path).unlink()
        run = await mirror(source, endpoint_for(server), journal)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert set(server.files.values()) == kept


async def test_m049_foreign_file_with_other_case_is_not_overwritten() -> None:
    async with evil_server(folds=True) as server, endpoint_for(server).open_session() as session:
        server.files["/README"] = b"theirs"
        refused = await put(session, "readme", b"ours")
        assert isinstance(refused, OperationRefused)
        assert str(refused).startswith("'README' is in its place: the target takes both names for one")
        assert isinstance(await put(session, "README", b"ours, and the same name"), Entry)
        assert server.files == {"/README": b"ours, and the same name"}
        assert server.count("MLSD") == 1, "once for each directory"


async def test_m049_case_sensitive_server_is_asked_once() -> None:
    async with evil_server() as server, endpoint_for(server).open_session() as session:
        for name in ("A", "a", "B"):
            assert isinstance(await put(session, name, name.encode()), Entry)
    assert server.files == {"/A": b"A", "/a": b"a", "/B": b"B"}
    assert sum("ACTORSYNC" in line for line in server.commands) == 1
