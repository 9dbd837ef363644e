"""Two network namespaces, and a line with a chosen round trip between them.

The peers run in ``near`` and the server in ``far``, so they and the rest of the machine do not affect each other. With
``loopback``, both are one namespace.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Link", "Unusable", "end_processes", "inside", "open_link"]

NEAR, FAR = "10.77.0.1", "10.77.0.2"
RELAY: Final = Path(__file__).with_name("wanlink.c")


class Unusable(Exception):
    """A requirement of the benchmark is missing. The message says how to get it."""


@attrs.frozen
class Link:
    near: str
    far: str
    address: str
    """The address at which the server listens."""
    kind: str


def inside(namespace: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", namespace, *command]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _works(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def end_processes(namespace: str, *, spare: int = 0) -> None:
    """Kill all processes in a namespace, except ``spare``. The benchmark started every process there."""
    for _ in range(100):
        listed = subprocess.run(["ip", "netns", "pids", namespace], check=False, capture_output=True, text=True)
        if not (pids := set(listed.stdout.split()) - {str(spare)}):
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.02)


@contextlib.contextmanager
def _namespace(name: str) -> Iterator[str]:
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        end_processes(name)
        _works("ip", "netns", "del", name)


def _netem(near: str, far: str, milliseconds: float) -> bool:
    """Make a veth pair with a netem delay on both ends. Return False when the kernel has no netem or no veth."""
    if not shutil.which("tc"):
        return False
    if not _works("ip", "-n", near, "link", "add", "wan0", "type", "veth", "peer", "wan1", "netns", far):
        return False
    delay = ["root", "netem", "delay", f"{milliseconds / 2}ms", "limit", "100000"]
    if all(
        _works("tc", "-n", namespace, "qdisc", "add", "dev", device, *delay)
        for namespace, device in ((near, "wan0"), (far, "wan1"))
    ):
        return True
    _run("ip", "-n", near, "link", "del", "wan0")
    return False


@contextlib.contextmanager
def _relay(near: str, far: str, milliseconds: float, scratch: Path) -> Iterator[None]:
    """Make two TUN devices, and run a process that passes packets between them with a delay."""
    if not Path("/dev/net/tun").exists():
        raise Unusable("this kernel has neither netem nor /dev/net/tun; use --link loopback")
    if not (compiler := shutil.which("cc")):
        raise Unusable("this kernel has no netem, and the relay for it needs a compiler: apt install gcc libc6-dev")
    program = scratch / "wanlink"
    try:
        _run(compiler, "-O2", "-o", str(program), str(RELAY))
    except subprocess.CalledProcessError as error:
        raise Unusable(f"cc cannot compile {RELAY.name} (apt install libc6-dev): {error.stderr[:200]}") from None
    relay = subprocess.Popen(
        inside(near, str(program), "wan0", "wan1", str(int(milliseconds * 500))),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert relay.stdout is not None
        if relay.stdout.readline().strip() != "ready":
            raise Unusable("the TUN relay did not start, because TUN devices cannot be made; use --link loopback")
        _run("ip", "-n", near, "link", "set", "wan1", "netns", far)
        yield
    finally:
        relay.kill()
        relay.communicate()


@contextlib.contextmanager
def open_link(milliseconds: float | None, scratch: Path) -> Iterator[Link]:
    """Make the namespaces and the line, and remove both at the end of the block. None means loopback."""
    name = f"actorsync-bench-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        far = stack.enter_context(_namespace(f"{name}-far"))
        if milliseconds is None:
            yield Link(far, far, "127.0.0.1", "loopback")
            return
        near = stack.enter_context(_namespace(f"{name}-near"))
        kind = "netem"
        if not _netem(near, far, milliseconds):
            kind = "TUN relay"
            stack.enter_context(_relay(near, far, milliseconds, scratch))
        for namespace, device, address in ((near, "wan0", NEAR), (far, "wan1", FAR)):
            _run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", device)
            _run("ip", "-n", namespace, "link", "set", device, "mtu", "1500", "txqueuelen", "10000", "up")
        yield Link(near, far, FAR, kind)
