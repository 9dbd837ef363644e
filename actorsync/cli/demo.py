"""A demonstration: three runs that mirror a small tree to an FTP server in this process.

The runs are real: the profile is loaded from a file, and the runner is the one of ``actorsync run``. After each run an
independent FTP client (`ftplib`) downloads everything from the server and compares it with the source.
"""

from __future__ import annotations

import ftplib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

from actorsync.model.messages import summary
from actorsync.model.text import size_text
from actorsync.profile import Profile, load_profile
from actorsync.runs.runner import run_once
from actorsync.testing import EmbeddedFtpServer

__all__ = ["run"]

_PROFILE: Final = """\
[source]
path = "site"

[target]
url = "{url}"
password = {{ env = "ACTORSYNC_DEMO_PASSWORD" }}

[sync]
connections = 3
delete = true
"""
_PASSWORD_VARIABLE: Final = "ACTORSYNC_DEMO_PASSWORD"  # noqa: S105 - the name of a variable

#: File names that are easy to get wrong.
_ODD: Final = (
    "a name with spaces.txt",
    "-n.txt",
    "umlaut äöü.txt",
    "#hash%20percent.txt",
    "two  spaces;semi.txt",
    "漢字.txt",
)

Tree = dict[str, bytes]


def run(say: Callable[[str], object]) -> int:
    """Mirror three times and verify each run; return 0 if the server equalled the source each time, else 1."""
    with tempfile.TemporaryDirectory(prefix="actorsync-demo-") as name:
        folder = Path(name)
        (folder / "server").mkdir()
        server = EmbeddedFtpServer(folder / "server")
        server.start()
        try:
            with _environment(XDG_STATE_HOME=str(folder / "state"), ACTORSYNC_DEMO_PASSWORD=server.password):
                return _demonstrate(folder, server, say)
        finally:
            server.stop()


def _demonstrate(folder: Path, server: EmbeddedFtpServer, say: Callable[[str], object]) -> int:
    site = folder / "site"
    _write_site(site)
    path = folder / "demo.toml"
    path.write_text(_PROFILE.format(url=server.url))
    profile = load_profile(path)
    say(f"started an FTP server at {server.url} and created a directory of {len(_read_tree(site))} files")
    say("the profile:")
    for line in path.read_text().splitlines():
        say(f"    {line}".rstrip())
    equal = [_mirror("run 1: all files are new", profile, site, server, say)]

    (site / "index.html").write_text("<h1>changed</h1>\n")
    (site / "news" / "item-3.html").rename(site / "news" / "item-3-renamed.html")
    (site / "img" / "photo-7.jpg").unlink()
    equal.append(_mirror("run 2: one file changed, one renamed, one deleted", profile, site, server, say))
    equal.append(_mirror("run 3: nothing changed", profile, site, server, say))
    return 0 if all(equal) else 1


def _mirror(title: str, profile: Profile, site: Path, server: EmbeddedFtpServer, say: Callable[[str], object]) -> bool:
    before = len(server.mutating)
    report = trio.run(lambda: run_once(profile))
    commands = len(server.mutating) - before
    downloaded, wanted = _download(server), _read_tree(site)
    is_equal = downloaded == wanted and report.exit_code == 0
    verdict = "identical to the source" if is_equal else "NOT identical to the source"
    total = sum(map(len, downloaded.values()))
    say("")
    say(title)
    say(f"    actorsync: {report.error or summary(report)}")
    say(f"    the server received {commands} commands that change files")
    say(f"    an independent client downloaded {len(downloaded)} files ({size_text(total)}): {verdict}")
    return is_equal


def _write_site(site: Path) -> None:
    """Write 40 files in several directories."""
    files: Tree = {"index.html": b"<h1>hello</h1>\n", "empty.txt": b"", "css/site.css": b"body { margin: 0 }\n"}
    files |= {f"news/item-{n}.html": b"<p>news</p>\n" * n for n in range(1, 16)}
    files |= {f"img/photo-{n}.jpg": os.urandom(3_000 * n) for n in range(1, 15)}
    files |= {f"odd names/{name}": name.encode() for name in _ODD}
    files |= {"deep/er/and/deeper/bottom.txt": b"the bottom\n", "video.bin": os.urandom(2_000_000)}
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)


def _read_tree(top: Path) -> Tree:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def _download(server: EmbeddedFtpServer) -> Tree:
    """Download every file from the server with an independent client."""
    seen: Tree = {}
    with ftplib.FTP(encoding="utf-8") as client:  # noqa: S321 - the demonstration is about FTP
        client.connect(server.host, server.port, timeout=10)
        client.login(server.user, server.password)
        directories = [""]
        for directory in directories:
            for name, facts in list(client.mlsd(f"/{directory}", ["type"])):
                path = f"{directory}/{name}" if directory else name
                if facts["type"] == "dir":
                    directories.append(path)
                elif facts["type"] == "file":
                    content = bytearray()
                    client.retrbinary(f"RETR /{path}", content.extend)
                    seen[path] = bytes(content)
    return seen


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the duration of the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
