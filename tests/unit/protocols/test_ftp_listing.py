"""Parsers of listings: from real servers, from hostile ones, and from random bytes."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorsync.model.entry import Kind
from actorsync.model.text import display
from actorsync.protocols.ftp.listing import (
    ListedEntry,
    ParsedListing,
    disguised_links,
    mlst_kind,
    parse_list,
    parse_mlsd,
)
from actorsync.protocols.ftp.replies import parse_mdtm_time
from actorsync.protocols.ftp.wire import Reply

FILE, DIRECTORY, LINK, OTHER = Kind.FILE, Kind.DIRECTORY, Kind.LINK, Kind.OTHER

NAMES = ['q"d', "back\\slash", "a -> b", "\udcff\udcfe", "é", ".hid", "two  sp", "trail ", " lead", "-rf", "x; y"]

PUREFTPD_MLSD = (
    b"type=cdir;sizd=380;modify=20261123011620;UNIX.mode=01777;UNIX.uid=1001;UNIX.gid=1001;unique=29g1; .\r\n"
    b"type=pdir;sizd=380;modify=20261123011620;UNIX.mode=01777;UNIX.uid=1001;UNIX.gid=1001;unique=29g1; ..\r\n"
    b"type=file;size=6;modify=20260102030405;UNIX.mode=0644;UNIX.uid=1001;UNIX.gid=1001;unique=29g3; a.txt\r\n"
    b"type=unknown;size=0;modify=20260102030405;UNIX.mode=0644;UNIX.uid=1001;UNIX.gid=1001;unique=29g8; fifo\r\n"
    b"type=OS.unix=slink:;size=5;modify=20260102030405;UNIX.mode=0777;UNIX.uid=1001;unique=29g6; link\r\n"
    b"type=dir;sizd=60;modify=20260102030405;UNIX.mode=01777;UNIX.uid=1001;UNIX.gid=1001;unique=29g4; sub\r\n"
)
PROFTPD_MLSD = (
    b"modify=20261123011827;perm=flcdmpe;type=cdir;unique=29U1;UNIX.group=1001;UNIX.mode=0755; /sub/here\r\n"
    b"modify=20261123011827;perm=flcdmpe;type=pdir;unique=29U1;UNIX.group=1001;UNIX.mode=0755; /sub\r\n"
    b"modify=20260102030405;perm=adfrw;size=6;type=file;unique=29U3;UNIX.group=1001;UNIX.mode=0644; a.txt\r\n"
    b"modify=20260102030405;perm=adfrw;size=5;type=OS.unix=symlink;unique=29U3;UNIX.group=1001; link\r\n"
    b"modify=20260102030405;perm=flcdmpe;type=dir;unique=29U4;UNIX.group=1001;UNIX.mode=01777; sub\r\n"
)
PYFTPDLIB_MLSD = (
    b"modify=20260102030405;perm=radfwMT;size=6;type=file;unique=29g3; a.txt\r\n"
    b"modify=20260102030405;perm=eldfmMTcp;size=60;type=dir;unique=29g4; sub\r\n"
)

VSFTPD_LIST = (
    b"-rw-r--r--    1 1001     1001            1 Nov 23 01:15  lead\r\n"
    b"drwxrwxrwt    4 1001     1001          380 Nov 23 01:15 .\r\n"
    b"drwxrwxrwt    4 1001     1001          380 Nov 23 01:15 ..\r\n"
    b"-rw-r--r--    1 1001     1001            6 Jan 02  2026 a.txt\r\n"
    b"prw-r--r--    1 1001     1001            0 Nov 23 01:15 fifo\r\n"
    b"lrwxrwxrwx    1 1001     1001            5 Nov 23 01:15 link -> a.txt\r\n"
    b"drwxrwxrwt    2 1001     1001           60 Nov 23 01:15 sub\r\n"
    b"-rw-r--r--    1 1001     1001            1 Nov 23 01:15 trail \r\n"
    b"-rw-r--r--    1 1001     1001            1 Nov 23 01:15 \xff\xfe\r\n"
)
IIS_LIST = (
    b"07-17-00  02:33PM       <DIR>          pub\r\n"
    b"04-14-2025  03:47PM                  589 readme.htm\r\n"
    b"01-02-26  03:04AM       <DIR>           lead\r\n"
    b"01-02-26  03:04AM                    7  lead.txt\r\n"
    b"01-02-26  03:04AM       <JUNCTION>     away\r\n"
)


def mlsd(*lines: str) -> ParsedListing:
    return parse_mlsd("".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape"))


def listed(*lines: str) -> ParsedListing:
    return parse_list("".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape"))


def whole(*entries: ListedEntry, dots: bool = False) -> ParsedListing:
    return ParsedListing(entries, has_dot_entries=dots, is_whole=True, problems=())


TIME = parse_mdtm_time("20260102030405")
A_TXT = ListedEntry("a.txt", FILE, 6, TIME)
A_LINK = ListedEntry("link", LINK, None, TIME)
SUB = ListedEntry("sub", DIRECTORY, None, TIME)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (PUREFTPD_MLSD, whole(A_TXT, ListedEntry("fifo", OTHER, None, TIME), A_LINK, SUB, dots=True)),
        (PROFTPD_MLSD, whole(A_TXT, A_LINK, SUB, dots=True)),
        (PYFTPDLIB_MLSD, whole(A_TXT, SUB)),
        (b"", whole()),
    ],
    ids=["pureftpd", "proftpd", "pyftpdlib", "empty"],
)
def test_mlsd_of_real_servers_is_read(data: bytes, expected: ParsedListing) -> None:
    assert parse_mlsd(data) == expected


def test_m047_unique_fact_is_read() -> None:
    assert [entry.unique for entry in parse_mlsd(PYFTPDLIB_MLSD).entries] == ["29g3", "29g4"]
    assert [entry.unique for entry in mlsd("type=dir;unique=; a", "type=dir; b").entries] == [None, None]


@pytest.mark.full
@pytest.mark.parametrize(
    ("read", "line"),
    [
        (parse_mlsd, "type=file;size=6;modify=20260102030405;UNIX.mode=0644;unique=29g3; {:06}.txt\r\n"),
        (parse_list, "-rw-r--r--    1 1001     1001            6 Jan 02  2026 {:06}.txt\r\n"),
    ],
)
def test_m046_100_000_entries_are_read_in_little_memory(read: Callable[[bytes], ParsedListing], line: str) -> None:
    """All entries are read, and the memory for it is a small multiple of the listing's size."""
    data = "".join(line.format(number) for number in range(100_000)).encode()
    parsed = read(data)
    assert len(parsed.entries) == 100_000
    assert parsed.is_whole
    some = data[: data.index(line.format(5_000).encode())]
    tracemalloc.start()  # tracing is five times slower
    try:
        parsed = read(some)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(parsed.entries) == 5_000
    assert peak < 10 * len(some)


def test_list_of_vsftpd_is_read() -> None:
    assert parse_list(VSFTPD_LIST) == whole(
        ListedEntry(" lead", FILE, 1),
        ListedEntry("a.txt", FILE, 6),
        ListedEntry("fifo", OTHER),
        ListedEntry("link", LINK),
        ListedEntry("sub", DIRECTORY),
        ListedEntry("trail ", FILE, 1),
        ListedEntry("\udcff\udcfe", FILE, 1),
        dots=True,
    )


def test_m043_list_in_dos_form_is_read() -> None:
    assert parse_list(IIS_LIST) == whole(
        ListedEntry("pub", DIRECTORY),
        ListedEntry("readme.htm", FILE, 589),
        ListedEntry(" lead", DIRECTORY),
        ListedEntry(" lead.txt", FILE, 7),
        ListedEntry("away", LINK),
    )
    assert listed("2026-01-02  03:04 <DIR> n", "2026-01-02  13:04       12 x").is_dos
    assert listed("01-02-26  03:04AM <DIR> n", "01-02-26  13:04       12 x").entries == (
        ListedEntry("n", DIRECTORY),
        ListedEntry("x", FILE, 12),
    )


@pytest.mark.parametrize("name", NAMES)
def test_m083_names_are_read_exactly(name: str) -> None:
    assert mlsd(f"type=file;size=1; {name}") == whole(ListedEntry(name, FILE, 1))
    assert listed(f"-rw-r--r--   1 u        g          1 Nov 23 01:18 {name}") == whole(ListedEntry(name, FILE, 1))
    assert listed(f"01-02-26  03:04AM                    1 {name}") == whole(ListedEntry(name, FILE, 1))


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("Type=FILE;SIZE=3;Modify=20260102030405.5; n", ListedEntry("n", FILE, 3, (TIME or 0) + 500_000_000)),
        ("type=file;size=3 n", ListedEntry("n", FILE, 3)),
        ("type=file; n", ListedEntry("n", FILE)),
        ("type=file;size=1;modify=someday; n", ListedEntry("n", FILE, 1)),
        ("type=OS.unix=slink:/else/where; n", ListedEntry("n", LINK)),
        ("type=OS.unix=slink:/my dir;size=3; n", ListedEntry("n", LINK)),
        ("type=file;size=3;UNIX.groupname=domain users;UNIX.mode=0644; n", ListedEntry("n", FILE, 3)),
        ("UNIX.ownername=A B;type=file;size=3; x=1; y", ListedEntry("x=1; y", FILE, 3)),
        ("type=OS.unix=chr-13/29; n", ListedEntry("n", OTHER)),
        ("type=dir;size=4096; n", ListedEntry("n", DIRECTORY)),
    ],
)
def test_mlsd_facts_are_read(line: str, entry: ListedEntry) -> None:
    assert mlsd(line) == whole(entry)


@pytest.mark.parametrize(
    "line",
    [
        "size=1; n",
        " n",
        "n",
        "type=; n",
        "type=file;size=-1; n",
        "type=file;size=1k; n",
        "type=file;size=; n",
        f"type=file;size={'9' * 5000}; n",
        "type=file;modify=my dir;size=3; n",
        "type=file a;b",
        "type=file;size=3 a; b",
        "550 No such directory",
    ],
)
def test_m043_unknown_mlsd_line_makes_the_listing_not_whole(line: str) -> None:
    found = mlsd("type=file;size=1; good", line)
    assert found.entries == (ListedEntry("good", FILE, 1),)
    assert not found.is_whole
    assert len(found.problems) == 1


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (" modify=20260102030405;perm=adfrw;size=6;type=file;unique=29U3;UNIX.mode=0644; /a.txt", FILE),  # ProFTPD
        (" modify=20260102030405;perm=radfwMT;size=6;type=file;unique=29g3; /a.txt", FILE),  # pyftpdlib
        (" type=dir;sizd=60;modify=20260102030405;UNIX.mode=0755;unique=29g4; sub", DIRECTORY),  # Pure-FTPd
        ("type=cdir; /", DIRECTORY),
        (" OS.unix; x", None),
    ],
)
def test_mlst_reply_gives_the_kind(line: str, kind: Kind | None) -> None:
    assert mlst_kind(Reply(250, ("Begin", line, "End."))) is kind
    assert mlst_kind(Reply(550, ("Begin", line, "End."))) is None
    assert mlst_kind(Reply(250, (line,))) is None


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("-rw-r--r-- 1 user group 4096 Jan  1 12:00 n", ListedEntry("n", FILE, 4096)),
        ("-rw-r--r-- 1 user 4096 Jan  1 12:00 n", ListedEntry("n", FILE, 4096)),
        ("-rw-r--r-- 1 user Domain Users 4096 Jan  1 2026 n", ListedEntry("n", FILE, 4096)),
        ("-rw-r--r--. 1 user group 4096 2026-01-02 03:04 n", ListedEntry("n", FILE, 4096)),
        ("-rw-r--r-- 1 user group 9 2026-01-02 03:04:05.000000000 +0100  n", ListedEntry(" n", FILE, 9)),
        ("-rwsr-xr-T 1 user group 4096 1 JAN 12:00 n", ListedEntry("n", FILE, 4096)),
        ("d--x---r-x+ 2 user group 4096 Jan  1 12:00 n", ListedEntry("n", DIRECTORY)),
        ("crw-rw-rw- 1 root root 1, 3 Jan  1 12:00 null", ListedEntry("null", OTHER)),
        ("lrwxrwxrwx 1 user group 4 Jan  1 12:00  n  -> /a b", ListedEntry(" n ", LINK)),
        ("lrwxrwxrwx 1 user group 4 Jan  1 12:00 n", ListedEntry("n", LINK)),
        ("-rw-r--r-- 1 user group 5 Jan  1 12:00 7 Jan  1 12:00 n", ListedEntry("7 Jan  1 12:00 n", FILE, 5)),
    ],
)
def test_list_columns_are_read(line: str, entry: ListedEntry) -> None:
    assert listed(line) == whole(entry)


def test_m043_total_and_blank_lines_are_skipped() -> None:
    assert listed("total 12", "", "Total 0") == whole()


@pytest.mark.parametrize(
    "line",
    [
        "-rw-r--r-- 1 user group 5 1月  1 12:00 n",
        "-rw-r--r-- 1 user 5 1月 1 12:00 7 Jan  1 12:00 n",  # columns inside a name are no columns
        "-rw-r--r-- 1 user group 1, 3 Jan  1 12:00 n",
        "-rw-r--r-- user group 5 Jan  1 12:00 n",
        "d [R----F--] supervisor 512 Jan 16 18:53 login",
        "+i8388621.29609,m824255902,/,\tdev",
        "lrwxrwxrwx 1 user group 4 Jan  1 12:00 a -> b -> c",
        "insgesamt 12",
        "total n",
        "ls: cannot open directory",
    ],
)
def test_m043_unknown_list_line_makes_the_listing_not_whole(line: str) -> None:
    found = listed("-rw-r--r-- 1 u g 1 Jan  1 12:00 good", line)
    assert found.entries == (ListedEntry("good", FILE, 1),)
    assert not found.is_whole
    assert len(found.problems) == 1


@pytest.mark.parametrize("name", ["", ".", "..", "../../etc/x", "/etc/x", "a/../../x", "a/", "x\0y", "x\ny", "x\ry"])
def test_m072_hostile_names_are_no_entries(name: str) -> None:
    for found in (
        mlsd("type=file;size=1; good", f"type=file;size=1; {name}"),
        listed("-rw-r--r-- 1 u g 1 Jan  1 12:00 good", f"-rw-r--r-- 1 u g 1 Jan  1 12:00 {name}"),
        listed("01-02-26  03:04AM       1 good", f"01-02-26  03:04AM       1 {name}"),
    ):
        assert [entry.name for entry in found.entries] == ["good"]
        assert not found.is_whole
        assert not found.has_dot_entries
        assert display(found.problems[0]) == found.problems[0]


@pytest.mark.parametrize("name", ["../up", "a/b", ""])
def test_m072_hostile_directories_and_links_are_no_entries(name: str) -> None:
    for type_ in ("dir", "OS.unix=slink", "unknown"):
        assert not mlsd(f"type={type_}; {name}").is_whole
    assert not listed(f"lrwxrwxrwx 1 u g 4 Jan  1 12:00 {name} -> x").is_whole


def test_m088_line_break_in_a_name_forges_no_entry() -> None:
    forged = "nl\n-rw-r--r--    1 0        0               5 Jan 01 00:00 forged"
    for found in (
        listed(f"-rw-r--r--    1 1001     1001            1 Nov 23 01:15 {forged}"),
        mlsd(f"type=file;size=1; {forged}"),
    ):
        assert found.entries == ()
        assert not found.is_whole


def test_m088_repeated_names_are_dropped() -> None:
    found = mlsd("type=file;size=1; a", "type=file;size=1; b", "type=dir; a")
    assert [entry.name for entry in found.entries] == ["b"]
    assert not found.is_whole
    assert found.problems == ('listed more than once: "a"',)


@pytest.mark.parametrize(("dots", "expected"), [("", False), (".", False), ("..", False), (". ..", True)])
def test_m044_dot_entries_of_list_are_noted(dots: str, expected: bool) -> None:
    found = listed(*(f"drwxr-xr-x 2 u g 4096 Jan  1 12:00 {name}" for name in dots.split()))
    assert found == whole(dots=expected)


@pytest.mark.parametrize("line", ["type=cdir; /", "type=pdir; /..", "type=dir; .", "Type=CDIR; "])
def test_m044_dot_entries_of_mlsd_are_noted(line: str) -> None:
    assert mlsd(line) == whole(dots=True)


@pytest.mark.parametrize("data", [PUREFTPD_MLSD, PROFTPD_MLSD])
def test_m045_mlsd_cut_anywhere_is_not_whole(data: bytes) -> None:
    complete = {entry.name for entry in parse_mlsd(data).entries}
    for cut in range(len(data)):
        found = parse_mlsd(data[:cut])
        assert found.is_whole == (cut == 0 or data[:cut].endswith(b"\r\n"))
        assert {entry.name for entry in found.entries} <= complete


@pytest.mark.parametrize("data", [VSFTPD_LIST, IIS_LIST])
def test_m045_list_cut_anywhere_is_not_whole(data: bytes) -> None:
    complete = {entry.name for entry in parse_list(data).entries}
    for cut in range(len(data)):
        found = parse_list(data[:cut])
        assert found.is_whole == (cut == 0 or data[:cut].endswith(b"\r\n"))
        assert {entry.name for entry in found.entries} <= complete


def test_listing_with_bare_line_feeds_is_read() -> None:
    assert parse_list(VSFTPD_LIST.replace(b"\r\n", b"\n")) == parse_list(VSFTPD_LIST)
    assert parse_mlsd(PUREFTPD_MLSD.replace(b"\r\n", b"\n")) == parse_mlsd(PUREFTPD_MLSD)


def test_m091_problems_are_few_and_short() -> None:
    found = listed(*("x" * 10_000 for _ in range(1_000)))
    assert len(found.problems) == 21
    assert found.problems[-1] == "and 980 more"
    assert max(map(len, found.problems)) < 300


@pytest.mark.parametrize("filler", [b" ", b"1", b"1 ", b"x", b"x ", b", ", b"1, ", b"Jan "])
def test_m091_any_line_is_parsed_quickly(filler: bytes) -> None:
    start = time.perf_counter()
    for head in (b"-rw-r--r-- 1 ", b"01-02-26  03:04AM ", b"type="):
        data = head + filler * (200_000 // len(filler)) + b"\r\n"
        parse_list(data)
        parse_mlsd(data)
    assert time.perf_counter() - start < 2


HOSTILE = st.binary(max_size=30) | st.sampled_from(
    [
        b"type=file;",
        b"type=dir;",
        b"size=1;",
        b" ",
        b"..",
        b"/",
        b"\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b"-rw-r--r-- 1 u g 5 ",
        b"drwxr-xr-x 1 u g 5 ",
        b"Jan  1 12:00 ",
        b" -> ",
        b"01-02-26  03:04AM ",
        b"<DIR>          ",
    ]
)


@given(st.lists(HOSTILE, max_size=16).map(b"".join))
@settings(max_examples=300)
def test_m072_entries_never_have_a_path_as_name(data: bytes) -> None:
    for found in (parse_mlsd(data), parse_list(data)):
        names = [entry.name for entry in found.entries]
        assert len(names) == len(set(names))
        for name in names:
            assert name not in {"", ".", ".."}
            assert not set("/\0\r\n") & set(name)
        assert found.is_whole == (not found.problems)
        assert all(display(problem) == problem for problem in found.problems)


@pytest.mark.parametrize(
    ("rights", "mode"),
    [("rw-r--r--", 0o644), ("rw-------", 0o600), ("rwsr-Sr-t", 0o745), ("---------", 0), ("rwxrwxrwT", 0o776)],
)
def test_mode_is_read_from_the_letters_of_list(rights: str, mode: int) -> None:
    (entry,) = parse_list(f"-{rights} 1 ftp ftp 3 Jan 01 2020 f\r\n".encode()).entries
    assert entry.mode == mode


@pytest.mark.parametrize(
    ("fact", "mode"),
    [
        ("UNIX.mode=0640;", 0o640),
        ("unix.mode=100755;", 0o755),
        ("unix.mode=04711;", 0o711),
        ("unix.mode=0o600;", 0o600),
        ("unix.mode=rw;", None),
        ("", None),
    ],
)
def test_mode_is_read_from_the_facts_of_mlsd(fact: str, mode: int | None) -> None:
    (entry,) = parse_mlsd(f"type=file;size=3;{fact} f\r\n".encode()).entries
    assert entry.mode == mode


def test_dos_listing_has_no_modes() -> None:
    (entry,) = parse_list(b"01-01-20  10:00AM                    3 f\r\n").entries
    assert entry.mode is None


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["type=cdir;perm=flcdmpe; .", "type=dir;perm=adfrw; link", "type=dir;perm=flcdmpe; plain"], {"link"}),
        (["type=cdir;perm=flcdmpe; .", "type=dir;perm=adfr; link"], {"link"}),
        (["type=dir;perm=fle; plain", "type=dir;perm=adfr; link", "type=file;perm=adfrw; file"], {"link"}),
        (["type=dir;perm=flcdmpe; plain", "type=dir; unknown", "type=dir;perm=; none"], set()),
        (["type=dir;perm=rw; all", "type=dir;perm=rw; alike"], set()),
        (["type=dir;perm=elr; both", "type=cdir;perm=el; ."], set()),
    ],
)
def test_directory_with_the_permissions_of_a_file_is_a_link(lines: list[str], found: set[str]) -> None:
    """As ProFTPD shows one with ``ShowSymlinks off``. A server that gives all directories such permissions has none."""
    assert disguised_links(mlsd(*lines)) == found
