"""What was found out about uploads that a server refused, and how much may be tried to find out more."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import attrs
import trio

from actorsync.protocols.upload_diagnosis import Finding

__all__ = ["SMALL", "Trials", "small_content"]

#: More than servers keep back in a buffer (8 KiB, pyftpdlib), so that a full disk is noticed while they receive.
SMALL = 16 * 1024

_BELIEVED = 10.0  # seconds
_MOST = 16  # trials in that time
_REMEMBERED = 256  # directories
_SEVERAL = 3


def small_content(path: str, size: int) -> bytes:
    """Give what is tried to be stored: bytes that no file system makes smaller."""
    return hashlib.shake_128(path.encode("utf-8", "surrogateescape")).digest(size)


@attrs.define(eq=False)
class Trials:
    """What trials have shown, for a few seconds; shared by all connections to a server."""

    is_suspected: bool = False
    """An upload was never answered, and nobody has found out since whether the server can store anything."""
    _took: OrderedDict[str, None] = attrs.Factory(OrderedDict)
    _closed: set[str] = attrs.Factory(set)
    _found: OrderedDict[tuple[str | None, bool], tuple[float, Finding]] = attrs.Factory(OrderedDict)
    _begun: list[float] = attrs.Factory(list)
    _stopped: tuple[str, int] | None = None

    def note_taken(self, directory: str) -> None:
        """Remember that a directory takes files."""
        self._closed.clear()
        self._took[directory] = None
        self._took.move_to_end(directory)
        if len(self._took) > _REMEMBERED:
            self._took.popitem(last=False)

    def note_closed(self, directory: str) -> bool:
        """Remember that a directory takes nothing; say whether that goes for several now that took files before."""
        if directory in self._took:
            self._closed.add(directory)
        return len(self._closed) >= _SEVERAL

    def recall(self, directory: str, *, is_begun: bool) -> Finding | None:
        """Give what is known of uploads to a directory that are refused at this point; None for nothing."""
        for key in ((None, is_begun), (directory, is_begun)):
            found = self._found.get(key)
            if found is not None and trio.current_time() < found[0]:
                return found[1]
        return None

    @property
    def is_full(self) -> bool:
        """Whether the target was seen to be full just now."""
        found = (self._found.get((None, is_begun)) for is_begun in (False, True))
        return any(one is not None and trio.current_time() < one[0] for one in found)

    def note(self, directory: str, finding: Finding, *, is_begun: bool) -> None:
        """Remember what was found: a full target for all directories, anything else for this one."""
        key = (None if finding is Finding.FULL else directory, is_begun)
        self._found.pop(key, None)
        self._found[key] = trio.current_time() + _BELIEVED, finding
        if len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)

    def may_try(self) -> bool:
        """Say whether one more trial is allowed, and count it."""
        now = trio.current_time()
        self._begun = [begun for begun in self._begun if now - begun < _BELIEVED]
        if len(self._begun) >= _MOST:
            return False
        self._begun.append(now)
        return True

    def stops_again(self, path: str, stored: int | None) -> bool:
        """Whether the last file that was refused is this one, and came exactly as far."""
        before, self._stopped = self._stopped, (path, stored or 0)
        return before == self._stopped
