"""Results of probes after refused uploads, and a limit on the number of probes."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import attrs
import trio

from actorsync.classes import define
from actorsync.protocols.upload_diagnosis import Finding

__all__ = ["SMALL", "ProbeCache", "small_content"]

#: The size of a probe file: more than the buffer of a server (8 KiB, pyftpdlib), so that a full disk shows at once.
SMALL = 16 * 1024

_BELIEVED = 10.0  # seconds for which a result is used
_MOST = 16  # probes in that time
_REMEMBERED = 256  # directories
_SEVERAL = 3


def small_content(path: str, size: int) -> bytes:
    """Return the content of a probe file: bytes that no file system can compress."""
    return hashlib.shake_128(path.encode("utf-8", "surrogateescape")).digest(size)


@define(eq=False)
class ProbeCache:
    """The results of probes, kept for a few seconds. All connections to a server share them."""

    is_suspected: bool = False
    """Whether an upload was never answered, and no later probe has shown that the server can store files."""
    _took: OrderedDict[str, None] = attrs.Factory(OrderedDict)
    _closed: set[str] = attrs.Factory(set)
    _found: OrderedDict[tuple[str | None, bool], tuple[float, Finding]] = attrs.Factory(OrderedDict)
    _begun: list[float] = attrs.Factory(list)
    _stopped: tuple[str, int] | None = None

    def note_taken(self, directory: str) -> None:
        """Record that a directory accepts files."""
        self._closed.clear()
        self._took[directory] = None
        self._took.move_to_end(directory)
        if len(self._took) > _REMEMBERED:
            self._took.popitem(last=False)

    def note_closed(self, directory: str) -> bool:
        """Record that a directory accepts no files; return whether several that did before no longer do."""
        if directory in self._took:
            self._closed.add(directory)
        return len(self._closed) >= _SEVERAL

    def recall(self, directory: str, *, is_begun: bool) -> Finding | None:
        """Return the known reason for refused uploads to a directory at this point of the transfer, or None."""
        for key in ((None, is_begun), (directory, is_begun)):
            found = self._found.get(key)
            if found is not None and trio.current_time() < found[0]:
                return found[1]
        return None

    @property
    def is_full(self) -> bool:
        """Whether a recent probe found the target full."""
        found = (self._found.get((None, is_begun)) for is_begun in (False, True))
        return any(one is not None and trio.current_time() < one[0] for one in found)

    def note(self, directory: str, finding: Finding, *, is_begun: bool) -> None:
        """Record a result: a full target counts for all directories, any other result for this one."""
        key = (None if finding is Finding.FULL else directory, is_begun)
        self._found.pop(key, None)
        self._found[key] = trio.current_time() + _BELIEVED, finding
        if len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)

    def may_try(self) -> bool:
        """Return whether one more probe is allowed, and count it."""
        now = trio.current_time()
        self._begun = [begun for begun in self._begun if now - begun < _BELIEVED]
        if len(self._begun) >= _MOST:
            return False
        self._begun.append(now)
        return True

    def stops_again(self, path: str, stored: int | None) -> bool:
        """Return whether this file was also the last refused one, with the same number of bytes stored."""
        before, self._stopped = self._stopped, (path, stored or 0)
        return before == self._stopped
