"""SFTP packets: requests as in the draft, replies of every type, and invalid packets."""

from __future__ import annotations

import itertools
import stat
import struct
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorsync.errors import OperationRefused, ProtocolError
from actorsync.model.entry import Entry, Kind
from actorsync.model.text import display
from actorsync.protocols.sftp import requests as sftp
from actorsync.protocols.sftp.packets import INIT, MAX_PACKET, PacketParser, packet
from actorsync.protocols.sftp.replies import (
    OK,
    Attributes,
    Data,
    Extended,
    Handle,
    Names,
    Reply,
    Status,
    entry_of,
    has_room,
    parse_reply,
    parse_version,
)
from actorsync.protocols.sftp.requests import Request, seconds, why_unsendable
from tests.support.servers.sftp_tree_wire import encode, version

H = b"\x00\x01\xff"
"""A handle: opaque bytes."""


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def packets(data: bytes, cuts: Sequence[int] = ()) -> list[tuple[int, bytes]]:
    """Return all packets in ``data``, fed in pieces that end at ``cuts``."""
    parser, edges = PacketParser(), [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    return [(kind, bytes(body)) for piece in pieces for kind, body in parser.feed(piece)]


def reply_of(packet: bytes) -> tuple[int, Reply]:
    """Parse the one reply in ``packet``."""
    ((kind, body),) = packets(packet)
    return parse_reply(kind, memoryview(body))


# --- Requests


def test_init_packet_offers_version_3() -> None:
    assert INIT.hex(" ", 4) == "00 00000501 00000003"


@pytest.mark.parametrize(
    ("request_", "expected", "answer"),
    [
        (sftp.open_new("/a"), "03 2a2a2a2a 00000002 2f61 0000003a 00000000", Handle),
        (sftp.open_existing("/a"), "03 2a2a2a2a 00000002 2f61 00000001 00000000", Handle),
        (sftp.close(H), "04 2a2a2a2a 00000003 0001ff", Status),
        (sftp.close_unchecked(H), "04 2a2a2a2a 00000003 0001ff", Status),
        (sftp.read(H, 2**32, 9), "05 2a2a2a2a 00000003 0001ff 0000000100000000 00000009", Data),
        (sftp.write(H, 2**33 + 1, b"xyz"), "06 2a2a2a2a 00000003 0001ff 0000000200000001 00000003 78797a", Status),
        (sftp.write(H, 0, b""), "06 2a2a2a2a 00000003 0001ff 0000000000000000 00000000", Status),
        (sftp.lstat("/a"), "07 2a2a2a2a 00000002 2f61", Attributes),
        (sftp.fstat(H), "08 2a2a2a2a 00000003 0001ff", Attributes),
        (sftp.fsetstat(H, mtime=None, mode=None), "0a 2a2a2a2a 00000003 0001ff 00000000", Status),
        (sftp.fsetstat(H, mtime=None, mode=0o644), "0a 2a2a2a2a 00000003 0001ff 00000004 000001a4", Status),
        (sftp.fsetstat(H, mtime=1, mode=None), "0a 2a2a2a2a 00000003 0001ff 00000008 00000001 00000001", Status),
        (
            sftp.fsetstat(H, mtime=2**32 - 1, mode=0o7777),
            "0a 2a2a2a2a 00000003 0001ff 0000000c 00000fff ffffffff ffffffff",
            Status,
        ),
        (sftp.open_directory("/a"), "0b 2a2a2a2a 00000002 2f61", Handle),
        (sftp.read_directory(H), "0c 2a2a2a2a 00000003 0001ff", Names),
        (sftp.remove("/a"), "0d 2a2a2a2a 00000002 2f61", Status),
        (sftp.make_directory("/a"), "0e 2a2a2a2a 00000002 2f61 00000000", Status),
        (sftp.remove_directory("/a"), "0f 2a2a2a2a 00000002 2f61", Status),
        (sftp.real_path("."), "10 2a2a2a2a 00000001 2e", Names),
        (sftp.stat_path("/a"), "11 2a2a2a2a 00000002 2f61", Attributes),
        (sftp.rename("/a", "/é"), "12 2a2a2a2a 00000002 2f61 00000003 2fc3a9", Status),
        (
            sftp.rename_over("/a", "/\udcff"),
            f"c8 2a2a2a2a 00000018 {b'posix-rename@openssh.com'.hex()} 00000002 2f61 00000002 2fff",
            Status,
        ),
        (sftp.flush(H), f"c8 2a2a2a2a 00000011 {b'fsync@openssh.com'.hex()} 00000003 0001ff", Status),
        (sftp.file_system("/a"), f"c8 2a2a2a2a 00000013 {b'statvfs@openssh.com'.hex()} 00000002 2f61", Extended),
    ],
)
def test_requests_are_encoded_as_in_the_draft(request_: Request, expected: str, answer: type[Reply]) -> None:
    body = bytes.fromhex(expected)
    assert packet(0x2A2A2A2A, request_) == struct.pack(">I", len(body)) + body
    assert request_.answer is answer


def test_only_close_unchecked_is_unchecked() -> None:
    assert sftp.close_unchecked(H).is_unchecked
    assert not sftp.close(H).is_unchecked


def test_repr_shows_no_content() -> None:
    assert "secret" not in repr(sftp.write(H, 0, b"secret"))


BY_PATH: list[Callable[[str], Any]] = [
    *(sftp.open_new, sftp.open_existing, sftp.lstat, sftp.open_directory, sftp.remove, sftp.make_directory),
    *(sftp.remove_directory, sftp.real_path, sftp.stat_path, sftp.file_system),
    *(lambda path: sftp.rename(path, "/b"), lambda path: sftp.rename("/b", path)),
    *(lambda path: sftp.rename_over(path, "/b"), lambda path: sftp.rename_over("/b", path)),
]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/a\0b", "the path contains a NUL"),
        ("\0", "the path contains a NUL"),
        ("/\ud800", "the path cannot be encoded as UTF-8"),
        ("/" + chr(0xDC7F), "the path cannot be encoded as UTF-8"),
        ("x" * 4_096, "the path is 4096 bytes long, over the limit of 4095"),
        ("é" * 2_048, "the path is 4096 bytes long, over the limit of 4095"),
    ],
)
def test_m074_unsendable_paths_are_refused(path: str, why: str) -> None:
    assert why_unsendable(path) == why
    for build in BY_PATH:
        with pytest.raises(OperationRefused, match="cannot be sent over SFTP") as caught:
            build(path)
        assert why in str(caught.value)
        assert str(caught.value) == display(str(caught.value))
        assert len(str(caught.value)) < 400
        assert not caught.value.retry


@pytest.mark.parametrize("path", ["", ".", "/", "x" * 4_095, "/a\r\nb", "/\udcff\udc80", "/\x7f\x01", "/日本"])
def test_sendable_paths_are_accepted(path: str) -> None:
    assert why_unsendable(path) is None


@given(st.text(st.characters(exclude_categories=()), max_size=200))
@settings(max_examples=100)
def test_m074_path_is_sent_byte_for_byte_or_refused(path: str) -> None:
    try:
        body = sftp.lstat(path).body
    except OperationRefused:
        assert why_unsendable(path) is not None
        return
    assert why_unsendable(path) is None
    assert body == string(path.encode("utf-8", "surrogateescape"))
    assert b"\0" not in body[4:]


# --- Replies


FLAGS = [0x01, 0x02, 0x04, 0x08, 0x80000000]


@pytest.mark.parametrize("chosen", range(2 ** len(FLAGS)))
def test_attributes_are_parsed_with_every_combination_of_flags(chosen: int) -> None:
    flags = sum(flag for place, flag in enumerate(FLAGS) if chosen >> place & 1)
    parts = {
        0x01: struct.pack(">Q", 2**40),
        0x02: struct.pack(">II", 1000, 1001),
        0x04: struct.pack(">I", 0o100644),
        0x08: struct.pack(">II", 11, 4_000_000_000),
        0x80000000: struct.pack(">I", 2) + string(b"a@b") + string(b"") + string(b"c@d") + string(b"\xff" * 9),
    }
    body = struct.pack(">I", flags) + b"".join(parts[flag] for flag in FLAGS if flags & flag)
    found = Attributes(
        2**40 if flags & 0x01 else None, 0o100644 if flags & 0x04 else None, 4_000_000_000 if flags & 0x08 else None
    )
    assert parse_reply(105, memoryview(struct.pack(">I", 7) + body)) == (7, found)
    name = struct.pack(">III", 7, 2, 1) + b"a" + string(b"-rw-r--r-- a") + body + string(b"b") + string(b"") + body
    assert parse_reply(104, memoryview(name)) == (7, Names((("a", found), ("b", found))))
    for end in range(4, len(body) + 4):
        with pytest.raises(ProtocolError, match="shorter than its own length fields say"):
            parse_reply(105, memoryview((struct.pack(">I", 7) + body)[:end]))


@pytest.mark.parametrize(
    ("packet", "reply"),
    [
        ("65 00000001 00000000", OK),  # without a message, as in the first drafts
        ("65 00000001 00000000 00000007 53756363657373 00000000", OK),
        ("65 00000001 00000004 00000000 00000000", Status(4)),
        ("65 00000001 00000004", Status(4)),
        ("65 00000001 00000003 00000002 4eff 00000002 656e", Status(3, "N\udcff")),
        ("65 00000001 ffffffff 00000001 78 00000000", Status(2**32 - 1, "x")),
        ("66 00000001 00000000", Handle(b"")),
        ("66 00000001 00000004 00000000", Handle(b"\0\0\0\0")),
        ("67 00000001 00000002 0d0a", Data(b"\r\n")),
        ("67 00000001 00000000", Data(b"")),
        ("68 00000001 00000000", Names(())),
        ("68 00000001 00000001 00000001 ff 00000000 00000000", Names((("\udcff", Attributes()),))),
        ("69 00000001 00000000", Attributes()),
        ("c9 00000001", Extended(b"")),
        ("c9 00000001 000102", Extended(b"\0\1\2")),
    ],
)
def test_replies_are_parsed(packet: str, reply: Reply) -> None:
    body = bytes.fromhex(packet)
    assert reply_of(struct.pack(">I", len(body)) + body) == (1, reply)


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 6, 100, 106, 200, 202, 255])
def test_m020_packet_that_is_not_a_reply_raises(kind: int) -> None:
    with pytest.raises(ProtocolError, match=f"a packet of type {kind}, which is not a reply"):
        parse_reply(kind, memoryview(bytes(40)))


@pytest.mark.parametrize("kind", [101, 102, 103, 104, 105, 201, 7])
@pytest.mark.parametrize("length", range(4))
def test_m091_packet_without_an_id_raises(kind: int, length: int) -> None:
    with pytest.raises(ProtocolError):
        parse_reply(kind, memoryview(bytes(length)))


@pytest.mark.parametrize(
    "packet",
    [
        "65 00000001 000000",
        "65 00000001 00000004 00000001",
        "65 00000001 00000004 ffffffff 78",
        "66 00000001 00000004 000000",
        "67 00000001 7fffffff 78",
        "68 00000001 00000001",
        "68 00000001 ffffffff",
        "68 00000001 ffffffff 00000001 61 00000000 00000000",
        "69 00000001 80000000 ffffffff",
        "69 00000001 80000000 ffffffff 00000000 00000000",
    ],
)
def test_m091_wrong_lengths_and_counts_raise(packet: str) -> None:
    with pytest.raises(ProtocolError, match="shorter than its own length fields say"):
        parse_reply(bytes.fromhex(packet)[0], memoryview(bytes.fromhex(packet)[1:]))


optional = st.none() | st.integers(0, 2**32 - 1)
attributes = st.builds(Attributes, st.none() | st.integers(0, 2**64 - 1), optional, optional)
texts = st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape"))
replies: st.SearchStrategy[Reply] = (
    st.just(OK)
    | st.builds(Status, st.integers(1, 2**32 - 1), texts)
    | st.builds(Handle, st.binary(max_size=256))
    | st.builds(Data, st.binary(max_size=300))
    | attributes
    | st.builds(Names, st.lists(st.tuples(texts, attributes), max_size=5).map(tuple))
    | st.builds(Extended, st.binary(max_size=99))
)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), replies), max_size=8), st.data())
@settings(max_examples=200)
def test_m026_packets_in_any_pieces_are_parsed(sent: list[tuple[int, Reply]], data: st.DataObject) -> None:
    wire = b"".join(encode(identity, reply) for identity, reply in sent)
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=20))
    found = packets(wire, cuts)
    assert found == packets(wire)
    assert [parse_reply(kind, memoryview(body)) for kind, body in found] == sent


def test_m026_packets_in_single_bytes_are_parsed() -> None:
    wire = version() + encode(1, Status(4, "no")) + encode(2, Data(bytes(70))) + encode(3, Names(()))
    assert packets(wire, range(len(wire))) == packets(wire)
    assert [kind for kind, _ in packets(wire)] == [2, 101, 103, 104]


@given(st.lists(st.binary(max_size=60), max_size=6))
@settings(max_examples=300)
def test_m091_arbitrary_bytes_are_packets_or_a_protocol_error(pieces: list[bytes]) -> None:
    parser = PacketParser()
    try:
        for piece in pieces:
            for kind, body in parser.feed(piece):
                parse_reply(kind, body)
    except ProtocolError:
        pass


@given(st.sampled_from([101, 102, 103, 104, 105, 201]) | st.integers(0, 255), st.binary(max_size=120))
@settings(max_examples=300)
def test_m091_an_arbitrary_packet_is_a_reply_or_a_protocol_error(kind: int, body: bytes) -> None:
    try:
        _, reply = parse_reply(kind, memoryview(body))
    except ProtocolError:
        return
    assert str(reply) == display(str(reply)) or not isinstance(reply, Status)


@pytest.mark.parametrize("length", [0, MAX_PACKET + 1, 0x53534820, 2**32 - 1])  # the third is "SSH "
def test_m091_excessive_length_raises(length: int) -> None:
    for cuts in (range(0), range(4)):
        with pytest.raises(ProtocolError, match=f"a packet of {length} bytes, which is not SFTP"):
            packets(struct.pack(">I", length), cuts)


def test_longest_packet_is_parsed() -> None:
    ((kind, body),) = packets(struct.pack(">IB", MAX_PACKET, 103) + bytes(MAX_PACKET - 1), [1, 4, 70_000])
    assert (kind, len(body)) == (103, MAX_PACKET - 1)


# --- The first packet


@pytest.mark.parametrize("extensions", [{}, {"a@b": "1"}, {"posix-rename@openssh.com": "1", "\udcff": ""}])
def test_extensions_are_parsed(extensions: dict[str, str]) -> None:
    ((kind, body),) = packets(version(extensions))
    assert parse_version(kind, memoryview(body)) == extensions


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        ("02 00000002", "does not support SFTP version 3"),
        ("02 00000000", "does not support SFTP version 3"),
        ("02 00000006", "chose SFTP version 6, although the client offered version 3"),
        ("02 00000004 ffffffff", "chose SFTP version 4, although the client offered version 3"),
        ("02 ffffffff", "chose SFTP version 4294967295"),
        ("65 00000001 00000004", "does not support SFTP version 3"),
        ("01 00000003", "does not support SFTP version 3"),
        ("02", "shorter than its own length fields say"),
        ("02 000003", "shorter than its own length fields say"),
        ("02 00000003 00000001", "shorter than its own length fields say"),
        ("02 00000003 00000001 61", "shorter than its own length fields say"),
        ("02 00000003 ffffffff 61 00000000", "shorter than its own length fields say"),
    ],
)
def test_m022_unsupported_version_is_refused(packet: str, reason: str) -> None:
    body = bytes.fromhex(packet)
    with pytest.raises(ProtocolError, match=reason):
        parse_version(body[0], memoryview(body[1:]))


@given(st.integers(0, 255), st.binary(max_size=60).flatmap(lambda rest: st.sampled_from([rest, b"\0\0\0\3" + rest])))
def test_m022_arbitrary_first_packet_is_parsed_or_refused(kind: int, body: bytes) -> None:
    try:
        extensions = parse_version(kind, memoryview(body))
    except ProtocolError:
        return
    assert kind == 2 and body[:4] == b"\0\0\0\3" and all(isinstance(name, str) for name in extensions)


# --- Meaning


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (Status(4), "failure"),
        (Status(4, "Failure"), "failure"),
        (Status(4, " Failure.\r\n"), "failure"),
        (Status(3, "Permission denied."), "permission denied"),
        (Status(4, "the disk is full"), "failure (the disk is full)"),
        (Status(31), "status 31"),
        (Status(31, "\x1b[31mred\n\u202e"), r"status 31 (\x1b[31mred\x0a\u202e)"),
        (Status(2, "x" * 1_000), f"no such file ({'x' * 299}…)"),
    ],
)
def test_m089_status_is_one_printable_line(status: Status, shown: str) -> None:
    assert str(status) == shown


@pytest.mark.parametrize("code", range(32))
def test_status_codes_have_their_meaning(code: int) -> None:
    status = Status(code)
    expected = {0: (True, False, False), 1: (False, True, False), 2: (False, False, True), 10: (False, False, True)}
    assert (status.is_ok, status.is_end, status.is_missing) == expected.get(code, (False, False, False))


@pytest.mark.parametrize(
    ("time_ns", "expected"),
    [
        (None, None),
        (0, 0),
        (-1, 0),
        (-(10**18), 0),
        (999_999_999, 0),
        (1_000_000_000, 1),
        (1_700_000_000_999_999_999, 1_700_000_000),
        (2**31 * 10**9, 2**31),  # 2038
        ((2**32 - 1) * 10**9, 2**32 - 1),
        (2**32 * 10**9, 2**32 - 1),  # 2106
        (10**30, 2**32 - 1),
    ],
)
def test_m057_times_are_clamped_to_32_bits(time_ns: int | None, expected: int | None) -> None:
    assert seconds(time_ns) == expected
    sftp.fsetstat(H, mtime=seconds(time_ns), mode=None)


@given(st.integers(), st.integers())
def test_m057_clamping_keeps_the_order_of_times(one: int, other: int) -> None:
    first, second = seconds(min(one, other)), seconds(max(one, other))
    assert first is not None and second is not None and 0 <= first <= second < 2**32


@pytest.mark.parametrize(
    ("permissions", "kind"),
    [
        (None, None),
        (0o644, None),
        (stat.S_IFREG | 0o644, Kind.FILE),
        (stat.S_IFREG, Kind.FILE),
        (stat.S_IFDIR | 0o7777, Kind.DIRECTORY),
        (stat.S_IFLNK | 0o777, Kind.LINK),
        (stat.S_IFIFO, Kind.OTHER),
        (stat.S_IFSOCK, Kind.OTHER),
        (stat.S_IFBLK | 0o600, Kind.OTHER),
        (0o170000, Kind.OTHER),
        (0xFFFF0000 | stat.S_IFREG, Kind.FILE),
    ],
)
def test_entries_have_the_kind_of_their_permissions(permissions: int | None, kind: Kind | None) -> None:
    found = Attributes(5, permissions, 2**32 - 1)
    assert found.kind is kind
    is_file = kind is Kind.FILE
    expected = None if kind is None else Entry("a", kind, 5 * is_file, (2**32 - 1) * 10**9 if is_file else None)
    assert entry_of("a", found) == expected


def test_file_with_few_attributes_has_an_entry() -> None:
    assert entry_of("a", Attributes(None, stat.S_IFREG, None)) == Entry("a", Kind.FILE, 0, None)


def room(blocks: int, free: int, files: int, free_files: int, *, reserved: int = 0) -> Extended:
    return Extended(struct.pack(">11Q", 4096, 4096, blocks, free + reserved, free, files, 9, free_files, 1, 0, 255))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (room(100, 10, 100, 10), True),
        (room(100, 0, 100, 10), False),
        (room(100, 0, 100, 10, reserved=50), False),  # blocks that are reserved for root do not count
        (room(100, 10, 100, 0), False),
        (room(100, 10, 0, 0), True),  # btrfs counts no files
        (room(0, 0, 0, 0), True),
        (room(2**64 - 1, 1, 2**64 - 1, 1), True),
        (Extended(b""), None),
        (Extended(bytes(87)), None),
        (Extended(room(100, 0, 1, 1).body + b"more"), False),
        (Status(8), None),
        (Status(0), None),
    ],
)
def test_m031_room_is_read_from_statvfs(answer: Reply, expected: bool | None) -> None:
    assert has_room(answer) is expected
