"""The control connection without a server: command lines, replies, and every dialogue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorsync.errors import ConnectionLost, LoginRefused, OperationRefused
from actorsync.model.text import display, shorten
from actorsync.protocols.ftp import dialogues as ftp_dialogues
from actorsync.protocols.ftp import replies as ftp_replies
from actorsync.protocols.ftp import wire as ftp
from actorsync.protocols.ftp.replies import Features, TimeSetter
from actorsync.protocols.ftp.wire import Dialogue, ProtocolError, Reply, ReplyParser, command_line

T = TypeVar("T")

SECOND = 1_000_000_000
REFUSED = "550 No such file or directory."


def reply(line: str) -> Reply:
    """Return the reply of one line."""
    return Reply(int(line[:3]), (line[4:],))


def parse(data: bytes, *, step: int = 0) -> list[Reply]:
    """Return all replies in ``data``, fed in pieces of ``step`` bytes."""
    parser = ReplyParser()
    replies = []
    for start in range(0, len(data), step or len(data)):
        parser.feed(data[start : start + (step or len(data))])
        while (one := parser.next_reply()) is not None:
            replies.append(one)
    assert parser.is_empty
    return replies


def play(dialogue: Dialogue[T], *answers: str | Sequence[str]) -> tuple[list[list[str]], T]:
    """Drive ``dialogue`` with one answer, or list of answers, for each flight. Returns the flights and the result."""
    flights: list[list[str]] = []
    script = iter(answers)
    try:
        flight = next(dialogue)
        while True:
            flights.append([line.decode("utf-8", "surrogateescape").removesuffix("\r\n") for line in flight])
            lines = next(script)
            flight = dialogue.send([reply(line) for line in ([lines] if isinstance(lines, str) else lines)])
    except StopIteration as done:
        assert next(script, None) is None, "the dialogue ended early"
        return flights, done.value


# --- Text for display


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 \U0001f600 \\", "plain é 日本 \U0001f600 \\"),
        ("\x1b[31m\r\n\t\0", r"\x1b[31m\x0d\x0a\x09\x00"),
        ("\x7f\x9b", r"\x7f\x9b"),
        ("txt\u202egpj.exe\u2066\u200f\u061c", r"txt\u202egpj.exe\u2066\u200f\u061c"),
        ("a\u2028b", r"a\u2028b"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
    ],
)
def test_m089_display_escapes_control_characters(text: str, shown: str) -> None:
    assert display(text) == shown


@given(st.text(st.characters(exclude_categories=())))
@settings(max_examples=100)
def test_m089_display_returns_one_encodable_line(text: str) -> None:
    shown = display(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown


def test_shorten_keeps_within_the_limit() -> None:
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3) == "ab…"


# --- Command lines


def test_command_line_has_verb_argument_and_crlf() -> None:
    assert command_line("PWD") == b"PWD\r\n"
    assert command_line("SIZE", " é\udcfe ") == b"SIZE  \xc3\xa9\xfe \r\n"
    assert command_line("PASS", "") == b"PASS \r\n"


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\udcff", chr(0xD800)])
def test_m074_argument_with_forbidden_bytes_is_refused(character: str) -> None:
    with pytest.raises(OperationRefused, match="cannot be sent") as caught:
        command_line("DELE", f"a{character}b")
    assert not caught.value.retry
    assert display(str(caught.value)) == str(caught.value)
    with pytest.raises(OperationRefused, match="not an FTP command"):
        command_line(f"DELE{character}", "a")


@pytest.mark.parametrize("verb", ["", " ", "DÉLE"])
def test_m074_invalid_verb_is_refused(verb: str) -> None:
    with pytest.raises(OperationRefused):
        command_line(verb, "a")


def test_m075_injected_command_never_reaches_the_wire() -> None:
    dialogue = ftp_dialogues.remove_files(["innocent", "victim\r\nDELE other\r\n"])
    with pytest.raises(OperationRefused, match=r"victim\\x0d\\x0aDELE other"):
        next(dialogue)


def test_m067_line_over_the_limit_is_refused() -> None:
    assert len(command_line("DELE", "x" * (ftp.MAX_LINE - 7))) == ftp.MAX_LINE
    with pytest.raises(OperationRefused, match="2001 bytes, and the limit is 2000"):
        command_line("DELE", "x" * (ftp.MAX_LINE - 6))
    with pytest.raises(OperationRefused):
        command_line("DELE", "é" * 1_000)


@given(st.sampled_from(["DELE", "STOR", "PASS"]), st.text(st.characters(exclude_categories=())))
@settings(max_examples=300)
def test_m074_any_argument_makes_one_line_or_a_refusal(verb: str, argument: str) -> None:
    try:
        line = command_line(verb, argument)
    except OperationRefused:
        assert ftp.why_unsendable(argument, verb=verb)
        return
    assert line.endswith(b"\r\n")
    assert line.count(b"\r") == line.count(b"\n") == 1
    assert not {0, 0xFF} & set(line)
    assert line[:-2].decode("utf-8", "surrogateescape") == f"{verb} {argument}"


@pytest.mark.parametrize(
    ("unit", "count", "expected"),
    [
        ((b"a",), 0, []),
        ((b"a",), 64, [64]),
        ((b"a",), 65, [64, 1]),
        ((b"a", b"b"), 33, [64, 2]),
        ((b"a", b"b", b"c"), 22, [63, 3]),  # a unit stays whole
        ((b"x" * 2_000,), 9, [4, 4, 1]),
        ((b"x" * 3_000, b"y" * 3_000), 2, [2, 2]),
    ],
)
def test_bursts_keep_units_whole_and_limits(unit: tuple[bytes, ...], count: int, expected: list[int]) -> None:
    flights = list(ftp.bursts([unit] * count))
    assert [len(flight) for flight in flights] == expected
    assert [line for flight in flights for line in flight] == list(unit) * count


# --- Replies of real servers

VSFTPD_FEAT = b"211-Features:\r\n EPRT\r\n EPSV\r\n MDTM\r\n PASV\r\n REST STREAM\r\n SIZE\r\n TVFS\r\n211 End\r\n"
PROFTPD_FEAT = (
    b"211-Features:\r\n CLNT\r\n CSID\r\n EPRT\r\n EPSV\r\n HOST\r\n LANG C.UTF-8*\r\n MDTM\r\n"
    b" MFF modify;UNIX.group;UNIX.mode;\r\n MFMT\r\n"
    b" MLST modify*;perm*;size*;type*;unique*;UNIX.group*;UNIX.groupname*;UNIX.mode*;UNIX.owner*;UNIX.ownername*;\r\n"
    b" RANG STREAM\r\n REST STREAM\r\n SIZE\r\n TVFS\r\n UTF8\r\n211 End\r\n"
)
PUREFTPD_FEAT = (
    b"211-Extensions supported:\r\n UTF8\r\n EPRT\r\n IDLE\r\n MDTM\r\n SIZE\r\n MFMT\r\n REST STREAM\r\n"
    b" MLST type*;size*;sizd*;modify*;UNIX.mode*;UNIX.uid*;UNIX.gid*;unique*;\r\n MLSD\r\n PRET\r\n AUTH TLS\r\n"
    b" PBSZ\r\n PROT\r\n TVFS\r\n ESTA\r\n PASV\r\n EPSV\r\n ESTP\r\n211 End.\r\n"
)
PYFTPDLIB_FEAT = (
    b"211-Features supported:\r\n EPRT\r\n EPSV\r\n MDTM\r\n MFMT\r\n"
    b" MLST type*;perm*;size*;modify*;unique*;unix.mode;unix.uid;unix.gid;\r\n REST STREAM\r\n SIZE\r\n TVFS\r\n"
    b" UTF8\r\n211 End FEAT.\r\n"
)
IIS_FEAT = (
    b"211-Extended features supported:\r\n LANG EN*\r\n UTF8\r\n AUTH TLS;TLS-C;SSL;TLS-P;\r\n PBSZ\r\n PROT C;P;\r\n"
    b" CCC\r\n HOST\r\n SIZE\r\n MDTM\r\n REST STREAM\r\n211 END\r\n"
)
PUREFTPD_BANNER = (
    b"220---------- Welcome to Pure-FTPd [privsep] [TLS] ----------\r\n"
    b"220-You are user number 1 of 200 allowed.\r\n220-Local time is now 01:16. Server port: 2123.\r\n"
    b"220 You will be disconnected after 15 minutes of inactivity.\r\n"
)
WIRE = (
    PUREFTPD_BANNER + b"331 User x OK. Password required\r\n" + PROFTPD_FEAT + b"200\r\n"
    b"250-Begin\r\n type=file;size=6; a.txt\r\n250 End.\r\n" + b"550 na\xefve\xff\r\n"
)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 64])
def test_m026_replies_in_slices_are_read_alike(step: int) -> None:
    assert parse(WIRE, step=step) == parse(WIRE)


def test_m026_replies_cut_anywhere_are_read_alike() -> None:
    whole = parse(WIRE)
    assert [one.code for one in whole] == [220, 331, 211, 200, 250, 550]
    for cut in range(len(WIRE)):
        parser = ReplyParser()
        found = []
        for piece in (WIRE[:cut], WIRE[cut:]):
            parser.feed(piece)
            while one := parser.next_reply():
                found.append(one)
        assert found == whole


def test_m021_inner_lines_of_a_reply_are_kept_unchanged() -> None:
    (one,) = parse(b"211-Features:\r\n EPSV\r\n211-SIZE\r\n212 no end\r\n2110 neither\r\n\r\n211 End\r\n")
    assert one == Reply(211, ("Features:", " EPSV", "211-SIZE", "212 no end", "2110 neither", "", "End"))
    assert one.text == "End"


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"200\r\n", Reply(200, ("",))),
        (b"200 \r\n", Reply(200, ("",))),
        (b"200 bare end\n", Reply(200, ("bare end",))),
        (b"226-a\r\n226\r\n", Reply(226, ("a", ""))),
        (b"550 a\rb\r\r\n", Reply(550, ("a\rb\r",))),
        (b"550 \xff\xfe\r\n", Reply(550, ("\udcff\udcfe",))),
        (b"631 protected\r\n", Reply(631, ("protected",))),
    ],
)
def test_m021_odd_replies_are_read(wire: bytes, expected: Reply) -> None:
    assert parse(wire) == [expected]


@pytest.mark.parametrize(
    "wire",
    [
        b"\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"20 ok\r\n",
        b"2000 ok\r\n",
        b"020 ok\r\n",
        b"700 x\r\n",
        b"660 x\r\n",
        b" 220 x\r\n",
        b"220\tx\r\n",
        b"\xd9\xa2\xd9\xa2\xd9\xa0 x\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
)
def test_m021_bytes_that_are_not_ftp_raise_protocol_error(wire: bytes) -> None:
    parser = ReplyParser()
    parser.feed(b"220 good\r\n" + wire)
    assert parser.next_reply() == reply("220 good")
    for _ in range(2):
        with pytest.raises(ProtocolError, match="no valid FTP reply"):
            parser.next_reply()
    assert issubclass(ProtocolError, ConnectionLost)


def test_m003_endless_line_raises_protocol_error() -> None:
    parser = ReplyParser()
    parser.feed(b"220 " + b"x" * (ftp.MAX_REPLY_LINE - 4))
    assert parser.next_reply() is None
    parser.feed(b"x")
    with pytest.raises(ProtocolError, match="more than 8192 bytes"):
        parser.next_reply()


@pytest.mark.parametrize("line", [b" x\r\n", b" " + b"x" * 8_000 + b"\r\n"])
def test_m003_endless_reply_raises_protocol_error(line: bytes) -> None:
    parser = ReplyParser()
    parser.feed(b"220-\r\n")
    with pytest.raises(ProtocolError, match="an endless reply"):  # noqa: PT012
        for _ in range(1_001):
            parser.feed(line)
            assert parser.next_reply() is None


def test_m003_a_thousand_lines_are_read() -> None:
    (one,) = parse(b"220-\r\n" + b" x\r\n" * (ftp.MAX_REPLY_LINES - 2) + b"220 end\r\n")
    assert len(one.lines) == ftp.MAX_REPLY_LINES


def test_m095_bytes_after_a_reply_make_the_parser_not_empty() -> None:
    parser = ReplyParser()
    parser.feed(b"234 go\r\n230 ok\r\n")
    assert parser.next_reply() == reply("234 go")
    assert not parser.is_empty


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"220-a\r\n", b"220 b\r\n", b"\r\n", b"211"]), max_size=12))
@settings(max_examples=200)
def test_m021_any_bytes_raise_only_protocol_error(pieces: list[bytes]) -> None:
    parser = ReplyParser()
    shown = []
    try:
        for piece in pieces:
            parser.feed(piece)
            while one := parser.next_reply():
                assert 100 <= one.code <= 659
                shown.append(str(one))
    except ProtocolError as error:
        shown.append(str(error))
    assert [display(text) for text in shown] == shown


def test_m089_reply_is_shown_escaped_and_shortened() -> None:
    assert str(reply("550 \x1b]0;gotcha\x07")) == r"550 \x1b]0;gotcha\x07"
    assert len(str(reply("550 " + "x" * 5_000))) == 300
    assert str(Reply(200, ("",))) == "200"


def test_first_digit_of_a_code_gives_the_kind() -> None:
    kinds = {"is_preliminary": 100, "is_positive": 200, "is_transient": 400, "is_permanent": 500}
    for name, code in kinds.items():
        assert [other for other in range(100, 700, 100) if getattr(Reply(other, ("",)), name)] == [code]
    assert [code for code in range(100, 700, 100) if Reply(code, ("",)).is_refusal] == [400, 500]


# --- The meaning of replies


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("STOR", "200 Type set to: Binary."),
        ("SIZE", "226 done"),
        ("RNTO", "350 again"),
        ("PASS", "331 again"),
        ("DELE", "150 wait"),
        ("PWD", "631 x"),
        ("RNFR", "250 ok"),
        ("TYPE", "213 5"),
    ],
)
def test_m020_impossible_code_raises_protocol_error(verb: str, line: str) -> None:
    with pytest.raises(ProtocolError, match="out of step"):
        ftp_replies.checked(verb, reply(line))


@pytest.mark.parametrize("verb", sorted(ftp_replies.EXPECTED))
def test_m013_421_to_any_command_raises_connection_lost(verb: str) -> None:
    with pytest.raises(ConnectionLost, match="closes the connection: 421 Timeout") as caught:
        ftp_replies.checked(verb, reply("421 Timeout."))
    assert not isinstance(caught.value, ProtocolError)
    assert ftp_replies.checked(verb, reply(REFUSED)) == reply(REFUSED)


def test_m094_only_220_is_a_greeting() -> None:
    assert ftp_replies.greet(reply("220 ready"))
    assert not ftp_replies.greet(reply("120 in a minute"))
    for line in ("230 in already", "331 password?", "500 OOPS", "150 x"):
        with pytest.raises(ProtocolError, match="greets with"):
            ftp_replies.greet(reply(line))


@pytest.mark.parametrize("line", ["421 Too many connections", "450 later"])
def test_m014_temporary_refusal_as_greeting_raises_connection_lost(line: str) -> None:
    with pytest.raises(ConnectionLost, match=line) as caught:
        ftp_replies.greet(reply(line))
    assert not isinstance(caught.value, ProtocolError)


@pytest.mark.parametrize(
    ("wire", "names", "without", "setter"),
    [
        (VSFTPD_FEAT, {"EPSV", "MDTM", "REST", "SIZE"}, {"MLST", "MFMT", "UTF8"}, TimeSetter.MDTM),
        (PROFTPD_FEAT, {"MLST", "MFMT", "MFF", "UTF8"}, {"MLSD"}, TimeSetter.MFMT),
        (PUREFTPD_FEAT, {"MLST", "MLSD", "AUTH"}, {"MFF"}, TimeSetter.MFMT),
        (PYFTPDLIB_FEAT, {"MLST", "EPSV", "UTF8"}, {"AUTH"}, TimeSetter.MFMT),
        (IIS_FEAT, {"UTF8", "SIZE", "MDTM"}, {"MLST", "EPSV"}, TimeSetter.MDTM),
        (b"211-\r\n211-mfmt\r\n211-mlst Type*;\r\n211 end\r\n", {"MFMT", "MLST"}, {"END"}, TimeSetter.MFMT),
        (b"211 no features\r\n", set(), {"NO"}, TimeSetter.NONE),
        (b"500 Unknown command.\r\n", set(), {"UNKNOWN"}, TimeSetter.NONE),
    ],
    ids=["vsftpd", "proftpd", "pureftpd", "pyftpdlib", "iis", "codes", "none", "refused"],
)
def test_features_are_read_from_real_servers(
    wire: bytes, names: set[str], without: set[str], setter: TimeSetter
) -> None:
    (one,) = parse(wire)
    features = ftp_replies.parse_features(one)
    assert names <= features.names
    assert not without & features.names
    assert features.time_setter is setter
    assert features.has_mlst == ("MLST" in names)


@pytest.mark.parametrize(
    ("line", "directory"),
    [
        ('257 "/q""d" is the current directory', '/q"d'),  # vsftpd, ProFTPD, pyftpdlib
        ('257 "/q"d" is your current location', '/q"d'),  # Pure-FTPd
        ('257 "/" is "the" root', "/"),
        ('257 "/a b"', "/a b"),
        ('257 """"', '"'),
        ("257 /plain", None),
        ('257 "', None),
        ("550 no", None),
    ],
)
def test_working_directory_is_read_with_its_quotes(line: str, directory: str | None) -> None:
    assert ftp_replies.parse_working_directory(reply(line)) == directory


@pytest.mark.parametrize(
    ("line", "port"),
    [
        ("229 Entering Extended Passive Mode (|||41089|)", 41089),
        ("229 Entering extended passive mode (|||49315|).", 49315),
        ("229 ok (!!!1024!)", 1024),
        ("500 Unknown command.", None),
        ("425 no ports", None),
        # Malformed: PASV may work.
        ("229 Entering Extended Passive Mode (||6446|)", None),
        ("229 (|||2048)", None),
        ("229 |||2048|", None),
        ("229 (|2|::1|2048|)", None),
        ("229 (||x|2048|)", None),
        ("229 (111204811)", None),
        ("229 (|||٤٠٠٠|)", None),
        ("229 (|||99999999|)", None),
        ("227 Entering Passive Mode (127,0,0,1,8,0)", None),
    ],
)
def test_m025_port_is_read_from_epsv(line: str, port: int | None) -> None:
    assert ftp_replies.epsv_port(reply(line)) == port


@pytest.mark.parametrize(
    ("line", "port"),
    [
        ("227 Entering Passive Mode (127,0,0,1,156,191).", 40127),
        ("227 Entering Passive Mode 127,0,0,1,4,0", 1024),
        ("227 =10, 0, 0, 1, 255, 255", 65535),
    ],
)
def test_m025_port_is_read_from_pasv(line: str, port: int) -> None:
    assert ftp_replies.pasv_port(reply(line)) == port


def test_m085_address_in_pasv_is_ignored() -> None:
    ports = {ftp_replies.pasv_port(reply(f"227 ({address},8,0)")) for address in ("10,0,0,1", "0,0,0,0", "8,8,8,8")}
    assert ports == {2048}


@pytest.mark.parametrize(
    "line",
    [
        "229 (|||25|)",
        "229 (|||1023|)",
        "229 (|||0|)",
        "229 (|||65536|)",
        "200 (|||2048|)",
    ],
)
def test_m085_bad_port_in_epsv_raises_protocol_error(line: str) -> None:
    with pytest.raises(ProtocolError):
        ftp_replies.epsv_port(reply(line))


@pytest.mark.parametrize(
    "line",
    [
        "227 (127,0,0,1,0,25)",
        "227 (127,0,0,1,3,255)",
        "227 (127,0,0,1,256,0)",
        "227 (1,2,3,4,5)",
        "227 ok",
        "227 (127,0,0,1,4,1000)",
        "229 (|||2048|)",
    ],
)
def test_m085_bad_port_in_pasv_raises_protocol_error(line: str) -> None:
    with pytest.raises(ProtocolError):
        ftp_replies.pasv_port(reply(line))


@pytest.mark.parametrize(("line", "retry"), [("425 no ports", True), ("502 not here", False)])
def test_m016_refused_pasv_is_an_operation_refused(line: str, retry: bool) -> None:
    with pytest.raises(OperationRefused, match=line) as caught:
        ftp_replies.pasv_port(reply(line))
    assert caught.value.retry is retry


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("19700101000000", 0),
        ("20010909014640", 1_000_000_000 * SECOND),
        ("20010909014640.5", 1_000_000_000 * SECOND + 500_000_000),
        ("20010909014640.123456789123", 1_000_000_000 * SECOND + 123_456_789),
        ("19691231235959", -SECOND),
        ("19101" + "0909014640", 1_000_000_000 * SECOND),  # the year 19100 of old servers
        ("19981231235960", 915_148_800 * SECOND),  # a leap second
        ("19000101000000", -2_208_988_800 * SECOND),
    ]
    + [(text, None) for text in ("", "2001090901464", "20011309014640", "20010230014640", "20010909014661", "now")]
    + [(text, None) for text in ("201010909014640", "20010909014640.", "20010909 14640", "٢٠٠١٠٩٠٩٠١٤٦٤٠", "0" * 14)],
)
def test_mdtm_time_is_read_as_nanoseconds(text: str, ns: int | None) -> None:
    assert ftp_replies.parse_mdtm_time(text) == ns


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "19700101000000"),
        (1_000_000_000 * SECOND + 999_999_999, "20010909014640"),
        (-1, "19700101000000"),
        (10**30, "99991231235959"),
    ],
)
def test_m057_time_is_formatted_in_utc_within_its_limits(ns: int, text: str) -> None:
    assert ftp_replies.format_time(ns) == text


@given(st.integers(0, 253_402_300_799))
@settings(max_examples=100)
def test_formatted_time_is_parsed_back(seconds: int) -> None:
    assert ftp_replies.parse_mdtm_time(ftp_replies.format_time(seconds * SECOND)) == seconds * SECOND


def test_set_time_line_uses_the_setter() -> None:
    assert ftp_replies.set_time_line(TimeSetter.MFMT, "/a b", 0) == b"MFMT 19700101000000 /a b\r\n"
    assert ftp_replies.set_time_line(TimeSetter.MDTM, "/a b", 0) == b"MDTM 19700101000000 /a b\r\n"
    with pytest.raises(ValueError, match="cannot set times"):
        ftp_replies.set_time_line(TimeSetter.NONE, "/a", 0)
    lines = ["213 UTIME OK", "213 Modify=20260102030405; /a.txt.", "253 ok", "550 no", "500 Unknown command."]
    assert [ftp_replies.was_time_set(reply(line)) for line in lines] == [True, True, True, False, False]


# --- Dialogues


@pytest.mark.parametrize(
    "answers", [["230 in"], ["331 password?", "230 in"], ["331 password?", "202 superfluous"], ["232 in, by TLS"]]
)
def test_login_sends_only_what_the_server_requests(answers: list[str]) -> None:
    flights, _ = play(ftp_dialogues.login("me", "secret"), *answers)
    assert flights == [["USER me"], ["PASS secret"]][: len(answers)]


@pytest.mark.parametrize(
    ("answers", "error", "text"),
    [
        (["530 who?"], LoginRefused, "530 who?"),
        (["331 password?", "530 Login incorrect."], LoginRefused, "530 Login incorrect"),
        (["331 password?", "530 *secret* is wrong"], LoginRefused, "is wrong"),
        (["331 password?", "200 secret"], ProtocolError, "out of step"),
        (["332 account?"], LoginRefused, "requires an account"),
        (["331 password?", "332 account?"], LoginRefused, "requires an account"),
        (["421 too many"], ConnectionLost, "421 too many"),
        (["331 password?", "421 secret"], ConnectionLost, "421"),
        (["331 password?", "450 later"], ConnectionLost, "for now: 450 later"),
        (["331 password?", "331 password?"], ProtocolError, "out of step"),
        (["220 hello"], ProtocolError, "out of step"),
    ],
)
def test_m109_refused_login_shows_no_password(answers: list[str], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        play(ftp_dialogues.login("me", "secret"), *answers)
    assert isinstance(caught.value, error)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("bad", ["se\r\ncret", "secret\0", "secret\udcff", "secret" * 400])
def test_m110_unsendable_login_is_refused(bad: str) -> None:
    for dialogue in (ftp_dialogues.login("me", bad), ftp_dialogues.login(bad, "x")):
        with pytest.raises(LoginRefused, match="cannot be sent") as caught:
            next(dialogue)
        assert "cret" not in str(caught.value)
        assert caught.value.__context__ is None
    with pytest.raises(OperationRefused, match="the password cannot") as refused:
        command_line("PASS", bad)
    assert "cret" not in str(refused.value)


def test_introduce_sends_one_flight() -> None:
    dialogue = ftp_dialogues.introduce()
    options = [b"OPTS UTF8 ON\r\n", b"OPTS MLST type;size;modify;unique;unix.mode;\r\n"]
    assert next(dialogue) == [b"FEAT\r\n", b"TYPE I\r\n", b"PWD\r\n", *options]
    replies = [*parse(PYFTPDLIB_FEAT), reply("200 ok"), reply('257 "/" here'), reply("504 Unknown command")]
    with pytest.raises(StopIteration) as done:
        dialogue.send([*replies, reply("501 what?")])
    features = done.value.value
    assert isinstance(features, Features)
    assert features.working_directory == "/"
    assert "MFMT" in features.names


def test_introduce_asks_for_permissions_only_where_links_have_to_be_found() -> None:
    *_, options = next(ftp_dialogues.introduce(asks_perm=True))
    assert options == b"OPTS MLST type;size;modify;unique;unix.mode;perm;\r\n"


def test_m022_introduce_accepts_a_server_without_features() -> None:
    _, features = play(ftp_dialogues.introduce(), ["500 ?", "200 ok", "502 ?", "500 ?", "500 ?"])
    assert features == Features()


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        (["500 ?", "504 no", "257 x", "500 ?", "500 ?"], ProtocolError),
        (["500 ?", "451 not now", "257 x", "500 ?", "500 ?"], ConnectionLost),
        (["500 ?", "250 ok", "257 x", "500 ?", "500 ?"], ProtocolError),
        (["500 ?", "200 ok", "257 x", "331 password?", "500 ?"], ProtocolError),
    ],
)
def test_m023_server_without_binary_mode_is_refused(answers: list[str], error: type[Exception]) -> None:
    with pytest.raises(ConnectionLost) as caught:
        play(ftp_dialogues.introduce(), answers)
    assert isinstance(caught.value, error)


def test_sizes_are_none_for_missing_files() -> None:
    answers = ["213 6", "550 Could not get file size.", "213 0 ", "450 busy"]
    flights, found = play(ftp_dialogues.sizes(["a", "b", "c", "d"]), answers)
    assert flights == [["SIZE a", "SIZE b", "SIZE c", "SIZE d"]]
    assert found == [6, None, 0, None]
    assert play(ftp_dialogues.sizes([])) == ([], [])


@pytest.mark.parametrize("line", ["213 -1", "213 six", "213", "213 " + "9" * 5_000])
def test_m020_invalid_size_raises_protocol_error(line: str) -> None:
    with pytest.raises(ProtocolError):
        play(ftp_dialogues.sizes(["a"]), [line])


def test_long_dialogue_is_sent_in_bursts() -> None:
    flights, found = play(ftp_dialogues.sizes([f"{n}" for n in range(100)]), ["213 1"] * 64, ["213 2"] * 36)
    assert [len(flight) for flight in flights] == [64, 36]
    assert found == [1] * 64 + [2] * 36


def test_facts_are_size_and_time() -> None:
    answers = ["213 6", "213 20010909014640", REFUSED, REFUSED, "213 7", "550 no", "213 8", "213 someday"]
    flights, found = play(ftp_dialogues.facts(["a", "b", "c", "d"]), answers)
    assert flights[0][:2] == ["SIZE a", "MDTM a"]
    assert found == [(6, 1_000_000_000 * SECOND), None, (7, None), (8, None)]


def outcomes(results: Iterable[Reply | None]) -> list[str | None]:
    return [None if one is None else str(one) for one in results]


def test_m010_directory_that_exists_counts_as_made() -> None:
    paths = ["/new", "/there", "/denied", "/busy"]
    flights, found = play(
        ftp_dialogues.make_directories(paths),
        ['257 "/new" created', "550 File exists", "550 Permission denied", "450 busy"],
        ["250 ok", "550 No such directory", "450 busy", "250 root"],
    )
    assert flights == [[f"MKD {path}" for path in paths], ["CWD /there", "CWD /denied", "CWD /busy", "CWD /"]]
    assert outcomes(found) == [None, None, "550 Permission denied", "450 busy"]


def mlst(type_: str) -> Reply:
    return Reply(250, ("Begin", f" modify=20260102030405;type={type_};size=6;unique=29g3; /some/where", "End."))


def test_m010_existing_directory_is_found_with_mlst() -> None:
    dialogue = ftp_dialogues.make_directories(["/there", "/file", "/link", "/gone", "/odd"], mlst=True)
    next(dialogue)
    flight = dialogue.send([reply("550 File exists")] * 5)
    assert flight == [b"MLST /there\r\n", b"MLST /file\r\n", b"MLST /link\r\n", b"MLST /gone\r\n", b"MLST /odd\r\n"]
    with pytest.raises(StopIteration) as done:
        dialogue.send([mlst("dir"), mlst("file"), mlst("OS.unix=symlink"), reply(REFUSED), reply("250 ok")])
    assert outcomes(done.value.value) == [None] + ["550 File exists"] * 4


def test_m022_refusal_stays_when_mlst_is_missing() -> None:
    answers = ["500 Unknown command.", "550 not found"]
    flights, found = play(ftp_dialogues.remove_directories(["/a", "/b"], mlst=True), [REFUSED, REFUSED], answers)
    assert flights[1] == ["MLST /a", "MLST /b"]
    assert outcomes(found) == [REFUSED, None]


def test_m010_made_directories_need_no_probe() -> None:
    assert play(ftp_dialogues.make_directories(["/a"]), ["257 ok"]) == ([["MKD /a"]], [None])


@pytest.mark.parametrize("dialogue", [ftp_dialogues.make_directories, ftp_dialogues.remove_directories])
def test_relative_directory_raises_value_error(dialogue: object) -> None:
    assert callable(dialogue)
    with pytest.raises(ValueError, match="relative"):
        next(dialogue(["a"]))


def test_m010_file_that_is_gone_counts_as_removed() -> None:
    paths = ["here", "gone", "denied", "busy", "never", "unknown"]
    flights, found = play(
        ftp_dialogues.remove_files(paths),
        ["250 ok", REFUSED, "550 Permission denied", "450 busy", "502 no DELE here", REFUSED],
        [REFUSED, "213 5", REFUSED, REFUSED, "450 later"],
    )
    assert flights[1] == [f"SIZE {path}" for path in paths[1:]]
    assert outcomes(found) == [None, None, "550 Permission denied", "450 busy", "502 no DELE here", REFUSED]


def test_m010_directory_that_is_gone_counts_as_removed() -> None:
    flights, found = play(
        ftp_dialogues.remove_directories(["/a/b", "/a", "/gone"]),
        ["250 ok", "550 Directory not empty", REFUSED],
        ["250 ok", REFUSED, "550 no root either"],
    )
    assert flights[1] == ["CWD /a", "CWD /gone", "CWD /"]
    assert outcomes(found) == [None, "550 Directory not empty", None]


def test_m033_rename_outcome_is_none_or_the_refusal() -> None:
    go_on, done, refused = Reply(350, ("go on",)), Reply(250, ("done",)), Reply(553, ("exists",))
    assert ftp_dialogues.rename_outcome(go_on, done) is None
    assert ftp_dialogues.rename_outcome(go_on, refused) is refused
    assert ftp_dialogues.rename_outcome(refused, Reply(503, ("RNFR first",))) is refused


def test_m033_refused_rename_is_disarmed() -> None:
    flights, _ = play(ftp_dialogues.disarm_rename(), ["503 RNFR first"])
    assert flights == [["RNTO /"]]
    with pytest.raises(ProtocolError, match="onto its root"):
        play(ftp_dialogues.disarm_rename(), ["250 done"])


def test_m034_rename_of_another_file_raises_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="another file"):
        ftp_dialogues.rename_outcome(Reply(550, ("no such file",)), Reply(250, ("done",)))


def test_moves_share_one_flight_and_leave_no_rename_armed() -> None:
    flights, results = play(
        ftp_dialogues.move_files([("/a", "/x"), ("/b", "/y")]),
        [
            *("350 go on", "553 no such name", "550 no", "550 none", "550 none"),
            *("550 gone", "503 RNFR first", "503 RNFR first", "213 3", "213 20240229123456"),
        ],
    )
    assert [line.split(" ")[0] for line in flights[0]] == ["RNFR", "RNTO", "RNTO", "SIZE", "MDTM"] * 2
    assert flights[0][2] == "RNTO /", "or the server may give the first file the second one's new name"
    assert [(refusal and refusal.code, shown) for refusal, shown in results] == [
        (553, None),
        (550, (3, 1_709_210_096_000_000_000)),
    ]
    for renamed in (["550 gone", "250 done", "503 no", "213 3", "550 no"], ["350 ", "250 ", "250 ", "213 3", "550 no"]):
        with pytest.raises(ProtocolError, match="renamed"):
            play(ftp_dialogues.move_files([("/a", "/x")]), renamed)


@pytest.mark.parametrize(
    "dialogue",
    [
        lambda: ftp_dialogues.login("me", "secret"),
        ftp_dialogues.introduce,
        lambda: ftp_dialogues.sizes(["a"]),
        lambda: ftp_dialogues.facts(["a"]),
        lambda: ftp_dialogues.make_directories(["/a"]),
        lambda: ftp_dialogues.remove_files(["a"]),
        lambda: ftp_dialogues.remove_directories(["/a"]),
        ftp_dialogues.disarm_rename,
        lambda: ftp_dialogues.move_files([("/a", "/b"), ("/c", "/d")]),
    ],
)
@given(data=st.data())
@settings(max_examples=30)
def test_m020_any_reply_raises_only_known_errors(dialogue: object, data: st.DataObject) -> None:
    assert callable(dialogue)
    run = dialogue()
    code = st.sampled_from([120, 150, 200, 211, 213, 226, 230, 250, 257, 331, 332, 350, 421, 450, 503, 550, 631])
    try:
        flight = next(run)
        while True:
            replies = [Reply(data.draw(code), (data.draw(st.text(max_size=9)),)) for _ in flight]
            flight = run.send(replies)
    except (StopIteration, ConnectionLost, LoginRefused):
        pass
