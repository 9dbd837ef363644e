"""Secrets as Docker, Kubernetes and systemd mount them: readable by others, behind links, owned by root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from actorsync.endpoints.shared.private_files import is_mounted_secret
from actorsync.errors import ProfileError
from actorsync.profile import CredentialSecret, FileSecret, Secret, load_profile
from tests.support.profile_text import CANARY, INLINE, loaded, refused, with_url
from tests.support.root import ROOT


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that counts as one where secrets are mounted, as systemd names it."""
    directory = tmp_path / "credentials"
    directory.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    return directory


def write(path: Path, text: str, mode: int) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o444, 0o644, 0o600])
def test_mounted_password_is_accepted_with_the_mode_of_the_mount(mounted: Path, mode: int) -> None:
    path = write(mounted / "password", f"{CANARY}\n", mode)
    assert FileSecret(path).resolve() == Secret(CANARY)


def test_password_behind_the_links_of_kubernetes_is_accepted(mounted: Path) -> None:
    (mounted / "..2026_01").mkdir()
    write(mounted / "..2026_01" / "password", CANARY, 0o644)
    (mounted / "..data").symlink_to("..2026_01")
    (mounted / "password").symlink_to("..data/password")
    assert FileSecret(mounted / "password").resolve() == Secret(CANARY)


@pytest.mark.parametrize("mode", [0o660, 0o666, 0o646])
def test_mounted_password_that_others_can_write_is_refused(mounted: Path, mode: int) -> None:
    path = write(mounted / "password", CANARY, mode)
    with pytest.raises(ProfileError, match="other users can access"):
        FileSecret(path).resolve()


def test_link_out_of_the_mount_is_judged_by_its_target(mounted: Path, tmp_path: Path) -> None:
    write(tmp_path / "password", CANARY, 0o644)
    (mounted / "password").symlink_to(tmp_path / "password")
    with pytest.raises(ProfileError, match="other users can access"):
        FileSecret(mounted / "password").resolve()


def test_directory_that_only_begins_like_the_mount_does_not_count(mounted: Path, tmp_path: Path) -> None:
    (tmp_path / "credentials2").mkdir()
    path = write(tmp_path / "credentials2" / "password", CANARY, 0o644)
    with pytest.raises(ProfileError, match="other users can access"):
        FileSecret(path).resolve()


@pytest.mark.parametrize("directory", ["", "/", "relative"])
def test_unusable_credentials_directory_makes_nothing_a_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory: str
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", directory)
    path = write(tmp_path / "password", CANARY, 0o644)
    assert not is_mounted_secret(path, path.stat())


def test_key_file_on_a_mount_is_accepted(mounted: Path, shop: Path) -> None:
    key = write(mounted / "id", "x", 0o444)
    assert loaded(shop, with_url("sftp://deploy@h/", f'key-file = "{key}"')).target.key_file == key


def test_profile_with_a_password_on_a_mount_is_accepted(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(mounted / "real.toml", INLINE, 0o444)
    (mounted / "shop.toml").symlink_to("real.toml")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)  # the file belongs to root, the process does not
    assert load_profile(mounted / "shop.toml").target.password == Secret(CANARY)


def test_same_profile_elsewhere_is_refused(shop: Path) -> None:
    shop.touch()
    shop.chmod(0o444 | 0o200)
    assert "other users can access it (mode 0644)" in refused(shop, INLINE)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare makes the mount")
def test_password_on_a_read_only_mount_is_accepted(tmp_path: Path) -> None:
    read = "import sys; from pathlib import Path; from actorsync.profile import FileSecret; "
    read += "print(FileSecret(Path(sys.argv[1])).resolve().reveal())"
    script = (
        'mount -t tmpfs none "$1" || exit 77; printf secret >"$1/password"; chmod 444 "$1/password"; '
        '"$0" -c "$2" "$1/password" 2>/dev/null && exit 1; mount -o remount,ro "$1" && exec "$0" -c "$2" "$1/password"'
    )
    namespace = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount", "sh", "-c", script]
    done = subprocess.run(
        [*namespace, sys.executable, tmp_path, read], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if done.returncode == 77 or done.stderr.startswith("unshare:"):
        pytest.skip(f"this machine allows no mount: {done.stderr.strip()}")
    assert (done.returncode, done.stdout) == (0, "secret\n"), done.stderr


def test_credential_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    secret = CredentialSecret("password")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ProfileError, match=r"target.password: no credential password: .*; run it with systemctl"):
        secret.resolve()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert secret.resolve().reveal() == "s3cret"
    with pytest.raises(ProfileError, match=r"cannot read credential .*/other: .*; add LoadCredential=other:FILE"):
        CredentialSecret("other").resolve()


@pytest.mark.parametrize("name", ["", "../password", ".", "..", "a/b", "a b"])
def test_name_of_a_credential_is_no_path(name: str, tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(
        f'[source]\npath = "."\n[target]\nurl = "ftp://me@127.0.0.1/x"\npassword = {{ credential = "{name}" }}\n'
    )
    with pytest.raises(ProfileError, match="credential must be"):
        load_profile(tmp_path / "shop.toml")
