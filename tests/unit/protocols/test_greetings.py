"""The first words of servers of another kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsync.protocols.ftp.wire import ReplyParser
from actorsync.protocols.greetings import OtherService, instead_of_ftp, instead_of_ssh


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("SSH-2.0-OpenSSH_9.2p1", "an SSH server"),
        ("HTTP/1.1 400 Bad Request", "a web server"),
        ("<!DOCTYPE html>", "a web server"),
        ("+OK Dovecot ready.", "a POP3 mail server"),
        ("* OK [CAPABILITY IMAP4rev1] ready", "an IMAP mail server"),
        ("RFB 003.008", "a VNC server"),
    ],
)
def test_greeting_of_another_kind_of_server_is_named(line: str, name: str) -> None:
    parser = ReplyParser()
    parser.feed(f"{line}\r\n".encode())
    with pytest.raises(OtherService) as caught:
        parser.next_reply()
    assert str(caught.value).startswith(f'this is {name} ("{line}"), and no FTP server; use ')


@pytest.mark.parametrize("line", ["220 ready", "220-", "421 too many", "", "hello", "\x16\x03\x01", "2200", "ssh-2.0"])
def test_greeting_that_may_be_of_ftp_is_not_named(line: str) -> None:
    assert instead_of_ftp(line) is None


@pytest.mark.parametrize(
    ("received", "name"),
    [
        (b"220 ProFTPD\r\n500 Invalid command\r\n", 'an FTP or mail server ("220 ProFTPD")'),
        (b"220-Welcome\r\n220 ready\r\n530 Please login\r\n", 'an FTP or mail server ("220-Welcome")'),
        (b"220 mail ESMTP\n502 5.5.2 Error\n", 'an FTP or mail server ("220 mail ESMTP")'),
        (b"220 x\x1b[31m\xff\r\n421 Bye\r\n", r'an FTP or mail server ("220 x\x1b[31m\xff")'),
        (b"HTTP/1.1 400 Bad Request\r\n", 'a web server ("HTTP/1.1 400 Bad Request")'),
        (b"<html>\n", 'a web server ("<html>")'),
        (b"\x15\x03\x03\x00\x02\x02\x46", "a server that expects TLS"),
    ],
)
def test_answer_of_another_kind_of_server_to_an_ssh_client_is_named(received: bytes, name: str) -> None:
    found = instead_of_ssh(received)
    assert found is not None
    assert found.startswith(f"this is {name}, and no SSH server; use ")
    assert found.isprintable()


@pytest.mark.parametrize(
    "received",
    [
        b"",
        b"220 ProFTPD\r\n",
        b"220 ProFTPD\r\n500 Inv",
        b"220 ProFTPD\r\n220 again\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n500 of the packet\n",
        b"Welcome\r\n500 words of it\r\n",
        b"220 a banner before the version\r\n500 days up\r\nSSH-2.0-x\r\n",
        b"HTTP/1.1 400",
        b"* OK\r\n",
    ],
)
def test_server_that_may_speak_ssh_is_not_named(received: bytes) -> None:
    assert instead_of_ssh(received) is None


@pytest.mark.parametrize("received", [b"220 ProFTPD\r\n", b"220-Welcome\r\n220 ready\r\n", b"421 too many users\r\n"])
def test_reply_is_enough_when_the_server_says_no_more(received: bytes) -> None:
    assert instead_of_ssh(received) is None
    found = instead_of_ssh(received, is_all=True)
    assert found is not None and found.startswith("this is an FTP or mail server (")


@pytest.mark.parametrize(
    "received", [b"", b"220-Welcome\r\n", b"220 no line", b"Exceeded MaxStartups\r\n", b"2200 x\r\n"]
)
def test_less_than_a_reply_is_never_enough(received: bytes) -> None:
    assert instead_of_ssh(received, is_all=True) is None


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_server_that_has_sent_its_ssh_version_is_never_named(before: bytes, after: bytes) -> None:
    if not before.startswith(b"\x15\x03"):
        received = b"%b\nSSH-2.0-x\r\n%b" % (before, after)
        assert instead_of_ssh(received) is instead_of_ssh(received, is_all=True) is None
