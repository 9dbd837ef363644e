"""Files whose content is made on the way: a source behind transforms.

A `Transform` makes a stream of a stream, and says for which paths. `Transformed` stands before a source and gives,
where one opens such a path, what the transforms make of it: as it is read, a piece at a time, and never all of it.

**What is known of such a file.** Its fingerprint is made of its source file and the names of the transforms (see
``actorsync.planning.fingerprint``): when either changes, it is sent again. Its size is known at its end. So it is never
taken for what the target happens to have, and what the journal knows of the target is what the target has said.

**When a transform fails**, the file fails, with one line that names it, and the run goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeVar, cast

import attrs
import trio

from actorsync.endpoints.contract import Content, EndpointWrapper, Session
from actorsync.errors import TransformFailed
from actorsync.model.entry import Entry, Kind, Listing, join
from actorsync.model.row import CODES, ListingRows, Row, decode
from actorsync.model.text import display, shorten
from actorsync.planning.fingerprint import fingerprint
from actorsync.planning.selection import Selection

__all__ = ["Transform", "Transformed"]

T = TypeVar("T")

#: How much is gathered of what a transform gives in small pieces.
_GATHERED: Final = 16 * 1024
#: How much a transform is given at once, unless it asks for less.
_PIECE: Final = 64 * 1024
#: How long the reason may be that a transform gives for its failure.
_REASON: Final = 200
#: Stands for the transforms of a path of which they cannot be told: it is sent, and then that is a failure.
_UNTOLD: Final = "\0"


def _applies(applies: Callable[[str], bool] | Iterable[str]) -> Callable[[str], bool]:
    """Give what decides by patterns, where there are patterns."""
    if callable(applies):
        return applies
    if isinstance(applies, str):
        raise TypeError("applies takes a list of patterns, and not a text")  # which would be a list of letters
    selection = Selection(exclude=applies)
    return lambda path: selection.hides(path, is_directory=False)


@attrs.frozen(eq=False)
class Transform:
    """How the content of some files is made of their sources.

    ``name`` stands for what it makes: a file that was sent through a transform is sent again when the next run has
    another name for it, so that a new version of a transform takes a new name (``"minify 2"``).

    ``applies`` tells for which paths: lines in gitignore syntax, or a function of the path, which has to be quick.
    Where several apply they are used one after the other, in the order in which they are given.

    ``wrap`` makes a stream of a stream. It is called when the file is first read from; what it gives is read to its
    end, or closed before that. It may raise what it likes. It runs on trio's thread, with everything else: what takes
    long belongs in a worker thread.

    ``origin``, where there is one, tells by a path of which file of the source its content is made, in place of the
    one of that path: a file that the source has not got (``a.css.gz`` of ``a.css``). If that one is sent transformed,
    it is also read transformed.
    """

    name: str = attrs.field()
    applies: Callable[[str], bool] = attrs.field(converter=_applies)
    wrap: Callable[[trio.abc.ReceiveStream], trio.abc.ReceiveStream]
    origin: Callable[[str], str] | None = None

    @name.validator
    def _has_a_name(self, _: object, name: str) -> None:
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise ValueError(f"{name!r} is not a name for a transform: a text of one line that can be shown")


def _failure_of(transform: Transform, error: BaseException) -> TransformFailed:
    """Say in one line that a transform failed, and why."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TransformFailed):
        return error
    reason = shorten(display(str(error).strip().partition("\n")[0]), _REASON)
    told = f": {reason}" if reason else ""
    return TransformFailed(f"transform {transform.name!r} failed: {type(error).__name__}{told}")


@attrs.frozen
class _Recipe:
    """Of which file of the source something is made, and by what, in this order."""

    origin: str
    transforms: tuple[Transform, ...]

    @property
    def names(self) -> list[str]:
        return [transform.name for transform in self.transforms]


def _in_order(transforms: Iterable[Transform]) -> tuple[Transform, ...]:
    return tuple(transforms)


@attrs.frozen
class Transformed(EndpointWrapper):
    """The source ``real``, with what ``transforms`` make of some of its files. Its sessions list and open.

    They list what is there: a path that only an origin gives a content is added to a listing by whoever wants it, with
    the fingerprint of that file.
    """

    transforms: tuple[Transform, ...] = attrs.field(converter=_in_order)

    @transforms.validator
    def _each_once(self, _: object, transforms: tuple[Transform, ...]) -> None:
        names = [transform.name for transform in transforms]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"there is more than one transform of the name {min(twice)!r}")

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Session]:
        """Open a session of the real place."""
        async with self.real.open_session() as session:
            yield cast("Session", _TransformedSession(session, self))  # which nobody has written with

    def fingerprinted(self, listed: ListingRows) -> ListingRows:
        """Return a directory with the fingerprints that its files have when they are opened here."""
        rows = [self._fingerprinted(listed.directory, row) for row in listed.rows]
        return attrs.evolve(listed, rows=rows)

    def _fingerprinted(self, directory: str, row: Row) -> Row:
        name, code, size, mtime_ns, ctime_ns, inode = row
        if code != CODES[Kind.FILE]:
            return row
        path = join(directory, decode(name))
        try:
            recipe = self.recipe(path)
        except TransformFailed:
            return name, code, size, mtime_ns, ctime_ns, fingerprint(path, inode, [_UNTOLD])
        return row if recipe is None else (name, code, size, mtime_ns, ctime_ns, fingerprint(path, inode, recipe.names))

    def recipe(self, path: str, *made: str) -> _Recipe | None:
        """Tell how the content of a path is made; None where it is what it is.

        ``made`` are the paths that are to be made of this one. Raises `TransformFailed` when a transform cannot tell.
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
                f"{' and '.join(repr(it.name) for it in origins.values())} make it of different files"
            )
        ((origin, transform),) = origins.items()
        if origin in made:
            raise TransformFailed(f"transform {transform.name!r} failed: in the end it would be made of itself")
        before = self.recipe(origin, *made, path)
        if before is None:
            return _Recipe(origin, tuple(applying))
        return _Recipe(before.origin, (*before.transforms, *applying))


def _checked(transform: Transform, origin: object) -> str:
    """Give an origin that is a path inside the source. Raises `TransformFailed` for any other."""
    if not isinstance(origin, str) or "\0" in origin or {"", ".", ".."} & set(origin.split("/")):
        raise TransformFailed(
            f"transform {transform.name!r} failed: its origin is no path: {shorten(ascii(origin), 100)}"
        )
    return origin


@attrs.frozen
class _TransformedSession:
    """A session of a `Transformed`: it lists and opens, and has no other verb."""

    _session: Session
    _place: Transformed

    async def list_directory(self, directory: str) -> Listing:
        """List a directory as it is."""
        return await self._session.list_directory(directory)

    def open(self, path: str) -> AbstractAsyncContextManager[Content]:
        """Open a file, or what is made of one."""
        recipe = self._place.recipe(path)
        return self._session.open(path) if recipe is None else _open(self._session, path, recipe)


@asynccontextmanager
async def _open(session: Session, path: str, recipe: _Recipe) -> AsyncIterator[Content]:
    async with session.open(recipe.origin) as content:
        made = _Made(path, recipe, content)
        try:
            yield made
        finally:
            await made.close()


class _Made:
    """Content that is made of a file of the source while it is read."""

    size = None

    def __init__(self, path: str, recipe: _Recipe, content: Content) -> None:
        entry = content.entry
        self.entry: Entry = attrs.evolve(entry, path=path, inode=fingerprint(path, entry.inode, recipe.names))
        self.failure: Exception | None = None
        """What ended the stream first: in the source, or in a transform."""
        self._content, self._recipe = content, recipe
        self._streams: list[trio.abc.ReceiveStream] = []
        self._rest = b""
        self._has_ended = False

    def fileno(self) -> None:
        """There is no descriptor of what is made only now."""

    async def read(self, max_bytes: int) -> bytes:
        """Make some more. Raises `TransformFailed`, or what reading the source raises."""
        await trio.lowlevel.checkpoint()
        if self.failure is not None:  # a transform may not have cared
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
        """Tell it of the file of the source, whose end a transform may have had no use for."""
        if self._content.fileno() is None:
            while await self._content.read(_PIECE):
                pass
        return await self._content.is_unchanged()

    async def close(self) -> None:
        """Close the streams, whatever state they are in, without waiting for any."""
        for stream in reversed(self._streams):
            with contextlib.suppress(Exception):
                await trio.aclose_forcefully(stream)


@attrs.frozen(eq=False)
class _Raw(trio.abc.ReceiveStream):
    """A file of the source, as transforms are given it."""

    _content: Content
    _made: _Made

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Read on."""
        try:
            return await self._content.read(max_bytes or _PIECE)
        except Exception as error:
            self._made.failure = self._made.failure or error
            raise

    async def aclose(self) -> None:
        """Leave the file to who has opened it."""
        await trio.lowlevel.checkpoint()


class _Guarded(trio.abc.ReceiveStream):
    """What one transform makes; an error in it comes out as one that names it."""

    def __init__(self, transform: Transform, below: trio.abc.ReceiveStream, made: _Made) -> None:
        self._transform, self._made = transform, made
        self._stream: trio.abc.ReceiveStream | None = None
        try:
            self._stream = _a(trio.abc.ReceiveStream, transform.wrap(below))
        except Exception as error:
            raise self._blamed(error) from error

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Have some more made."""
        assert self._stream is not None
        try:
            return bytes(_a(_BYTES, await self._stream.receive_some(max_bytes)))
        except Exception as error:
            raise self._blamed(error) from error

    def _blamed(self, error: Exception) -> Exception:
        """Give what has gone wrong first: what comes from below is not the fault of whom it passes through."""
        if self._made.failure is None:
            self._made.failure = _failure_of(self._transform, error)
        return self._made.failure

    async def aclose(self) -> None:
        """Close what the transform has made."""
        if self._stream is not None:
            await self._stream.aclose()


_BYTES: Final[tuple[type, ...]] = (bytes, bytearray, memoryview)


def _a(kind: type[T] | tuple[type, ...], given: T) -> T:
    """Give what was given by code of others, if it is what it should be."""
    if isinstance(given, kind):
        return given
    wanted = kind.__name__ if isinstance(kind, type) else "bytes"
    raise TypeError(f"it gave a {type(given).__name__}, and not {wanted}")
