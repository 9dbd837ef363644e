"""A login that is rejected while another run is logged in as the same user: there may be too many."""

from __future__ import annotations

import pytest

from actorsync.endpoints.contract import ToldOfLogins
from actorsync.endpoints.ftp.endpoint import FtpEndpoint
from actorsync.endpoints.wrappers.bandwidth import Bandwidth, Limited
from actorsync.errors import LoginLapsed, LoginRefused
from actorsync.testing import EmbeddedFtpServer


async def test_first_login_that_is_rejected_beside_another_run_is_tried_three_times(
    embedded: EmbeddedFtpServer,
) -> None:
    endpoint = FtpEndpoint("127.0.0.1", embedded.port, "demo", lambda: "wrong")
    Limited(endpoint, Bandwidth(None)).note_others(lambda: True)
    assert isinstance(endpoint, ToldOfLogins)
    for _ in range(3):
        with pytest.raises(LoginLapsed):
            async with endpoint.open_session():
                pass
    with pytest.raises(LoginRefused):
        async with endpoint.open_session():
            pass


async def test_first_login_that_is_rejected_alone_is_final(embedded: EmbeddedFtpServer) -> None:
    endpoint = FtpEndpoint("127.0.0.1", embedded.port, "demo", lambda: "wrong")
    endpoint.note_others(lambda: False)
    with pytest.raises(LoginRefused):
        async with endpoint.open_session():
            pass
