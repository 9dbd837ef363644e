"""How contents are compared: never at more cost than sending the file."""

from __future__ import annotations

import attrs
import pytest

from actorsync.model.entry import Entry, Kind
from actorsync.planning.content_check import Network, Way, way_to_compare

SOURCE = Entry("x", Kind.FILE, 3, 5_000_000_001)
SAME_TIME = Entry("x", Kind.FILE, 3, 5_000_000_000)
OTHER_TIME = attrs.evolve(SAME_TIME, mtime_ns=6_000_000_000)
NO_TIME = attrs.evolve(SAME_TIME, mtime_ns=None)
NOWHERE, PUSH, PULL, BOTH = Network(False, False), Network(False, True), Network(True, False), Network(True, True)


@pytest.mark.parametrize("network", [NOWHERE, PUSH, PULL, BOTH])
def test_file_with_the_time_of_the_source_is_always_compared(network: Network) -> None:
    assert way_to_compare(SOURCE, SAME_TIME, network, is_hashed=False) is Way.READ
    assert way_to_compare(SOURCE, SAME_TIME, network, is_hashed=True) is Way.HASH


@pytest.mark.parametrize("target", [OTHER_TIME, NO_TIME])
@pytest.mark.parametrize(
    ("network", "read", "hashed"),
    [
        (NOWHERE, Way.READ, Way.HASH),
        (PUSH, Way.SEND, Way.HASH),
        (PULL, Way.SEND, Way.SEND),
        (BOTH, Way.SEND, Way.SEND),
    ],
)
def test_file_with_another_time_is_compared_where_the_network_is_not_used(
    target: Entry, network: Network, read: Way, hashed: Way
) -> None:
    assert way_to_compare(SOURCE, target, network, is_hashed=False) is read
    assert way_to_compare(SOURCE, target, network, is_hashed=True) is hashed
