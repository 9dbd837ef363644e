"""A page of the documentation as somebody who follows it word for word: in a directory of his own, block by block."""

from __future__ import annotations

import contextlib
import doctest
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

import attrs

from actorsync.profile import load_profile
from actorsync.profile.load import keys
from actorsync.profile.place import PORTS
from actorsync.testing import EmbeddedFtpServer, EmbeddedSftpServer
from tests.support.docs.block_checks import check_command, check_ini, check_json, check_sql, check_yaml
from tests.support.docs.blocks import Block, Server, Setup, Step

__all__ = ["Page"]

_NOT_RUN = "not run: "
_FILE = "file="
_NOT_A_PROFILE = "not a profile"
_MISSING = {"source": 'path = "public"', "target": 'url = "./mirror"'}
_HOME = "/home/deploy"  # on the page
_SECONDS = 60.0  # that a block of commands may take

Document: TypeAlias = dict[str, dict[str, Any]]


@attrs.define
class _Led:
    """How a profile is led to the server of the page: the variables that do it, and what is shown in place of what."""

    environment: dict[str, str] = attrs.field(factory=dict)
    shown: dict[str, str] = attrs.field(factory=dict)

    def exports(self) -> str:
        """As a line of shell."""
        names = [f"ACTORSYNC_{table}_{key}" for table in ("SOURCE", "TARGET") for key in ("URL", "PASSWORD")]
        exports = [f"export {name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return "; ".join([f"unset {' '.join(names)}", *exports])


class Page:
    """Where the blocks of a page are run: a working directory, a home, and a server if the page has one."""

    def __init__(self, folder: Path) -> None:
        self.home, self.root = folder / "home", folder / "server"
        self.work = self.home / "shop"
        for directory in (self.work, self.root):
            directory.mkdir(parents=True)
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._server: EmbeddedFtpServer | EmbeddedSftpServer | None = None
        self._profiles: dict[str, Document] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def follow(self, step: Step) -> None:
        """Do what a step says; whatever is wrong with it is an exception."""
        match step:
            case Server():
                self._serve(step.kind)
            case Setup():
                self._run_python(step.text, f"{step.page}:{step.line}", step.line)
            case Block():
                self._follow_block(step)

    def _follow_block(self, block: Block) -> None:
        if block.language == "console" and block.mark.startswith(_NOT_RUN):
            for command, _ in _dialogue(block.text):
                check_command(command)
            return
        if block.language == "toml":
            self._follow_toml(block)
            return
        assert not block.mark, f"a block of {block.language or 'no language'} cannot be marked {block.mark!r}"
        match block.language:
            case "python":
                self._run_python(block.text, block.name, block.line)
            case "console":
                self._run_console(block.text)
            case "json":
                check_json(block.text)
            case "sql":
                check_sql(block.text)
            case "ini":
                check_ini(block.text)
            case "yaml":
                check_yaml(block.text)
            case "text":
                pass
            case "":  # as the README has its commands
                for line in block.text.splitlines():
                    assert re.match(r"\$ |make ", line), f"a block without a language: write ```text before {line!r}"
                    check_command(line.removeprefix("$ "))
            case _:
                raise AssertionError(f"nothing is known of a block of {block.language}")

    # ---- Profiles

    def _follow_toml(self, block: Block) -> None:
        """Load a profile, or a part of one with what is missing; one that is whole stays for the commands."""
        document = tomllib.loads(block.text)
        if block.mark == _NOT_A_PROFILE:
            return
        assert not block.mark or block.mark.startswith(_FILE), f"a profile cannot be marked {block.mark!r}"
        is_whole = document.keys() >= {"source", "target"}
        profile = self.work / (block.mark.removeprefix(_FILE) or "shop.toml" if is_whole else "part.toml")
        profile.write_text(_completed(block.text, document))
        profile.chmod(0o600)
        self._make_files(document)
        with self._here(_Led()):
            load_profile(profile)
        if is_whole:
            self._profiles.pop(profile.name, None)
            self._profiles[profile.name] = document
        else:
            profile.unlink()

    def _make_files(self, document: Document) -> None:
        """Make what a profile names and has to be there. What is to be mirrored has a page, unless it is there."""
        for table in document.values():
            for key, value in table.items():
                if key in {"key-file", "ca-file", "exclude-from", "known-hosts"} and not value.startswith("/"):
                    path = self.home / value.removeprefix("~/") if value.startswith("~") else self.work / value
                    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    path.touch(0o600)
        source = document.get("source", {}).get("path", "/")
        if not source.startswith(("/", "~", "..")) and not (directory := self.work / source).exists():
            directory.mkdir(parents=True)
            (directory / "index.html").write_text("<h1>Hello</h1>\n")

    # ---- Servers

    def _serve(self, kind: str) -> None:
        if kind == "ftp":
            self._server = self._open.enter_context(EmbeddedFtpServer(self.root))
            return
        import asyncssh

        ssh = self.home / ".ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        login, host = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        (ssh / "id_ed25519").touch(0o600)
        (ssh / "id_ed25519").write_bytes(login.export_private_key())
        public = login.export_public_key().decode()
        server = EmbeddedSftpServer(self.root, authorized_keys=[public], host_key=host.export_private_key())
        self._server = self._open.enter_context(server)
        (ssh / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {host.export_public_key().decode()}")

    def _lead_to_server(self, document: Document) -> _Led:
        """Have the servers of a profile be ours, by the environment; what is printed of ours is the page's again."""
        led = _Led()
        if self._server is None:
            return led
        for table in ("source", "target"):
            url = urlsplit(document[table].get("url", ""))
            if url.scheme not in PORTS:
                continue
            variable = f"ACTORSYNC_{table.upper()}"
            led.environment[f"{variable}_URL"] = ours = self._server.url + url.path.lstrip("/")
            if isinstance(self._server, EmbeddedFtpServer):
                led.environment[f"{variable}_PASSWORD"] = self._server.password or ""
            led.shown[ours] = f"{url.scheme}://{url.netloc}{url.path}"
        return led

    def _led_for(self, command: str) -> _Led:
        """What belongs to the profile that a command names, or else to the last one."""
        named = [document for name, document in self._profiles.items() if name in command]
        documents = named or list(self._profiles.values())
        return self._lead_to_server(documents[-1]) if documents else _Led()

    # ---- What is run

    @contextlib.contextmanager
    def _here(self, led: _Led) -> Iterator[dict[str, str]]:
        """This process in the page's directory, with the page's environment and nothing of the user's."""
        before = dict(os.environ)
        mine = {key: value for key, value in before.items() if not key.startswith(("XDG_", "ACTORSYNC_", "SSH_"))}
        mine |= {"HOME": str(self.home), "PATH": f"{Path(sys.executable).parent}:{before.get('PATH', '')}"}
        mine |= {"TERM": "dumb", "LC_ALL": "C.UTF-8", **led.environment}
        os.environ.clear()
        os.environ.update(mine)
        try:
            with contextlib.chdir(self.work):
                yield mine
        finally:
            os.environ.clear()
            os.environ.update(before)

    def _run_python(self, text: str, name: str, line: int) -> None:
        """As the lines of one script: a name of an earlier block is known, and a traceback has the page's lines."""
        self._names |= {"server": self._server} if self._server else {}
        code = compile("\n" * line + text, name, "exec", flags=0, dont_inherit=True)
        with self._here(self._led_for("")):
            exec(code, self._names)

    def _run_console(self, text: str) -> None:
        """In one shell. A command that fails is a fault, unless the next one is ``echo $?``."""
        dialogue = list(_dialogue(text))
        assert dialogue, "a block of console has lines that begin with `$ `"
        leads = [self._led_for(command) for command, _ in dialogue]
        script = "code=0\n" + "".join(
            f"{led.exports()}\n(exit $code)\n{command}\ncode=$?; printf '\\n\\036%d\\036' $code\n"
            for (command, _), led in zip(dialogue, leads, strict=True)
        )
        with self._here(_Led()) as environment:
            done = subprocess.run(
                ["bash", "-c", script],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        answers = re.findall(r"(.*?)\n\036(\d+)\036", done.stdout, re.DOTALL)
        assert len(answers) == len(dialogue), f"the shell ended in the middle: {done.stdout}"
        following = [*(command for command, _ in dialogue[1:]), ""]
        for (command, expected), (got, code), after, led in zip(dialogue, answers, following, leads, strict=True):
            for actual, shown in (*led.shown.items(), (str(self.home), _HOME)):
                got = got.replace(actual, shown)
            assert code == "0" or after == "echo $?", f"$ {command}\n{got}\nexit code {code}"
            if expected:
                is_same = doctest.OutputChecker().check_output(expected, f"{got.rstrip()}\n", doctest.ELLIPSIS)
                assert is_same, f"$ {command}\n{got}\nand not\n{expected}"


def _completed(text: str, document: Document) -> str:
    """A profile that has what it needs. Where there are keys of a login, the URL is one that they go with."""
    known = keys()
    for name, needed in _MISSING.items():
        table = document.get(name)
        if table is None:
            text += f"\n[{name}]\n{needed}\n"
        elif not table.keys() & {"path", "url"}:
            schemes = [known[f"{name}.{key}"].metadata["schemes"] for key in table if f"{name}.{key}" in known]
            scheme = next((one[0] for one in schemes if one), None)
            line = f'url = "{scheme}://deploy@example.com/www"' if scheme else needed
            if scheme not in {None, "sftp"} and "password" not in table:
                line += '\npassword = { env = "SHOP_PASSWORD" }'
            text = text.replace(f"[{name}]\n", f"[{name}]\n{line}\n", 1)
    return text


def _dialogue(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a block with what is shown as its output. ``> `` goes on with a command."""
    command, output = "", ""
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, output
            command, output = line[2:], ""
        elif line.startswith("> ") and command and not output:
            command += f"\n{line[2:]}"
        else:
            assert command, f"comes before the first command, which begins with `$ `: {line}"
            output += f"{line}\n"
    if command:
        yield command, output
