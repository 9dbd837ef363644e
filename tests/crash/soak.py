"""Soak test: mirror a changing source for a long time over a network that fails, and measure memory and descriptors.

    python -m tests.crash.soak --minutes 30
    python -m tests.crash.soak --minutes 120 --watch --reconnect 60

One process mirrors one source repeatedly (`run_forever`, with journal files) to ProFTPD over FTP and to OpenSSH over
SFTP at the same time. With ``--watch`` it follows one change a second, and compares everything each ten minutes.
Proxies reset all connections every ``--reconnect`` seconds. The process samples its own use of resources, and compares
the first quarter of the time with the last one.

The exit code is 1 when memory or the number of descriptors grew, when a server had a file that is not whole, or when a
mirror is not exact at the end. It is 2 when the servers cannot run.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import random
import re
import statistics
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import attrs
import trio

from actorsync.actors.shutdown import Shutdown
from actorsync.cli.process.malloc import share_one_heap
from actorsync.model.event import Event, Stopped
from actorsync.model.report import Report
from actorsync.profile import Profile, load_profile
from actorsync.runs.options import options_for
from actorsync.runs.repeating.repeat import run_forever
from actorsync.runs.runner import run_once
from actorsync.testing.network.faults import How
from actorsync.testing.network.ftp_proxy import FaultProxy, open_fault_proxy
from actorsync.testing.network.proxy import open_wire_proxy
from actorsync.testing.servers.command_log import Command
from tests.support import FtpTarget
from tests.support.mirror import contents, temporaries
from tests.support.observer import Observer, forbidden_commands, self_evident
from tests.support.servers import debian_servers, ssh_servers
from tests.support.servers.ssh_target import SshTarget

__all__ = ["Settings", "soak"]

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MIB, _KIB = 1 << 20, 1 << 10
_FOLDER = "site"


@attrs.frozen
class Settings:
    """Duration, rate of faults and limits. Times are in seconds."""

    seconds: float
    reconnect: float = 30.0
    files: int = 300
    growth: float = 0.05
    """The share by which memory may grow."""
    descriptors: int = 4
    """How many more descriptors may be open at the end."""
    traces: int = 0
    """How many places in the code with the largest growth to print, by tracemalloc."""
    seed: int = 1
    is_watching: bool = False
    """Whether changes are followed, instead of a pass over everything each second."""

    @property
    def changes(self) -> int:
        """How many files change each second."""
        return 1 if self.is_watching else self.files // 30

    @property
    def warm_up(self) -> float:
        """Time at the beginning that is not measured: imports, first connections, pools that fill."""
        return min(90.0, 0.2 * self.seconds)

    @property
    def interval(self) -> float:
        """Time between two samples."""
        return min(5.0, max(0.1, self.seconds / 200))


@attrs.frozen
class Sample:
    """The resources of the process at one moment. ``memory`` is in MiB, ``journal`` in KiB."""

    at: float
    memory: float
    blocks: int
    """Memory blocks allocated by Python. When memory grows and these do not, the cause is the allocator."""
    descriptors: int
    threads: int
    tasks: int
    journal: float

    @classmethod
    def taken(cls, began: float, state: Path) -> Sample:
        """Take a sample now. ``state`` is the folder of the journals."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sizes = [_size(path) for path in state.rglob("*")]
        return cls(
            at=trio.current_time() - began,
            memory=pages * _PAGE / _MIB,
            blocks=sys.getallocatedblocks(),
            descriptors=len(os.listdir("/proc/self/fd")),
            threads=threading.active_count(),
            tasks=trio.lowlevel.current_statistics().tasks_living,
            journal=sum(sizes) / _KIB,
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class Source:
    """A few hundred files that change all the time, with contents of `self_evident`."""

    def __init__(self, root: Path, files: int, rng: random.Random) -> None:
        self.root, self.rng = root, rng
        self._spare = root.parent / "spare"  # a file is written here and renamed, so that the source has no half file
        self._spare.mkdir()
        self._number = 0
        self.changes = 0
        self.files = [self.new() for _ in range(files)]

    def new(self) -> str:
        """Write a new file and return its path."""
        self._number += 1
        path = f"d{self._number % 7}/e{self._number % 3}/{self._number}"
        self.write(path)
        return path

    def write(self, path: str) -> None:
        """Write new content to a file; about one in twenty is big."""
        size = self.rng.randrange(2 * _MIB) if self.rng.random() < 0.05 else self.rng.randrange(40 * _KIB)
        spare, final = self._spare / "next", self.root / path
        spare.write_bytes(self_evident(path, size, self.rng))
        final.parent.mkdir(parents=True, exist_ok=True)
        spare.rename(final)

    def change(self, count: int) -> None:
        """Change this many files: rewrite about half, and replace the others by new files."""
        for index in self.rng.sample(range(len(self.files)), count):
            self.changes += 1
            if self.rng.random() < 0.5:
                self.write(self.files[index])
            else:
                (self.root / self.files[index]).unlink()
                self.files[index] = self.new()


@attrs.define(eq=False)
class Mirror:
    """One mirror on one server, with the results of its passes."""

    name: str
    profile: Profile
    root: Path
    cut: Callable[[How], int]
    proxy: FaultProxy | None = None  # for FTP: has a command log
    passes: int = 0
    copied: int = 0
    cuts: int = 0
    reconnects: int = 0
    codes: Counter[int] = attrs.Factory(Counter)
    wrong: list[str] = attrs.Factory(list)
    errors: Counter[str] = attrs.Factory(Counter)

    def see(self, event: Event) -> None:
        """Count the results of a pass. Events are not kept, because they would use memory."""
        if isinstance(event, Stopped):
            report = event.report
            self.passes += 1
            self.copied += report.copied
            self.reconnects += report.reconnects
            self.codes[report.exit_code] += 1
            self.errors.update(reason for _, reason in report.failures)
            if report.error:
                self.errors[report.error] += 1
            self._check_commands()

    def _check_commands(self) -> None:
        if self.proxy is not None:
            mutating = self.proxy.mutating
            self.wrong += forbidden_commands(mutating, f"/{_FOLDER}", recorded=_of_the_source(mutating))
            self.proxy.commands.clear()
            self.proxy.answers.clear()
            self.proxy.fired.clear()


def _of_the_source(commands: Sequence[Command]) -> list[str]:
    """Return the paths in these commands that the source may have had, so that they may be removed."""
    paths = [command.argument.removeprefix(f"/{_FOLDER}/") for command in commands]
    return [path for path in paths if re.fullmatch(r"d\d(/e\d(/\d+)?)?", path)]


@attrs.define(eq=False)
class Soak:
    """A whole soak test."""

    settings: Settings
    source: Source
    mirrors: Sequence[Mirror]
    state: Path
    samples: list[Sample] = attrs.Factory(list)
    looks: int = 0
    faults: list[str] = attrs.Factory(list)

    async def run(self) -> None:
        """Run for the given time, drain, and mirror once more without faults."""
        shutdown = Shutdown(drain_seconds=60.0)
        first = last = None
        async with trio.open_nursery() as mirrors:
            for mirror in self.mirrors:
                mirrors.start_soon(self._mirror, mirror, shutdown)
            async with trio.open_nursery() as others:
                for background_task in (self._change, self._cut, self._sample, self._observe):
                    others.start_soon(background_task)
                await trio.sleep(self.settings.warm_up)
                first = self._traced()
                await trio.sleep(self.settings.seconds - self.settings.warm_up)
                last = self._traced()
                others.cancel_scope.cancel()
            shutdown.drain()
        if first is not None and last is not None:
            for line in last.compare_to(first, "traceback")[: self.settings.traces]:
                print(line, *line.traceback.format(6), sep="\n  ")
        for mirror in self.mirrors:
            await self._finish(mirror)

    def _traced(self) -> tracemalloc.Snapshot | None:
        if not self.settings.traces:
            return None
        gc.collect()
        print(f"traced: {tracemalloc.get_traced_memory()[0] / _MIB:.1f} MiB")
        return tracemalloc.take_snapshot()

    async def _mirror(self, mirror: Mirror, shutdown: Shutdown) -> None:
        code = await run_forever(mirror.profile, options_for(mirror.profile, shutdown=shutdown, observers=[mirror.see]))
        if not shutdown.draining.is_set():
            self.faults.append(f"{mirror.name}: ended before it was stopped, with {code}: {dict(mirror.errors)}")

    async def _finish(self, mirror: Mirror) -> None:
        """Mirror once more without faults, and compare."""
        report: Report = await run_once(mirror.profile, options_for(mirror.profile, observers=[mirror.see]))
        if report.exit_code != 0:
            self.faults.append(f"{mirror.name}: the last pass ended with {report.exit_code}: {report}")
        if contents(mirror.root) != contents(self.source.root):
            self.faults.append(f"{mirror.name}: the mirror is not exact")
        if left := temporaries(mirror.root):
            self.faults.append(f"{mirror.name}: left behind: {left}")
        self.faults += [f"{mirror.name}: {wrong}" for wrong in mirror.wrong]

    # Background tasks.

    async def _change(self) -> None:
        while True:
            self.source.change(self.settings.changes)  # not in a thread: each thread keeps an arena of memory
            await trio.sleep(min(1.0, self.settings.reconnect / 4))

    async def _cut(self) -> None:
        while True:
            await trio.sleep(self.settings.reconnect)
            for mirror in self.mirrors:
                while not mirror.cut("rst"):  # noqa: ASYNC110 - between two passes there is no connection to cut
                    await trio.sleep(0.01)
                mirror.cuts += 1

    async def _sample(self) -> None:
        began = trio.current_time()
        while True:
            self.samples.append(Sample.taken(began, self.state))
            await trio.sleep(self.settings.interval)

    async def _observe(self) -> None:
        while True:
            for mirror in self.mirrors:
                observer = Observer(mirror.root)  # a new one: it remembers every file, which would use memory
                observer.look()
                self.looks += 1
                mirror.wrong += observer.wrong
            await trio.sleep(self.settings.interval)

    # Results.

    def verdict(self) -> list[str]:
        """Return what is wrong, as text; an empty list when the test passed."""
        first, last = self._quarters()
        allowed = self.settings.growth
        faults = list(self.faults)
        memory_then, memory_now = (_median(quarter, "memory") for quarter in (first, last))
        if memory_now > memory_then * (1 + allowed):
            faults.append(f"memory grew by {memory_now / memory_then - 1:.1%}; the limit is {allowed:.0%}")
        if (more := _median(last, "descriptors") - _median(first, "descriptors")) > self.settings.descriptors:
            faults.append(f"{more:.0f} more descriptors are open")
        faults += [f"{mirror.name}: no pass ended with exit code 0" for mirror in self.mirrors if not mirror.codes[0]]
        return faults

    def _quarters(self) -> tuple[list[Sample], list[Sample]]:
        warm = [sample for sample in self.samples if sample.at >= self.settings.warm_up]
        quarter = max(1, len(warm) // 4)
        return warm[:quarter], warm[-quarter:]

    def table(self) -> str:
        """Format the samples of the first and the last quarter of the time, and the work done."""
        first, last = self._quarters()
        lines = [f"{'':14}{'first quarter':>22}{'last quarter':>22}{'':>10}"]
        lines += [f"{'':14}{'median':>11}{'max':>11}{'median':>11}{'max':>11}{'growth':>10}"]
        for name, unit in (
            ("memory", "MiB"),
            ("blocks", ""),
            ("descriptors", ""),
            ("threads", ""),
            ("tasks", ""),
            ("journal", "KiB"),
        ):
            then, now = _median(first, name), _median(last, name)
            cells = (then, _most(first, name), now, _most(last, name))
            shown = "".join(f"{cell:>11.1f}" for cell in cells)
            lines.append(f"{f'{name} {unit}':14}{shown}{now / then - 1 if then else 0:>+10.1%}")
        lines.append(
            f"{len(self.samples)} samples, {self.source.changes} changes of files, {self.looks} looks at disks"
        )
        for mirror in self.mirrors:
            lines.append(
                f"{mirror.name}: {mirror.passes} passes (exit codes {dict(mirror.codes)}), {mirror.copied} files sent, "
                f"cut {mirror.cuts} times, {mirror.reconnects} reconnects"
            )
            lines += [f"  {count} x {reason}" for reason, count in mirror.errors.most_common(5)]
        return "\n".join(lines)


def _median(samples: Sequence[Sample], name: str) -> float:
    return float(statistics.median(getattr(sample, name) for sample in samples))


def _most(samples: Sequence[Sample], name: str) -> float:
    return float(max(getattr(sample, name) for sample in samples))


# ---- servers, proxies and profiles


@contextlib.asynccontextmanager
async def _mirrors(folder: Path, source: Path, how: str) -> AsyncIterator[list[Mirror]]:
    """Start both servers, each behind a proxy and with an empty folder to mirror to."""
    with contextlib.ExitStack() as stack:
        places = {name: folder / name for name in ("ftp", "sftp")}
        for place in places.values():
            (place / "root" / _FOLDER).mkdir(parents=True)
        ftp = stack.enter_context(debian_servers.debian_server("proftpd", places["ftp"] / "root", places["ftp"])).target
        sftp = stack.enter_context(ssh_servers.openssh_server(places["sftp"] / "root", places["sftp"])).target
        for target in (ftp, sftp):
            target.adopt()
        async with open_fault_proxy((ftp.host, ftp.port)) as proxy, open_wire_proxy((sftp.host, sftp.port)) as wire:
            login = f'password = "{ftp.password}"'
            keys = f'key-file = "{sftp.client_key}"\nknown-hosts = "{sftp.known_hosts}"'
            yield [
                Mirror(
                    "proftpd",
                    _profile(folder, source, ftp, proxy.host, f"{login}\n{how}"),
                    ftp.root / _FOLDER,
                    proxy.cut,
                    proxy,
                ),
                Mirror(
                    "openssh",
                    _profile(folder, source, sftp, wire.host, f"{keys}\n{how}"),
                    sftp.root / _FOLDER,
                    wire.cut,
                ),
            ]


#: How the passes of a mirror follow one another, as the last lines of its profile are the table ``[sync]``.
_EVERY = '[sync]\nevery = "1s"'
_WATCHING = '[watch]\nreconcile-every = "10m"\n[sync]\nwatch = true'


def _profile(folder: Path, source: Path, server: FtpTarget | SshTarget, host: str, more: str) -> Profile:
    url = server.url(_FOLDER).replace(server.host, host)
    path = folder / f"{server.name}.toml"
    path.touch(0o600)
    path.write_text(
        f'[source]\npath = "{source}"\n[target]\nurl = "{url}"\n{more}\n'
        'connections = 3\ndelete = true\nmax-delete = "100%"\n'
    )
    return load_profile(path)


async def soak(settings: Settings, folder: Path) -> tuple[str, list[str]]:
    """Run the test; return the table and what is wrong. ``folder`` is empty, and the servers' user can reach it."""
    if settings.traces:
        tracemalloc.start(6)
    state = folder / "state"
    os.environ["XDG_STATE_HOME"] = os.fspath(state)
    source = Source(folder / "source", settings.files, random.Random(settings.seed))
    async with _mirrors(folder, source.root, _WATCHING if settings.is_watching else _EVERY) as mirrors:
        run = Soak(settings, source, mirrors, state)
        await run.run()
    return run.table(), run.verdict()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--reconnect", type=float, default=30.0, help="seconds between two resets of all connections")
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--growth", type=float, default=5.0, help="percent by which memory may grow")
    parser.add_argument("--descriptors", type=int, default=4, help="how many more descriptors may be open at the end")
    parser.add_argument("--traces", type=int, default=0, help="print this many places whose memory grew most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--watch", action="store_true", help="follow changes, one a second")
    asked = parser.parse_args(arguments)
    for missing in (debian_servers.available("proftpd"), ssh_servers.available(ssh_servers.OPENSSH)):
        if missing:
            print(missing, file=sys.stderr)
            return 2
    settings = Settings(
        asked.minutes * 60,
        asked.reconnect,
        asked.files,
        asked.growth / 100,
        asked.descriptors,
        asked.traces,
        asked.seed,
        asked.watch,
    )
    share_one_heap()  # as ``actorsync run`` does
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="actorsync-soak-") as name:
        Path(name).chmod(0o755)
        table, faults = trio.run(soak, settings, Path(name))
    print(table)
    print(f"took {time.monotonic() - began:.0f} s", *faults, sep="\n")
    print("FAILED" if faults else "passed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
