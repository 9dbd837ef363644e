"""The login keys of a profile, and the sources of its secrets."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import attrs
import pytest

from actorsync.errors import ProfileError
from actorsync.profile import (
    CommandSecret,
    EnvSecret,
    FileSecret,
    KeyringSecret,
    PromptSecret,
    Secret,
    Secrets,
    load_profile,
)
from actorsync.profile.secrets import secret
from actorsync.profile.values.place import ProxyPlace
from tests.support.profile_text import CANARY, INLINE, MINIMAL, loaded, refused, with_url


class TestLogin:
    """The login keys of ``[target]``, and those that identify the server."""

    PIN = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"

    def test_the_keys_of_sftp(self, shop: Path) -> None:
        (shop.parent / "id").touch(0o600)
        target = loaded(
            shop,
            with_url(
                "sftp://deploy@h/",
                f"""key-file = "id"
                passphrase = {{ env = "P" }}
                agent = false
                known-hosts = "hosts"
                host-key = "{self.PIN}"
                lanes = 8
                fsync = true""",
            ),
        ).target
        assert (target.key_file, target.known_hosts) == (shop.parent / "id", shop.parent / "hosts")
        assert (target.passphrase, target.password) == (EnvSecret("P"), None)
        assert (target.agent, target.host_key, target.lanes, target.fsync) == (False, self.PIN, 8, True)

    def test_login_defaults(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/x")
        target = loaded(shop, with_url("sftp://deploy@h/")).target
        assert target.known_hosts == Path("/home/x/.ssh/known_hosts")
        assert (target.agent, target.lanes, target.fsync, target.host_key) == (None, None, False, None)
        assert loaded(shop, with_url("ftpes://h/")).target.tls_min_version == "1.2"
        assert loaded(shop, with_url("ftpes://h/")).target.known_hosts is None

    @pytest.mark.parametrize("written", [":".join(["AB"] * 32), "ab" * 32, "AB" * 32])
    def test_the_keys_of_tls(self, shop: Path, written: str) -> None:
        (shop.parent / "ca.pem").touch()
        text = with_url("ftps://h/", f'ca-file = "ca.pem"\ncertificate-sha256 = "{written}"\ntls-min-version = "1.3"')
        target = loaded(shop, text).target
        assert (target.ca_file, target.tls_min_version) == (shop.parent / "ca.pem", "1.3")
        assert target.certificate_sha256 == "ab" * 32

    @pytest.mark.parametrize(
        ("url", "key", "line"),
        [
            ("ftp", "key-file = 'none'", "key-file: only sftp:// uses keys; remove it"),
            ("ftps", "passphrase = { env = 'E' }", "passphrase: only sftp:// uses keys; remove it"),
            ("ftpes", "agent = true", "agent: only sftp:// uses keys; remove it"),
            ("ftp", "known-hosts = 'x'", "known-hosts: only sftp:// has host keys; ftpes:// and ftps:// have ca-file "),
            ("ftp", "lanes = 2", "lanes: only sftp:// transfers several files at once on a connection; remove it"),
            (
                "ftp",
                "fsync = false",
                "fsync: only sftp:// can ask the server to flush a file to its disk; remove it",
            ),
            (
                "sftp",
                "ca-file = 'x'",
                "ca-file: only ftpes:// and ftps:// have certificates; sftp:// has host-key and ",
            ),
            ("ftp", "tls-min-version = '1.3'", "tls-min-version: only ftpes:// and ftps:// have TLS; remove it"),
            ("file", "agent = true", "agent: only sftp:// uses keys; remove it"),
            ("sftp", "key-file = 'none'", "key-file: cannot read {}/none: No such file or directory; name a file that"),
            ("sftp", "key-file = 'open'", "key-file: other users can access {0}/open (mode 0644); run: chmod 600 "),
            ("ftps", "ca-file = '.'", "ca-file: cannot read {}: Not a regular file; name a file that you can read"),
            ("sftp", "host-key = 'MD5:00'", 'host-key: "MD5:00" is not the fingerprint of a host key; write it as '),
            ("sftp", "lanes = 65", "lanes: 65 is not a whole number from 1 to 64"),
            ("ftps", "tls-min-version = 1.2", 'tls-min-version: 1.2 is not one of "1.2", "1.3"'),
            ("ftps", "certificate-sha256 = 'ab'", 'certificate-sha256: "ab" is not the SHA-256 fingerprint of a cert'),
            ("sftp", "passphrase = { env = 'E' }", "passphrase: only used with a key file; add key-file = "),
            ("sftp", "host-keys = 'x'", "host-keys: unknown key; did you mean target.host-key?"),
        ],
    )
    def test_login_key_for_another_scheme_is_rejected(self, shop: Path, url: str, key: str, line: str) -> None:
        (shop.parent / "open").touch()
        (shop.parent / "open").chmod(0o644)
        url = str(shop.parent / "mirror") if url == "file" else f"{url}://h/"
        assert refused(shop, with_url(url, key)).startswith(f"target.{line.format(shop.parent)}")

    @pytest.mark.parametrize("scheme", ["ftpes", "ftps"])
    def test_named_ftps_user_requires_a_password(self, shop: Path, scheme: str) -> None:
        assert refused(shop, with_url(f"{scheme}://deploy@h/")).startswith("target.password: missing, but target.url")
        assert loaded(shop, with_url(f"{scheme}://h/")).target.password == Secret("anonymous@")


SSH_INLINE = f"""
[source]
path = "public"
[target]
url = "sftp://deploy@h/www"
key-file = "id"
passphrase = "{CANARY}-P"
password = "{CANARY}"
"""


class TestProxy:
    """The proxy of a place, and its password."""

    @pytest.mark.parametrize(
        ("url", "proxy"),
        [
            ("socks5://h:1080", ProxyPlace("socks5", "h", 1080)),
            ("SOCKS5H://office@h.example:1080/", ProxyPlace("socks5", "h.example", 1080, "office")),
            ("http://%40ffice@[2001:db8::1]:3128", ProxyPlace("http", "2001:db8::1", 3128, "@ffice")),
        ],
    )
    def test_proxy_url_is_read(self, shop: Path, url: str, proxy: ProxyPlace) -> None:
        password = 'proxy-password = { env = "E" }' if proxy.user else ""
        for scheme in ("ftps", "ftpes", "ftp", "sftp"):
            target = loaded(shop, with_url(f"{scheme}://h/", f'proxy = "{url}"\n{password}')).target
            assert target.proxy == proxy
            assert target.proxy_password == (EnvSecret("E") if proxy.user else None)

    @pytest.mark.parametrize(
        ("url", "line"),
        [
            ("h:1080", "is not the URL of a proxy; write it like socks5://host:1080 or http://host:8080"),
            ("socks4://h:1080", "is not the URL of a proxy; write it like "),
            ("https://h:1080", "is not the URL of a proxy; write it like "),
            ("", "is not the URL of a proxy; write it like "),
            ("socks5://h", "has no port; write it like "),
            ("socks5://:1080", "has no host; write it like socks5://"),
            ("socks5://h:0", "has a port that is not a number from 1 to 65535"),
            ("socks5://h:1080/x", "has something after the port; write it like "),
            ("socks5://h:1080?x", "has a port that is not a number from 1 to 65535"),
            (f"socks5://u:{CANARY}@h:1080", "contains a password, which process lists and logs would show; remove it "),
            (f"http://u:{CANARY}/x@h:1080", "contains a password, which process lists and logs would show; remove it "),
            ("http://a%3Ab@h:1080", "the user contains a colon, which a login at a proxy cannot express"),
            ("socks5://%C3%BC@h:1080", "the user has characters other than printable ASCII, on which proxies do not "),
            ("socks5://a%0D%0Ab@h:1080", "the user has characters other than printable ASCII, on which proxies do "),
            (f"socks5://{'x' * 256}@h:1080", "the user has more than 255 characters"),
        ],
    )
    def test_invalid_proxy_url_is_an_error(self, shop: Path, url: str, line: str) -> None:
        assert refused(shop, with_url("sftp://h/", f'proxy = "{url}"')).startswith(f"target.proxy: {line}")

    @pytest.mark.parametrize(
        ("keys", "line"),
        [
            ('proxy = "http://u@h:1"', "proxy-password: missing, but target.proxy names a user; add proxy-password = "),
            ("proxy-password = { env = 'E' }", "proxy-password: only used with a user in target.proxy; write "),
            ('proxy = "http://h:1"\nproxy-password = { env = "E" }', "proxy-password: only used with a user in "),
            ("proxy = 5", 'proxy: is not text; write it in quotes: "socks5://host:1080"'),
            ('proxy = "http://u@h:1"\nproxy-password = "ü"', "proxy-password: has characters other than printable "),
        ],
    )
    def test_proxy_password_without_a_user_or_the_reverse_is_an_error(self, shop: Path, keys: str, line: str) -> None:
        assert refused(shop, with_url("sftp://h/", keys)).startswith(f"target.{line}")

    @pytest.mark.parametrize("url", ["mirror", "memory://x"])
    def test_proxy_for_another_scheme_is_an_error(self, shop: Path, url: str) -> None:
        line = refused(shop, with_url(url, 'proxy = "http://h:1"'))
        assert line == "target.proxy: only sftp://, ftpes://, ftps:// and ftp:// can use a proxy; remove it"

    def test_inline_proxy_password_is_kept_like_a_password(self, shop: Path) -> None:
        text = with_url("sftp://d@h/", f'proxy = "http://u@h:1"\nproxy-password = "{CANARY}"')
        shop.touch(0o600)
        secrets = loaded(shop, text).look_up()
        assert secrets.target.proxy_password == Secret(CANARY)
        assert CANARY not in repr(loaded(shop, text))
        line = refused(shop, text, [f"target.proxy-password={CANARY}"])
        assert line.startswith("--set target.proxy-password: a proxy-password here would be visible to others")
        shop.chmod(0o644)
        assert refused(shop, text).startswith(
            "target.proxy-password: the profile contains a proxy-password, and other "
        )

    def test_proxy_password_is_asked_for_first(self, shop: Path) -> None:
        text = with_url("sftp://d@h/", 'proxy = "http://u@gate:1"\nproxy-password = { prompt = true }')
        target = loaded(shop, text).target
        assert target.proxy_password == PromptSecret("password of u for the proxy gate: ")
        assert target.is_asking


class TestSecrets:
    def test_an_inline_password_in_a_private_profile(self, shop: Path) -> None:
        profile = loaded(shop, INLINE)
        assert profile.target.password is not None
        assert profile.target.password.resolve().reveal() == CANARY

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
    def test_m107_inline_password_in_a_readable_profile(self, shop: Path, mode: int) -> None:
        shop.chmod(mode)
        for overrides in ([], ['target.password={ env = "X" }']):
            line = refused(shop, INLINE, overrides).partition(": ")[2]
            assert line == (
                f"the profile contains a password, and other users can access it (mode {mode:04o}); "
                f'run: chmod 600 {shop}, or use password = {{ env = "..." }}'
            )

    def test_m107_inline_password_in_a_linked_profile(self, shop: Path) -> None:
        loaded(shop, INLINE)
        link = shop.parent / "link.toml"
        link.symlink_to(shop)
        with pytest.raises(ProfileError, match="is a symbolic link"):
            load_profile(link)

    def test_m107_inline_password_in_a_profile_of_another_user(
        self, shop: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loaded(shop, INLINE)
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert refused(shop, INLINE).startswith("target.password: the profile contains a password, and another ")

    def test_m107_inline_passphrase_in_a_readable_profile(self, shop: Path) -> None:
        (shop.parent / "id").touch(0o600)
        text = SSH_INLINE.replace(f'password = "{CANARY}"', "")
        assert loaded(shop, text).target.look_up().passphrase == Secret(f"{CANARY}-P")
        shop.chmod(0o640)
        assert refused(shop, text) == (
            "target.passphrase: the profile contains a passphrase, and other users can access it (mode 0640); "
            f'run: chmod 600 {shop}, or use passphrase = {{ env = "..." }}'
        )
        shop.chmod(0o600)
        link = shop.parent / "link.toml"
        link.symlink_to(shop)
        with pytest.raises(ProfileError, match="the profile contains a passphrase, and it is a symbolic link"):
            load_profile(link)

    def test_m106_passphrase_on_the_command_line_is_rejected(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (shop.parent / "id").touch(0o600)
        line = refused(shop, SSH_INLINE, [f"target.passphrase={CANARY}"])
        assert line.startswith("--set target.passphrase: a passphrase here would be visible to others")
        monkeypatch.setenv("ACTORSYNC_TARGET_PASSPHRASE", "true")
        assert loaded(shop, SSH_INLINE).target.passphrase == Secret("true")

    def test_ssh_password_may_contain_any_text(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (shop.parent / "id").touch(0o600)
        assert loaded(shop, SSH_INLINE.replace(f'"{CANARY}"', '"a\\r\\nb\\u0000\\u00ff"')).target.password == Secret(
            "a\r\nb\0\xff"
        )
        target = loaded(shop, SSH_INLINE.replace(f'"{CANARY}"', '{ env = "E" }')).target
        monkeypatch.setattr(os, "environ", {"E": "two\nlines"})
        assert target.look_up().password == Secret("two\nlines")
        monkeypatch.setattr(os, "environ", {"E": f"{CANARY}\udcff"})
        with pytest.raises(ProfileError, match="is not UTF-8 text, which SSH requires") as caught:
            target.look_up()
        assert CANARY not in str(caught.value)

    def test_errors_name_the_passphrase(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (shop.parent / "id").touch(0o600)
        text = SSH_INLINE.replace(f'"{CANARY}-P"', "PLACE").replace(f'password = "{CANARY}"', "")
        target = loaded(shop, text.replace("PLACE", '{ keyring = "shop" }')).target
        assert target.passphrase == KeyringSecret("shop", str(shop.parent / "id"))
        target = loaded(shop, text.replace("PLACE", '{ command = ["true"] }')).target
        with pytest.raises(ProfileError) as caught:
            target.look_up()
        assert str(caught.value) == f"{shop}: target.passphrase: the passphrase from command true is empty"
        target = loaded(shop, text.replace("PLACE", "{ prompt = true }")).target
        assert target.passphrase == PromptSecret(f"passphrase of {shop.parent}/id for deploy@h: ")
        assert target.is_asking

    def test_m105_passphrase_is_never_printed(self, shop: Path) -> None:
        (shop.parent / "id").touch(0o600)
        profile = loaded(shop, SSH_INLINE)
        secrets = profile.target.look_up()
        assert secrets == Secrets(Secret(CANARY), Secret(f"{CANARY}-P"))
        for one in (profile, profile.target, attrs.asdict(profile), secrets, attrs.asdict(secrets)):
            assert CANARY not in f"{one!r} {one!s}"

    def test_readable_profile_without_a_password_is_accepted(self, shop: Path) -> None:
        shop.chmod(0o644)
        assert loaded(shop).target.password == EnvSecret("SHOP_PASSWORD")

    @pytest.mark.parametrize(
        ("code", "name"), [("\\r", "a carriage return"), ("\\n", "a line feed"), ("\\u0000", "a NUL")]
    )
    def test_m110_inline_password_with_control_bytes_is_rejected(self, shop: Path, code: str, name: str) -> None:
        line = refused(shop, INLINE.replace(CANARY, CANARY + code))
        assert line == f"target.password: contains {name}, which cannot be sent in an FTP command"

    @pytest.mark.parametrize("text", [f"{CANARY}\rX", f"{CANARY}\n", f"{CANARY}\udcff", f"\ud800{CANARY}", ""])
    def test_m110_looked_up_password_with_control_bytes_is_rejected(
        self, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        monkeypatch.setattr(os, "environ", {"E": text})
        with pytest.raises(ProfileError, match="the password from environment variable E ") as caught:
            EnvSecret("E").resolve()
        assert CANARY not in str(caught.value)

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("5", "must be one of "),
            ("[]", "must be one of "),
            ("{}", "must be one of "),
            ('{ env = "A", file = "b" }', "must be one of "),
            (f'{{ value = "{CANARY}" }}', "must be one of "),
            ("{ env = 5 }", "env must be text: "),
            ('{ env = "" }', "env must be text: "),
            (f'{{ command = "echo {CANARY}" }}', "command must be a list of strings, run without a shell: "),
            ("{ command = [] }", "command must be a list of strings"),
            ('""', "is empty"),
            ("{ prompt = false }", "prompt must be true: "),
            ('{ prompt = "Password: " }', "prompt must be true: "),
        ],
    )
    def test_invalid_password_key_is_an_error(self, shop: Path, value: str, reason: str) -> None:
        line = refused(shop, MINIMAL.replace('{ env = "SHOP_PASSWORD" }', value))
        assert line.startswith(f"target.password: {reason}")

    def test_env(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        password = loaded(shop).target.password
        assert password is not None
        monkeypatch.delenv("SHOP_PASSWORD", raising=False)
        with pytest.raises(ProfileError) as caught:
            password.resolve()
        assert str(caught.value) == (
            f"{shop}: target.password: environment variable SHOP_PASSWORD is not set; export it before the run"
        )
        monkeypatch.setenv("SHOP_PASSWORD", CANARY)
        assert password.resolve().reveal() == CANARY

    @pytest.mark.parametrize(("content", "text"), [("s\n", "s"), ("s\r\n", "s"), ("s", "s"), (" s \n", " s ")])
    def test_file(self, shop: Path, content: str, text: str) -> None:
        password = loaded(shop, MINIMAL.replace("env =", "file =")).target.password
        assert password is not None
        assert password == FileSecret(shop.parent / "SHOP_PASSWORD")
        path = shop.parent / "SHOP_PASSWORD"
        path.touch(0o600)
        path.write_bytes(content.encode())
        assert password.resolve().reveal() == text

    def test_unusable_password_file_is_an_error(self, tmp_path: Path) -> None:
        def reason(path: Path) -> str:
            with pytest.raises(ProfileError) as caught:
                FileSecret(path).resolve()
            assert CANARY not in str(caught.value)
            return str(caught.value).removeprefix("target.password: ")

        path = tmp_path / "password"
        assert reason(path) == f"cannot read {path}: No such file or directory"
        path.write_text(CANARY)
        path.chmod(0o640)
        assert reason(path) == f"other users can access {path} (mode 0640); run: chmod 600 {path}"
        path.chmod(0o600)
        path.write_text(f"{CANARY}\n\n")
        assert reason(path).startswith(f"the password from {path} contains a line feed")
        path.write_bytes(CANARY.encode() + b"\xff")
        assert reason(path) == f"the password from {path} is not UTF-8 text"
        path.write_bytes(b"x" * 100_000)
        assert reason(path) == f"cannot read {path}: Longer than 65536 bytes"
        assert reason(tmp_path) == f"cannot read {tmp_path}: Not a regular file"
        (tmp_path / "line\nfeed").write_text("")
        assert reason(tmp_path / "line\nfeed").isprintable()

    def test_command(self, shop: Path) -> None:
        (shop.parent / "password").write_text(f"{CANARY}\n")
        password = loaded(
            shop, MINIMAL.replace('env = "SHOP_PASSWORD"', 'command = ["cat", "password"]')
        ).target.password
        assert password == CommandSecret(("cat", "password"), shop.parent)
        assert password.resolve().reveal() == CANARY

    def test_failed_command_is_named_without_its_output(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        word = "SHOUTED-0815"  # not the canary, which must not appear in the arguments of a process

        def reason(*arguments: str) -> str:
            with pytest.raises(ProfileError) as caught:
                CommandSecret(arguments, tmp_path).resolve()
            assert capfd.readouterr() == ("", "")
            assert word not in str(caught.value)
            return str(caught.value).removeprefix("target.password: ")

        shouts = f"import sys; print('{word}'); print('{word}', file=sys.stderr); "
        assert reason(sys.executable, "-c", shouts + "sys.exit(3)") == (
            f"command {sys.executable} ended with exit status 3; run it by hand to see why"
        )
        assert "was ended by signal 9" in reason("sh", "-c", "kill -9 $$")
        assert reason("no-such-command") == "cannot run command no-such-command: No such file or directory"
        assert "is empty" in reason("true")
        monkeypatch.setattr(secret, "_COMMAND_SECONDS", 0.2)
        assert "did not end within" in reason("sh", "-c", f"echo {word}; sleep 60 & wait")

    def test_keyring(self, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import keyring
        import keyring.errors

        password = loaded(shop, MINIMAL.replace("env =", "keyring =")).target.password
        assert password == KeyringSecret("SHOP_PASSWORD", "deploy")
        kept = {("SHOP_PASSWORD", "deploy"): CANARY}
        monkeypatch.setattr(keyring, "get_password", lambda service, user: kept.get((service, user)))
        assert password.resolve().reveal() == CANARY
        kept.clear()
        with pytest.raises(ProfileError, match="add it with: keyring set SHOP_PASSWORD deploy"):
            password.resolve()

        def locked(service: str, user: str) -> str:
            raise keyring.errors.KeyringLocked(CANARY)

        monkeypatch.setattr(keyring, "get_password", locked)
        with pytest.raises(ProfileError, match=r"the keyring cannot be used \(KeyringLocked\)"):
            password.resolve()
        monkeypatch.setitem(sys.modules, "keyring", None)
        with pytest.raises(ProfileError, match=r"pip install 'actorsync\[keyring\]'"):
            password.resolve()

    def test_m105_repr_and_str_never_contain_the_password(self, shop: Path) -> None:
        profile = loaded(shop, INLINE)
        password = profile.target.password
        assert isinstance(password, Secret)
        shown = [
            profile,
            profile.target,
            password,
            attrs.asdict(profile),
            [password],
            CommandSecret(("a", CANARY), shop),
        ]
        for one in shown:
            assert CANARY not in f"{one!r} {one!s} {one}"
        assert f"{password} {password!r} %s" % password == "*** *** ***"
        with pytest.raises(TypeError):
            pickle.dumps(password)
