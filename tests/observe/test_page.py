"""The status page in a real browser: what it shows, what it survives, and what it never does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from actorsync.model.text import display, duration_text, size_text
from actorsync.profile import Secret
from tests.support.cli_profile import start, write_profile
from tests.support.page.browser import Browser, Page, installed_browser, open_browser
from tests.support.page.server import serving
from tests.support.page.states import HOSTILE, NOW, Json, failed, many, mirror, run, running, status, watching
from tests.support.scenarios import write

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(installed_browser() is None, reason="no Chromium is installed; run .ci/install-servers"),
]

_SERVERS = Path(os.environ.get("ACTORSYNC_SERVERS") or Path.home() / ".cache" / "actorsync-servers")
_AXE = _SERVERS / "node" / "node_modules" / "axe-core" / "axe.min.js"

#: The end of each title, with a dash.
TITLE = " \u2013 actorsync"

IS_LIVE = "document.querySelector('.link.live')"


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """Return a browser that has never seen a page."""
    async with open_browser(tmp_path / "browser") as opened:
        yield opened


async def shown(browser: Browser, url: str) -> Page:
    """Return a page that is connected and shows its first state."""
    page = await browser.page(url)
    await page.until(f"{IS_LIVE} && document.querySelector('article')")
    return page


def says(text: str) -> str:
    """Return the expression that is true when the page shows ``text``, and never as markup."""
    return f"document.body.innerText.includes({text!r})"


async def test_page_shows_the_state_and_loads_nothing_from_elsewhere(browser: Browser) -> None:
    async with serving(status(running("shop"))) as server:
        page = await shown(browser, server.url)
        text = await page.text()
        assert "Running, 43 %" in text
        assert "5\u202f412 of 12\u202f840 files" in text
        assert "785.8 MiB of 1.8 GiB" in text
        assert "8.9 MiB/s" in text
        assert "1 min 58 s left" in text
        assert "assets/film/opening-1080p.mp4" in text
        assert await page.get("document.title") == f"Running, 43 %{TITLE}"
        assert (await page.get("document.getElementById('icon').href")).endswith("/page/icon-running.svg")
        assert {url for url in page.requests if not url.startswith(server.url)} == set()
        assert page.complaints == []


async def test_page_follows_each_change_of_the_state(browser: Browser) -> None:
    async with serving(status(running("shop"))) as server:
        page = await shown(browser, server.url)
        progress = running("shop")["progress"] | {"share": 0.8, "files_done": 10_000}
        server.tell(status(running("shop", progress=progress)))
        await page.until(says("Running, 80 %"))
        server.tell(status(failed("shop")))
        await page.until(says("archive/2026/shop-000.tar.gz"))
        assert "7 files failed" in await page.text()
        assert await page.get("document.title") == f"Failed{TITLE}"
        assert (await page.get("document.getElementById('icon').href")).endswith("/page/icon-failed.svg")
        assert page.complaints == []


async def test_steady_rate_is_a_straight_line_in_the_plot(browser: Browser) -> None:
    """The run takes a sample every two seconds, and a busy machine takes it late."""
    rates = [[NOW - 60 + 2 * number + number % 2, 1_000_000] for number in range(30)]
    async with serving(status(running("shop", rates=rates))) as server:
        page = await shown(browser, server.url)
        curve = await page.get("document.querySelector('.curve').getAttribute('d')")
        heights = [point.split()[1] for point in re.split("[ML]", curve)[1:]]
        assert heights == ["63.0", *["2.0"] * (len(heights) - 1)]
        assert "2 min ago" in await page.text()


async def test_times_are_those_of_the_reader(browser: Browser) -> None:
    async with serving(status(mirror("shop"))) as server:
        page = await browser.page(server.url, zone="Asia/Tokyo")
        await page.until(f"{IS_LIVE} && {says('started 2026-11-27 21:00:00')}")
        assert await page.get("document.querySelector('dd time').title") == "2026-11-30 20:56:58"


async def test_screen_readers_are_told_changes_of_state_and_not_progress(browser: Browser) -> None:
    told = "document.getElementById('told').textContent"
    async with serving(status(running("shop"))) as server:
        page = await shown(browser, server.url)
        server.tell(status(running("shop", progress=running("shop")["progress"] | {"share": 0.8})))
        await page.until(says("Running, 80 %"))
        assert await page.get(told) == ""
        server.tell(status(failed("shop")))
        await page.until(f"{told}.startsWith('shop, Failed, 7 files failed')")


async def test_page_says_that_the_connection_is_lost_and_comes_back_when_the_server_does(browser: Browser) -> None:
    async with serving(status(running("shop"))) as server:
        page = await shown(browser, server.url)
        assert page.complaints == []
    await page.until(says("Connection lost"))
    await page.until(says("state of"))
    assert await page.get("document.title") == f"Connection lost{TITLE}"
    assert (await page.get("document.getElementById('icon').href")).endswith("/page/icon-lost.svg")
    async with serving(status(mirror("shop")), server.port):
        await page.until(f"{IS_LIVE} && {says('In sync')}")
        assert await page.get("document.title") == f"In sync{TITLE}"


#: Lets time pass a hundred times as fast for the page.
FASTER = "const now = Date.now, begin = now(); Date.now = () => begin + (now() - begin) * 100;"
#: Lets it lose its patience sooner as well.
IMPATIENT = "const timeout = AbortSignal.timeout; AbortSignal.timeout = (time) => timeout.call(AbortSignal, time / 10);"


async def test_stream_that_tells_nothing_is_opened_again(browser: Browser) -> None:
    """A connection can be dead without either side having noticed: after sleep, or behind a router."""
    async with serving(status(mirror("shop"))) as server:
        page = await browser.page("about:blank")
        await page.call("Page.addScriptToEvaluateOnNewDocument", source=FASTER)
        await page.call("Page.navigate", url=server.url)
        await page.until(f"{IS_LIVE} && {says('In sync')}")
        for number in range(3):
            server.states.append(status(mirror(f"shop {number}")))
            await page.until(f"{IS_LIVE} && {says(f'shop {number}')}")
        assert page.requests.count(f"{server.url}events") > 1
        assert await page.get("document.getElementById('told').textContent") == "", "it was lost, and not only silent"
        assert page.complaints == []


async def test_page_needs_the_token_once(browser: Browser) -> None:
    async with serving(status(mirror("shop")), token=Secret("open sesame")) as server:
        page = await browser.page(f"{server.url}?token=open+sesame")
        await page.until(f"{IS_LIVE} && {says('In sync')}")
        assert await page.get("location.href") == server.url
        again = await shown(browser, server.url)
        assert "shop" in await again.text()
        port = server.port
    async with serving(status(mirror("shop")), port, token=Secret("another")):
        await again.until(says("the token is missing or wrong"))


#: Functions of the page, those of the command line, and values for both.
TEXTS: dict[str, tuple[Callable[..., str], list[object]]] = {
    "display": (display, [chr(code) for code in range(0x10000)]),
    "size": (size_text, [0, 1, 1023, 1024, 1025, 1_023_900, 1_024_000, 5_000_000, 2**30, 2**40, 2**45 + 1]),
    "duration": (duration_text, [0, 0.04, 3.14, 59.9, 59.96, 60, 61.2, 3_599.2, 3_599.7, 3_600, 7_265, 500_000]),
}


async def test_texts_are_those_of_the_command_line(browser: Browser) -> None:
    async with serving(status(mirror("shop"))) as server:
        page = await shown(browser, server.url)
        for name, (function, values) in TEXTS.items():
            call = f"import('./page/text.js').then((it) => {json.dumps(values)}.map((value) => it.{name}(value)))"
            assert await page.get(call) == [function(value) for value in values]


def hostile(name: str) -> Json:
    """Return a status that has a name in every place where a text is shown."""
    what = {"kind": name, "size": 1}
    entry = {"path": name, "reason": name, "since": NOW, "failures": 1, "retry_at": None, "was": what, "now": what}
    lists = {"failures": [entry], "parked": [entry], "drift": [entry], "conflicts": [entry]}
    last = run(60, exit_code=1, result=name, error=name)
    going = running("shop")["connections"][0] | {"path": name, "state": name}
    texts = {"source": name, "target": name, "reason": name, "last": last, "runs": [last], "connections": [going]}
    watch = {"how": name, "directories": 1, "why": name, "hinted_at": NOW}
    breaker = {"cause": name, "reason": name, "delay": 1}
    return status(running(name, watch=watch, breaker=breaker, **texts, **lists)) | {"version": name}


async def test_hostile_names_are_shown_as_text(browser: Browser) -> None:
    path = "document.querySelector('.failures .path')"
    async with serving(hostile("harmless")) as server:
        page = await shown(browser, server.url)
        before = await page.get("document.body.querySelectorAll('*').length")
        for name in HOSTILE:
            server.tell(hostile(name) | {"pid": len(name)})
            await page.until(says(f"process {len(name)} "))
            assert await page.get("document.body.querySelectorAll('*').length") == before, name
            assert await page.get("document.title") == f"Failed{TITLE}"
            text = await page.get(f"{path}.textContent")
            assert text == await page.get(f"{path}.title")
            assert {"\u202e", "\x1b", "\n", "\ufffd"}.isdisjoint(text)
            assert await page.get("document.documentElement.scrollWidth <= innerWidth"), name
        assert page.complaints == []


async def test_marks_that_reverse_text_are_shown_as_escapes(browser: Browser) -> None:
    failures = [{"path": "invoice\u202efdp.exe", "reason": "not UTF-8: \udcff"}]
    async with serving(status(failed(failures=failures))) as server:
        page = await shown(browser, server.url)
        text = await page.text()
        assert r"invoice\u202efdp.exe" in text
        assert r"not UTF-8: \xff" in text


async def test_mirrors_in_trouble_come_first_and_a_filter_finds_the_others(browser: Browser) -> None:
    names = "[...document.querySelectorAll('.name')].map((it) => it.textContent).join()"
    async with serving(many(10)) as server:
        page = await shown(browser, server.url)
        assert await page.get("document.title") == f"1 failed{TITLE}"
        assert (await page.get(names)).startswith("backup-nas,maps,fonts,shop,")
        await page.click(".chip.attention")
        await page.until(f"{names} === 'maps'")
        await page.click(".chip.all")
        await page.get(
            "(() => { const box = document.querySelector('input'); box.value = 'TICK'; "
            "box.dispatchEvent(new Event('input')); })()"
        )
        await page.until(f"{names} === 'tickets'")


async def test_keyboard_opens_a_mirror_and_focus_stays_when_it_moves(browser: Browser) -> None:
    focus = "document.activeElement.closest('article')?.querySelector('.name').textContent"
    async with serving(status(mirror("blog"), watching("docs"))) as server:
        page = await shown(browser, server.url)
        await page.get("document.querySelector('article:last-child button').focus()")
        await page.press("Enter", 13)
        await page.until(says("1\u202f204 directories by inotify"))
        server.tell(status(mirror("blog"), failed("docs")))
        await page.until("document.querySelector('article').matches('.failed.open')")
        assert await page.get(focus) == "docs"


async def test_change_of_one_mirror_touches_no_other(browser: Browser) -> None:
    """The cost of an update: with 50 mirrors of 100 failures each, only what is shown is built, and changed."""
    watch_changes = (
        "window.touched = new Set(); new MutationObserver((all) => all.forEach((it) => "
        "window.touched.add((it.target.closest ?? (() => it.target.parentElement)).call(it.target, 'article')"
        "?.querySelector('.name')?.textContent ?? 'head'))).observe("
        "document.getElementById('mirrors'), {subtree: true, childList: true, attributes: true})"
    )
    state = many(50, failures=100)
    async with serving(state) as server:
        page = await shown(browser, server.url)
        assert await page.get("document.querySelectorAll('*').length") < 3_000
        await page.click("article:nth-child(20) button")
        opened = "document.querySelectorAll('.failures tbody tr').length"
        await page.until(f"{opened} === 100")
        await page.get(watch_changes)
        changed = [it | {"name": it["name"], "last": run(5, copied=3)} for it in state["mirrors"]]
        changed[0] = failed("shop")
        others = state["mirrors"][1:]
        server.tell(state | {"mirrors": [changed[0], *others]})
        await page.until("document.querySelector('article.failed .name').textContent === 'shop'")
        assert set(await page.get("[...window.touched]")) <= {"shop", "head"}
        assert page.complaints == []


async def test_many_updates_at_once_end_with_the_last_one(browser: Browser) -> None:
    async with serving(many(50, failures=100)) as server:
        page = await shown(browser, server.url)
        for number in range(30):
            state = many(50, failures=100)
            state["mirrors"][0] = running("shop", progress=running()["progress"] | {"files_done": number})
            server.tell(state)
        await page.click("article button[aria-expanded=false]")
        server.tell(status(failed("last")))
        await page.until(says("last") + " && document.querySelectorAll('article').length === 1")
        assert page.complaints == []


STATES: dict[str, Json] = {
    "one": status(running(watch=watching()["watch"])),
    "many": many(10),
    "none": status(),
}


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 320)])
async def test_rules_of_accessibility_are_kept(browser: Browser, scheme: str, width: int) -> None:
    if not _AXE.exists():
        pytest.skip("axe-core is not installed; run .ci/install-servers")
    axe = await trio.Path(_AXE).read_text()
    violations = "axe.run().then((it) => it.violations.map((v) => `${v.id}: ${v.nodes[0].html}`))"
    for name, state in STATES.items():
        async with serving(state) as server:
            page = await browser.page(server.url, scheme=scheme, width=width)
            await page.until(f"{IS_LIVE} && !{says('Waiting for the state')}")
            await page.get("document.querySelector('article button')?.click()")
            await page.get(axe)
            assert await page.get(violations) == [], name
            assert await page.get("document.documentElement.scrollWidth") <= width, f"{name} is wider than the window"
            await page.get("document.querySelector('h1 span').style.color = '#8888'")
            assert [it.partition(":")[0] for it in await page.get(violations)] == ["color-contrast"], "axe sees nothing"


def test_page_is_small_and_loads_only_its_own_files() -> None:
    folder = Path(__file__).parents[2] / "actorsync" / "observe" / "page"
    texts = {path.name: path.read_text() for path in folder.iterdir()}
    assert sum(len(text.encode()) for text in texts.values()) < 40 * 1024
    for name, text in texts.items():
        outside = text.replace("http://www.w3.org/2000/svg", "")
        assert "//www" not in outside and "http" not in outside, name
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "eval(" not in text, name
    assert " style=" not in texts["index.html"] and "<script>" not in texts["index.html"]


async def test_page_shows_a_real_run_from_its_first_pass_to_its_end(browser: Browser, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    write(source / "index.html", b"hello")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    more = ('every = "1s"', "[observe]", f'listen = "127.0.0.1:{port}"')
    process = start("run", write_profile(source, str(target), *more))
    try:
        await until_it_listens(port)
        page = await browser.page("about:blank")
        await page.call("Page.addScriptToEvaluateOnNewDocument", source=FASTER + IMPATIENT)
        await page.call("Page.navigate", url=f"http://127.0.0.1:{port}/")
        await page.until(f"document.title === 'In sync{TITLE}' && !document.querySelector('li')")
        assert str(source) in await page.text()
        write(source / "new.html", b"more")
        await page.until("document.querySelector('.runs tbody').innerText.includes('\\t4 B\\t')")
        write(target / "blocked" / "theirs", b"by another program")
        write(source / "blocked", b"a file where the target has a directory")
        await page.until(f"document.title === 'Failed{TITLE}' && {says('1 file failed')}")
        assert page.complaints == []
        process.send_signal(signal.SIGSTOP)
        await page.until(says("the run does not answer"))
        process.send_signal(signal.SIGCONT)
        await page.until(IS_LIVE)
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.communicate()
    await page.until(says("Connection lost"))


async def until_it_listens(port: int) -> None:
    """Wait until a connection to a port of 127.0.0.1 is accepted."""
    while True:
        with contextlib.suppress(OSError):
            await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            return
        await trio.sleep(0.05)
