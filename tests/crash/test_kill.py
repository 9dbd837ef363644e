"""``kill -9`` at any moment: every file on the server is whole at every moment, and the next run continues.

``ACTORSYNC_KILLS`` sets the number of kills.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from actorsync.endpoints.sftp.endpoint import LANES
from tests.support import FtpTarget
from tests.support.mirror import contents, mirror_process, settings_for, temporaries
from tests.support.observer import Observer
from tests.support.servers import debian_servers, ftp, ssh_servers
from tests.support.servers.ftp import PYFTPDLIB
from tests.support.servers.ssh_target import ASYNCSSH, OPENSSH, SshTarget
from tests.support.system.forks import Forks
from tests.support.tiers import amount
from tests.support.world.changing_source import Source

CONNECTIONS = 2

#: Number of kills, over all servers.
KILLS = amount("KILLS", short=24, full=60)

SERVERS = [PYFTPDLIB, *debian_servers.NAMES, OPENSSH, ASYNCSSH]


def serving(name: str, folder: Path) -> AbstractContextManager[FtpTarget | SshTarget]:
    if name == OPENSSH or name == ASYNCSSH:  # noqa: SIM109 - so that mypy sees it
        return ssh_servers.serving(name, folder)
    return ftp.serving(name, folder)


@contextmanager
def started(source: Source, server: FtpTarget | SshTarget, journal: Path) -> Iterator[subprocess.Popen[str]]:
    process = mirror_process(source.root, server, journal, path="site", connections=CONNECTIONS)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


@pytest.mark.scaled
@pytest.mark.parametrize("name", SERVERS)
def test_m111_kill_at_a_random_moment_leaves_no_broken_file(
    name: str, forks: Forks, server_folder: Path, tmp_path: Path
) -> None:
    rng = random.Random(f"m111 {name}")
    source = Source(tmp_path / "source", rng)
    wanted = -(-KILLS // len(SERVERS))
    with serving(name, server_folder) as server:
        settings = settings_for(source.root, server, tmp_path / "journal", path="site", connections=CONNECTIONS)
        observer = Observer(server.root / "site", source.is_version)
        with observer.watching():
            killed, window = 0, 0.25
            for _ in range(5 * wanted):
                # The duration of a run depends on the machine. After a kill that was too late, the next is sooner.
                is_killed = forks.run(settings, kill_after=rng.uniform(0, window)).is_killed
                window *= 1.05 if is_killed else 0.7
                killed += is_killed
                if killed == wanted:
                    break
                source.change(1 + rng.randrange(8))
                if rng.random() < 0.5:
                    source.rename()
            last = forks.run(settings)
        observer.look()
    print(f"{name}: {killed} kills, {observer.looks} looks, {len(observer.wrong)} violations")
    assert last.report is not None
    assert (last.report["exit_code"], last.report["failures"]) == (0, [])
    assert observer.wrong == []
    assert observer.looks > wanted
    expected, there = contents(source.root), contents(server.root / "site")
    # A directory that was made and not recorded before the kill stays, once the source has renamed it.
    assert {path: digest for path, digest in there.items() if digest or path in expected} == expected
    assert temporaries(server.root) == []
    assert killed == wanted, "too many runs ended before the kill"


def wait_for_output(process: subprocess.Popen[str]) -> None:
    """Wait until the run begins. A kill before that would only hit the start of the interpreter."""
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"


@pytest.mark.parametrize("name", ["proftpd", OPENSSH])
def test_m111_committed_files_are_not_sent_again_after_a_kill(name: str, server_folder: Path, tmp_path: Path) -> None:
    """Only files in flight, and files whose commit had not returned, are sent again."""
    rng = random.Random("m111 again")
    source = Source(tmp_path / "source", rng)
    in_hand = CONNECTIONS * (1 if name == "proftpd" else LANES)
    with serving(name, server_folder) as server:
        for number in range(4 if name == "proftpd" else 2):
            journal = tmp_path / f"journal{number}"
            for name in contents(source.root):
                if "/" in name:
                    source.write(name)
            with started(source, server, journal) as process:
                assert process.stdout is not None
                wait_for_output(process)
                lines = [process.stdout.readline() for _ in range(rng.randrange(1, 50))]
                process.kill()
                lines += process.stdout.readlines()
                process.wait()
                assert process.returncode != 0, "the run ended before the kill"
            there = contents(server.root / "site")
            renamed = {path for path, digest in contents(source.root).items() if digest and there.get(path) == digest}
            done = {line.removeprefix("done ").rstrip("\n") for line in lines if line.endswith("\n")}
            with started(source, server, journal) as process:
                output, _ = process.communicate(timeout=30)
            *after, last = output.splitlines()
            again = {line.removeprefix("done ") for line in after if line.startswith("done ")}
            assert json.loads(last)["exit_code"] == 0
            assert again.isdisjoint(done), "reported as done, and sent again"
            assert done <= renamed, "reported as done, and not on the target"
            # Renamed and not reported: files in flight, and files that were not recorded yet.
            assert len(again & renamed) <= 3 * in_hand
        assert contents(server.root / "site") == contents(source.root)
