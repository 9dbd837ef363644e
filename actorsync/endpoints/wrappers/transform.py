"""Files that are transformed while they are read: a source behind transforms.

A `Transform` makes a stream from a stream, for some paths. `Transformed` wraps a source: opening such a path returns
the transformed content, which is produced a piece at a time and never held as a whole.

**What is known of such a file.** Its fingerprint is that of its source file, combined with the names of the transforms
(see ``actorsync.planning.fingerprint``): if either changes, the file is sent again. Its size is known at its end. So an
existing file of the target never counts as equal, and the journal records the size that the target reports.

**If a transform fails**, the file fails, with one line that names the transform, and the run goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeVar

import attrs
import trio

from actorsync.classes import frozen
from actorsync.endpoints.contract import Content, ReadSession, Source
from actorsync.endpoints.resuming import open_at
from actorsync.endpoints.wrappers.base import EndpointWrapper, ReadSessionWrapper
from actorsync.errors import TransformFailed
from actorsync.model.entry import Entry, Kind, join
from actorsync.model.row import CODES, ListingRows, Row, decode
from actorsync.model.text import display, shorten
from actorsync.planning.fingerprint import fingerprint
from actorsync.planning.selection import Selection

__all__ = ["Transform", "Transformed"]

T = TypeVar("T")

#: Small pieces from a transform are joined up to this size.
_GATHERED: Final = 16 * 1024
#: The largest piece that a transform receives at once, unless it asks for less.
_PIECE: Final = 64 * 1024
#: The number of characters shown of the reason for a failed transform.
_REASON: Final = 200
#: In place of the transforms of a path whose ``applies`` or ``origin`` fails: the file is sent, and the upload fails.
_UNTOLD: Final = "\0"


def _applies(applies: Callable[[str], bool] | Iterable[str]) -> Callable[[str], bool]:
    """Return a function of the path; patterns become one."""
    if callable(applies):
        return applies
    if isinstance(applies, str):
        raise TypeError("applies takes a list of patterns, not a str")  # a str is an iterable of letters
    selection = Selection(exclude=applies)
    return lambda path: selection.hides(path, is_directory=False)


@frozen(eq=False)
class Transform:
    """How the content of some files is made from their sources.

    ``name`` identifies the result: a file is sent again if the next run has another name for its transform. So a new
    version of a transform gets a new name (``"minify 2"``).

    ``applies`` selects the paths: lines in gitignore syntax, or a function of the path, which must be fast. If several
    transforms apply to a path, they apply one after the other, in the given order.

    ``wrap`` makes a stream from a stream. It is called at the first read. Its stream is read to the end, or closed
    before. It may raise any exception. It runs in the trio thread: slow work belongs in a worker thread.

    ``origin``, if given, returns the source file for a path that the source itself does not have: ``a.css`` for
    ``a.css.gz``. If that file is transformed as well, its transformed content is read.
    """

    name: str = attrs.field()
    applies: Callable[[str], bool] = attrs.field(converter=_applies)
    wrap: Callable[[trio.abc.ReceiveStream], trio.abc.ReceiveStream]
    origin: Callable[[str], str] | None = None

    @name.validator
    def _has_a_name(self, _: object, name: str) -> None:
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise ValueError(f"{name!r} is not a name for a transform; use one line of printable text")


def _failure_of(transform: Transform, error: BaseException) -> TransformFailed:
    """Return the error for a failed transform: one line with the reason."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TransformFailed):
        return error
    reason = shorten(display(str(error).strip().partition("\n")[0]), _REASON)
    told = f": {reason}" if reason else ""
    return TransformFailed(f"transform {transform.name!r} failed: {type(error).__name__}{told}")


@frozen
class _Recipe:
    """The source file of some content, and the transforms that make it, in order."""

    origin: str
    transforms: tuple[Transform, ...]

    @property
    def names(self) -> list[str]:
        return [transform.name for transform in self.transforms]


def _in_order(transforms: Iterable[Transform]) -> tuple[Transform, ...]:
    return tuple(transforms)


@frozen
class Transformed(EndpointWrapper[Source]):
    """The source ``real``, with some of its files transformed.

    A listing shows the real entries. A path that exists only through an ``origin`` is not listed: a stage of the caller
    adds it, with the fingerprint of its source file. Without ``has_inodes`` a fingerprint is made of the path.
    """

    transforms: tuple[Transform, ...] = attrs.field(converter=_in_order)
    has_inodes: bool = attrs.field(default=True, kw_only=True)

    @transforms.validator
    def _each_once(self, _: object, transforms: tuple[Transform, ...]) -> None:
        names = [transform.name for transform in transforms]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"more than one transform is called {min(twice)!r}; rename one")

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[ReadSession]:
        """Open a session of the real place."""
        async with self.real.open_session() as session:
            yield _TransformedSession(session, self)

    def fingerprinted(self, listed: ListingRows) -> ListingRows:
        """Return the rows of a directory with the fingerprints that its files have when they are opened here."""
        rows = [self._fingerprinted(listed.directory, row) for row in listed.rows]
        return attrs.evolve(listed, rows=rows)

    def _fingerprinted(self, directory: str, row: Row) -> Row:
        name, code, size, mtime_ns, ctime_ns, inode, mode = row
        if code != CODES[Kind.FILE]:
            return row
        path = join(directory, decode(name))
        try:
            recipe = self.recipe(path)
        except TransformFailed:
            return name, code, size, mtime_ns, ctime_ns, fingerprint(path, inode, [_UNTOLD]), mode
        if recipe is None:
            return row
        return name, code, size, mtime_ns, ctime_ns, self.fingerprint(path, inode, recipe), mode

    def fingerprint(self, path: str, inode: int | None, recipe: _Recipe) -> int:
        """Return the number that stands for an inode and a recipe."""
        return fingerprint(path, inode if self.has_inodes else None, recipe.names)

    def recipe(self, path: str, *made: str) -> _Recipe | None:
        """Return how the content of a path is made; None if no transform applies.

        ``made`` are the paths whose content depends on this one. Raises `TransformFailed` if a function of a transform
        fails, if two transforms name different origins, or if the origins form a circle.
        """
        applying: list[Transform] = []
        origins: dict[str, Transform] = {}
        for transform in self.transforms:
            try:
                if not transform.applies(path):
                    continue
                origin = path if transform.origin is None else transform.origin(path)
            except Exception as error:
                raise _failure_of(transform, error) from error
            applying.append(transform)
            if origin != path:
                origins[_checked(transform, origin)] = transform
        if not applying:
            return None
        if not origins:
            return _Recipe(path, tuple(applying))
        if len(origins) > 1:
            raise TransformFailed(
                f"transforms {' and '.join(repr(it.name) for it in origins.values())} name different origins"
            )
        ((origin, transform),) = origins.items()
        if origin in made:
            raise TransformFailed(f"transform {transform.name!r} failed: its origin depends on its own content")
        before = self.recipe(origin, *made, path)
        if before is None:
            return _Recipe(origin, tuple(applying))
        return _Recipe(before.origin, (*before.transforms, *applying))


def _checked(transform: Transform, origin: object) -> str:
    """Return an origin that is a path inside the source. Raises `TransformFailed` for any other."""
    if not isinstance(origin, str) or "\0" in origin or {"", ".", ".."} & set(origin.split("/")):
        raise TransformFailed(
            f"transform {transform.name!r} failed: its origin is not a path: {shorten(ascii(origin), 100)}"
        )
    return origin


class _TransformedSession(ReadSessionWrapper):
    """A session of `Transformed`. It lists a directory as it is."""

    def __init__(self, real: ReadSession, place: Transformed) -> None:
        super().__init__(real)
        self._place = place

    def open(self, path: str) -> AbstractAsyncContextManager[Content]:
        """Open a file, transformed if a transform applies."""
        recipe = self._place.recipe(path)
        return self._real.open(path) if recipe is None else _open(self._real, path, recipe, self._place)

    def open_at(self, path: str, start: int) -> AbstractAsyncContextManager[Content]:
        """Open a file in the middle, where the real session can. What a transform makes begins at its beginning."""
        return open_at(self._real, path, start) if self._place.recipe(path) is None else self.open(path)


@asynccontextmanager
async def _open(session: ReadSession, path: str, recipe: _Recipe, place: Transformed) -> AsyncIterator[Content]:
    async with session.open(recipe.origin) as content:
        entry = content.entry
        inode = place.fingerprint(path, entry.inode, recipe)
        made = _Made(attrs.evolve(entry, path=path, inode=inode), recipe, content)
        try:
            yield made
        finally:
            await made.close()


class _Made(Content):
    """Content that is made from a file of the source while it is read."""

    def __init__(self, entry: Entry, recipe: _Recipe, content: Content) -> None:
        self._entry = entry
        self.failure: Exception | None = None
        """The first error: in the source, or in a transform."""
        self._content, self._recipe = content, recipe
        self._streams: list[trio.abc.ReceiveStream] = []
        self._rest = b""
        self._has_ended = False

    @property
    def entry(self) -> Entry:
        return self._entry

    @property
    def size(self) -> None:
        """None: only the end of the transforms tells."""
        return None

    def fileno(self) -> None:
        """Return None: there is no descriptor for transformed content."""

    async def read(self, max_bytes: int) -> bytes:
        """Return the next piece. Raises `TransformFailed`, or what reading the source raises."""
        await trio.lowlevel.checkpoint()
        if self.failure is not None:  # a transform may have ignored the error
            raise self.failure
        enough = min(max_bytes, _GATHERED)
        data = self._rest
        while len(data) < enough and not self._has_ended:
            if not self._streams:
                self._put_together()
            piece = await self._streams[-1].receive_some(max_bytes - len(data))
            data += piece
            self._has_ended = not piece
        if self._has_ended and self.failure is not None:
            raise self.failure
        data, self._rest = data[:max_bytes], data[max_bytes:]
        return data

    def _put_together(self) -> None:
        self._streams.append(_Raw(self._content, self))
        for transform in self._recipe.transforms:
            self._streams.append(_Guarded(transform, self._streams[-1], self))

    async def is_unchanged(self) -> bool:
        """Return whether the source file is unchanged. A transform may have left its end unread: read it first."""
        if self._content.fileno() is None:
            while await self._content.read(_PIECE):
                pass
        return await self._content.is_unchanged()

    async def close(self) -> None:
        """Close all streams in any state, without waiting."""
        for stream in reversed(self._streams):
            with contextlib.suppress(Exception):
                await trio.aclose_forcefully(stream)


@frozen(eq=False)
class _Raw(trio.abc.ReceiveStream):
    """A file of the source, as the stream that the first transform receives."""

    _content: Content
    _made: _Made

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Read the next piece."""
        try:
            return await self._content.read(max_bytes or _PIECE)
        except Exception as error:
            self._made.failure = self._made.failure or error
            raise

    async def aclose(self) -> None:
        """Do nothing: the opener of the file closes it."""
        await trio.lowlevel.checkpoint()


class _Guarded(trio.abc.ReceiveStream):
    """The stream of one transform. An error in it becomes one that names the transform."""

    def __init__(self, transform: Transform, below: trio.abc.ReceiveStream, made: _Made) -> None:
        self._transform, self._made = transform, made
        self._stream: trio.abc.ReceiveStream | None = None
        try:
            self._stream = _a(trio.abc.ReceiveStream, transform.wrap(below))
        except Exception as error:
            raise self._blamed(error) from error

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Read the next piece of the transformed content."""
        assert self._stream is not None
        try:
            return bytes(_a(_BYTES, await self._stream.receive_some(max_bytes)))
        except Exception as error:
            raise self._blamed(error) from error

    def _blamed(self, error: Exception) -> Exception:
        """Return the first error: an error from below is not the fault of the transform that it passes through."""
        if self._made.failure is None:
            self._made.failure = _failure_of(self._transform, error)
        return self._made.failure

    async def aclose(self) -> None:
        """Close the stream of the transform."""
        if self._stream is not None:
            await self._stream.aclose()


_BYTES: Final[tuple[type, ...]] = (bytes, bytearray, memoryview)


def _a(kind: type[T] | tuple[type, ...], given: T) -> T:
    """Return a value from foreign code if it has the expected type, or raise `TypeError`."""
    if isinstance(given, kind):
        return given
    wanted = kind.__name__ if isinstance(kind, type) else "bytes"
    raise TypeError(f"returned {type(given).__name__} instead of {wanted}")
