"""Publish ``a.css.gz`` beside ``a.css``, for web servers that send what is compressed already.

    python examples/gzip_twins.py shop.toml

A stage adds a twin to each listing, under a name of its own and with the times of its file; a transform makes what is
in it, from the file, while it is sent: nothing is written to this machine's disk. A twin is sent again when its file
changes, and removed when its file is (with ``delete = true``). One that the source has already is mirrored as it is.
"""

from __future__ import annotations

import sys

import attrs
from trio.abc import ReceiveChannel, SendChannel

import actorsync
from actorsync import Entry, Kind, Listing, Transform, listing_stage
from actorsync.transforms import gzip_stream

ASSETS = (".css", ".html", ".js", ".svg")
LEAST_BYTES = 500  # what is smaller is not worth it

made: set[str] = set()
twins = Transform("gzip twins 1", made.__contains__, gzip_stream, origin=lambda path: path.removesuffix(".gz"))


def is_asset(entry: Entry) -> bool:
    """Tell whether a file gets a twin."""
    return entry.kind is Kind.FILE and entry.path.endswith(ASSETS) and entry.size >= LEAST_BYTES


@listing_stage
async def add_twins(receive: ReceiveChannel[Listing], send: SendChannel[Listing]) -> None:
    """Add a twin for each asset that has none in the source."""
    async for listing in receive:
        taken = {entry.path for entry in listing.entries}
        added = [
            attrs.evolve(entry, path=f"{entry.path}.gz")
            for entry in listing.entries
            if is_asset(entry) and f"{entry.path}.gz" not in taken
        ]
        made.update(twin.path for twin in added)
        await send.send(attrs.evolve(listing, entries=(*listing.entries, *added)))


def main(profile: str) -> int:
    """Mirror, with twins."""
    report = actorsync.run(profile, stages=[add_twins], transforms=[twins])
    print(f"{report.copied} files sent, {report.removed} removed, {report.failed} failed")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
