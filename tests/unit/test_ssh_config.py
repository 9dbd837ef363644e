"""The settings that are read from the files of ssh, and those that are refused."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from actorsync.profile.ssh_config import HostSettings, SshConfig, SshConfigError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def config(home: Path, text: str, machine: str = "", **included: str) -> SshConfig:
    (home / ".ssh" / "config").write_text(text)
    (home / "machine").write_text(machine)
    for name, content in included.items():
        (home / ".ssh" / name).write_text(content)
    return SshConfig.read(home, home / "machine")


SHOP = """
# the shop
Host shop www.shop.example
    HostName 203.0.113.5
    User "deploy er"
    Port = 2222
    IdentityFile ~/.ssh/shop key
    IdentityFile %d/keys/%r@%h-%p
    CertificateFile shop-cert.pub
    ProxyJump bastion,inner:2200
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null

Host *
    User everybody
    IdentityFile ~/.ssh/id_all
    Port 22
"""


def test_first_value_counts_and_key_files_add_up(home: Path) -> None:
    text = SHOP.replace("~/.ssh/shop key", '"~/.ssh/shop key"')
    assert config(home, text).settings("shop") == HostSettings(
        "203.0.113.5",
        "deploy er",
        2222,
        (home / ".ssh/shop key", home / "keys/deploy er@203.0.113.5-2222", home / ".ssh/id_all"),
        (home / ".ssh/shop-cert.pub",),
        ("bastion", "inner:2200"),
    )
    assert config(home, text).settings("other") == HostSettings(
        "other", "everybody", 22, (home / ".ssh/id_all",), (), None
    )


def test_user_and_port_of_the_url_count_before_the_files(home: Path) -> None:
    found = config(home, "Host *\n User files\n Port 99\n IdentityFile %r-%p\n").settings("h", "url", 2200)
    assert (found.user, found.port) == ("url", 2200)
    assert found.identity_files == (home / ".ssh/url-2200",)


def test_missing_files_say_nothing(home: Path) -> None:
    assert SshConfig.read(home, home / "none").settings("h") == HostSettings("h")


def test_user_file_comes_before_that_of_the_machine(home: Path) -> None:
    found = config(home, "Host h\n User mine\n", "User theirs\nPort 99\n").settings("h")
    assert (found.user, found.port) == ("mine", 99)


@pytest.mark.parametrize(
    ("pattern", "host", "is_match"),
    [
        ("shop", "shop", True),
        ("Shop", "shop", True),
        ("shop", "shop.example", False),
        ("*.example", "a.example", True),
        ("h?", "h1", True),
        ("* !bad", "bad", False),
        ("!bad *", "good", True),
        ("!bad", "good", False),
        ("a b c", "b", True),
        ("[ab]", "a", False),  # brackets are no wildcard in ssh
    ],
)
def test_patterns_of_host(pattern: str, host: str, is_match: bool, home: Path) -> None:
    assert (config(home, f"Host {pattern}\nUser u\n").settings(host).user == "u") is is_match


@pytest.mark.parametrize(
    ("criteria", "is_match"),
    [
        ("all", True),
        ("host real", True),
        ("host shop", False),
        ("originalhost shop", True),
        ("originalhost=shop", True),
        ("!originalhost shop", False),
        ("host a,real user deploy", True),
        ("host real user other", False),
        ("final", True),
        ("final host real", True),
        ("canonical", False),
        ("!canonical", True),
    ],
)
def test_criteria_of_match(criteria: str, is_match: bool, home: Path) -> None:
    text = f"Host shop\n HostName real\n User deploy\nMatch {criteria}\n Port 77\n"
    assert (config(home, text).settings("shop").port == 77) is is_match


def test_settings_of_a_block_do_not_end_it(home: Path) -> None:
    assert config(home, "Match host shop\n HostName real\n User u\n").settings("shop").user == "u"


@pytest.mark.parametrize(
    "criterion", ['exec "touch {proof}"', "localnetwork 10.0.0.0/8", "tagged t"], ids=["exec", "network", "tag"]
)
def test_criterion_that_is_not_evaluated_is_refused_where_it_matters(criterion: str, home: Path) -> None:
    head = f"Match originalhost shop {criterion.format(proof=home / 'proof')}\n"
    assert config(home, f"{head} ForwardAgent yes\n").settings("shop") == HostSettings("shop")
    assert config(home, f"{head} Port 99\n").settings("other") == HostSettings("other")
    with pytest.raises(SshConfigError) as refused:
        config(home, f"{head} Port 99\n").settings("shop")
    assert str(refused.value) == (
        f"{home}/.ssh/config line 2: it is in a block with Match {criterion.split()[0]}, which actorsync does not "
        "evaluate; correct it, or remove ssh-config = true"
    )
    assert not (home / "proof").exists()


def test_included_files_belong_to_the_block_around_them(home: Path) -> None:
    text = "Host shop\n Include one ~/.ssh/two none*\n Port 7\nHost *\n Port 8\n"
    files = {"one": "User u1\nHost other\n User u2\n", "two": "IdentityFile k\n"}
    found = config(home, text, **files)
    assert found.settings("shop") == HostSettings("shop", "u1", 7, (home / ".ssh/k",))
    assert found.settings("other") == HostSettings("other", None, 8), "the block in the file is inside Host shop"


def test_file_that_includes_itself_is_refused(home: Path) -> None:
    with pytest.raises(SshConfigError, match=r"line 1: Include is nested too deeply; correct it, or remove"):
        config(home, "Include config\n")


@pytest.mark.parametrize(
    ("text", "jump"),
    [
        ("ProxyJump none\nProxyJump a\n", ()),
        ("ProxyJump a\nProxyCommand nc %h %p\n", ("a",)),
        ("ProxyCommand none\n", None),
        ("ProxyCommand none\nProxyJump a\n", None),  # as in ssh, the first of both counts
        ("ProxyJump ssh://u@a:22 , b\n", ("ssh://u@a:22",)),
    ],
)
def test_first_of_proxyjump_and_proxycommand_counts(text: str, jump: tuple[str, ...] | None, home: Path) -> None:
    assert config(home, text).settings("h").jump == jump


def test_proxycommand_is_refused_and_not_run(home: Path) -> None:
    files = config(home, f"Host h\n  ProxyCommand touch '{home}/proof %h\nHost *\n ProxyJump a\n")
    assert files.settings("other").jump == ("a",)
    with pytest.raises(SshConfigError) as refused:
        files.settings("h")
    reason = "ProxyCommand is not run; use ProxyJump, or set target.jump in the profile"
    assert str(refused.value) == f"{home}/.ssh/config line 2: {reason}; correct it, or remove ssh-config = true"
    assert not (home / "proof").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Port many\n", "'many' is not a port"),
        ("Port 70000\n", "'70000' is not a port"),
        ("HostName\n", "the value is missing"),
        ('User "u\n', "a quotation mark is missing"),
        ("Match host\nUser u\n", "Match host has no pattern"),
    ],
)
def test_invalid_line_is_named(text: str, reason: str, home: Path) -> None:
    with pytest.raises(SshConfigError, match=f"config line 1: {reason}"):
        config(home, text).settings("h")


def test_line_that_is_not_read_may_be_invalid(home: Path) -> None:
    assert config(home, 'SendEnv "LANG\nNonsense\n=\n  \nUser u\n').settings("h").user == "u"


def test_file_that_cannot_be_read_is_named(home: Path) -> None:
    (home / ".ssh" / "config").mkdir()
    with pytest.raises(SshConfigError, match="config cannot be read: Is a directory; make it a readable file"):
        SshConfig.read(home, home / "none")


@pytest.mark.skipif(shutil.which("ssh") is None, reason="ssh is not installed")
@pytest.mark.parametrize("host", ["shop", "other", "final.example", "a.b"])
def test_settings_equal_those_of_ssh(host: str, home: Path) -> None:
    """``ssh -G`` prints the settings that ssh itself would use."""
    text = f"""
Host shop *.example !c.example
  HostName %h.internal
  Include {home}/.ssh/more
Match originalhost shop user deploy
  Port 2201
Match final host *.internal
  IdentityFile /keys/final
Host a.* o*
  User=someone
  Port 2202
Host *
  IdentityFile /keys/%n
  User last
  ProxyJump hop1,hop2:99
"""
    found = config(home, text, more="User deploy\nHost shop\n  IdentityFile /keys/more\n").settings(host)
    told = subprocess.run(
        ["ssh", "-G", "-F", home / ".ssh" / "config", host], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    pairs = [line.partition(" ")[::2] for line in told]
    said = dict(reversed(pairs))
    assert (found.host, found.user, str(found.port or 22)) == (said["hostname"], said["user"], said["port"])
    assert found.identity_files is not None
    expanded = [value.replace("%n", host) for key, value in pairs if key == "identityfile"]
    assert [str(path) for path in found.identity_files] == expanded
    assert ",".join(found.jump or ()) == said["proxyjump"]
