"""An endpoint in what fsspec knows: its memory, and a directory by way of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from actorsync.endpoints.fsspec import FsspecEndpoint, open_fsspec
from actorsync.plugins import Location
from actorsync.testing import DEMANDS, check_endpoint

pytest.importorskip("fsspec")

_numbers = itertools.count()


def memory(_: Path) -> FsspecEndpoint:
    endpoint = open_fsspec(Location(scheme="memory", host=f"bucket{next(_numbers)}", path="site"))
    import fsspec

    fsspec.filesystem("memory").makedirs(f"/bucket{next(_numbers) - 1}/site")
    return endpoint


def local(path: Path) -> FsspecEndpoint:
    return open_fsspec(Location(scheme="fsspec+file", path=str(path).lstrip("/")))


@pytest.mark.parametrize("demand", DEMANDS)
@pytest.mark.parametrize("place", [memory, local], ids=lambda place: place.__name__)
async def test_conformance(place: Callable[[Path], FsspecEndpoint], demand: str, tmp_path: Path) -> None:
    await check_endpoint(lambda: place(tmp_path), only=demand, keeps_times=False)
