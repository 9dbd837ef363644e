"""The examples run unchanged, with an FTP and an SFTP server."""

from __future__ import annotations

import gzip
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import FtpTarget
from tests.support.mirror import contents
from tests.support.root import ROOT
from tests.support.scenarios import write
from tests.support.servers import ftp, ssh_servers
from tests.support.servers.ssh_target import ASYNCSSH, SshTarget
from tests.support.system.program import write_profile

EXAMPLES = ROOT / "examples"


class Site:
    def __init__(self, folder: Path, target: FtpTarget | SshTarget) -> None:
        self.source, self.root = folder / "source", target.root / "site"
        self.profile = write_profile(folder / "p.toml", self.source, target, "site", "[sync]", "delete = true")

    def put(self, path: str, data: bytes) -> None:
        write(self.source / path, data)

    def run(self, example: str) -> str:
        command = [sys.executable, os.fspath(EXAMPLES / example), os.fspath(self.profile)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout


# No example has a part that only one kind of server reaches.
@pytest.fixture(params=["ftp", pytest.param("sftp", marks=pytest.mark.full)])
def site(request: pytest.FixtureRequest, tmp_path: Path, server_folder: Path) -> Iterator[Site]:
    if request.param == "ftp":
        with ftp.serving(ftp.PYFTPDLIB, server_folder) as server:
            yield Site(tmp_path, server)
    else:
        with ssh_servers.serving(ASYNCSSH, server_folder) as ssh:
            yield Site(tmp_path, ssh)


def test_gzip_twins_example_keeps_compressed_copies_current(site: Site) -> None:
    style = b"a { color: red }\n" * 200
    site.put("index.html", b"<p>short</p>")
    site.put("css/site.css", style)
    site.put("css/own.css", style)
    site.put("css/own.css.gz", b"made by hand")
    assert site.run("gzip_twins.py") == "5 files sent, 0 removed, 0 failed\n"
    assert contents(site.root).keys() == {
        "index.html",
        "css",
        "css/site.css",
        "css/site.css.gz",
        "css/own.css",
        "css/own.css.gz",
    }
    assert gzip.decompress((site.root / "css/site.css.gz").read_bytes()) == style
    assert (site.root / "css/own.css.gz").read_bytes() == b"made by hand"
    assert site.run("gzip_twins.py") == "0 files sent, 0 removed, 0 failed\n"
    site.put("css/site.css", style * 2)
    assert site.run("gzip_twins.py") == "2 files sent, 0 removed, 0 failed\n"
    assert gzip.decompress((site.root / "css/site.css.gz").read_bytes()) == style * 2
    (site.source / "css/site.css").unlink()
    assert site.run("gzip_twins.py") == "0 files sent, 2 removed, 0 failed\n"
    assert contents(site.root) == contents(site.source)


def test_manifest_last_example_sends_the_manifest_last(site: Site) -> None:
    for number in range(12):
        site.put(f"d/{number}", b"%d" % number)
    assert site.run("manifest_last.py") == "13 files sent, the manifest last\n"
    assert contents(site.root) == contents(site.source)
    lines = (site.root / "SHA256SUMS").read_text().splitlines()
    assert f"{hashlib.sha256(b'7').hexdigest()}  d/7" in lines
    assert len(lines) == 12
    assert site.run("manifest_last.py") == "nothing to do\n"
    newest = max(site.root.rglob("*"), key=lambda path: path.stat().st_ctime_ns if path.is_file() else 0)
    assert newest.name == "SHA256SUMS"


def test_gentle_upload_example_leaves_big_files(site: Site) -> None:
    site.put("small", b"1")
    site.put("other", b"2")
    site.put("big", b"x" * 1_000_001)
    assert site.run("gentle_upload.py") == "2 files sent, 1 left for another time\n"
    assert contents(site.root).keys() == {"small", "other"}


@pytest.mark.parametrize("example", ["deploy.py", "deploy_asyncio.py"])
def test_deploy_example_mirrors(example: str, site: Site) -> None:
    site.put("a", b"1")
    assert site.run(example).startswith("1 files sent, 0 ")
    assert contents(site.root) == contents(site.source)


def test_watch_example_mirrors_each_change_until_a_signal(site: Site) -> None:
    site.put("a", b"1")
    command = [sys.executable, os.fspath(EXAMPLES / "watch.py"), os.fspath(site.profile)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []

        def read_until(line: str) -> None:
            """Read up to a line. The end of the output is an error."""
            for one in process.stdout or ():
                lines.append(one)
                if one == line:
                    return
            pytest.fail(f"no line {line!r} among {lines}")

        try:
            read_until("p: done: a\n")
            read_until("p: in sync\n")
            site.put("b", b"2")
            read_until("p: done: b\n")
            read_until("p: in sync\n")
            process.send_signal(signal.SIGINT)
            read_until("stopped\n")
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert contents(site.root) == contents(site.source)


def test_every_example_has_a_test() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*example*.py"))
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in tests] == []
