"""Send only what is worth it now, and not too much at a time: a filter and a rate limit, in one stage.

    python examples/gentle_upload.py shop.toml

Files over 1 MB are left for another run (they count as ``left``, and nothing else happens to them), and no more than
twenty files a second are begun. The stage is slow; the scanner and the planner wait for it, and nothing piles up.
"""

from __future__ import annotations

import sys

import trio
from trio.abc import ReceiveChannel, SendChannel

import actorsync
from actorsync import Change, Copy, Failed, OperationStage, operation_stage


def gentle(most_bytes: int, files_a_second: float) -> OperationStage:
    """Give a stage that lets through copies of up to ``most_bytes``, so many a second, and everything else at once."""

    async def gentle_upload(receive: ReceiveChannel[Change], send: SendChannel[Change | Failed]) -> None:
        next_at = trio.current_time()
        async for operation in receive:
            if isinstance(operation, Copy):
                if operation.source.size > most_bytes:
                    continue
                await trio.sleep_until(next_at)
                next_at = max(next_at, trio.current_time()) + 1 / files_a_second
            await send.send(operation)

    return operation_stage(gentle_upload)


def main(profile: str) -> int:
    """Mirror what is small, gently."""
    report = actorsync.run(profile, stages=[gentle(1_000_000, files_a_second=20)])
    print(f"{report.copied} files sent, {report.left} left for another time")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
