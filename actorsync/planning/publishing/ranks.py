"""Ranks: which files arrive after which others, so that a page never arrives before what it needs.

Pure: a path in, a number out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from actorsync.classes import frozen
from actorsync.model.entry import name_of
from actorsync.planning.selection import Selection

__all__ = ["DEFAULT", "NONE", "Ranks"]

#: What pages load: style sheets, scripts, fonts, pictures, sound, and what they lead to. None of it loads a page.
_ASSETS: Final = (
    *("css", "js", "mjs", "cjs", "map", "wasm", "woff", "woff2", "ttf", "otf", "eot"),
    *("png", "apng", "jpg", "jpeg", "gif", "svg", "webp", "avif", "jxl", "ico", "cur", "bmp"),
    *("mp3", "mp4", "m4a", "m4v", "mov", "ogg", "oga", "ogv", "opus", "flac", "aac", "webm", "wav", "vtt"),
    *("pdf", "zip"),
)
#: What a visitor opens, and data that names assets: the payloads of Next (``.txt``) and Gatsby (``page-data.json``),
#: playlists of videos, the index of a search.
_PAGES: Final = (
    *("html", "htm", "xhtml", "shtml", "php", "php5", "phtml", "phar", "asp", "aspx", "jsp", "cgi"),
    *("json", "txt", "xml", "xsl", "m3u8", "mpd"),
)
#: What a visitor, a browser, a server or a reader of feeds asks for first, to find the others.
_ENTRANCES: Final = (
    *("sw.js", "service-worker.js", "serviceworker.js", "registersw.js", "firebase-messaging-sw.js"),
    *("ngsw.json", "ngsw-worker.js"),  # Angular
    *("manifest.json", "asset-manifest.json", "mix-manifest.json", "site.webmanifest", "browserconfig.xml"),
    *("feed.xml", "rss.xml", "atom.xml", "feed.json", "sitemap.xml", "sitemap_index.xml", "robots.txt", "llms.txt"),
    *(".htaccess", "web.config", "_redirects", "_headers", "_worker.js", "cname"),
)
#: Endings of entrances.
_ENTRANCE_ENDINGS: Final = ("webmanifest", "rss", "atom", "appcache")
#: Endings of a file that a server sends instead of the one without: ``index.html.br`` has the rank of ``index.html``.
_COMPRESSED: Final = (".gz", ".br", ".zst")
#: The ranks of `DEFAULT`.
_ASSET, _OTHER, _PAGE, _ENTRANCE = range(4)
_NAMES: Final = ("assets", "other files", "pages", "entrances")
_RANKS: Final[Mapping[str, int]] = {
    **dict.fromkeys((f".{ending}" for ending in _ASSETS), _ASSET),
    **dict.fromkeys((f".{ending}" for ending in _PAGES), _PAGE),
    **dict.fromkeys((f".{ending}" for ending in _ENTRANCE_ENDINGS), _ENTRANCE),
    **dict.fromkeys((f"index.{ending}" for ending in _PAGES), _ENTRANCE),
    **dict.fromkeys(_ENTRANCES, _ENTRANCE),
}


@frozen
class Ranks:
    """The ranks of files. ``order`` holds a selection for each rank but the first; None for the built-in ranks.

    A path has the last rank whose patterns match it, or a directory above it. What no pattern matches has the first
    rank, 0.
    """

    order: tuple[Selection, ...] | None = None

    @classmethod
    def of_patterns(cls, order: Sequence[Sequence[str]]) -> Ranks:
        """Return the ranks of lists of patterns in gitignore syntax. Raises ``ValueError`` for a bad pattern."""
        return cls(tuple(Selection(exclude=patterns) for patterns in order))

    @property
    def count(self) -> int:
        """The number of ranks."""
        return 4 if self.order is None else len(self.order) + 1

    @property
    def names(self) -> tuple[str, ...]:
        """What each rank is called."""
        numbers = range(1, self.count + 1)
        return _NAMES if self.order is None else tuple(f"rank {number}" for number in numbers)

    @property
    def together(self) -> int:
        """How many of the first ranks need not wait for each other: what is in them loads nothing from the others.

        Of the built-in ranks, assets and other files. So the files of a backup are sent while the scan goes on.
        """
        return 2 if self.order is None else 1

    def of(self, path: str) -> int:
        """Return the rank of a file. All files of a lower rank arrive before it."""
        if self.order is None:
            return _built_in(name_of(path).casefold())
        for rank in range(len(self.order), 0, -1):
            if self.order[rank - 1].hides(path, is_directory=False):
                return rank
        return 0


def _built_in(name: str) -> int:
    while name.endswith(_COMPRESSED):
        name = name.rpartition(".")[0]
    _, dot, ending = name.rpartition(".")
    return _RANKS.get(name, _RANKS.get(dot + ending, _OTHER))


#: Assets and other files, then pages, then ``index.*``, service workers, feeds and manifests.
DEFAULT: Final = Ranks()
#: Every file has the same rank.
NONE: Final = Ranks(())
