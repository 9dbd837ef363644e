"""The schemes that docs/endpoints.md names, on real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actorsync.endpoints.fsspec.endpoint import FsspecEndpoint
from actorsync.testing import CHECKS, check_endpoint
from tests.support.servers.storage import NAMES, Storage, storage

pytestmark = pytest.mark.full

_folders = iter(range(1_000_000))


@pytest.fixture(scope="module", params=NAMES)
def server(request: pytest.FixtureRequest) -> Iterator[Storage]:
    with storage(request.param) as running:
        yield running


async def fresh(server: Storage) -> FsspecEndpoint:
    """Return an endpoint for a directory of its own."""
    endpoint = server.endpoint(f"d{next(_folders)}")
    async with endpoint.open_session() as session:
        await session.make_directories(["", "d"] if server.name == "moto" else [""])
    return endpoint


@pytest.mark.parametrize("check", CHECKS)
async def test_server_passes_the_suite(server: Storage, check: str) -> None:
    await check_endpoint(lambda: fresh(server), only=check, keeps_times=False, keeps_directories=server.name != "moto")
