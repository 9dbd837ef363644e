"""A tree in memory whose server may show a symbolic link as the directory that it leads to."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import attrs

from actorsync.endpoints.contract import Session
from actorsync.endpoints.memory.endpoint import MemoryEndpoint
from actorsync.endpoints.wrappers.base import EndpointWrapper

__all__ = ["HidingLinks"]


@attrs.define(eq=False)
class HidingLinks(EndpointWrapper[MemoryEndpoint]):
    """The tree ``real``. ``is_asked``: links have to be found, and it cannot do that."""

    is_asked: bool = False

    def open_session(self) -> AbstractAsyncContextManager[Session]:
        """Open a session."""
        return self.real.open_session()

    def find_links(self) -> None:
        """Take note that links have to be found."""
        self.is_asked = True

    @property
    def hides_links(self) -> bool:
        """Whether a link may look like a directory."""
        return self.is_asked
