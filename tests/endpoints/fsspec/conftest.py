"""Register the stores of these tests with fsspec."""

from __future__ import annotations

from collections.abc import Iterator

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.endpoints.fsspec.stores import Flat, Folds, KeepsOld


@pytest.fixture(autouse=True, scope="module")
def stores() -> Iterator[None]:
    for kind in (Flat, KeepsOld, Folds):
        fsspec.register_implementation(kind.protocol, kind, clobber=True)
    yield
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
