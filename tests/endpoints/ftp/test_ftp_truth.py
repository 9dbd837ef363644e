"""Verdicts about an FTP server: what ends a run, and what is gone, is decided by looking, not by one reply."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from actorsync.endpoints.contract import Staged, Upload
from actorsync.endpoints.ftp.session import FtpSession
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.errors import ConnectionLost, GuardRefused, LoginRefused, OperationRefused, Vanished
from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Warned
from actorsync.testing.conformance.contents import MemoryContent
from tests.support.mirror import Run, mirror
from tests.support.servers.debian_servers import Options, Tls
from tests.support.servers.evil import Answer, EvilServer, evil_server
from tests.support.servers.ftp import NAMES, endpoint_for, home, serving

OOPS = b"500 OOPS: priv_sock_get_int"
TIME_NS = 1_709_210_096 * 10**9  # the time of every file of the scripted server
#: What a server offers that has neither MLSD nor MLST.
NO_MLSD: dict[str, Answer] = {
    "FEAT": b"211-Features\r\n EPSV\r\n MDTM\r\n SIZE\r\n211 End",
    "MLSD": b"500 what?",
    "MLST": b"500 what?",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    for name in ("a", "d/b"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def at_call(number: int, reply: bytes) -> Callable[[str], bytes | None]:
    """Answer with ``reply`` once, at call ``number`` (from 1)."""
    calls = iter(range(1, 10**6))
    return lambda _: reply if next(calls) == number else None


async def stage(session: FtpSession, path: str, data: bytes = b"content") -> Staged | OperationRefused:
    staged, _ = await session.stage(Upload(path, f".actorsync-{path}.tmp", MemoryContent(data)))
    return staged


# ---- a session that is failing


@pytest.mark.parametrize("verb", ["SIZE", "MFMT", "MDTM", "STOR", "EPSV", "RNFR", "RNTO", "MKD", "MLSD"])
async def test_oops_to_any_command_is_a_lost_connection(source: Path, verb: str) -> None:
    """vsftpd sends 500 OOPS when its own helper is gone. The next connection works."""
    async with evil_server({verb: at_call(1, OOPS)}) as server:
        run = await mirror(source, endpoint_for(server), None, connections=1)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert server.files == {"/a": b"a", "/d/b": b"d/b"}


async def test_command_that_worked_before_is_not_missing(source: Path) -> None:
    """One 500 to SIZE in the middle of a run is about that call."""
    async with evil_server({"SIZE": at_call(4, b"500 what?")}) as server:
        run = await mirror(source, endpoint_for(server), None, connections=1)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert server.files == {"/a": b"a", "/d/b": b"d/b"}


async def test_missing_size_command_is_confirmed_by_asking_again_alone() -> None:
    async with evil_server({"SIZE": b"500 what?"}) as server, endpoint_for(server).open_session() as session:
        await stage(session, "a")
        asked = server.count("SIZE")
        await stage(session, "b")
        assert (asked, server.count("SIZE")) == (3, 3), "the size, the other case, and once more alone"


async def test_missing_size_command_on_one_connection_does_not_end_a_run(source: Path) -> None:
    async with evil_server({"SIZE": at_call(1, b"500 what?")}) as server:
        run = await mirror(source, endpoint_for(server), None, connections=1)
        assert (run.report.exit_code, run.failures) == (0, {})


# ---- an empty listing


async def test_empty_listing_of_a_missing_source_is_no_empty_source(tmp_path: Path) -> None:
    """Some servers list what does not exist as empty. Nothing may be removed for it."""
    target = tmp_path / "target"
    target.mkdir()
    (target / "kept").write_bytes(b"kept")
    async with evil_server(lists_missing=True) as server:
        endpoint = endpoint_for(server, "/mistyped")
        with pytest.raises(GuardRefused, match="no such directory"):
            await endpoint.identify()
        run = await mirror(endpoint, LocalEndpoint(target), None)
    assert run.report.exit_code != 0
    assert (target / "kept").read_bytes() == b"kept"


@pytest.mark.parametrize("mlst", [None, b"500 what?", b"550 not for you", b"250-here\r\n\r\n250 end"])
async def test_empty_directory_that_can_be_entered_is_empty(mlst: bytes | None) -> None:
    answers: dict[str, Answer] = {} if mlst is None else {"MLST": mlst}
    async with (
        evil_server(answers, folders={"/", "/d"}, lists_missing=True) as server,
        endpoint_for(server).open_session() as session,
    ):
        assert (await session.list_directory("d")).problem is None
        missing = await session.list_directory("missing")
        assert missing.problem is not None
        assert missing.problem.vanished


async def test_missing_directory_below_the_source_is_a_problem(tmp_path: Path) -> None:
    """A directory that the listing of its parent still shows is inaccessible, not empty: nothing in it is removed."""
    target = tmp_path / "target"
    (target / "d").mkdir(parents=True)
    async with evil_server({"MLST": b"550 no", "CWD": b"550 no"}, folders={"/", "/d"}, lists_missing=True) as server:
        server.files["/f"] = b"f"
        run = await mirror(endpoint_for(server), LocalEndpoint(target), None)
    assert run.report.exit_code == 1


# ---- gone is decided by looking


@pytest.mark.parametrize("code", [b"450 what?", b"451 what?", b"500 what?", b"501 what?", b"550 what?"])
@pytest.mark.parametrize("hides_dots", [False, True])
async def test_missing_temporary_counts_as_swept_whatever_the_reply(code: bytes, hides_dots: bool) -> None:
    async with evil_server(hides_dots=hides_dots) as server, endpoint_for(server).open_session() as session:

        def missing(path: str) -> bytes | None:
            return None if path in server.files else code

        server.answers = {"DELE": missing, "SIZE": missing, "MLST": missing, "RNFR": missing}
        server.files["/.actorsync-2.tmp"] = b"ours"
        assert await session.sweep([".actorsync-1.tmp", ".actorsync-2.tmp"]) == [True, True]
        assert server.files == {}


@pytest.mark.parametrize("hides_dots", [False, True])
async def test_temporary_that_cannot_be_removed_is_not_gone(hides_dots: bool) -> None:
    """DELE and SIZE are denied, and the file exists."""
    answers = {"DELE": b"550 denied", "SIZE": b"550 denied"}
    async with evil_server(answers, hides_dots=hides_dots) as server, endpoint_for(server).open_session() as session:
        server.files["/.actorsync-1.tmp"] = b"ours"
        (result,) = await session.sweep([".actorsync-1.tmp"])
        assert isinstance(result, OperationRefused)


@pytest.mark.parametrize("code", [b"450 what?", b"451 what?", b"500 what?", b"550 what?"])
async def test_missing_file_counts_as_removed_whatever_the_reply(code: bytes) -> None:
    async with evil_server() as server, endpoint_for(server).open_session() as session:
        server.files["/other"] = b"other"
        server.answers = {"DELE": code, "SIZE": code}
        assert await session.remove([Entry("gone", Kind.FILE, 3, None)]) == [True]
        assert server.files == {"/other": b"other"}


async def test_file_is_removed_where_sizes_are_denied() -> None:
    """The listing describes the file. Without a look, it would count as gone and stay for ever."""
    async with evil_server({"SIZE": b"550 denied"}) as server, endpoint_for(server).open_session() as session:
        server.files |= {"/ours": b"123", "/theirs": b"changed"}
        ours, theirs = await session.remove(
            [Entry("ours", Kind.FILE, 3, TIME_NS), Entry("theirs", Kind.FILE, 3, TIME_NS)]
        )
        assert ours is True
        assert isinstance(theirs, OperationRefused)
        assert server.files == {"/theirs": b"changed"}


@pytest.mark.parametrize("code", [b"451 what?", b"500 what?", b"550 what?"])
@pytest.mark.parametrize("has_mlsd", [True, False])
async def test_missing_directory_counts_as_removed_whatever_the_reply(code: bytes, has_mlsd: bool) -> None:
    async with evil_server(folders={"/", "/there"}) as server:

        def missing(path: str) -> bytes | None:
            return None if path in server.folders else code

        denied: dict[str, Answer] = {"RMD": missing, "CWD": missing, "MLST": missing}
        server.answers = {**denied, **({} if has_mlsd else NO_MLSD)}
        async with endpoint_for(server).open_session() as session:
            results = await session.remove([Entry("gone", Kind.DIRECTORY), Entry("there", Kind.DIRECTORY)])
        assert results == [True, True]
        assert server.folders == {"/"}


async def test_directory_that_cannot_be_removed_or_entered_is_not_gone() -> None:
    answers: dict[str, Answer] = {
        **NO_MLSD,
        "RMD": b"550 denied",
        "CWD": lambda path: b"550 denied" if path == "/shut" else None,
    }
    async with (
        evil_server(answers, folders={"/", "/shut"}) as server,
        endpoint_for(server).open_session() as session,
    ):
        (result,) = await session.remove([Entry("shut", Kind.DIRECTORY)])
        assert isinstance(result, OperationRefused)


async def test_directory_with_a_size_is_removed() -> None:
    """A server without MLSD may answer SIZE for a directory, as for a file."""
    async with evil_server(folders={"/", "/d"}) as server:
        sizes: dict[str, Answer] = {"SIZE": lambda path: b"213 4096" if path in server.folders else None}
        server.answers = {**NO_MLSD, **sizes}
        async with endpoint_for(server).open_session() as session:
            server.files["/file"] = b"file"
            removed, refused = await session.remove([Entry("d", Kind.DIRECTORY), Entry("file", Kind.DIRECTORY)])
            assert removed is True
            assert isinstance(refused, OperationRefused)
            (made,) = await session.make_directories(["d"])
            assert isinstance(made, Entry)


# ---- listings


@pytest.mark.parametrize("dash_a", ["option", "refused", "file"])
@pytest.mark.parametrize("list_form", ["unix", "dos"])
async def test_any_form_of_list_is_read(dash_a: str, list_form: str, source: Path) -> None:
    """To some servers ``-a`` is a name. In DOS form there are no dots, so that an empty directory sends nothing."""
    answers: dict[str, Answer] = {**NO_MLSD, "SYST": b"215 Windows_NT" if list_form == "dos" else b"215 UNIX Type: L8"}
    folders = {"/", "/d", "/empty"}
    async with (
        evil_server(answers, dash_a=dash_a, list_form=list_form, folders=folders) as server,
        endpoint_for(server).open_session() as session,
    ):
        server.files["/d/f"] = b"123"
        for directory, names in (("empty", []), ("d", ["d/f"]), ("", ["d", "empty"]), ("empty", [])):
            listing = await session.list_directory(directory)
            assert listing.problem is None, listing.problem
            assert sorted(entry.path for entry in listing.entries) == names
        assert (await session.list_directory("missing")).problem is not None


async def test_unix_listing_without_dots_is_no_empty_directory() -> None:
    """Three of four servers answer so for a directory that may not be read."""
    async with evil_server({**NO_MLSD, "SYST": b"215 UNIX"}, dash_a="file") as server:
        server.listing = b""
        server.hides_dots = True
        async with endpoint_for(server).open_session() as session:
            server.list_form = "dos"  # no dot entries
            listing = await session.list_directory("")
    assert listing.problem is not None


@pytest.mark.parametrize("line", [b"type=file;size=3;modify=20240229123456; /f\r\n\r\n", b"nonsense\r\n"])
async def test_file_with_an_odd_description_is_read(line: bytes) -> None:
    async with (
        evil_server({"MLST": b"250-here\r\n" + line + b"250 end\r\n"}) as server,
        endpoint_for(server).open_session() as session,
    ):
        server.files["/f"] = b"123"
        reply = await session._reader.look_at("f")
        assert reply == Entry("f", Kind.FILE, 3, TIME_NS)


@pytest.mark.parametrize("fails", [1, 2])
async def test_root_is_given_up_only_when_another_connection_confirms_it(source: Path, fails: int) -> None:
    """It can be neither made nor entered."""
    calls = iter(range(100))
    answers: dict[str, Answer] = {
        "MKD": lambda path: b"550 no" if path == "/www" else None,
        "MLST": b"550 no",
        "CWD": lambda path: b"550 no" if path == "/www" and next(calls) < fails else None,
    }
    async with evil_server(answers, folders={"/", "/www"}) as server:
        run = await mirror(source, endpoint_for(server, "/www"), None, connections=1, delete=False)
    assert run.report.exit_code == (0 if fails == 1 else 7)
    assert fails == 1 or "550 no, and it cannot be entered; check the path" in str(run.report.error)


@pytest.mark.parametrize("mlst", [b"550 denied", b"451 later", b"500 what?"])
@pytest.mark.parametrize("size", [b"550 denied", b"451 later"])
async def test_file_that_is_listed_and_not_described_is_not_skipped(tmp_path: Path, mlst: bytes, size: bytes) -> None:
    """A run that skips a file because it no longer exists ends with "in sync". So it must not exist."""
    target = tmp_path / "target"
    target.mkdir()
    async with evil_server({"SIZE": size}) as server:
        server.files["/f"] = b"123"
        server.answers = {"SIZE": size, "MLST": lambda path: None if path == "/" else mlst}
        run = await mirror(endpoint_for(server), LocalEndpoint(target), None)
        assert run.report.exit_code == 1
        assert run.failures.keys() == {"f"}


@pytest.mark.parametrize("code", [b"550 gone", b"451 what?", b"500 what?"])
async def test_file_that_is_missing_has_vanished_whatever_the_reply(code: bytes) -> None:
    async with evil_server() as server, endpoint_for(server).open_session() as session:
        server.files["/other"] = b"123"
        server.answers = dict.fromkeys(["SIZE", "MLST", "MDTM", "RETR"], code)
        with pytest.raises(Vanished):
            await session.open("f").__aenter__()


async def test_root_that_is_a_link_is_used(source: Path) -> None:
    """Pure-FTPd answers MKD with 550, and MLST says that the root is a link."""
    link = b"250-here\r\n type=OS.unix=slink; /www\r\n250 end"
    answers: dict[str, Answer] = {
        "MKD": lambda path: b"550 File exists" if path == "/www" else None,
        "MLST": lambda path: link if path == "/www" else None,
    }
    async with evil_server(answers, folders={"/", "/www"}) as server:
        run = await mirror(source, endpoint_for(server, "/www"), None)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert server.files == {"/www/a": b"a", "/www/d/b": b"d/b"}


@pytest.mark.parametrize("mlst", [b"550 not now", b"500 what?", b"451 what?", b"250-here\r\n\r\n250 end"])
async def test_refused_description_of_the_root_does_not_end_a_run(source: Path, mlst: bytes) -> None:
    answers: dict[str, Answer] = {"MKD": lambda path: b"550 exists" if path == "/www" else None, "MLST": mlst}
    async with evil_server(answers, folders={"/", "/www"}) as server:
        run = await mirror(source, endpoint_for(server, "/www"), None)
        assert (run.report.exit_code, run.failures) == (0, {})


async def test_temporary_that_can_never_be_removed_is_let_go_after_three_runs(source: Path, tmp_path: Path) -> None:
    """It is reported once. Then runs succeed again."""
    answers: dict[str, Answer] = {"DELE": b"550 denied", "RNTO": b"550 denied"}
    async with evil_server(answers) as server:
        codes, warnings = [], []
        for _ in range(5):
            run = await mirror(source, endpoint_for(server), tmp_path / "journal", delete=False)
            codes.append(run.report.exit_code)
            warnings += [event.text for event in run.of(Warned) if "could not be removed" in event.text]
            server.answers = {"DELE": b"550 denied"}
        assert codes == [1, 1, 1, 0, 0]
        assert len(warnings) == len(set(warnings)) == 2, warnings
        assert all("remove it by hand" in text for text in warnings)


# ---- permanent refusals


async def test_denied_rename_sends_each_file_once(source: Path) -> None:
    async with evil_server({"RNFR": b"550 Permission denied.", "RNTO": b"503 RNFR first"}) as server:
        run = await mirror(source, endpoint_for(server), None)
        assert run.report.exit_code == 1
        assert set(run.failures) == {"a", "d/b"}
        assert all("allow RNFR and RNTO" in why for why in run.failures.values())
        assert server.files == {}
        stored = [line for line in server.commands if line.startswith("STOR") and "try.actorsync" not in line]
    assert len(stored) == 2


@pytest.mark.parametrize("has_mlsd", [True, False])
async def test_server_that_denies_sizes_is_mirrored(source: Path, tmp_path: Path, has_mlsd: bool) -> None:
    """The listing shows that each upload is whole. No file is sent twice, and the target is not called full."""
    answers: dict[str, Answer] = {**({} if has_mlsd else NO_MLSD), "SIZE": b"550 Permission denied."}
    async with evil_server(answers) as server:
        run = await mirror(source, endpoint_for(server), tmp_path / "journal", connections=1)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert server.files == {"/a": b"a", "/d/b": b"d/b"}
        assert server.count("STOR") == 2
        (source / "a").unlink()
        run = await mirror(source, endpoint_for(server), tmp_path / "journal")
        assert (run.report.exit_code, run.failures) == (0, {})
        assert server.files == {"/d/b": b"d/b"}


async def test_upload_that_is_not_there_is_no_denied_size(source: Path) -> None:
    """The server accepts the file, and has nothing: neither SIZE nor a listing shows it."""
    async with evil_server({"STOR": b"226 got it"}) as server:
        run = await mirror(source, endpoint_for(server), None, connections=1)
        assert run.report.exit_code == 1
        assert server.files == {}


async def test_login_that_ends_the_session_twice_is_refused() -> None:
    """vsftpd refuses to run with some settings, and says so after the password."""
    said = b"500 OOPS: vsftpd: refusing to run with writable root inside chroot()"
    async with evil_server({"PASS": said}) as server:
        endpoint = endpoint_for(server)
        for error in (ConnectionLost, LoginRefused):
            with pytest.raises(error, match="refusing to run"):
                async with endpoint.open_session():
                    pass


# ---- odd names


@pytest.mark.parametrize("hides_dots", [False, True])
@pytest.mark.parametrize("shows_ascii", [False, True])
async def test_odd_names_are_sent_whatever_listings_show(tmp_path: Path, hides_dots: bool, shows_ascii: bool) -> None:
    """The server keeps the names, and its listings show "?" for what is not ASCII, or hide dots."""
    source, names = tmp_path / "source", ["é.txt", "è.txt", "ü/ö.txt", "a:b"]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(name.encode())
    async with evil_server(hides_dots=hides_dots, shows_ascii=shows_ascii) as server:
        run = await mirror(source, endpoint_for(server), tmp_path / "journal")
        assert (run.report.exit_code, run.failures) == (0, {})
        assert server.files == {f"/{name}": name.encode() for name in names}
        run = await mirror(source, endpoint_for(server), tmp_path / "journal")
        assert (run.report.exit_code, run.report.copied) == (0, 0)


@pytest.mark.parametrize("hides_dots", [False, True])
async def test_names_that_a_server_makes_one_are_refused(tmp_path: Path, hides_dots: bool) -> None:
    source = tmp_path / "source"
    for name in ("é.txt", "è.txt", "ü/a", "plain"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(name.encode())
    async with evil_server(hides_dots=hides_dots, replaces=True) as server:
        run = await mirror(source, endpoint_for(server), None)
        assert set(run.failures) >= {"é.txt", "è.txt", "ü"}
        assert all("differently" in why or "its directory" in why for why in run.failures.values())
        assert server.files == {"/plain": b"plain"}
        assert server.folders == {"/"}


# ---- times


def local_times(server: EvilServer, hours: int) -> None:
    """Show the times of all files moved by some hours, as a server in local time after a change of its clock."""
    for path in server.files:
        shown = int(server.times.get(path, b"20240229123456"))
        server.times[path] = b"%d" % (shown + 10_000 * hours)


async def test_removals_go_on_when_all_times_move_by_an_hour(tmp_path: Path) -> None:
    source, journal = tmp_path / "source", tmp_path / "journal"
    source.mkdir()
    for number in range(20):
        (source / f"{number}").write_bytes(b"%d" % number)
        os.utime(source / f"{number}", (1_700_000_000, 1_700_000_000))  # 22:13:20 UTC
    async with evil_server() as server:
        assert (await mirror(source, endpoint_for(server), journal, settled=True)).report.exit_code == 0
        local_times(server, 1)
        server.times["/3"] = b"20240101000000"  # changed by somebody else
        for number in range(12):
            (source / f"{number}").unlink()
        (source / "12").rename(source / "twelve")
        run = await mirror(source, endpoint_for(server), journal, settled=True)
        assert run.failures == {"3": "not removed: it was changed on the server"}
        assert server.files.keys() == {"/3", "/twelve", *(f"/{number}" for number in range(13, 20))}


async def test_single_file_that_moved_by_an_hour_was_changed(tmp_path: Path) -> None:
    source, journal = tmp_path / "source", tmp_path / "journal"
    source.mkdir()
    for name in "abcdef":
        (source / name).write_bytes(name.encode())
        os.utime(source / name, (1_700_000_000, 1_700_000_000))
    async with evil_server() as server:
        await mirror(source, endpoint_for(server), journal, settled=True)
        server.times["/a"] = b"20231114231320"
        for name in "abcde":
            (source / name).unlink()
        run = await mirror(source, endpoint_for(server), journal, settled=True)
        assert run.failures == {"a": "not removed: it was changed on the server"}
        assert server.files.keys() == {"/a", "/f"}


# ---- whole mirrors


async def cycle(source: Path, server: EvilServer, folder: Path) -> None:
    """Push, change, rename, remove, lose the journal, pull: the trees are equal each time."""

    def expected() -> dict[str, bytes]:
        return {f"/{path.relative_to(source)}": path.read_bytes() for path in source.rglob("*") if path.is_file()}

    async def push(journal: str) -> Run:
        run = await mirror(source, endpoint_for(server), folder / journal, settled=True)
        assert (run.report.exit_code, run.failures) == (0, {})
        assert server.files == expected()
        return run

    await push("one")
    (source / "a").write_bytes(b"changed")
    (source / "d/b").rename(source / "d/moved")
    (source / "gone").write_bytes(b"gone")
    await push("one")
    (source / "gone").unlink()
    shutil.rmtree(source / "d")
    await push("one")
    assert server.folders == {"/"}
    assert (await push("one")).report.copied == 0
    await push("two")
    pulled = folder / "pulled"
    pulled.mkdir()
    run = await mirror(endpoint_for(server), LocalEndpoint(pulled), None)
    assert (run.report.exit_code, run.failures) == (0, {})
    assert {f"/{path.relative_to(pulled)}": path.read_bytes() for path in pulled.rglob("*")} == expected()


@pytest.mark.parametrize("dash_a", ["option", "refused", "file"])
@pytest.mark.parametrize("list_form", ["unix", "dos"])
async def test_mirror_on_a_server_with_list_only(source: Path, tmp_path: Path, dash_a: str, list_form: str) -> None:
    answers: dict[str, Answer] = {**NO_MLSD, "SYST": b"215 Windows_NT" if list_form == "dos" else b"215 UNIX"}
    async with evil_server(answers, dash_a=dash_a, list_form=list_form) as server:
        await cycle(source, server, tmp_path)


@pytest.mark.parametrize(
    "reply",
    [
        b"229 ok (||6446|)",
        b"229 ok (|2|127.0.0.1|6446|)",
        b"229 ok",
        b"227 Entering Passive Mode (127,0,0,1,25,46)",
        b"522 no",
    ],
)
async def test_mirror_on_a_server_with_malformed_epsv(source: Path, tmp_path: Path, reply: bytes) -> None:
    """PASV takes its place, and EPSV is not tried again."""
    async with evil_server({"EPSV": reply}) as server:
        await cycle(source, server, tmp_path)
        assert server.count("PASV") > 1


@pytest.mark.parametrize("code", [b"450", b"451", b"501", b"550"])
@pytest.mark.parametrize("lie", ["folds", "hides_dots", "lists_missing", "shows_ascii"])
async def test_mirror_on_a_server_with_odd_replies_for_what_is_missing(
    source: Path, tmp_path: Path, code: bytes, lie: str
) -> None:
    async with evil_server() as server:
        setattr(server, lie, lie != "folds")

        def missing(path: str) -> bytes | None:
            return None if path in {*server.files, *server.folders} else code + b" what?"

        server.answers = dict.fromkeys(["DELE", "RMD", "SIZE", "MDTM", "MLST", "CWD", "RNFR"], missing)
        await cycle(source, server, tmp_path)


@pytest.mark.parametrize("name", NAMES)
async def test_root_that_is_a_link_is_used_on_a_real_server(source: Path, name: str) -> None:
    """Links above the root and the root itself are followed. Nothing is changed through one below it."""
    with home() as folder, serving(name, folder) as server:
        (server.root / "public_html/site").mkdir(parents=True)
        (server.root / "www").symlink_to("public_html")
        server.adopt()
        for path in ("www", "www/site"):
            for copied in (2, 0):
                run = await mirror(source, endpoint_for(server, path), folder / path.replace("/", "-"))
                assert (run.report.exit_code, run.failures, run.report.copied) == (0, {}, copied)
        assert (server.root / "public_html/site/d/b").read_bytes() == b"d/b"


@pytest.mark.parametrize("name", NAMES)
async def test_login_in_clear_is_refused_with_the_right_scheme_on_a_real_server(name: str) -> None:
    with home() as folder, serving(name, folder, Options(tls=Tls())) as server:
        endpoint = endpoint_for(server, tls=None)
        with pytest.raises(LoginRefused, match="use ftpes://"):
            await endpoint.identify()


# ---- files that were set aside


@pytest.mark.parametrize("size", [None, b"450 busy", b"550 denied"])
@pytest.mark.parametrize("denies_all", [True, False])
@pytest.mark.parametrize("is_replaced", [True, False])
async def test_file_set_aside_never_replaces_a_new_file(
    size: bytes | None, denies_all: bool, is_replaced: bool
) -> None:
    """A size that the server refuses does not make the name of the new file free."""
    async with evil_server() as server, endpoint_for(server).open_session() as session:
        server.files["/.actorsync+0a.tmp"] = b"old"
        if is_replaced:
            server.files["/f"] = b"new"
        server.answers = {"SIZE": lambda path: size if denies_all or path == "/f" else None}
        assert await session.sweep([".actorsync-0a.tmp"], {".actorsync-0a.tmp": "f"}) == [True]
        assert server.files == {"/f": b"new" if is_replaced else b"old"}
