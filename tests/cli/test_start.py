"""What a command imports and compiles before it does its work: most of the time of a run with nothing to do.

Modules and compiled source are counted, not seconds. A limit is a little more than what is needed: raise it for modules
that every such run needs, and import everything else where it is used. docs/performance.md has the time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from actorsync.cli.commands import run_command
from actorsync.testing import EmbeddedFtpServer, EmbeddedSftpServer

#: Runs a command, and prints what it has imported, each with the module that was the first to import it; and how much
#: source was compiled: classes and functions that are generated while the program starts.
_CHILD: Final = """
import sys
first, compiled = {}, [0]
class Watch:
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while frame is not None and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        first.setdefault(name, "" if frame is None else frame.f_globals.get("__name__", ""))
def count(event, arguments):
    if event == "compile" and isinstance(arguments[0], (str, bytes)) and str(arguments[1]).startswith("<"):
        compiled[0] += len(arguments[0])
sys.meta_path.insert(0, Watch())
sys.addaudithook(count)
from actorsync.cli.process.imports import importing
from actorsync.cli.commands import run_command
with importing(is_program=True):
    code = run_command(sys.argv[1:], is_program=True)
loaded = {it: first.get(it, "") for it in sys.modules}
import json
print(json.dumps([code, loaded, compiled[0]]))
"""

#: Packages that take long to import, or that belong to one task.
_HEAVY: Final = frozenset(
    {
        *("asyncio", "asyncssh", "attrs", "bcrypt", "cattrs", "concurrent", "cryptography", "ctypes", "email"),
        *("fsspec", "h11", "http", "idna", "json", "keyring", "OpenSSL", "opentelemetry", "pathspec", "platformdirs"),
        *("prometheus_client", "pyftpdlib", "rich", "sqlite3", "ssl", "tomllib", "trio", "typing_extensions"),
        *("wsproto", "xml", "yaml"),
    }
)
_OF_RUN: Final = frozenset({"attrs", "ctypes", "idna", "json", "platformdirs", "sqlite3", "ssl", "tomllib", "trio"})
_OF_SSH: Final = frozenset(
    {*("asyncio", "asyncssh", "bcrypt", "concurrent", "cryptography", "email", "OpenSSL", "typing_extensions")}
)
#: Parts of actorsync that a run of a mirror does not need as long as it has nothing to do.
_NEEDLESS: Final = (
    *("actors.pairs", "actors.reading.remote_source", "actors.connections.careful", "pair_assembly", "pair_supervisor"),
    *("planning.pairs.", "runs.saved_plan", "runs.repeating", "endpoints.wrappers.dry_run", "endpoints.fsspec"),
    *("endpoints.memory", "profile.template", "observe.web", "observe.metrics", "service.notifying"),
    *("library", "testing", "rehearsal"),
)
#: What mirrors need as well: the keys of each profile, and removals below what may be a link.
_OF_MIRRORS: Final = frozenset({f"actorsync.planning.pairs.{it}" for it in ("rules", "unseen_links")})


class Started:
    """What one call of the program has imported and compiled."""

    def __init__(self, arguments: Sequence[str]) -> None:
        done = subprocess.run([sys.executable, "-c", _CHILD, *arguments], capture_output=True, text=True, check=True)
        code, self.importers, self.compiled = json.loads(done.stdout.splitlines()[-1])
        assert code == 0, done.stderr
        self.ours = {it for it in self.importers if it.startswith("actorsync.")}

    def heavy(self, allowed: frozenset[str]) -> list[str]:
        """Return the packages that are not ``allowed``, each with the way on which it was imported."""
        packages = {it.partition(".")[0] for it in self.importers} & _HEAVY - allowed
        return [self._way(package) for package in sorted(packages)]

    def needless(self, parts: Sequence[str]) -> list[str]:
        """Return the modules of actorsync in ``parts``, each with the way on which it was imported."""
        wrong = {it for it in self.ours if it.startswith(tuple(f"actorsync.{part}" for part in parts))}
        return [self._way(name) for name in sorted(wrong - _OF_MIRRORS)]

    def _way(self, name: str) -> str:
        way = [name]
        while (above := self.importers.get(way[-1], "")) and above not in way:
            way.append(above)
        return " <- ".join(way)

    def require(self, allowed: frozenset[str], parts: Sequence[str], *, modules: int, source: int) -> None:
        """Fail with what was imported needlessly, or if more was imported or compiled than the limit."""
        found = [*self.heavy(allowed), *self.needless(parts)]
        assert not found, f"import it where it is used: {'; '.join(found)}"
        assert len(self.ours) <= modules, f"import what is not needed where it is used: {sorted(self.ours)}"
        assert self.compiled <= source, "make classes with actorsync.classes, and compile nothing at import"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_text("a")
    return source


@pytest.fixture(params=["local", "ftp", "sftp"])
def mirrored(request: pytest.FixtureRequest, source: Path, server_folder: Path) -> Iterator[tuple[str, str]]:
    """A scheme, and a profile whose target is in sync already."""
    root, profile = server_folder / "root", source.parent / "profile.toml"
    root.mkdir()

    def run() -> str:
        assert run_command(["run", "-q", str(profile)]) == 0
        return str(profile)

    kind: Any = {"ftp": EmbeddedFtpServer, "sftp": EmbeddedSftpServer}.get(request.param)
    if kind is None:
        profile.write_text(f'[source]\npath = "{source}"\n[target]\nurl = "file://{root}"\n')
        yield request.param, run()
        return
    with kind(root) as server:
        server.write_profile(profile, source)
        yield request.param, run()


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["ctl", "--help"]])
def test_version_and_help_import_the_command_line_alone(arguments: list[str]) -> None:
    Started(arguments).require(frozenset(), ("actors", "endpoints", "profile", "runs"), modules=21, source=5_000)


def test_check_of_directories_imports_no_protocol(source: Path) -> None:
    profile = source.parent / "profile.toml"
    (source.parent / "target").mkdir()
    profile.write_text(f'[source]\npath = "{source}"\n[target]\nurl = "file://{source.parent}/target"\n')
    started = Started(["check", str(profile)])
    parts = ("actors.pairs", "endpoints.ftp", "endpoints.sftp", "pair_supervisor", "runs.saved_plan")
    started.require(_OF_RUN | {"rich"}, parts, modules=260, source=240_000)


def test_run_with_nothing_to_do_imports_only_what_its_connection_needs(mirrored: tuple[str, str]) -> None:
    scheme, profile = mirrored
    others = [f"endpoints.{it}." for it in ("ftp", "sftp") if it != scheme]
    allowed = _OF_RUN | (_OF_SSH if scheme == "sftp" else frozenset())
    modules = {"local": 272, "ftp": 320, "sftp": 322}[scheme]
    Started(["run", "-q", profile]).require(allowed, (*_NEEDLESS, *others), modules=modules, source=250_000)


def test_run_that_needs_no_connection_imports_no_session(mirrored: tuple[str, str]) -> None:
    scheme, profile = mirrored
    started = Started(["run", "-q", "--set", "audit.listings=0", profile])
    sessions = ("endpoints.ftp.session", "endpoints.ftp.looks", "endpoints.sftp.session", "endpoints.sftp.logins")
    modules = {"local": 272, "ftp": 296, "sftp": 274}[scheme]
    started.require(_OF_RUN, (*_NEEDLESS, *sessions, "endpoints.ssh.access"), modules=modules, source=250_000)
