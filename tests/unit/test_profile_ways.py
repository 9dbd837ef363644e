"""Jump hosts, certificates, one-time codes and the files of ssh in a profile."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from actorsync.endpoints.ssh.settings import JumpHost
from actorsync.errors import LoginRefused, ProfileError
from actorsync.profile import Profile, load_profile
from actorsync.profile.secrets.one_time_code import OneTimeCode
from actorsync.profile.secrets.secret import CommandSecret, PromptSecret
from actorsync.profile.values.url import local_user

USER = local_user()


def loaded(folder: Path, *keys: str, url: str = "sftp://deploy@shop/www", table: str = "target") -> Profile:
    (folder / "src").mkdir(exist_ok=True)
    tables = {"source": ['path = "src"'], "target": [f'url = "{url}"']}
    if table == "source":
        tables = {"source": [f'url = "{url}"'], "target": ['url = "copy"']}
    tables[table] += keys
    path = folder / "shop.toml"
    path.write_text("\n".join(line for name, lines in tables.items() for line in (f"[{name}]", *lines)))
    path.chmod(0o600)
    return load_profile(path)


def refusal(folder: Path, *keys: str, url: str = "sftp://deploy@shop/www") -> str:
    with pytest.raises(ProfileError) as caught:
        loaded(folder, *keys, url=url)
    return str(caught.value)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


# ---- jump hosts


@pytest.mark.parametrize("table", ["source", "target"])
def test_jump_hosts_are_read_in_their_order(table: str, tmp_path: Path) -> None:
    hosts = '"ops@bastion.example.com:2200", "ssh://inner", "[2001:db8::1]:22", "[2001:db8::2]"'
    profile = loaded(tmp_path, f"jump = [{hosts}]", table=table)
    place = profile.source if table == "source" else profile.target
    assert place.ways.jump == (
        JumpHost("bastion.example.com", 2200, "ops"),
        JumpHost("inner", 22, USER),
        JumpHost("2001:db8::1", 22, USER),
        JumpHost("2001:db8::2", 22, USER),
    )
    assert [jump.name for jump in place.ways.jump][::3] == ["ops@bastion.example.com:2200", f"{USER}@[2001:db8::2]"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('"bastion"', 'target.jump: is not a list of strings; write it like ["user@bastion.example.com:22"]'),
        ('["a", 2]', "target.jump: is not a list of strings"),
        ('["a", ""]', "target.jump: jump host 2 has no host"),
        ('["a:0"]', "target.jump: jump host 1 has a port that is not a number from 1 to 65535"),
        ('["u:geheim@a"]', "target.jump: jump host 1 contains a password; jump hosts get keys only"),
        ('["a b"]', "target.jump: jump host 1 has a host name with an invalid character"),
        (str(["h"] * 9).replace("'", '"'), "target.jump: has more than 8 jump hosts"),
    ],
)
def test_invalid_jump_hosts_are_refused(value: str, reason: str, tmp_path: Path) -> None:
    said = refusal(tmp_path, f"jump = {value}")
    assert reason in said
    assert "geheim" not in said


def test_only_sftp_has_these_keys(tmp_path: Path) -> None:
    url, password = "ftp://u@h/", 'password = "p"'
    for key, reason in {
        'jump = ["h"]': "target.jump: only sftp:// can go through jump hosts; remove it",
        "otp = { prompt = true }": "target.otp: only sftp:// asks for one-time codes; remove it",
        "ssh-config = true": "target.ssh-config: only sftp:// follows the files of ssh; remove it",
        'certificate-file = "x"': "target.certificate-file: only sftp:// uses keys; remove it",
    }.items():
        assert reason in refusal(tmp_path, password, key, url=url)


def test_place_behind_another_jump_host_has_a_journal_of_its_own(tmp_path: Path) -> None:
    """Behind another jump host, the same address may be another server: no journal may be used for both."""
    plain, one, two = (loaded(tmp_path, f"jump = {jump}").identity for jump in ("[]", '["one"]', '["two"]'))
    assert len({plain, one, two}) == 3
    assert loaded(tmp_path).identity == plain
    assert loaded(tmp_path, 'jump = ["another@one:22"]').identity == one, "the user does not change where it leads"


def test_same_address_behind_another_jump_host_is_no_overlap(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    text = '[source]\nurl = "sftp://u@h/a"\n[target]\nurl = "sftp://u@h/a"\n'
    path.write_text(text)
    with pytest.raises(ProfileError, match="is the same directory as the source"):
        load_profile(path)
    path.write_text(text + 'jump = ["bastion"]\n')
    load_profile(path)


# ---- certificates


def test_certificate_file_must_exist(tmp_path: Path) -> None:
    assert "target.certificate-file: cannot read" in refusal(tmp_path, 'certificate-file = "k-cert.pub"')
    (tmp_path / "k-cert.pub").touch(0o644)
    place = loaded(tmp_path, 'certificate-file = "k-cert.pub"').target
    assert place.ways.certificate_files == (tmp_path / "k-cert.pub",)


# ---- one-time codes


def test_sources_of_codes_are_read(tmp_path: Path) -> None:
    codes = loaded(tmp_path, "otp = { prompt = true }").target.ways.codes
    assert codes is not None and codes.is_asking
    assert isinstance(codes.source, PromptSecret)
    assert codes.source.question == "one-time code for deploy@shop: "
    profile = loaded(tmp_path, 'otp = { command = ["oathtool", "--totp"] }')
    codes = profile.target.ways.codes
    assert codes is not None and not codes.is_asking
    assert not profile.target.is_asking


@pytest.mark.parametrize(
    "value",
    ['"123456"', "{ prompt = false }", "{ command = [] }", '{ command = "x" }', '{ env = "X" }', "{ command = [1] }"],
)
def test_other_sources_of_codes_are_refused_without_quoting_them(value: str, tmp_path: Path) -> None:
    said = refusal(tmp_path, f"otp = {value}")
    assert "target.otp: must be { prompt = true }, or { command = " in said
    assert "123456" not in said


def test_typed_code_is_asked_for_last_and_used_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = iter(["secret", "123 456", "654321"])

    def ask(question: str, *, is_hidden: bool) -> str:
        assert is_hidden
        asked.append(question)
        return next(answers)

    monkeypatch.setattr("actorsync.profile.secrets.secret.ask", ask)
    profile = loaded(tmp_path, "otp = { prompt = true }", "password = { prompt = true }")
    assert profile.target.is_asking
    codes = profile.answered().target.ways.codes
    assert codes is not None
    assert asked == ["password of deploy@shop: ", "one-time code for deploy@shop: "]
    assert [codes.next(), codes.next()] == ["123456", "123456"], "a code that was not sent stays good"
    codes.note_sent("123456")
    with pytest.raises(LoginRefused, match=r"another login needs a new one-time code.*run the command again"):
        codes.next()
    codes.ask()
    assert codes.next() == "654321"
    assert "654321" not in repr(codes) + repr(profile)


def test_code_that_cannot_be_typed_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_terminal(question: str, *, is_hidden: bool) -> str:
        raise OSError(question, is_hidden)

    monkeypatch.setattr("actorsync.profile.secrets.secret.ask", no_terminal)
    codes = loaded(tmp_path, "otp = { prompt = true }").target.ways.codes
    assert codes is not None
    said = 'target.otp: no terminal to ask for the otp; use otp = { command = ["..."] } instead'
    with pytest.raises(ProfileError) as caught:
        codes.ask()
    assert str(caught.value).endswith(said)
    with pytest.raises(LoginRefused) as refused:
        codes.next()
    assert str(refused.value).endswith(said)


@pytest.fixture
def printing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OneTimeCode:
    """Codes of a command that prints each number twice, without waiting in between."""
    monkeypatch.setattr("actorsync.profile.secrets.one_time_code._POLL_SECONDS", 0.0)
    counter = tmp_path / "counter"
    counter.write_text("0")
    program = (
        f"import pathlib; p = pathlib.Path({str(counter)!r}); n = int(p.read_text()); p.write_text(str(n + 1)); "
        "print(f'{n // 2:03} 000')"
    )
    return OneTimeCode(CommandSecret((sys.executable, "-I", "-S", "-c", program), tmp_path))


def test_command_runs_for_each_login_and_a_used_code_is_waited_out(printing: OneTimeCode) -> None:
    first = printing.next()
    assert first == "000000"
    printing.note_sent(first)
    second = printing.next()
    assert second == "001000", "the code that was sent is not used again"


def test_command_that_prints_a_used_code_for_ever_is_refused(
    printing: OneTimeCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actorsync.profile.secrets.one_time_code._NEW_CODE_SECONDS", -1.0)
    printing.note_sent("000000")
    with pytest.raises(LoginRefused, match="printed a used code"):
        printing.next()


def test_command_that_fails_refuses_the_login(tmp_path: Path) -> None:
    codes = OneTimeCode(CommandSecret(("false",), tmp_path, where="shop.toml: target.otp"))
    with pytest.raises(LoginRefused, match=r"shop\.toml: target\.otp: command false ended with exit status 1"):
        codes.next()


# ---- the files of ssh

CONFIG = """
Host shop
  HostName www.example.com
  User files
  Port 2222
  IdentityFile ~/.ssh/shop
  CertificateFile ~/.ssh/shop-cert.pub
  ProxyJump inner,last
  UserKnownHostsFile /dev/null
Host inner
  HostName 10.0.0.1
  User ops
  IdentityFile ~/.ssh/ops
  ProxyJump gate:99
Host gate
  User warden
"""


def test_files_of_ssh_are_followed_on_request(home: Path) -> None:
    (home / ".ssh" / "config").write_text(CONFIG)
    place = loaded(home, "ssh-config = true", url="sftp://shop/www").target
    assert (place.host, place.port, place.user) == ("www.example.com", 2222, "files")
    assert place.ways.identity_files == (home / ".ssh/shop",)
    assert place.ways.certificate_files == (home / ".ssh/shop-cert.pub",)
    assert place.ways.jump == (
        JumpHost("gate", 99, "warden"),
        JumpHost("10.0.0.1", 22, "ops", (home / ".ssh/ops",)),
        JumpHost("last", 22, USER),
    )
    assert place.known_hosts == home / ".ssh/known_hosts", "nothing about host keys is read"
    ignored = loaded(home, url="sftp://shop/www").target
    assert (ignored.host, ignored.port, ignored.ways.jump) == ("shop", 22, ())


def test_profile_counts_before_the_files_of_ssh(home: Path) -> None:
    (home / ".ssh" / "config").write_text(CONFIG)
    (home / "key").touch(0o600)
    keys = ["ssh-config = true", 'key-file = "key"', 'jump = ["u@inner:23"]']
    place = loaded(home, *keys, url="sftp://deploy@shop:22/www").target
    assert (place.host, place.port, place.user) == ("www.example.com", 22, "deploy")
    assert (place.ways.identity_files, place.ways.certificate_files) == (None, ())
    assert place.ways.jump == (JumpHost("10.0.0.1", 23, "u", (home / ".ssh/ops",)),)
    assert loaded(home, "ssh-config = true", "jump = []", url="sftp://shop/").target.ways.jump == ()


def test_journal_follows_where_the_files_of_ssh_lead(home: Path) -> None:
    config = home / ".ssh" / "config"
    config.write_text("Host shop\n HostName one\n")
    one = loaded(home, "ssh-config = true").identity
    config.write_text("Host shop\n HostName two\n")
    assert loaded(home, "ssh-config = true").identity != one


def test_jump_host_of_all_hosts_is_reached_directly(home: Path) -> None:
    (home / ".ssh" / "config").write_text("Host *\n ProxyJump gate\n")
    assert [jump.host for jump in loaded(home, "ssh-config = true").target.ways.jump] == ["gate"]
    assert loaded(home, "ssh-config = true", url="sftp://u@gate/").target.ways.jump == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ProxyCommand nc %h %p", "line 1: ProxyCommand is not run; use ProxyJump, or set target.jump in the profile"),
        (
            "Host shop\n ProxyJump a\nHost a\n ProxyJump b\nHost b\n ProxyJump shop",
            "ProxyJump shop: it leads back to itself, or over too many hosts; correct it",
        ),
        ("ProxyJump h:c", "ProxyJump h:c: has a port that is not a number"),
        ("ProxyJump u:p@h", "contains a password"),
    ],
)
def test_files_of_ssh_that_cannot_be_followed_are_refused(text: str, reason: str, home: Path) -> None:
    (home / ".ssh" / "config").write_text(text)
    said = refusal(home, "ssh-config = true")
    assert said.startswith(f"{home}/shop.toml: target.ssh-config: ")
    assert reason in said
