"""Host keys in known_hosts files and pins, and the client keys to log in with."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import os
from collections.abc import Callable
from pathlib import Path

import asyncssh
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actorsync.endpoints.ssh import host_keys as ssh_keys
from actorsync.endpoints.ssh.client_keys import load_client_keys
from actorsync.endpoints.ssh.host_keys import HOST_KEY_ALGORITHMS, HostKeys, read_host_keys
from actorsync.endpoints.ssh.settings import HostTrust, SshLogin
from actorsync.errors import LoginRefused
from actorsync.model.text import display

HOST = "files.example.org"


def key(number: int = 0, algorithm: str = "ssh-ed25519") -> asyncssh.SSHKey:
    """Return a private key; the same number gives the same key."""
    return _made(number, algorithm)


@functools.cache
def _made(number: int, algorithm: str) -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(algorithm, comment=f"key {number}")


def half(number: int = 0) -> asyncssh.SSHKey:
    """Return the public half of a key, as a server sends it."""
    return asyncssh.import_public_key(public(number))


def public(number: int = 0, algorithm: str = "ssh-ed25519") -> str:
    return key(number, algorithm).export_public_key().decode().strip()


@pytest.fixture(autouse=True)
def _no_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the keys of this machine."""
    monkeypatch.setattr(ssh_keys, "_SYSTEM_KNOWN_HOSTS", tmp_path / "machine")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def known(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


def standing(known: Path, number: int = 0, *, host: str = HOST, port: int = 22, pin: str | None = None) -> str:
    return read_host_keys(host, port, HostTrust(known, pin)).standing(half(number))


def hashed(host: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, host.encode(), hashlib.sha1).digest()
    return "|".join(["", "1", base64.b64encode(salt).decode(), base64.b64encode(digest).decode()])


# --- known_hosts


@pytest.mark.parametrize(
    ("line", "host", "port", "expected"),
    [
        ("{h} {k}", HOST, 22, "known"),
        ("{h} {k}", HOST, 2222, "unknown"),  # each port has its own key
        ("[{h}]:2222 {k}", HOST, 2222, "known"),
        ("[{h}]:2222 {k}", HOST, 2223, "unknown"),
        ("[{h}]:2222 {k}", HOST, 22, "unknown"),
        ("a.example.org,{h},10.0.0.1 {k}", HOST, 22, "known"),
        ("{h},10.0.0.1 {k} with a comment", HOST, 22, "known"),
        ("  {h}\t{k}", HOST, 22, "known"),
        ("{h} {k}", "example.org", 22, "unknown"),
        ("{h} {k}", "files.example.org.evil.net", 22, "unknown"),
        ("{h} {k}", "", 22, "unknown"),
        ("*.example.org {k}", HOST, 22, "known"),
        ("*.example.org {k}", "example.org", 22, "unknown"),
        ("file?.example.org {k}", HOST, 22, "known"),
        ("*.example.org,!{h} {k}", HOST, 22, "unknown"),
        ("!{h},*.example.org {k}", HOST, 22, "unknown"),
        ("!{h},*.example.org {k}", "other.example.org", 22, "known"),
        ("[*.example.org]:2222 {k}", HOST, 22, "unknown"),
        ("192.0.2.7 {k}", "192.0.2.7", 22, "known"),
        ("192.0.2.7 {k}", "192.0.2.70", 22, "unknown"),
        ("2001:db8::1 {k}", "2001:db8::1", 22, "known"),
        ("[2001:db8::1]:2222 {k}", "2001:db8::1", 2222, "known"),
        ("# {h} {k}", HOST, 22, "unknown"),
        ("{hashed} {k}", HOST, 22, "known"),
        ("{hashed} {k}", "example.org", 22, "unknown"),
        ("{hashed} {k}", HOST, 2222, "unknown"),
        ("{hashed_2222} {k}", HOST, 2222, "known"),
        ("{hashed_2222} {k}", HOST, 22, "unknown"),
        ("@revoked {h} {k}", HOST, 22, "revoked"),
        ("@revoked * {k}", HOST, 2222, "revoked"),
        ("@cert-authority *.example.org {k}", HOST, 22, "changed"),  # it signs keys of hosts, and is not a host key
        ("@cert-authority other.example.org {k}", HOST, 22, "unknown"),
        ("@whatever {h} {k}", HOST, 22, "unknown"),
        ("{h} {other}", HOST, 22, "changed"),
        (",{h} {k}", "unrelated.example.com", 22, "unknown"),
        ("{h}, {k}", "unrelated.example.com", 22, "unknown"),
        ("a,,b {k}", "unrelated.example.com", 2222, "unknown"),
        ("{h}, {k}", HOST, 22, "known"),
        ("@revoked ,{h}, {k}", HOST, 22, "revoked"),
        ("@revoked , {k}", HOST, 22, "unknown"),
        (", {k}", HOST, 22, "unknown"),
    ],
)
def test_m101_standing_follows_from_a_line(line: str, host: str, port: int, expected: str, known: Path) -> None:
    words = {"h": HOST, "k": public(), "other": public(1)}
    text = line.format(**words, hashed=hashed(HOST), hashed_2222=hashed(f"[{HOST}]:2222"))
    known.write_text(text)
    assert standing(known, host=host, port=port) == expected


@pytest.mark.parametrize(
    "bad",
    [
        "nonsense",
        HOST,
        f"{HOST} ssh-ed25519",
        f"{HOST} ssh-ed25519 !!!!",
        f"{HOST} ssh-ed25519 AAAA",
        f"{HOST} ssh-unheard-of AAAAC3NzaC1lZDI1NTE5AAAAIPpAYr2pD5xVP1o1hcyUs6Pl5VZNVVT0MhQv+aBHiwSR",
        f"@revoked {HOST}",
        "@",
        "|1|x|y ssh-ed25519 AAAA",
        "|1|",
        "|2|AAAA|AAAA {k}",
        "|1|a|b {k}",
        "|1|AAAA {k}",
        "10.0.0.0/99 {k}",
        "[ {k}",
        "[]:0 {k}",
        "! {k}",
        "\x00\x01\udcff",
        "x" * 100_000,
    ],
)
def test_m101_invalid_line_is_skipped(bad: str, known: Path) -> None:
    text = f"{bad.replace('{k}', public(1))}\n{HOST} {public()}\n"
    known.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert standing(known) == "known"
    assert standing(known, host="another.example.com") == "unknown"


@given(
    st.lists(st.text(max_size=30) | st.sampled_from(["@revoked", "|1|", "*", "!", ",", "ssh-ed25519 "]), max_size=12)
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_m101_arbitrary_file_does_not_crash(tmp_path: Path, words: list[str]) -> None:
    known = tmp_path / "fuzzed"
    known.write_bytes("".join(words).encode("utf-8", "replace") + f"\n{HOST} {public()}\n".encode())
    assert standing(known) == "known"


@pytest.mark.parametrize("order", [1, -1])
def test_m101_revoked_overrides_known_in_any_order(order: int, known: Path) -> None:
    known.write_text("\n".join([f"{HOST} {public()}", f"@revoked * {public()}"][::order]))
    assert standing(known) == "revoked"
    assert standing(known, 1) == "changed"


def test_m101_all_keys_of_a_host_are_known(known: Path) -> None:
    known.write_text(f"{HOST} {public(0)}\r\n{HOST} {public(1)}\r\n")
    assert [standing(known, number) for number in range(3)] == ["known", "known", "changed"]


def test_m101_system_file_is_read_too(known: Path, tmp_path: Path) -> None:
    (tmp_path / "machine").write_text(f"{HOST} {public()}\n@revoked {HOST} {public(1)}\n")
    assert standing(known) == "known"
    known.write_text(f"{HOST} {public(1)}\n")
    assert [standing(known, number) for number in range(2)] == ["known", "revoked"]


def test_m101_without_a_file_every_key_is_unknown(known: Path) -> None:
    assert standing(known) == "unknown"
    assert read_host_keys(HOST, 22, HostTrust(known)) == HostKeys(HOST, HostTrust(known))


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path)], ids=["directory", "loop"])
def test_m101_unreadable_file_refuses_the_login(make: Callable[[Path], None], known: Path) -> None:
    """The file may contain revoked keys."""
    make(known)
    with pytest.raises(LoginRefused, match="known_hosts cannot be read: ") as caught:
        standing(known)
    assert str(caught.value) == display(str(caught.value))


# --- Pins


def test_pin_overrides_files(known: Path) -> None:
    pin = key(1).get_fingerprint("sha256")
    known.write_text(f"{HOST} {public(0)}\n@revoked * {public(1)}\n")
    assert standing(known, 1, pin=pin) == "known"
    assert standing(known, 0, pin=pin) == "changed"
    assert standing(known, 0, pin=pin.lower()) == "changed"
    known.unlink()
    known.mkdir()
    assert standing(known, 1, pin=pin) == "known", "no file is read"


# --- Messages


@pytest.mark.parametrize(("port", "name"), [(22, HOST), (2222, f"[{HOST}]:2222")])
def test_m101_shown_line_makes_the_key_known(port: int, name: str, known: Path) -> None:
    hosts = read_host_keys(HOST, port, HostTrust(known))
    shown = hosts.shown(half())
    assert shown.algorithm == "ssh-ed25519"
    assert shown.fingerprint == key().get_fingerprint()
    assert shown.fingerprint.startswith("SHA256:")
    assert shown.standing == "unknown"
    assert shown.line == f"{name} {' '.join(public().split()[:2])}"
    why = hosts.why_refused(half())
    assert shown.line in why and shown.fingerprint in why and str(known) in why
    assert why == display(why)
    known.write_text(shown.line)
    assert standing(known, port=port) == "known"


def test_m102_refusals_state_the_cause_and_what_to_do(known: Path) -> None:
    known.write_text(f"{HOST} {public(0)}\n@revoked * {public(1)}\n")
    hosts = read_host_keys(HOST, 22, HostTrust(known))
    changed = hosts.why_refused(half(2))
    assert changed.startswith("THE HOST KEY HAS CHANGED: ")
    assert key(2).get_fingerprint() in changed and HOST in changed and str(known) in changed
    assert public(2).split()[1] not in changed, "the message does not offer the line to add"
    revoked = hosts.why_refused(half(1))
    assert "is marked as revoked" in revoked and key(1).get_fingerprint() in revoked
    assert public(1).split()[1] not in revoked
    pin = key(0).get_fingerprint()
    pinned = read_host_keys(HOST, 22, HostTrust(known, pin)).why_refused(half(2))
    assert f"target.host-key pins {pin}" in pinned and key(2).get_fingerprint() in pinned


def test_m089_control_characters_in_a_path_are_escaped(tmp_path: Path) -> None:
    known = tmp_path / "known\x1b[2J\n"
    known.write_text(f"{HOST} {public(1)}")
    why = read_host_keys(HOST, 22, HostTrust(known)).why_refused(half())
    assert why == display(why)


# --- Algorithms


def test_algorithms_of_known_keys_come_first(known: Path) -> None:
    def algorithms() -> list[str]:
        return read_host_keys(HOST, 22, HostTrust(known)).algorithms

    assert algorithms() == list(HOST_KEY_ALGORITHMS)
    known.write_text(f"{HOST} {public(0, 'ssh-rsa')}\n")
    assert algorithms()[:2] == ["rsa-sha2-512", "rsa-sha2-256"]
    assert sorted(algorithms()) == sorted(HOST_KEY_ALGORITHMS)
    known.write_text(f"{HOST} {public(0, 'ssh-rsa')}\n{HOST} {public(0, 'ecdsa-sha2-nistp256')}\n")
    assert algorithms()[:3] == ["ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"]
    known.write_text(f"@cert-authority {HOST} {public()}\n")
    assert algorithms()[0] == "ssh-ed25519-cert-v01@openssh.com"
    assert algorithms()[len(HOST_KEY_ALGORITHMS) :] == list(HOST_KEY_ALGORITHMS)
    assert not any("sha1" in name or name == "ssh-rsa" or "dss" in name for name in algorithms())


# --- Keys to log in with


def write_key(path: Path, number: int = 0, passphrase: str | None = None, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(key(number).export_private_key(passphrase=passphrase, rounds=50))
    path.chmod(mode)
    return path


def load(login: SshLogin, *answers: str | None) -> list[bytes]:
    """Load keys, with one answer for each request for a passphrase; return the public halves."""
    script = iter(answers)
    found = [pair.public_data for pair in load_client_keys(login, lambda: next(script))]
    assert next(script, "all") == "all", "the passphrase was not requested"
    return found


def refusal(login: SshLogin, *answers: str | None) -> str:
    with pytest.raises(LoginRefused) as caught:
        load(login, *answers)
    assert str(caught.value) == display(str(caught.value))
    return str(caught.value)


def test_key_without_passphrase_does_not_ask_for_one(tmp_path: Path) -> None:
    path = write_key(tmp_path / "k")
    assert load(SshLogin("u", path)) == [key().public_data]


def test_a_key_with_a_passphrase(tmp_path: Path) -> None:
    login = SshLogin("u", write_key(tmp_path / "k", passphrase="let me in"))
    assert load(login, "let me in") == [key().public_data]
    assert refusal(login, "let me out") == (
        f"{tmp_path}/k cannot be used: target.passphrase is not its passphrase; correct it"
    )
    assert refusal(login, None) == f"{tmp_path}/k cannot be used: it needs a passphrase; set target.passphrase"
    assert "let me out" not in refusal(login, "let me out")


PEM = key().export_private_key().decode()
CASES = {
    "empty": ("\n", "it is empty; write the private key to it, or set target.key-file to another file"),
    "text": ("no key", "it is not a private key; set target.key-file"),
    "noise": ("\ufffd\0" * 99, "it is not a private key; set target.key-file"),
    "public": (
        public(),
        "it is the public half of a key; set target.key-file to the private key, usually without .pub",
    ),
    "public, PEM": (
        key().export_public_key("pkcs8-pem").decode(),
        "it is the public half of a key; set target.key-file to the private key, usually without .pub",
    ),
    "certificate": (
        key(1).generate_user_certificate(key(0), "us").export_certificate().decode(),
        "it is a certificate; set target.key-file to the private key, and target.certificate-file to this file",
    ),
    "PuTTY": (
        "PuTTY-User-Key-File-3: ssh-ed25519\r\nEncryption: none\r\n",
        "it is a key of PuTTY; convert it: puttygen key.ppk -O private-openssh -o key",
    ),
    "DSA": (
        "-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n",
        "it is a DSA key, which servers do not accept any more; make a new one: ssh-keygen -t ed25519",
    ),
    **{
        name: (
            text,
            "its lines are damaged, or its format is not known; copy the file again without changing its line breaks",
        )
        for name, text in {
            "spaces": "".join(f"  {line}\n" for line in PEM.splitlines()),
            "one line": " ".join(PEM.splitlines()),
            "cut": PEM[:100],
            "escaped": PEM.replace("\n", "\\n"),
            "nonsense": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n",
        }.items()
    },
}


@pytest.mark.parametrize("name", CASES)
def test_file_that_is_not_a_key_is_refused_with_what_it_is(name: str, tmp_path: Path) -> None:
    text, why = CASES[name]
    path = tmp_path / "k"
    path.write_text(text)
    path.chmod(0o600)
    assert refusal(SshLogin("u", path)) == f"{path} cannot be used: {why}"


@pytest.mark.parametrize(
    "change",
    [lambda text: text.replace("\n", "\r\n"), str.rstrip, lambda text: f"\n{text}\n\n"],
    ids=["CRLF", "no last line break", "empty lines around"],
)
@pytest.mark.parametrize("form", ["openssh", "pkcs8-pem", "pkcs1-pem"])
def test_key_in_a_usual_form_is_loaded(form: str, change: Callable[[str], str], tmp_path: Path) -> None:
    kind = "ssh-rsa" if form == "pkcs1-pem" else "ssh-ed25519"
    path = tmp_path / "k"
    path.write_bytes(change(key(0, kind).export_private_key(form).decode()).encode())
    path.chmod(0o600)
    assert load(SshLogin("u", path)) == [key(0, kind).public_data]


def test_missing_key_is_refused(tmp_path: Path) -> None:
    assert refusal(SshLogin("u", tmp_path / "k")) == (
        f"{tmp_path}/k cannot be read: No such file or directory; set target.key-file"
    )
    (tmp_path / "d").mkdir(mode=0o700)
    assert "cannot be read: Is a directory" in refusal(SshLogin("u", tmp_path / "d"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o660, 0o610, 0o777])
def test_m106_key_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    path = write_key(tmp_path / "k", mode=mode)
    assert refusal(SshLogin("u", path)) == f"{path} is a private key that others can read; run: chmod 600 {path}"


def test_certificate_next_to_the_key_is_offered_first(tmp_path: Path) -> None:
    path = write_key(tmp_path / "k")
    certificate = key(1).generate_user_certificate(key(0), "us")
    (tmp_path / "k-cert.pub").write_bytes(certificate.export_certificate())
    assert load(SshLogin("u", path)) == [certificate.public_data, key().public_data]


@pytest.mark.parametrize("beside", ["k-cert.pub", "k.pub"])
@pytest.mark.parametrize("what", ["another", "nonsense", "directory"])
def test_foreign_file_next_to_a_key_is_ignored_or_refused(beside: str, what: str, tmp_path: Path) -> None:
    path = write_key(tmp_path / "k")
    if what == "directory":
        (tmp_path / beside).mkdir()
    elif what == "nonsense":
        (tmp_path / beside).write_text("nonsense")
    elif beside == "k.pub":
        (tmp_path / beside).write_text(public(1))
    else:
        (tmp_path / beside).write_bytes(key(1).generate_user_certificate(key(2), "us").export_certificate())
    try:
        found = load(SshLogin("u", path))
    except LoginRefused as refused:
        assert "belongs to another key" in str(refused)  # noqa: PT017 - both are good
    else:
        assert key().public_data in found


def test_default_keys_without_passphrase_are_loaded() -> None:
    folder = Path.home() / ".ssh"
    assert load(SshLogin("u")) == []
    write_key(folder / "id_ecdsa", 1)
    write_key(folder / "id_ed25519", 0)
    write_key(folder / "id_rsa", 2, passphrase="secret")
    assert load(SshLogin("u")) == [key(0).public_data, key(1).public_data]
    (folder / "id_ed25519").write_text("nonsense")
    assert load(SshLogin("u")) == [key(1).public_data]
    assert load(SshLogin("u", password=lambda: "p")) == [], "a password replaces the default keys"
    assert load(SshLogin("u", agent=False)) == []
    assert load(SshLogin("u", agent=True)) == [key(1).public_data]


def test_configured_key_excludes_the_default_ones(tmp_path: Path) -> None:
    write_key(Path.home() / ".ssh" / "id_ed25519", 1)
    path = write_key(tmp_path / "k", 0)
    assert load(SshLogin("u", path)) == [key(0).public_data]
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_repr_shows_no_secret() -> None:
    login = SshLogin("u", None, lambda: "passphrase", lambda: "password")
    assert "lambda" not in repr(login)
