"""Fixtures for all tests: each kind of server, and a new folder for state, so that no test sees earlier journals."""

from __future__ import annotations

import gc
import itertools
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

# Under nohup, and in background jobs of scripts, these signals are ignored. Child processes would inherit that.
for _number, _handler in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

# The time that an example takes depends on the machine.
hypothesis.settings.register_profile("no deadline", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("no deadline")

#: The key under which a report lists the servers of its test.
SERVERS = "servers"

#: Searches for the servers' password where it must not be, from the first test to the last.
WATCH = Watch()
WATCH.install()


@pytest.fixture(autouse=True)
def canary(isolated_state: Path) -> Iterator[None]:
    """Fail a test that leaks the password to a log, the arguments of a process, or a file of state."""
    WATCH.seen.clear()
    yield
    assert not WATCH.seen, f"m105: the password was seen in {WATCH.seen}"
    assert not (found := seen_in(isolated_state)), f"m105: the password is in {found}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that printed the password, with a message that does not contain it.

    The report also lists the servers of the test: with xdist, only the worker knows them.
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


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return paths of folders that do not exist: most tests need none, and pytest looks at all to number the next."""
    base = tmp_path_factory.mktemp("homes")
    return (base / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def isolated_state(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the user's journals, caches and configuration out of tests; return the new XDG_STATE_HOME."""
    home = next(homes)
    for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(home / variable))
    return home / "XDG_STATE_HOME"


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder that other users can read, for servers under another user. The folders of pytest are private."""
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
    """Each server in turn, started once for all tests of a module. Tests use separate folders (`fresh_folder`)."""
    with home() as folder, serving(request.param, folder) as target:
        yield target


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer ``--matrix``."""
    parser.addoption("--matrix", action="store_true", help="write what this run shows into docs/reliability.md")


def pytest_configure(config: pytest.Config) -> None:
    """With ``--matrix``, collect results for the fault matrix, in the process that gets the reports of all tests."""
    if config.getoption("--matrix") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(MatrixWriter())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that only CI runs."""
    mark(items)


def pytest_collection_finish() -> None:
    """Take the collected tests and all modules out of garbage collection.

    They are a million objects that live until the end, and each full collection would look at all of them. A third of
    the time of a simulation went there.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


class MatrixWriter:
    """Writes the tables of docs/reliability.md at the end of a run."""

    def __init__(self) -> None:
        self.matrix = Matrix()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add the result of a test."""
        if report.when == "call" or not report.passed:
            servers = dict(report.user_properties).get(SERVERS, ())
            assert isinstance(servers, Iterable)
            self.matrix.add(report.nodeid, report.outcome, servers)

    def pytest_sessionfinish(self) -> None:
        """Write the tables."""
        DOCUMENT.write_text(self.matrix.fill(DOCUMENT.read_text()))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, fail the session when a test was skipped: CI must have all that tests need."""
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
    """Each SFTP server in turn, started once for all tests of a module. Tests use separate folders."""
    with home() as folder, ssh_servers.serving(request.param, folder) as target:
        yield target


@pytest.fixture(scope="module")
def asyncssh_server() -> Iterator[SshTarget]:
    """The embedded SFTP server, started once for all tests of a module."""
    with home() as folder, ssh_servers.serving(ssh_servers.ASYNCSSH, folder) as target:
        yield target
