"""Stores for the tests of fsspec: its memory, a directory through it, and imitations of object stores and SMB."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from actorsync.endpoints.contract import Staged
from actorsync.endpoints.fsspec.endpoint import FsspecEndpoint, open_fsspec
from actorsync.endpoints.plugins import Location
from actorsync.errors import OperationRefused
from actorsync.model.entry import Entry
from actorsync.testing.conformance.place import upload_of

__all__ = ["Flat", "Folds", "KeepsOld", "at", "flat", "keeps_old", "listed", "memory", "put"]

_numbers = itertools.count()


class Flat(MemoryFileSystem):  # type: ignore[misc]
    """An object store: names with slashes, no directories, no rename."""

    protocol = "flat"
    store: dict[str, Any] = {}  # noqa: RUF012 - as in its base
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("flat://"))  # type: ignore[no-any-return]

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Accept the call and make nothing, as S3 does."""


class KeepsOld(LocalFileSystem):  # type: ignore[misc]
    """A rename that cannot replace a file, as over SMB."""

    protocol = "keepsold"

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return LocalFileSystem._strip_protocol(str(path).removeprefix("keepsold://"))  # type: ignore[no-any-return]

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        if os.path.lexists(self._strip_protocol(path2)):
            raise OSError(errno.EEXIST, "it is there")
        super().mv(path1, path2)


class Folds(LocalFileSystem):  # type: ignore[misc]
    """A store that ignores upper and lower case."""

    protocol = "folds"

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        path = LocalFileSystem._strip_protocol(str(path).removeprefix("folds://"))
        above, _, name = path.rpartition("/")
        if os.path.isdir(above) and name not in os.listdir(above):
            name = next((one for one in os.listdir(above) if one.casefold() == name.casefold()), name)
        return f"{above}/{name}"


def memory(_: Path) -> FsspecEndpoint:
    bucket = f"bucket{next(_numbers)}"
    fsspec.filesystem("memory").makedirs(f"/{bucket}/site")
    return open_fsspec(Location(scheme="memory", host=bucket, path="site"))


def at(path: Path, protocol: str = "file") -> FsspecEndpoint:
    return open_fsspec(Location(scheme=f"fsspec+{protocol}", path=str(path).lstrip("/")))


def keeps_old(path: Path) -> FsspecEndpoint:
    return at(path, "keepsold")


def flat() -> FsspecEndpoint:
    return open_fsspec(Location(scheme="fsspec+flat", host=f"bucket{next(_numbers)}", path="site"))


async def put(endpoint: FsspecEndpoint, path: str, data: bytes) -> Entry | OperationRefused:
    """Stage and commit a file. If that is refused, sweep its temporary, as a run does."""
    upload = upload_of(path, data)
    async with endpoint.open_session() as session:
        result: Staged | Entry | OperationRefused
        result, _ = await session.stage(upload)
        if isinstance(result, Staged):
            (result,) = await session.commit([result])
        if isinstance(result, OperationRefused):
            assert await session.sweep([upload.temporary]) == [True]
        return result


async def listed(endpoint: FsspecEndpoint, directory: str = "") -> list[str]:
    async with endpoint.open_session() as session:
        listing = await session.list_directory(directory)
        assert listing.problem is None
        return sorted(entry.path for entry in listing.entries)
