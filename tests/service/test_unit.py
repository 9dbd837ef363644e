"""The units of systemd for a profile, and the command that writes them."""

from __future__ import annotations

import io
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from actorsync.cli.commands import run_command
from actorsync.errors import ProfileError
from actorsync.profile import load_profile, load_profiles
from actorsync.service.manager.unit import Scope, Start, is_ours, unit_name, units_for

OF_A_USER = Start(["/usr/bin/python3", "-P", "-m", "actorsync"], "deploy", Path("/home/deploy/.local/state"))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A profile that repeats, in a directory whose name systemd would take apart."""
    folder = tmp_path / '50% "off" $HOME'
    (folder / "public").mkdir(parents=True)
    path = folder / "shop.toml"
    path.write_text(
        '[source]\npath = "public"\n[target]\nurl = "./site"\n[sync]\nevery = "1h"\n[shutdown]\ndrain = "2m"\n'
    )
    return path


def text_of(shop: Path, scope: Scope, start: Start = OF_A_USER) -> str:
    (text,) = units_for(load_profiles(shop), scope, "actorsync-shop", start).files.values()
    return text


def test_service_of_the_system_may_write_what_it_has_to(shop: Path) -> None:
    lines = text_of(shop, "system").splitlines()
    folder = str(shop.parent).replace('"', '\\"').replace("%", "%%")
    assert f'ExecStart=/usr/bin/python3 -P -m actorsync run "{folder.replace("$", "$$")}/shop.toml"' in lines
    assert f'ReadOnlyPaths="{folder}/public"' in lines
    assert f'ReadWritePaths="{folder}"' in lines
    assert "User=deploy" in lines
    assert "TimeoutStopSec=132" in lines, "2 minutes, 5 s, 2 s and a margin"
    for line in ("Type=notify", "WatchdogSec=60", "RestartPreventExitStatus=2 6", "WantedBy=multi-user.target"):
        assert line in lines
    assert "PrivateTmp=yes" not in lines, "the profile is below /tmp"
    assert all(os.path.exists(it.partition("=")[2]) for it in lines if it.startswith("ReadWritePaths=/"))


def test_run_of_root_keeps_the_capabilities_that_read_files_of_others(shop: Path) -> None:
    start = Start(["actorsync"], "root", Path("/var/lib/state"))
    assert "CapabilityBoundingSet=" not in text_of(shop, "system", start)
    assert "CapabilityBoundingSet=" in text_of(shop, "system")


def test_service_of_a_user_has_the_same_journals_as_the_user(shop: Path) -> None:
    start = Start(["actorsync"], "deploy", Path("/data/state"), is_configured=True)
    assert "Environment=XDG_STATE_HOME=/data/state" in text_of(shop, "user", start).splitlines()
    assert "User=" not in text_of(shop, "user")
    assert "Environment=" not in text_of(shop, "user")


def test_single_run_has_a_timer(shop: Path) -> None:
    shop.write_text(shop.read_text().replace('every = "1h"\n', ""))
    units = units_for(load_profiles(shop), "user", "actorsync-shop", OF_A_USER)
    assert [*units.files] == ["actorsync-shop.service", "actorsync-shop.timer"]
    assert units.enabled == "actorsync-shop.timer"
    assert "Type=oneshot" in units.files["actorsync-shop.service"]
    assert "[Install]" not in units.files["actorsync-shop.service"]
    assert "WantedBy=timers.target" in units.files["actorsync-shop.timer"]


def test_password_that_is_typed_is_refused(shop: Path) -> None:
    shop.write_text(shop.read_text().replace('"./site"', '"ftp://me@127.0.0.1/x"\npassword = { prompt = true }'))
    with pytest.raises(ProfileError, match="a service has no terminal"):
        units_for(load_profiles(shop), "user", "actorsync-shop", OF_A_USER)


def test_names_are_fit_for_systemd(shop: Path) -> None:
    profile = load_profile(shop)
    assert unit_name(profile) == "actorsync-shop"
    assert unit_name(profile, "berlin.2") == "actorsync-berlin.2"
    for wrong in ("a b", "../x", "-", "ü", "x" * 101, "a@b"):
        with pytest.raises(ProfileError):
            unit_name(profile, wrong)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("scope", ["user", "system"])
def test_systemd_accepts_the_units(scope: Scope, shop: Path, tmp_path: Path) -> None:
    start = Start(["/bin/true"], pwd.getpwuid(os.geteuid()).pw_name, tmp_path)
    profile = load_profiles(shop)
    shop.write_text(shop.read_text().replace('every = "1h"\n', ""))
    files = {
        **units_for(profile, scope, "actorsync-service", start).files,
        **units_for(load_profiles(shop), scope, "actorsync-run", start).files,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in files)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "actorsync" in line]
    assert ours == []


def test_command_shows_writes_checks_and_removes(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    units = tmp_path / "units"
    unit, arguments = units / "actorsync-shop.service", [str(shop), "--into", str(units)]
    assert run_command(["service", "install", *arguments, "--dry-run"]) == 0
    assert "Type=notify" in capsys.readouterr().out
    assert not units.exists()
    assert run_command(["service", "status", *arguments]) == 0
    assert "not installed" in capsys.readouterr().out
    assert run_command(["service", "install", *arguments, "--yes"]) == 0
    assert "enable --now actorsync-shop.service" in capsys.readouterr().out
    assert is_ours(unit.read_text(), shop)
    assert [path.name for path in units.iterdir()] == [unit.name]
    assert run_command(["service", "install", *arguments, "--yes"]) == 0
    capsys.readouterr()
    assert run_command(["service", "status", *arguments]) == 0
    assert f"{unit}: not enabled, up to date" in capsys.readouterr().out
    (units / "default.target.wants").mkdir()
    (units / "default.target.wants" / unit.name).symlink_to(unit)
    assert run_command(["service", "uninstall", *arguments]) == 2
    assert "first run: systemctl --user disable --now" in capsys.readouterr().err
    (units / "default.target.wants" / unit.name).unlink()
    assert run_command(["service", "uninstall", *arguments]) == 0
    assert not unit.exists()
    assert run_command(["service", "uninstall", *arguments]) == 2


@pytest.mark.parametrize("first", ["[Unit]", "# Written by actorsync service install for /other/shop.toml"])
def test_file_of_others_is_never_overwritten_or_removed(
    first: str, shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = tmp_path / "actorsync-shop.service"
    unit.write_text(f"{first}\n")
    for command in (["install", "--yes"], ["uninstall"]):
        assert run_command(["service", *command, str(shop), "--into", str(tmp_path)]) == 2
        assert "use --name" in capsys.readouterr().err
    assert unit.read_text() == f"{first}\n"


def test_question_without_an_answer_writes_nothing(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert run_command(["service", "install", str(shop), "--into", str(tmp_path / "units")]) == 130
    assert not (tmp_path / "units").exists()
