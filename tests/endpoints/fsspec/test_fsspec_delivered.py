"""What counts as sent to a store of fsspec: what has left the memory of this process, as far as the library tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

from actorsync.endpoints.contract import Staged, Upload
from actorsync.testing.conformance.contents import MemoryContent, UnsizedContent
from tests.endpoints.fsspec.stores import at
from tests.support.servers.fake_dav import FakeDav

#: Less than the store gets in one call, and more than two parts.
SIZES = [1 << 20, 20 << 20]


class InParts(LocalFileSystem):  # type: ignore[misc]
    """A store that gets big files in parts, as S3 does, and keeps less than a part in its buffer."""

    protocol = "inparts"
    look: Callable[[int], None]
    kept = 0

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return LocalFileSystem._strip_protocol(str(path).removeprefix("inparts://"))  # type: ignore[no-any-return]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        InParts.look(0)
        Path(self._strip_protocol(path)).write_bytes(value)

    def open(self, path: str, mode: str = "rb", block_size: int | None = None, **kwargs: Any) -> Any:
        return Parts(self, self._strip_protocol(path), mode, block_size=(block_size or 0) + 1)


class Parts(AbstractBufferedFile):  # type: ignore[misc]
    """An open file of `InParts`."""

    def _upload_chunk(self, final: bool = False) -> None:
        InParts.look(self.offset)
        with open(self.path, "ab") as file:
            file.write(self.buffer.getvalue())

    def _initiate_upload(self) -> None:
        Path(self.path).write_bytes(b"")


@pytest.mark.parametrize("make", [MemoryContent, UnsizedContent])
@pytest.mark.parametrize("size", SIZES)
async def test_bytes_in_the_buffer_of_the_library_do_not_count_as_sent(
    size: int, make: Callable[[bytes], MemoryContent], tmp_path: Path
) -> None:
    fsspec.register_implementation(InParts.protocol, InParts, clobber=True)
    upload = Upload("f", "t", make(bytes(size)))
    shown: list[tuple[int, int]] = []
    InParts.look = lambda arrived: shown.append((upload.delivered, arrived))
    async with at(tmp_path, "inparts").open_session() as session:
        staged, _ = await session.stage(upload)
    assert isinstance(staged, Staged)
    grows = size > 4 << 20 and make is MemoryContent  # without a size, a part is larger than this file
    assert any(0 < delivered < size for delivered, _ in shown) is grows
    assert all(delivered <= arrived for delivered, arrived in shown)
    assert upload.delivered == upload.sent == size


@pytest.mark.parametrize("size", SIZES)
async def test_upload_in_one_request_counts_what_the_request_has_sent(size: int) -> None:
    upload = Upload("f", "t", MemoryContent(bytes(size)))
    server, shown = FakeDav(), list[tuple[int, int]]()

    class Watched(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            assert isinstance(request.stream, httpx.SyncByteStream)
            body = b""
            for piece in request.stream:
                if request.method == "PUT":
                    shown.append((upload.delivered, len(body)))
                body += piece
            headers = {name: value for name, value in request.headers.items() if name != "transfer-encoding"}
            return server.answer(httpx.Request(request.method, request.url, headers=headers, content=body))

    async with server.endpoint(transport=Watched()).open_session() as session:
        staged, _ = await session.stage(upload)
    assert isinstance(staged, Staged)
    assert max(delivered for delivered, _ in shown) == (0 if size < 4 << 20 else shown[-1][1])
    assert all(delivered <= arrived for delivered, arrived in shown)
    assert upload.delivered == size
