"""``kill -9`` at any moment: every name on the server is whole at every instant, and the next run goes on."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from actorsync.endpoints.sftp import LANES
from tests.support import FtpTarget, debian_servers, ftp, ssh_servers
from tests.support.ftp import PYFTPDLIB
from tests.support.mirror import contents, mirror_process, temporaries
from tests.support.ssh_target import ASYNCSSH, OPENSSH, SshTarget

CONNECTIONS = 2
FILES = 60
KIB = 1024

#: How often each server's client is killed.
KILLS = {"proftpd": 50, "vsftpd": 8, "pure-ftpd": 8, PYFTPDLIB: 8, OPENSSH: 8, ASYNCSSH: 8}


def serving(name: str, folder: Path) -> AbstractContextManager[FtpTarget | SshTarget]:
    if name == OPENSSH or name == ASYNCSSH:  # noqa: SIM109 - so that mypy sees it
        return ssh_servers.serving(name, folder)
    return ftp.serving(name, folder)


class Source:
    """A tree that changes between runs, and remembers every content that each of its files ever had."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.root, self.rng = root, rng
        self.versions: dict[str, set[str]] = defaultdict(set)
        for number in range(FILES):
            self.write(f"d{number % 5}/{number}")

    def write(self, path: str) -> None:
        """Give a file a new content; every tenth file is big."""
        number = int(path.rpartition("/")[2])
        size = self.rng.randrange(1 << 20, 5 << 20) if number % 10 == 0 else self.rng.randrange(100 * KIB)
        content = self.rng.randbytes(64) * (size // 64 + 1)
        self.versions[path].add(digest_of(content))
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def change(self, count: int) -> None:
        for number in self.rng.sample(range(FILES), count):
            self.write(f"d{number % 5}/{number}")


def digest_of(content: bytes) -> str:
    return hashlib.blake2b(content).hexdigest()


class Observer:
    """Looks at the server's disk all the time, as a visitor of the site would, and keeps what it should not see."""

    def __init__(self, root: Path, source: Source) -> None:
        self.root, self.source = root, source
        self.looks = 0
        self.wrong: list[str] = []
        self._seen: set[tuple[str, int, int, int]] = set()
        self._stopping = threading.Event()

    def look(self) -> None:
        for folder, _, names in os.walk(self.root):
            for name in names:
                if ".actorsync-" not in name:
                    self._look_at(os.path.join(folder, name))
        self.looks += 1

    def _look_at(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                shown = os.path.relpath(path, self.root)
                key = (shown, status.st_ino, status.st_size, status.st_mtime_ns)
                if key in self._seen:  # looked at before: contents never change in place
                    return
                digest = digest_of(file.read())
        except FileNotFoundError:
            return
        self._seen.add(key)
        if digest not in self.source.versions[shown]:
            self.wrong.append(f"{shown}: {status.st_size} bytes of no version")

    def run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            time.sleep(0.002)

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join()


@contextmanager
def started(source: Source, server: FtpTarget | SshTarget, journal: Path) -> Iterator[subprocess.Popen[str]]:
    process = mirror_process(source.root, server, journal, path="site", connections=CONNECTIONS)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", [PYFTPDLIB, *debian_servers.NAMES, OPENSSH, ASYNCSSH])
def test_m111_kill_9_at_random_moments(name: str, server_folder: Path, tmp_path: Path) -> None:
    rng = random.Random(f"m111 {name}")
    source = Source(tmp_path / "source", rng)
    with serving(name, server_folder) as server:
        journal = tmp_path / "journal"
        observer = Observer(server.root / "site", source)
        with observer.watching():
            killed, window = 0, 0.25
            for _ in range(5 * KILLS[name]):
                with started(source, server, journal) as process:
                    wait_for_output(process)
                    time.sleep(rng.uniform(0, window))
                    process.kill()
                    process.wait()
                # How long a run takes is the machine's affair: too late once means sooner the next time.
                is_killed = process.returncode != 0
                window *= 1.05 if is_killed else 0.7
                killed += is_killed
                if killed == KILLS[name]:
                    break
                source.change(1 + rng.randrange(8))
            with started(source, server, journal) as process:
                output, _ = process.communicate(timeout=30)
            report = json.loads(output.splitlines()[-1])
        observer.look()
    assert (report["exit_code"], report["failures"]) == (0, [])
    assert observer.wrong == []
    assert observer.looks > 100
    assert contents(server.root / "site") == contents(source.root)
    assert temporaries(server.root) == []
    assert killed == KILLS[name], "runs that were done before they were killed do not count"


def wait_for_output(process: subprocess.Popen[str]) -> None:
    """Wait until the run begins: before that there is nothing to kill but an interpreter that starts."""
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"


@pytest.mark.parametrize("name", ["proftpd", OPENSSH])
def test_m111_what_was_committed_is_not_sent_again(name: str, server_folder: Path, tmp_path: Path) -> None:
    """After a kill, only what was in flight is sent again, and what no commit had returned for."""
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
                assert process.returncode != 0, "it was killed in time"
            there = contents(server.root / "site")
            renamed = {path for path, digest in contents(source.root).items() if digest and there.get(path) == digest}
            done = {line.removeprefix("done ").rstrip("\n") for line in lines if line.endswith("\n")}
            with started(source, server, journal) as process:
                output, _ = process.communicate(timeout=30)
            *after, last = output.splitlines()
            again = {line.removeprefix("done ") for line in after if line.startswith("done ")}
            assert json.loads(last)["exit_code"] == 0
            assert again.isdisjoint(done), "reported as done, and sent again"
            assert done <= renamed, "reported as done, and not there"
            # Renamed and not reported: the ones that connections had in hand, and those on their way to the journal.
            assert len(again & renamed) <= 3 * in_hand
        assert contents(server.root / "site") == contents(source.root)
