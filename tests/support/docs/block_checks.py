"""Check commands and other code blocks without running them: options, targets and tables that they name must exist."""

from __future__ import annotations

import configparser
import contextlib
import json
import re
import shlex
import sqlite3
import tomllib
from collections.abc import Iterator
from typing import Any

import click
import yaml

from actorsync.cli.commands import cli
from actorsync.journal import schema as journal_schema
from bench.__main__ import parse as parse_bench
from tests.support.docs.blocks import ROOT

__all__ = ["check_command", "check_ini", "check_json", "check_sql", "check_yaml"]

#: Programs of other projects that the documentation may use. Their arguments are not checked.
_OTHERS = frozenset(
    [
        *("apt", "cat", "cd", "cp", "crontab", "curl", "echo", "git", "install", "journalctl", "keyring", "loginctl"),
        *("ls", "mkdir", "mv", "npm", "openssl", "pass", "pytest", "rm", "ssh", "ssh-keygen", "ssh-keyscan"),
        "systemctl",
    ]
)

#: Replaces "SHA256:...", a placeholder for the reader's own fingerprint.
_FINGERPRINT = f"SHA256:{'A' * 43}"


def check_command(line: str, *, is_whole: bool = True) -> None:
    """Raise ``AssertionError`` when a line of shell uses an option, a target or an extra that does not exist.

    With ``is_whole``, required arguments must be present as well.
    """
    for words in _commands(line):
        _check(words, is_whole=is_whole)


def _commands(line: str) -> Iterator[list[str]]:
    """Yield the words of each simple command of a line, without redirections."""
    lexer = shlex.shlex(line.replace("SHA256:...", _FINGERPRINT), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    is_redirected = False
    for word in lexer:
        if set(word) <= set("|&;()"):
            yield words
            words = []
        elif set(word) <= set("<>"):
            is_redirected = True
            if words and words[-1].isdigit():  # the descriptor in 2> belongs to the redirection
                words.pop()
        elif is_redirected:
            is_redirected = False
        else:
            words.append(word)
    yield words


def _check(words: list[str], *, is_whole: bool) -> None:
    while words and (words[0] == "sudo" or re.fullmatch(r"\w+=.*", words[0])):
        words = words[1:]
    if not words:
        return
    program = words[0].rpartition("/")[2] if words[0].startswith((".venv/", "/", "~/")) else words[0]
    match [program, *words[1:]]:
        case ["python" | "python3", "-m", "actorsync", *arguments] | ["actorsync", *arguments]:
            _check_actorsync(arguments, is_whole=is_whole)
        case ["python", "-m", "bench", *arguments]:
            with contextlib.suppress(SystemExit) if "--help" in arguments else contextlib.nullcontext():
                parse_bench(arguments)
        case ["python" | "python3", "-m", "venv", _]:
            pass
        case ["make", target]:
            assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
        case ["pip" | "pipx" | "uv", "install", *arguments]:
            _check_extras(arguments)
        case ["sqlite3", *arguments]:
            check_sql(arguments[-1])
        case _:
            is_in_repository = "/" in program and (ROOT / program).is_file()
            assert program in _OTHERS or is_in_repository, f"unknown program: {program}"


def _check_actorsync(arguments: list[str], *, is_whole: bool) -> None:
    if not arguments or arguments[0].startswith("-"):
        with contextlib.suppress(click.exceptions.Exit):  # --help and --version
            cli.make_context("actorsync", arguments or ["--help"])
        return
    assert arguments[0] in cli.commands, f"unknown command: actorsync {arguments[0]}"
    command = cli.commands[arguments[0]]
    with contextlib.suppress(click.exceptions.Exit):
        try:
            command.make_context(arguments[0], arguments[1:])
        except click.UsageError as error:
            if isinstance(error, click.MissingParameter) and not is_whole:
                return
            raise AssertionError(f"{shlex.join(arguments)}: {error.format_message()}") from None


def _check_extras(arguments: list[str]) -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for argument in arguments:
        for extras in re.findall(r"^(?:actorsync|\.)\[(.*)\]$", argument):
            assert {extra.strip() for extra in extras.split(",")} <= known.keys(), f"unknown extra: {extras}"


def check_sql(text: str) -> None:
    """Prepare each statement against the schema of a journal."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        journal_schema.create(connection, "0" * 16, "site")
        for statement in text.split(";"):
            if statement.strip():
                connection.execute(f"EXPLAIN {statement}")


def check_json(text: str) -> None:
    """Parse one JSON value, or one in each line."""
    try:
        json.loads(text)
    except ValueError:
        for line in text.splitlines():
            json.loads(line)


class _Unit(configparser.ConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr


def check_ini(text: str) -> None:
    """Parse a systemd unit, or a file like it, and check the commands in it."""
    parser = _Unit(strict=False, interpolation=None, delimiters=("=",))
    parser.read_string(text)
    for section in parser.values():
        for key, value in section.items():
            if key.startswith("Exec"):
                check_command(value.lstrip("-@+!").replace("$MAINPID", "1"))


def check_yaml(text: str) -> None:
    """Parse a CI workflow, and check the commands in it."""
    for script in _values(yaml.safe_load(text), {"run", "script"}):
        for line in [script] if isinstance(script, str) else script:
            for command in line.splitlines():
                check_command(re.sub(r"\$\{\{.*?\}\}", "x", command))


def _values(document: Any, keys: set[str]) -> Iterator[Any]:
    if isinstance(document, dict):
        for key, value in document.items():
            if key in keys:
                yield value
            else:
                yield from _values(value, keys)
    elif isinstance(document, list):
        for one in document:
            yield from _values(one, keys)
