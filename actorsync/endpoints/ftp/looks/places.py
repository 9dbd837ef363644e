"""Where directories really are, as CWD and PWD show: a link leads to another place than its name says."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Iterable, Sequence

from actorsync.classes import frozen
from actorsync.endpoints.ftp.wire.connection import FtpConnection
from actorsync.model.entry import join, name_of, parent_of
from actorsync.protocols.ftp import dialogues
from actorsync.protocols.ftp.replies import checked
from actorsync.protocols.ftp.wire import command_line, why_unsendable

__all__ = ["Places", "is_same_place"]


@frozen
class Places:
    """Asks a server where directories are. Afterwards the session stands in the root."""

    _connection: FtpConnection

    async def walks(self, directory: str) -> bool:
        """Return whether the server walks along a path. ``directory`` exists, and is not the root. Asked once.

        Such a server goes from an existing directory to the one above it, and refuses to do so from one that does not
        exist. One that only reads the text accepts both.
        """
        known = self._connection.known
        if not known.has_cwd:
            return False
        if known.links.walks is None:
            missing = join(parent_of(directory), secrets.token_hex(8))
            lines = [f"{self._connection.at(path)}/.." for path in (directory, missing)]
            replies = await self._connection.control.play(
                dialogues.exchange([(command_line("CWD", path),) for path in (*lines, self._connection.at(""))])
            )
            there, nowhere, _ = (checked("CWD", reply) for reply in replies)
            known.links.walks = there.is_positive and 500 <= nowhere.code < 600
        return known.links.walks

    async def elsewhere(self, directories: Sequence[str]) -> set[str]:
        """Return those of the directories that are not in the directory above them: they are links.

        Another text alone is no proof, because servers may print a name in another form. So the server must also
        accept what it has printed, and be in that place then. Only for a server that walks along paths.
        """
        usable = [path for path in directories if path and not self._connection.fault(path)]
        places = await self._places([*(parent_of(path) for path in usable), *usable])
        doubtful: dict[str, str] = {}
        for path in usable:
            place, above = places[path], places[parent_of(path)]
            if place is None or above is None or why_unsendable(place) is not None:
                continue
            if not is_same_place(place, f"{above.rstrip('/')}/{name_of(path)}"):
                doubtful[path] = place
        if not doubtful:
            return set()
        shown = await self._entered(doubtful.values())
        return {path for path, place in doubtful.items() if shown[place] == place}

    async def enterable(self, paths: Sequence[str]) -> bool:
        """Return whether one of the paths can be entered as a directory."""
        usable = [path for path in paths if not self._connection.fault(path)]
        places = await self._places(usable)
        return any(place is not None for place in places.values())

    async def _places(self, paths: Iterable[str]) -> dict[str, str | None]:
        asked = list(dict.fromkeys(paths))
        shown = await self._entered(self._connection.at(path) for path in asked)
        return {path: shown[self._connection.at(path)] for path in asked}

    async def _entered(self, places: Iterable[str]) -> dict[str, str | None]:
        """Enter absolute paths, and return what PWD says in each; None for one that cannot be entered."""
        asked = list(dict.fromkeys(places))
        pairs = [(command_line("CWD", place), command_line("PWD")) for place in asked]
        back = (command_line("CWD", self._connection.at("")), command_line("PWD"))
        replies = await self._connection.control.play(dialogues.exchange([*pairs, back]))
        return dict(zip(asked, dialogues.whereabouts(replies), strict=False))


def is_same_place(place: str, expected: str) -> bool:
    """Return whether two texts name one directory. Servers differ in the case and the form of letters."""
    return _fold(place.replace("\\", "/").rstrip("/")) == _fold(expected.replace("\\", "/").rstrip("/"))


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
