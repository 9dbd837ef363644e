"""HASH over FTP: a reply counts only if it is the hash of the whole of the right file."""

from __future__ import annotations

import hashlib

import pytest

from actorsync.errors import ConnectionLost
from actorsync.protocols.ftp.hashes import hash_of, hashes
from actorsync.protocols.ftp.replies import parse_features
from actorsync.protocols.ftp.wire import Reply

SHA = hashlib.sha256(b"hello").hexdigest()
GOOD = f"SHA-256 0-5 {SHA} /www/a b.txt"
EMPTY = hashlib.sha256(b"").hexdigest()


def test_features_tell_the_algorithms_of_hash() -> None:
    proftpd = Reply(211, ("Features:", " HASH CRC32;MD5;SHA-1*;SHA-256;SHA-512;", " SIZE", "End"))
    assert parse_features(proftpd).hashes == {"CRC32", "MD5", "SHA-1", "SHA-256", "SHA-512"}
    assert parse_features(Reply(211, ("Features:", " HASH", " XSHA256", "End"))).hashes == frozenset()


@pytest.mark.parametrize("lines", [(GOOD,), ("Computing SHA-256 digest", GOOD), (GOOD.replace("0-5", "0-4"),)])
def test_hash_of_the_whole_file_counts(lines: tuple[str, ...]) -> None:
    assert hash_of(Reply(213, lines), "SHA-256", "/www/a b.txt", 5) == bytes.fromhex(SHA)


def test_hash_of_an_empty_file_counts() -> None:
    assert hash_of(Reply(213, (f"SHA-256 0-0 {EMPTY.upper()} /e",)), "SHA-256", "/e", 0) == bytes.fromhex(EMPTY)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (213, GOOD.replace("a b.txt", "b.txt")),
        (213, GOOD.replace("/www/", "")),
        (213, GOOD.replace("0-5", "0-3")),
        (213, GOOD.replace("0-5", "1-5")),
        (213, GOOD.replace("0-5 ", "")),
        (213, GOOD.replace("SHA-256", "SHA-1")),
        (213, GOOD.replace(SHA, SHA[:-1])),
        (213, GOOD.replace(SHA, SHA[:40])),
        (213, GOOD.replace(SHA, "z" * 64)),
        (213, SHA),
        (213, ""),
        (250, GOOD),
        (550, GOOD),
        (500, "HASH not understood"),
    ],
)
def test_hash_that_may_be_of_something_else_counts_as_none(code: int, text: str) -> None:
    assert hash_of(Reply(code, (text,)), "SHA-256", "/www/a b.txt", 5) is None


def test_hashes_are_asked_for_in_one_flight_with_the_algorithm() -> None:
    dialogue = hashes("SHA-256", [("/www/a b.txt", 5), ("/none", 3)])
    assert next(dialogue) == [b"OPTS HASH SHA-256\r\n", b"HASH /www/a b.txt\r\n", b"HASH /none\r\n"]
    with pytest.raises(StopIteration) as done:
        dialogue.send([Reply(200, ("SHA-256",)), Reply(213, (GOOD,)), Reply(550, ("No such file",))])
    assert done.value.value == [bytes.fromhex(SHA), None]


def test_reply_that_ends_the_session_is_a_lost_connection() -> None:
    dialogue = hashes("SHA-256", [("/a", 5)])
    next(dialogue)
    with pytest.raises(ConnectionLost):
        dialogue.send([Reply(200, ("SHA-256",)), Reply(421, ("Timeout",))])
