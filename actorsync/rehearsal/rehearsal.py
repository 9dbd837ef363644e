"""A rehearsal: the runs of a profile against a server inside this process, with faults, and a visitor who looks on.

The profile is the user's own, but for the server: that is an embedded one of the same protocol, in a temporary folder.
Each run is a process of its own, with a journal of its own, and is what ``actorsync run`` would be. The source is only
read; the real server is not contacted, no secret of the profile is looked up, and no journal but the rehearsal's is
opened.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from actorsync.errors import ProfileError
from actorsync.model.text import display, size_text
from actorsync.profile import EnvSecret, Profile
from actorsync.testing.servers.certificates import certificate_sha256, self_signed_certificate
from actorsync.testing.servers.faults import FaultPlan, ServerFault
from actorsync.testing.servers.ftp import EmbeddedFtpServer
from actorsync.testing.servers.sftp import EmbeddedSftpServer
from actorsync.testing.visitor import Seen, Version, Visitor

__all__ = ["MOST_RUNS", "Began", "Observer", "Rehearsal", "Result", "Run", "Said", "rehearse"]

#: How many runs there are at most.
MOST_RUNS: Final = 10
#: So many runs in a row that fail without a fault say that the next one would, too.
_HOPELESS: Final = 2
#: What a file takes on a disk besides its bytes, about.
_OVERHEAD: Final = 8192
#: The last lines that a run has said, at most.
_LINES: Final = 200

_SCHEMES: Final = ("ftp", "ftpes", "ftps", "sftp")
_USER: Final = "rehearsal"
_PASSWORD: Final = "ACTORSYNC_REHEARSAL"  # noqa: S105 - the name of a variable
_CHILD: Final = (sys.executable, "-m", "actorsync.cli.rehearsal_child")

_Server = EmbeddedFtpServer | EmbeddedSftpServer


@attrs.frozen
class Rehearsal:
    """What is rehearsed, and how.

    ``into`` is the folder in which a temporary one is made, by default the system's. ``from_nothing``: the server is
    empty at the beginning, and not an old version of the site. ``child`` starts a run, with one more argument.
    """

    profile: Profile
    faults: tuple[ServerFault, ...] = ()
    into: Path | None = None
    from_nothing: bool = False
    child: Sequence[str] = _CHILD


@attrs.frozen
class Began:
    """What takes part is known, and a run is about to begin."""

    files: int
    size: int
    folder: Path
    room: int
    """How many bytes the folder may grow to."""


@attrs.frozen
class Said:
    """A line that a run has said."""

    run: int
    line: str


@attrs.frozen
class Run:
    """One run: how it ended, and what it said."""

    number: int
    exit_code: int
    seconds: float
    lines: tuple[str, ...]
    faults: tuple[ServerFault, ...]
    """Those that happened meanwhile."""


@attrs.frozen
class Result:
    """What came of a rehearsal."""

    runs: tuple[Run, ...]
    plan: FaultPlan
    seen: Seen
    files: int
    """How many files take part."""
    size: int
    """How many bytes they have."""
    from_nothing: bool

    @property
    def is_whole(self) -> bool:
        """Whether a visitor saw every file whole, whenever he looked."""
        return self.seen.is_whole

    @property
    def has_converged(self) -> bool:
        """Whether the last run ended well, and the target is the source, with nothing left over."""
        is_source = self.seen.complete[-1] and not (self.seen.left or self.seen.strangers)
        return self.runs[-1].exit_code == 0 and is_source

    @property
    def exit_code(self) -> int:
        """0 when all is well, else 1."""
        return 0 if self.is_whole and self.has_converged else 1


#: Is shown what happens, as it happens; a `Run` when it has ended.
Observer = Callable[[Began | Said | Run], object]


async def rehearse(rehearsal: Rehearsal, observe: Observer) -> Result:
    """Run until the target is in sync, or it is of no use to go on. Cancelled, it leaves nothing behind.

    Raises `ProfileError` for what cannot be rehearsed.
    """
    _check(rehearsal)
    new = await trio.to_thread.run_sync(_take_stock, rehearsal.profile)
    into = _place_for(rehearsal, new)
    folder = Path(await trio.to_thread.run_sync(lambda: tempfile.mkdtemp(prefix="actorsync-rehearsal-", dir=into)))
    try:
        return await _Stage(rehearsal, new, folder, observe).perform()
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))


def _check(rehearsal: Rehearsal) -> None:
    profile = rehearsal.profile
    if profile.source.is_remote:
        raise _unfit(profile, "source.url", "a rehearsal needs a directory as its source, which it can look into")
    if profile.target.scheme not in _SCHEMES:
        known = "sftp://, ftpes://, ftps:// and ftp://"
        raise _unfit(profile, "target.url", f"there is no embedded server for this target; there is for {known}")


def _unfit(profile: Profile, key: str, reason: str) -> ProfileError:
    return ProfileError(f"{display(profile.path.name)}: {key}: {reason}")


def _take_stock(profile: Profile) -> Version:
    """Look at everything that takes part."""
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


def _place_for(rehearsal: Rehearsal, new: Version) -> Path:
    """Give the folder for a temporary one; `ProfileError` when it cannot be, or has not enough room."""
    into = rehearsal.into or Path(tempfile.gettempdir())
    source = os.path.realpath(rehearsal.profile.source.path)
    if not into.is_dir():
        raise ProfileError(f"--into {display(str(into))}: is not a directory; make it, or name another")
    if not os.access(into, os.W_OK | os.X_OK):
        raise ProfileError(f"--into {display(str(into))}: cannot be written to; name another directory")
    if os.path.commonpath([source, os.path.realpath(into)]) == source:
        raise ProfileError(f"the rehearsal would be inside the source ({display(str(into))}); name another: --into DIR")
    needed, free = _room_for(new), shutil.disk_usage(into).free
    if needed > free:
        has = f"{display(str(into))} has {size_text(free)}"
        raise ProfileError(f"a rehearsal needs {size_text(needed)}, and {has}; name another directory: --into DIR")
    return into.absolute()


def _room_for(new: Version) -> int:
    return new.size + _OVERHEAD * (2 * len(new.files) + 64)


@attrs.define(eq=False)
class _Stage:
    """A rehearsal that is going on in ``folder``."""

    rehearsal: Rehearsal
    new: Version
    folder: Path
    observe: Observer
    process: trio.Process | None = None
    password: str = attrs.field(factory=secrets.token_urlsafe, repr=False)
    """Others on this machine can connect to the server as well."""

    async def perform(self) -> Result:
        """Run until it is of no use to go on."""
        place = self.rehearsal.profile.target
        root = self.folder / "server"
        site = root / place.path.lstrip("/")
        old = await trio.to_thread.run_sync(self._set_up, root, site)
        visitor = Visitor(site, [old, self.new])
        plan = FaultPlan(self.rehearsal.faults, kill=self._kill, watch=lambda _: visitor.look_soon())
        server = self._server(root, place.scheme, plan)
        await trio.to_thread.run_sync(_start, server)
        try:
            profile = self.folder / "profile"
            profile.write_bytes(pickle.dumps(self._profile(server)))
            runs: list[Run] = []
            self.observe(Began(len(self.new.files), self.new.size, self.folder, _room_for(self.new)))
            with visitor.watching():
                while not runs or self._goes_on(runs):
                    runs.append(await self._run(len(runs) + 1, profile, plan))
                    self.observe(runs[-1])
                    visitor.look_soon()
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(server.stop)
        # Once more, now that nobody can change anything: sessions of runs that were killed are over.
        visitor.look()
        is_from_nothing = self.rehearsal.from_nothing
        return Result(tuple(runs), plan, visitor.seen(), len(self.new.files), self.new.size, is_from_nothing)

    def _set_up(self, root: Path, site: Path) -> Version:
        """Make the site as it is before the first run, and give that version."""
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
        """Give the user's profile, with this server in the place of his own."""
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
        return attrs.evolve(profile, target=place)

    def _goes_on(self, runs: Sequence[Run]) -> bool:
        """Whether another run may bring the target nearer to the source."""
        if runs[-1].exit_code == 0 or len(runs) == MOST_RUNS:
            return False
        return len(runs) < _HOPELESS or any(run.faults for run in runs[-_HOPELESS:])

    async def _run(self, number: int, profile: Path, plan: FaultPlan) -> Run:
        plan.begin(number)
        lines: list[str] = []
        began = time.monotonic()
        self.process = process = await trio.lowlevel.open_process(
            [*self.rehearsal.child, os.fspath(profile)],
            stdin=subprocess.PIPE,  # when it is closed because we are gone, so is the run
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(self.folder / "state", self.password),
            start_new_session=True,  # a Ctrl-C on the terminal is for us
        )
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            async with process.stdin, process.stderr:
                await self._listen(number, process.stderr, lines)
            code = await process.wait()
        finally:
            process.kill()  # does nothing when it has ended
            with trio.CancelScope(shield=True):
                await process.wait()
        happened = tuple(dict.fromkeys(one.fault for one in plan.happened if one.run == number))
        code = 128 - code if code < 0 else code  # of a signal, as a shell says it
        return Run(number, code, time.monotonic() - began, tuple(lines[-_LINES:]), happened)

    async def _listen(self, number: int, stream: trio.abc.ReceiveStream, lines: list[str]) -> None:
        rest = b""
        async for chunk in stream:
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                self._heard(number, line.decode(errors="replace"), lines)
        self._heard(number, rest.decode(errors="replace"), lines)

    def _heard(self, number: int, line: str, lines: list[str]) -> None:
        if line:
            lines.append(line)
            self.observe(Said(number, line))

    def _kill(self) -> None:
        """Kill the run that is going on. In the server's thread."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()


def _start(server: _Server) -> None:
    try:
        server.start()
    except ImportError as error:
        raise ProfileError(f"a rehearsal needs an embedded server: {error}") from None


def _environment(state: Path, password: str) -> Mapping[str, str]:
    """Give what a run has in its environment: nothing of the profile's, and a place of its own for the journal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACTORSYNC_")}
    return {**kept, "XDG_STATE_HOME": os.fspath(state), _PASSWORD: password}
