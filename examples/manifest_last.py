"""Publish a list of checksums last, so that it never speaks of a file that is not there yet.

    python examples/manifest_last.py shop.toml

``SHA256SUMS`` is written into the source before the run. In the run, a stage holds it back until there is nothing else
to be done: what a stage sends after its input has ended is begun when everything before it is on the server.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from trio.abc import ReceiveChannel, SendChannel

import actorsync
from actorsync import Change, Failed, operation_stage

MANIFEST = "SHA256SUMS"


def write_manifest(root: Path) -> None:
    """Write the checksums of all files below ``root``; a manifest that says the same already is left as it is."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != MANIFEST)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root).as_posix()}\n" for path in files
    ]
    text, manifest = "".join(lines), root / MANIFEST
    if not manifest.exists() or manifest.read_text() != text:
        temporary = root / f".{MANIFEST}.new"
        temporary.write_text(text)
        os.replace(temporary, manifest)


@operation_stage
async def manifest_last(receive: ReceiveChannel[Change], send: SendChannel[Change | Failed]) -> None:
    """Send everything on, and the manifest behind it."""
    held: list[Change] = []
    async for operation in receive:
        if operation.path == MANIFEST:
            held.append(operation)
        else:
            await send.send(operation)
    for operation in held:
        await send.send(operation)


def main(path: str) -> int:
    """Write the manifest, and mirror."""
    profile = actorsync.load_profile(path)
    write_manifest(Path(profile.source.path))
    report = actorsync.run(profile, stages=[manifest_last])
    print(f"{report.copied} files sent, the manifest last" if report.copied else "nothing to do")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
