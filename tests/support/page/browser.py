"""A headless Chromium, driven over its own protocol (CDP) on two pipes: no driver, no port, no package.

The pipes are those of ``--remote-debugging-pipe``: descriptor 3 takes commands, descriptor 4 gives replies and events,
each a JSON text that ends with a null byte. Source: https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

__all__ = ["Browser", "Page", "installed_browser", "open_browser"]

#: Debian's names, the smallest first.
_NAMES: Final = ("chromium-headless-shell", "chromium", "google-chrome")

_OPTIONS: Final = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers give it 64 MB
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-proxy-server",
)

#: Moves the two pipes to the descriptors that the browser uses, and becomes the browser.
_LAUNCHER: Final = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(read, 3)
os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""

#: How long a page may take to come to a state. Far more than it needs: a run with a fault ends with a message.
_PATIENCE: Final = 60.0


def installed_browser() -> str | None:
    """Return the path of a Chromium that is installed, or None."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@attrs.define(eq=False)
class Browser:
    """A running browser. Each command waits for its reply."""

    _commands: trio.lowlevel.FdStream
    _replies: trio.lowlevel.FdStream
    _waiting: dict[int, _Reply] = attrs.Factory(dict)
    _pages: dict[str, Page] = attrs.Factory(dict)
    _sent: int = 0

    async def call(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """Return the result of a command.

        Raises:
            RuntimeError: the browser refused it.
        """
        self._sent += 1
        reply = self._waiting[self._sent] = _Reply()
        command = {"id": self._sent, "method": method, "params": parameters}
        if session is not None:
            command["sessionId"] = session
        await self._commands.send_all(json.dumps(command).encode() + b"\0")
        await reply.came.wait()
        if "error" in reply.message:
            raise RuntimeError(f"{method}: {reply.message['error']}")
        result: dict[str, Any] = reply.message["result"]
        return result

    async def page(self, url: str, *, width: int = 1200, scheme: str = "light", zone: str = "UTC") -> Page:
        """Return a new page that is going to ``url``, in a window of this width, in colours of this scheme.

        What it requests and complains of is kept from its beginning.
        """
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.call(f"{domain}.enable")
        await page.resize(width, 700)
        await page.prefer(scheme)
        await page.call("Emulation.setTimezoneOverride", timezoneId=zone)
        await page.call("Page.navigate", url=url)
        return page

    async def read(self) -> None:
        """Hand on replies and events until the browser closes its pipe."""
        rest = b""
        async for chunk in self._replies:
            *messages, rest = (rest + chunk).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self._waiting.pop(message["id"]).set(message)
                elif (page := self._pages.get(message.get("sessionId", ""))) is not None:
                    page.note(message["method"], message["params"])


@attrs.define(eq=False)
class _Reply:
    came: trio.Event = attrs.Factory(trio.Event)
    message: dict[str, Any] = attrs.Factory(dict)

    def set(self, message: dict[str, Any]) -> None:
        self.message = message
        self.came.set()


@attrs.define(eq=False)
class Page:
    """One page of a browser. ``complaints`` holds errors and warnings, ``requests`` the URLs that it asked for."""

    browser: Browser
    session: str
    complaints: list[str] = attrs.Factory(list)
    requests: list[str] = attrs.Factory(list)

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Return the result of a command for this page."""
        return await self.browser.call(method, self.session, **parameters)

    async def get(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; a promise is waited for."""
        result = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true. Looks again after each change of the page."""
        with trio.move_on_after(_PATIENCE):
            await self.get(
                "new Promise((done) => { const look = () => { try { if (%s) return done(true); } catch {} "  # noqa: UP031
                "setTimeout(look, 20); }; look(); })" % expression
            )
            return
        raise AssertionError(f"never true: {expression}; the page says: {await self.text()}")

    async def text(self) -> str:
        """Return what a reader sees."""
        seen: str = await self.get("document.body.innerText")
        return seen

    async def click(self, selector: str) -> None:
        """Click on the first element that fits."""
        await self.get(f"document.querySelector({json.dumps(selector)}).click()")

    async def press(self, key: str, code: int) -> None:
        """Press and release a key of the keyboard."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    async def resize(self, width: int, height: int) -> None:
        """Set the size of the window."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", **size)

    async def prefer(self, scheme: str) -> None:
        """Set the colours that the user prefers: "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def picture(self, path: Path) -> None:
        """Write a picture of the whole page."""
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {**{name: size[name] for name in ("x", "y", "width", "height")}, "scale": 1}
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        await trio.Path(path).write_bytes(base64.b64decode(shot["data"]))

    def note(self, method: str, told: dict[str, Any]) -> None:
        """Take note of an event."""
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(told["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "warning", "assert"):
                self.complaints.append(str(told["args"]))
            case "Log.entryAdded" if told["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")


@asynccontextmanager
async def open_browser(folder: Path) -> AsyncIterator[Browser]:
    """Run a browser that keeps its files in ``folder``, which may be empty or missing."""
    program = installed_browser()
    assert program is not None, "no browser: run .ci/install-servers, or apt-get install chromium-headless-shell"
    its_end, our_commands = os.pipe()
    our_replies, other_end = os.pipe()
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    arguments = [program, *_OPTIONS, *root, f"--user-data-dir={folder}", "about:blank"]
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", _LAUNCHER, str(its_end), str(other_end), *arguments],
        pass_fds=(its_end, other_end),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(its_end)
    os.close(other_end)
    async with trio.lowlevel.FdStream(our_commands) as commands, trio.lowlevel.FdStream(our_replies) as replies:
        browser = Browser(commands, replies)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(browser.read)
            try:
                yield browser
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(10):
                    await browser.call("Browser.close")
                    await process.wait()
                if process.returncode is None:
                    process.kill()
                    with trio.CancelScope(shield=True):
                        await process.wait()
                nursery.cancel_scope.cancel()
