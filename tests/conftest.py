"""Fixtures for all tests: an FTP server of each kind, and a machine that knows nothing of earlier runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import hypothesis
import pytest

from actorsync.testing import EmbeddedFtpServer, EmbeddedSftpServer
from tests.support import FtpTarget
from tests.support.canary import Watch, seen_in
from tests.support.docs.matrix import DOCUMENT, Matrix, servers_noted
from tests.support.servers import ssh_servers
from tests.support.servers.debian_servers import PASSWORD
from tests.support.servers.ftp import NAMES, home, serving
from tests.support.servers.ssh_target import SshTarget
from tests.support.tiers import mark

# Whoever runs this under nohup, or in the background of a script, has these ignored, and every process that is started
# here would have so, too.
for _number, _handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

# How long an example takes is the machine's affair.
hypothesis.settings.register_profile("no deadline", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("no deadline")

#: Under this name a report says which servers its test had to do with.
SERVERS = "servers"

#: Looks for the servers' password where it must not be, from the first test to the last.
WATCH = Watch()
WATCH.install()


@pytest.fixture(autouse=True)
def canary(isolated_state: Path) -> Iterator[None]:
    """Fail a test that lets the password out: into a log, a process's arguments, or a file of state."""
    WATCH.seen.clear()
    yield
    assert not WATCH.seen, f"m105: the password was seen in {WATCH.seen}"
    assert not (found := seen_in(isolated_state)), f"m105: the password is in {found}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that printed the password; what is told of a failure does not show it either.

    Also has the report say which servers the test had to do with: in a worker of xdist, nobody else could tell.
    """
    report = yield
    if report.when == "call":
        report.user_properties.append((SERVERS, sorted(servers_noted())))
    elif report.when == "teardown":
        servers_noted()
    if (
        report.when == "call"
        and report.passed
        and any(PASSWORD in text for name, text in report.sections if "std" in name)
    ):
        report.outcome = "failed"
        report.longrepr = "m105: the test printed the password"
    return report


@pytest.fixture(autouse=True)
def isolated_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep journals, caches and configuration of the user out of tests; returns the new XDG_STATE_HOME."""
    home = tmp_path_factory.mktemp("home")
    for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(home / variable))
    return home / "XDG_STATE_HOME"


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder that a server under another user can reach; those of pytest are closed to others."""
    with home() as folder:
        yield folder


@pytest.fixture
def embedded(server_folder: Path) -> Iterator[EmbeddedFtpServer]:
    """The embedded server alone, over an empty root."""
    root = server_folder / "root"
    root.mkdir()
    with EmbeddedFtpServer(root) as server:
        yield server


@pytest.fixture(params=NAMES)
def ftp_server(request: pytest.FixtureRequest, server_folder: Path) -> Iterator[FtpTarget]:
    """Each server in turn, over an empty root; the test's id shows which."""
    with serving(request.param, server_folder) as target:
        yield target


@pytest.fixture(scope="module", params=NAMES)
def shared_ftp_server(request: pytest.FixtureRequest) -> Iterator[FtpTarget]:
    """Each server in turn, started once for all tests of a module: `fresh_folder` keeps them apart."""
    with home() as folder, serving(request.param, folder) as target:
        yield target


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer ``--matrix``."""
    parser.addoption("--matrix", action="store_true", help="write what this run shows into docs/reliability.md")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to fill the fault matrix where it is asked for: in the process that hears of all tests."""
    if config.getoption("--matrix") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(MatrixWriter())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what only CI runs."""
    mark(items)


class MatrixWriter:
    """Writes the tables of docs/reliability.md at the end of a run."""

    def __init__(self) -> None:
        self.matrix = Matrix()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a test into account."""
        if report.when == "call" or not report.passed:
            servers = dict(report.user_properties).get(SERVERS, ())
            assert isinstance(servers, Iterable)
            self.matrix.add(report.nodeid, report.outcome, servers)

    def pytest_sessionfinish(self) -> None:
        """Write."""
        DOCUMENT.write_text(self.matrix.fill(DOCUMENT.read_text()))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a test that was skipped is a failure: whatever it needs, CI must have."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# ---- SFTP


@pytest.fixture
def embedded_sftp(server_folder: Path) -> Iterator[tuple[EmbeddedSftpServer, SshTarget]]:
    """The embedded SFTP server alone, over an empty root: its settings and logs, and how to reach it."""
    root = server_folder / "root"
    root.mkdir()
    with ssh_servers.embedded_server(root, server_folder) as both:
        yield both


@pytest.fixture(scope="module", params=ssh_servers.NAMES)
def shared_sftp_server(request: pytest.FixtureRequest) -> Iterator[SshTarget]:
    """Each SFTP server in turn, started once for all tests of a module: `ssh_servers.fresh_folder` keeps them apart."""
    with home() as folder, ssh_servers.serving(request.param, folder) as target:
        yield target


@pytest.fixture(scope="module")
def asyncssh_server() -> Iterator[SshTarget]:
    """The embedded SFTP server, started once for all tests of a module."""
    with home() as folder, ssh_servers.serving(ssh_servers.ASYNCSSH, folder) as target:
        yield target
