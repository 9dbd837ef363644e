"""A rehearsal: runs of a profile against a server inside this process, with faults, while a visitor reads the site.

Only the server of the user's profile is replaced: by an embedded one of the same protocol, in a temporary folder.
Each run is a separate process that does what ``actorsync run`` does, with a journal in that folder. The rehearsal
only reads the source. It does not contact the real server, look up a secret of the profile or open its journal.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from actorsync.classes import define
from actorsync.errors import ProfileError
from actorsync.model.text import display, size_text
from actorsync.profile import EnvSecret, Profile
from actorsync.profile.release import HooksTable
from actorsync.rehearsal.result import Began, Rehearsal, Result, Run, Said, Shown
from actorsync.runs.mirror_only import REHEARSE, require_mirror
from actorsync.testing.servers.certificates import certificate_sha256, self_signed_certificate
from actorsync.testing.servers.faults import FaultPlan
from actorsync.testing.servers.ftp import EmbeddedFtpServer
from actorsync.testing.servers.sftp import EmbeddedSftpServer
from actorsync.testing.visitor import Version, Visitor

__all__ = ["MOST_RUNS", "Observer", "rehearse"]

#: The largest number of runs.
MOST_RUNS: Final = 10
#: After so many failed runs in a row without a fault, the rehearsal ends: the next run would fail as well.
_HOPELESS: Final = 2
#: Disk space that a file takes besides its content, in bytes, roughly.
_OVERHEAD: Final = 8192
#: From this size on, a file goes on where it broke off, unless the profile has a smaller one.
_RESUME: Final = 1 << 20
#: How many of a run's last lines are kept.
_LINES: Final = 200

_SCHEMES: Final = ("ftp", "ftpes", "ftps", "sftp")
_USER: Final = "rehearsal"
_PASSWORD: Final = "ACTORSYNC_REHEARSAL"  # noqa: S105 - the name of a variable

_Server = EmbeddedFtpServer | EmbeddedSftpServer

#: Called with each event as it happens; with a `Run` when that run has ended.
Observer = Callable[[Began | Said | Run], object]


async def rehearse(rehearsal: Rehearsal, observe: Observer) -> Result:
    """Run until the target is in sync, or until another run would not help. Return the result.

    The temporary folder is removed at the end, also after a cancellation. Raises `ProfileError` for a profile that
    cannot be rehearsed.
    """
    _check(rehearsal)
    new = await trio.to_thread.run_sync(_scan_source, rehearsal.profile)
    into = _parent_folder(rehearsal, new)
    folder = Path(await trio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="actorsync-rehearsal-", dir=into)))
    try:
        return await _Rehearsing(rehearsal, new, folder, observe).run()
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))


def _check(rehearsal: Rehearsal) -> None:
    profile = rehearsal.profile
    require_mirror(profile, REHEARSE)
    if profile.source.is_remote:
        raise _unfit(profile, "source.url", "only a local directory can be rehearsed as source; set source.path")
    if profile.target.scheme not in _SCHEMES:
        known = "sftp://, ftpes://, ftps:// or ftp://"
        raise _unfit(profile, "target.url", f"no embedded server exists for this scheme; use a target with {known}")


def _unfit(profile: Profile, key: str, reason: str) -> ProfileError:
    return ProfileError(f"{display(profile.path.name)}: {key}: {reason}")


def _scan_source(profile: Profile) -> Version:
    """Read the state of every file that a run would mirror."""
    sync, root = profile.sync, Path(profile.source.path)
    try:
        return Version.of(
            root,
            selects=sync.selection().is_included,
            follows_links=sync.links == "follow",
            visit=trio.from_thread.check_cancelled,
        )
    except OSError as error:
        raise _unfit(profile, "source.path", f"cannot be read: {error.strerror}; name a directory") from None


def _parent_folder(rehearsal: Rehearsal, new: Version) -> Path:
    """Return the folder to make the temporary one in; raise `ProfileError` if it is unusable or its disk too full."""
    into = rehearsal.into or Path(tempfile.gettempdir())
    source = os.path.realpath(rehearsal.profile.source.path)
    if not into.is_dir():
        raise ProfileError(f"--into {display(str(into))}: is not a directory; create it or name another")
    if not os.access(into, os.W_OK | os.X_OK):
        raise ProfileError(f"--into {display(str(into))}: is not writable; name another directory")
    if os.path.commonpath([source, os.path.realpath(into)]) == source:
        raise ProfileError(f"--into {display(str(into))}: is inside the source; name a directory outside it")
    needed, free = _room_for(new), shutil.disk_usage(into).free
    if needed > free:
        where = f"{display(str(into))} has only {size_text(free)} free"
        raise ProfileError(f"not enough disk space: {where}, the rehearsal needs {size_text(needed)}; use --into DIR")
    return into.absolute()


def _room_for(new: Version) -> int:
    return new.size + _OVERHEAD * (2 * len(new.files) + 64)


@define(eq=False)
class _Rehearsing:
    """A rehearsal in progress, in ``folder``."""

    rehearsal: Rehearsal
    new: Version
    folder: Path
    observe: Observer
    process: trio.Process | None = None
    password: str = attrs.field(factory=secrets.token_urlsafe, repr=False)
    """Generated, because other users of this machine can connect to the server as well."""

    async def run(self) -> Result:
        """Set up the server, run until another run would not help, and return the result."""
        place = self.rehearsal.profile.target
        root = self.folder / "server"
        site = root / place.path.lstrip("/")
        old = await trio.to_thread.run_sync(self._set_up, root, site)
        versions = (old, self.new)
        visitor = self._visitor(site, versions)
        plan = FaultPlan(
            self.rehearsal.faults, kill=self._kill, watch=lambda _: visitor.look_soon(), rank_of=self._rank_of
        )
        server = self._server(root, place.scheme, plan)
        await trio.to_thread.run_sync(_start, server)
        try:
            profile = self.folder / "profile"
            profile.write_bytes(pickle.dumps(self._profile(server)))
            runs: list[Run] = []
            self.observe(Began(len(self.new.files), self.new.size, self.folder, _room_for(self.new)))
            with visitor.watching():
                while not runs or self._goes_on(runs):
                    runs.append(await self._run(len(runs) + 1, profile, plan, lambda: self._shown(site, versions)))
                    self.observe(runs[-1])
                    visitor.look_soon()
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(server.stop)
        # A last check after the server has stopped: sessions of killed runs can change nothing any more.
        visitor.look()
        return Result(tuple(runs), plan, visitor.seen(), len(self.new.files), self.new.size, self.rehearsal)

    def _visitor(self, site: Path, versions: Sequence[Version]) -> Visitor:
        trash = self.rehearsal.profile.trash.path
        return Visitor(site, versions, ignores=lambda path: path == trash)

    def _shown(self, site: Path, versions: Sequence[Version]) -> Shown:
        """Look once at what is on the target."""
        visitor = self._visitor(site, versions)
        visitor.look()
        is_old, is_new = visitor.seen().complete
        return "new" if is_new else "old" if is_old else "mixed"

    def _rank_of(self, path: str) -> int | None:
        """Return the rank of a file of the site. The first ranks that need not wait for each other count as one."""
        profile = self.rehearsal.profile
        inside = path.lstrip("/").removeprefix(profile.target.path.strip("/")).lstrip("/")
        ranks = profile.publish.order
        return max(ranks.of(inside), ranks.together - 1) if inside in self.new.files else None

    def _set_up(self, root: Path, site: Path) -> Version:
        """Create the site as it is before the first run, and return that version."""
        for part in (root, self.folder / "old", self.folder / "state"):
            part.mkdir()
        if self.rehearsal.from_nothing:
            return Version(self.folder / "old")
        for path in self.new.files:
            trio.from_thread.check_cancelled()
            content = b"the old version of %s, before the rehearsal\n" % os.fsencode(path)
            for top in (site, self.folder / "old"):
                (top / path).parent.mkdir(parents=True, exist_ok=True)
                (top / path).write_bytes(content)
        site.mkdir(parents=True, exist_ok=True)
        return Version.of(self.folder / "old")

    def _server(self, root: Path, scheme: str, plan: FaultPlan) -> _Server:
        if scheme == "sftp":
            return EmbeddedSftpServer(root, user=_USER, password=self.password, faults=plan)
        certificate = None if scheme == "ftp" else self_signed_certificate(self.folder / "certificate")
        return EmbeddedFtpServer(
            root, user=_USER, password=self.password, certificate=certificate, is_implicit=scheme == "ftps", faults=plan
        )

    def _profile(self, server: _Server) -> Profile:
        """Return the user's profile with the embedded server as its target, and without the programs that it names."""
        profile = self.rehearsal.profile
        place = attrs.evolve(
            profile.target,
            host=server.host,
            port=server.port,
            user=_USER,
            password=EnvSecret(_PASSWORD),
            key_file=None,
            passphrase=None,
            ca_file=None,
        )
        if isinstance(server, EmbeddedSftpServer):
            known_hosts = self.folder / "known_hosts"
            known_hosts.write_text(server.known_hosts_line)
            place = attrs.evolve(place, agent=False, known_hosts=known_hosts, host_key=None)
        elif server.certificate is not None:
            place = attrs.evolve(place, certificate_sha256=certificate_sha256(server.certificate))
        resume = profile.sync.resume
        return attrs.evolve(
            profile,
            target=place,
            sync=attrs.evolve(profile.sync, resume=None if resume is None else min(resume, _RESUME)),
            publish=attrs.evolve(profile.publish, check=()),
            hooks=HooksTable(),
        )

    def _goes_on(self, runs: Sequence[Run]) -> bool:
        """Return whether another run may bring the target closer to the source."""
        if runs[-1].exit_code == 0 or len(runs) == MOST_RUNS:
            return False
        return len(runs) < _HOPELESS or any(run.faults for run in runs[-_HOPELESS:])

    async def _run(self, number: int, profile: Path, plan: FaultPlan, shown: Callable[[], Shown]) -> Run:
        plan.begin(number)
        lines: list[str] = []
        began = time.monotonic()
        self.process = process = await trio.lowlevel.open_process(
            [*self.rehearsal.child, os.fspath(profile)],
            stdin=subprocess.PIPE,  # closed when this process ends; the run then ends as well
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(self.folder / "state", self.password),
            start_new_session=True,  # so that a Ctrl-C on the terminal reaches only this process
        )
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            async with process.stdin, process.stderr:
                await self._read_lines(number, process.stderr, lines)
            code = await process.wait()
        finally:
            process.kill()  # no effect if it has ended
            with trio.CancelScope(shield=True):
                await process.wait()
        happened = tuple(dict.fromkeys(one.fault for one in plan.happened if one.run == number))
        code = 128 - code if code < 0 else code  # the exit code that a shell reports for a signal
        seconds = time.monotonic() - began
        return Run(number, code, seconds, tuple(lines[-_LINES:]), happened, await trio.to_thread.run_sync(shown))

    async def _read_lines(self, number: int, stream: trio.abc.ReceiveStream, lines: list[str]) -> None:
        rest = b""
        async for chunk in stream:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                self._add_line(number, line.decode(errors="replace"), lines)
        self._add_line(number, rest.decode(errors="replace"), lines)

    def _add_line(self, number: int, line: str, lines: list[str]) -> None:
        if line:
            lines.append(line)
            self.observe(Said(number, line))

    def _kill(self) -> None:
        """Kill the current run. Called from the server's thread."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()


def _start(server: _Server) -> None:
    try:
        server.start()
    except ImportError as error:
        raise ProfileError(f"cannot start the embedded server: {error}") from None


def _environment(state: Path, password: str) -> Mapping[str, str]:
    """Return the environment of a run: without ``ACTORSYNC_`` variables, with its own journal directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACTORSYNC_")}
    return {**kept, "XDG_STATE_HOME": os.fspath(state), _PASSWORD: password}
