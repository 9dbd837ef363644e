"""Parsers of untrusted input, with hundreds of thousands of mutated real inputs, the same in each run.

A parser may return a result, or raise an error that its docstring lists. It may not take long, and no name that it
returns may lead out of a directory. ``ACTORSYNC_INPUTS=N`` sets the total number of inputs.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from actorsync.endpoints.sftp.directories import invalid_name
from actorsync.errors import ActorsyncError, ConnectionLost, OperationRefused, ProfileError, ProtocolError
from actorsync.model.text import display
from actorsync.profile import load_profile
from actorsync.protocols.ftp import replies
from actorsync.protocols.ftp.listing import mlst_kind, parse_list, parse_mlsd
from actorsync.protocols.ftp.wire import Reply, ReplyParser
from actorsync.protocols.sftp.packets import PacketParser
from actorsync.protocols.sftp.replies import Names, parse_reply, parse_version
from tests.support.tiers import amount

INPUTS: Final = amount("INPUTS", short=30_000, full=200_000)

#: Tokens that break parsers: ends, separators, escapes, numbers that are too big, names that lead elsewhere.
TOKENS: Final = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"  ", b"\t", b"-", b";", b"=", b"|", b"||", b"(", b")", b",", b'"', b'""'),
    *(
        b"..",
        b"/",
        b"../",
        b"/etc/x",
        b"a/../../x",
        b"\\",
        b"C:\\x",
        b"\x1b[31m",
        b"\xff",
        b"\xc3\x28",
        b"\xe2\x80\xae",
    ),
    *(b"99999999999999999999", b"-1", b"0", b"4294967295", b"type=", b"type=dir;", b"size=", b"modify=", b" -> "),
)
REPLIES: Final = (
    b"220-Welcome\r\n 220 not yet\r\n220 go on\r\n",
    b"211-Features:\r\n MLST type*;size*;modify*;\r\n UTF8\r\n MFMT\r\n211 End\r\n",
    b"229 Entering Extended Passive Mode (|||60001|)\r\n",
    b"227 Entering Passive Mode (127,0,0,1,234,97)\r\n",
    b'257 "/a""b" is current\r\n',
    b"213 20260102030405.123\r\n",
    b"213 1048576\r\n",
    b"250-Listing\r\n type=file;size=3;modify=20260102030405; a\r\n250 End\r\n",
    b"421 too many connections\r\n",
    b"550 a: No such file or directory\r\n",
)
LISTS: Final = (
    b"total 12\r\ndrwxr-xr-x 2 0 0 4096 Jan  2 03:04 .\r\ndrwxr-xr-x 9 0 0 4096 Jan  2  2025 ..\r\n",
    b"-rw-r--r-- 1 ftp ftp 5 Feb 29  2024 a b\r\n",
    b"lrwxrwxrwx 1 0 0 7 Jan  2 03:04 link -> ../x\r\n",
    b"01-02-26  03:04PM       <DIR>          pub\r\n01-02-26  03:04AM            12345 f.txt\r\n",
    b"prw-r--r-- 1 0 0 0 Jan  2 03:04 pipe\r\nbrw-rw---- 1 0 6 8, 0 Jan  2 03:04 disk\r\n",
)
FACTS: Final = (
    b"type=cdir;modify=20260102030405; .\r\ntype=pdir;modify=20260102030405; ..\r\n",
    b"modify=20260102030405;size=5;type=file;UNIX.mode=0644;unique=fd0u1; a b\r\n",
    b"type=dir;sizd=4096;modify=20260102030405.5; sub\r\n",
    b"type=OS.unix=slink:../x;modify=20260102030405; link\r\n",
)
PROFILES: Final = (
    b'[source]\npath = "public"\n[target]\nurl = "ftp://deploy@ftp.example.com:2121/www"\npassword = { env = "P" }\n',
    b'[sync]\nconnections = "auto"\nmax-connections = 4\nmax-delete = "10%"\nexclude = ["*.tmp", "b/"]\n',
    b'[shutdown]\ndrain = "30s"\ncancel = 5\n',
)


def _packet(kind: int, body: bytes) -> bytes:
    return struct.pack(">IB", len(body) + 1, kind) + body


def _text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


ATTRIBUTES: Final = struct.pack(">IQIIIII", 0x0D, 5, 1000, 0o100644, 1, 2, 3)[:20]
PACKETS: Final = (
    _packet(2, struct.pack(">I", 3) + _text(b"posix-rename@openssh.com") + _text(b"1")),
    _packet(101, struct.pack(">II", 1, 4) + _text(b"Failure") + _text(b"en")),
    _packet(102, struct.pack(">I", 2) + _text(b"handle")),
    _packet(103, struct.pack(">I", 3) + _text(b"data")),
    _packet(104, struct.pack(">II", 4, 2) + 2 * (_text(b"name") + _text(b"-rw-r--r-- 1 0 0") + struct.pack(">I", 0))),
    _packet(104, struct.pack(">II", 4, 1) + _text(b"../x") + _text(b"") + struct.pack(">I", 0)),
    _packet(105, struct.pack(">I", 5) + ATTRIBUTES),
    _packet(201, struct.pack(">I", 6) + struct.pack(">11Q", *range(11))),
)


def mutated(corpus: Sequence[bytes], seed: int, count: int) -> Iterator[bytes]:
    """Yield ``count`` inputs made of ``corpus``: joined, cut, repeated, with tokens and bytes in the wrong places."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(b"".join(chance.choices(corpus, k=chance.randrange(1, 4))))
        for _ in range(chance.randrange(6)):
            start = chance.randrange(len(data) + 1)
            end = min(len(data), start + chance.choice((0, 1, 1, 2, 4, 20)))
            match chance.randrange(5):
                case 0:
                    del data[start:end]
                case 1:
                    data[start:end] = chance.choice(TOKENS)
                case 2:
                    data[start:end] = chance.randbytes(end - start)
                case 3:
                    data[start:start] = data[start:end] * chance.choice((1, 2, 50))
                case _:
                    data[start:end] = chance.choice(TOKENS) * chance.choice((1, 3))
        yield bytes(data)


#: Each reader, and the errors that its docstring lists. It may raise no other.
READERS: Final[tuple[tuple[Callable[[Reply], object], tuple[type[ActorsyncError], ...]], ...]] = (
    (replies.greet, (ConnectionLost, ProtocolError)),
    (replies.parse_features, ()),
    (replies.parse_working_directory, ()),
    (replies.size_of, (ProtocolError,)),
    (replies.epsv_port, (ConnectionLost,)),
    (replies.pasv_port, (ConnectionLost, OperationRefused)),
    (lambda reply: replies.parse_mdtm_time(reply.text), ()),
    (mlst_kind, ()),
)


def read_replies(data: bytes, chance: random.Random) -> list[Reply]:
    """Feed a parser in pieces of any size."""
    parser, found, start = ReplyParser(), [], 0
    while start < len(data):
        end = start + chance.choice((1, 3, 40, 10_000))
        parser.feed(data[start:end])
        start = end
        while (reply := parser.next_reply()) is not None:
            found.append(reply)
    return found


@pytest.mark.scaled
def test_m020_m021_m085_m089_mutated_replies_raise_only_documented_errors() -> None:
    chance = random.Random(1)
    refused = read = 0
    texts: list[str] = []
    for data in mutated(REPLIES, 21, INPUTS * 3 // 10):
        try:
            found = read_replies(data, chance)
        except ProtocolError as error:
            refused += 1
            texts.append(str(error))
            continue
        for reply in found:
            assert 100 <= reply.code <= 659
            assert str(reply) == display(str(reply))
            for reader, errors in chance.sample(READERS, 3):
                try:
                    answer = reader(reply)
                except errors as error:
                    texts.append(str(error))
                else:
                    read += 1
                    assert reader not in {replies.epsv_port, replies.pasv_port} or answer is None or answer >= 1024  # type: ignore[operator]
    assert [display(text) for text in texts] == texts
    assert refused > INPUTS // 100
    assert read > INPUTS // 10


@pytest.mark.scaled
@pytest.mark.parametrize("is_mlsd", [False, True], ids=["LIST", "MLSD"])
def test_m043_m072_m073_m074_m088_m091_mutated_listings_never_raise(is_mlsd: bool) -> None:
    parse, corpus = (parse_mlsd, FACTS) if is_mlsd else (parse_list, LISTS)
    whole = 0
    for data in mutated(corpus, 43 + is_mlsd, INPUTS // 4):
        found = parse(data)
        whole += found.is_whole
        for entry in found.entries:
            assert entry.name not in {"", ".", ".."}
            assert not set("/\0\r\n") & set(entry.name)
            assert entry.size is None or entry.size >= 0
        assert len(found.problems) <= 21
        assert all(display(problem) == problem for problem in found.problems)
        assert found.is_whole != bool(found.problems)
    assert INPUTS // 100 < whole < INPUTS * 24 // 100


@pytest.mark.scaled
def test_m072_m074_m091_mutated_sftp_packets_raise_only_documented_errors() -> None:
    names = 0
    texts: list[str] = []
    chance = random.Random(2)
    for data in mutated(PACKETS, 91, INPUTS * 2 // 10):
        parser, cut = PacketParser(), chance.randrange(len(data) + 1)
        try:
            for piece in (data[:cut], data[cut:]):
                for kind, body in parser.feed(piece):
                    if kind == 2:
                        parse_version(kind, body)
                        continue
                    _, reply = parse_reply(kind, body)
                    if isinstance(reply, Names):
                        listed = [name for name, _ in reply.names if name not in {".", ".."}]
                        names += len(listed)
                        if invalid_name(listed) is None:
                            assert not any(not name or "/" in name or "\0" in name for name in listed)
        except ProtocolError as error:
            texts.append(str(error))
    assert [display(text) for text in texts] == texts
    assert len(texts) > INPUTS // 50
    assert names > INPUTS // 100


@pytest.mark.scaled
def test_m091_mutated_profiles_raise_only_profile_error(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.touch(0o600)
    (tmp_path / "public").mkdir()
    texts = []
    for data in mutated(PROFILES, 5, INPUTS // 100):
        path.write_bytes(data)
        try:
            load_profile(path)
        except ProfileError as error:
            texts.append(str(error))
    assert all(text.isprintable() for text in texts)
    assert len(texts) > INPUTS // 200


@pytest.mark.scaled
def test_m091_profile_of_any_bytes_raises_only_profile_error(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.touch(0o600)
    chance = random.Random(3)
    for _ in range(INPUTS // 200):
        path.write_bytes(chance.randbytes(chance.randrange(60)))
        with pytest.raises(ProfileError) as caught:
            load_profile(path)
        assert str(caught.value).isprintable()
