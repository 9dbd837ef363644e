"""Run the code blocks of a page of the documentation one after the other, in a directory of their own."""

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

from actorsync.profile import load_profiles
from actorsync.profile.known_keys import keys
from actorsync.profile.values.place import PORTS
from actorsync.testing import EmbeddedFtpServer, EmbeddedSftpServer
from tests.support.docs.block_checks import check_command, check_ini, check_json, check_sql, check_yaml
from tests.support.docs.blocks import Block, Server, Setup, Step

__all__ = ["Page"]

_NOT_RUN = "not run: "
_FILE = "file="
_NOT_A_PROFILE = "not a profile"
_MISSING = {"source": 'path = "public"', "target": 'url = "./mirror"'}
_HOME = "/home/deploy"  # the home directory as pages show it
_SECONDS = 60.0  # timeout of a block of commands

Document: TypeAlias = dict[str, dict[str, Any]]


@attrs.define
class _Redirection:
    """Environment variables that direct a profile to the server of the page.

    ``shown`` maps the server's URL to the URL on the page, to replace it in output.
    """

    environment: dict[str, str] = attrs.field(factory=dict)
    shown: dict[str, str] = attrs.field(factory=dict)

    def exports(self) -> str:
        """Return a line of shell that sets the variables."""
        names = [f"ACTORSYNC_{table}_{key}" for table in ("SOURCE", "TARGET") for key in ("URL", "PASSWORD")]
        exports = [f"export {name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return "; ".join([f"unset {' '.join(names)}", *exports])


class Page:
    """The place where the blocks of a page run: a working directory, a home directory, and the page's server."""

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
        """Run or check a step. Raises an exception when anything is wrong with it."""
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
            case "":  # commands in the README
                for line in block.text.splitlines():
                    assert re.match(r"\$ |make ", line), f"a block without a language: write ```text before {line!r}"
                    check_command(line.removeprefix("$ "))
            case _:
                raise AssertionError(f"blocks of {block.language} cannot be checked; use another language, or text")

    # ---- Profiles

    def _follow_toml(self, block: Block) -> None:
        """Load a profile, or complete a part of one and load that. A whole profile stays for the next commands."""
        document = tomllib.loads(block.text)
        if block.mark == _NOT_A_PROFILE:
            return
        assert not block.mark or block.mark.startswith(_FILE), f"a profile cannot be marked {block.mark!r}"
        is_whole = document.keys() >= {"source", "target"}
        profile = self.work / (block.mark.removeprefix(_FILE) or "shop.toml" if is_whole else "part.toml")
        profile.write_text(_completed(block.text, document))
        profile.chmod(0o600)
        self._make_files(document)
        with self._here(_Redirection()):
            load_profiles(profile)
        if is_whole and isinstance(document["target"], dict):
            self._profiles.pop(profile.name, None)
            self._profiles[profile.name] = document
        elif not is_whole:
            profile.unlink()

    def _make_files(self, document: Document) -> None:
        """Make the files that a profile refers to, and a source directory with one file, unless it exists."""
        tables = [table for tables in document.values() for table in (tables if isinstance(tables, list) else [tables])]
        for table in tables:
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

    def _redirect(self, document: Document) -> _Redirection:
        """Return the variables that replace the servers of a profile by the server of the page."""
        redirection = _Redirection()
        if self._server is None:
            return redirection
        for table in ("source", "target"):
            url = urlsplit(document[table].get("url", ""))
            if url.scheme not in PORTS:
                continue
            variable = f"ACTORSYNC_{table.upper()}"
            redirection.environment[f"{variable}_URL"] = actual = self._server.url + url.path.lstrip("/")
            if isinstance(self._server, EmbeddedFtpServer):
                redirection.environment[f"{variable}_PASSWORD"] = self._server.password or ""
            redirection.shown[actual] = f"{url.scheme}://{url.netloc}{url.path}"
        return redirection

    def _redirection_for(self, command: str) -> _Redirection:
        """Return the variables for the profile that a command names, or for the last profile of the page."""
        named = [document for name, document in self._profiles.items() if name in command]
        documents = named or list(self._profiles.values())
        return self._redirect(documents[-1]) if documents else _Redirection()

    # ---- Running

    @contextlib.contextmanager
    def _here(self, redirection: _Redirection) -> Iterator[dict[str, str]]:
        """Put this process into the page's directory, with the page's environment instead of the user's."""
        before = dict(os.environ)
        mine = {key: value for key, value in before.items() if not key.startswith(("XDG_", "ACTORSYNC_", "SSH_"))}
        mine |= {"HOME": str(self.home), "PATH": f"{Path(sys.executable).parent}:{before.get('PATH', '')}"}
        mine |= {"TERM": "dumb", "LC_ALL": "C.UTF-8", **redirection.environment}
        os.environ.clear()
        os.environ.update(mine)
        try:
            with contextlib.chdir(self.work):
                yield mine
        finally:
            os.environ.clear()
            os.environ.update(before)

    def _run_python(self, text: str, name: str, line: int) -> None:
        """Run Python code with the names of earlier blocks. Tracebacks show the page's line numbers."""
        self._names |= {"server": self._server} if self._server else {}
        code = compile("\n" * line + text, name, "exec", flags=0, dont_inherit=True)
        with self._here(self._redirection_for("")):
            exec(code, self._names)

    def _run_console(self, text: str) -> None:
        """Run commands in one shell. Raises when one fails, unless the next one is ``echo $?``."""
        dialogue = list(_dialogue(text))
        assert dialogue, "a console block needs a line that begins with `$ `"
        redirections = [self._redirection_for(command) for command, _ in dialogue]
        script = "code=0\n" + "".join(
            f"{redirection.exports()}\n(exit $code)\n{command}\ncode=$?; printf '\\n\\036%d\\036' $code\n"
            for (command, _), redirection in zip(dialogue, redirections, strict=True)
        )
        with self._here(_Redirection()) as environment:
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
        assert len(answers) == len(dialogue), f"the shell ended before the last command: {done.stdout}"
        following = [*(command for command, _ in dialogue[1:]), ""]
        for (command, expected), (got, code), after, redirection in zip(
            dialogue, answers, following, redirections, strict=True
        ):
            for actual, shown in (*redirection.shown.items(), (str(self.home), _HOME)):
                got = got.replace(actual, shown)
            assert code == "0" or after == "echo $?", f"$ {command}\n{got}\nexit code {code}"
            if expected:
                is_same = doctest.OutputChecker().check_output(expected, f"{got.rstrip()}\n", doctest.ELLIPSIS)
                assert is_same, f"$ {command}\n{got}\nis not the output on the page:\n{expected}"


def _completed(text: str, document: Document) -> str:
    """Return a profile completed with required keys. With keys of a login, the URL has a scheme that allows them."""
    known = keys()
    for name, needed in _MISSING.items():
        table = document.get(name)
        if table is None:
            text += f"\n[{name}]\n{needed}\n"
        elif isinstance(table, dict) and not table.keys() & {"path", "url"}:
            schemes = [known[f"{name}.{key}"].metadata["schemes"] for key in table if f"{name}.{key}" in known]
            scheme = next((one[0] for one in schemes if one), None)
            line = f'url = "{scheme}://deploy@example.com/www"' if scheme else needed
            if scheme not in {None, "sftp"} and "password" not in table:
                line += '\npassword = { env = "SHOP_PASSWORD" }'
            text = text.replace(f"[{name}]\n", f"[{name}]\n{line}\n", 1)
    return text


def _dialogue(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a block with the output that the page shows. A line with ``> `` continues a command."""
    command, output = "", ""
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, output
            command, output = line[2:], ""
        elif line.startswith("> ") and command and not output:
            command += f"\n{line[2:]}"
        else:
            assert command, f"a line before the first command, which begins with `$ `: {line}"
            output += f"{line}\n"
    if command:
        yield command, output
