"""Write the pictures of the status page that the docs show: ``python -m tests.support.page.pictures``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import trio

from tests.support.page.browser import open_browser
from tests.support.page.server import serving
from tests.support.page.states import Json, many, running, status
from tests.support.root import ROOT

__all__ = ["PICTURES", "draw"]

FOLDER: Final = ROOT / "docs" / "images"

#: The pictures by name: what they show, the width of the window, and its colours.
PICTURES: Final[dict[str, tuple[Json, int, str]]] = {
    "status-page": (status(running("shop")), 1_000, "light"),
    "status-page-dark": (many(10), 1_000, "dark"),
}


async def draw(folder: Path, profile: Path) -> None:
    """Write all pictures into ``folder``. The browser keeps its files in ``profile``."""
    async with open_browser(profile) as browser:
        for name, (state, width, scheme) in PICTURES.items():
            async with serving(state) as server:
                page = await browser.page(server.url, width=width, scheme=scheme)
                await page.until("document.querySelector('.link.live') && document.querySelector('article')")
                await page.picture(folder / f"{name}.png")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        trio.run(draw, FOLDER, Path(scratch))
