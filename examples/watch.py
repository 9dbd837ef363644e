"""Keep all targets of a profile up to date while files change, and show what happens.

    python examples/watch.py shop.toml

Ctrl-C finishes the files that are on their way, and stops; a second one tidies up and stops at once.
"""

from __future__ import annotations

import signal
import sys

import trio

import actorsync
from actorsync.events import Done, Failed, PassBegan, Stopped


async def main(profile: str) -> int:
    """Mirror each change until a signal, and give the exit code of the worst target."""
    async with actorsync.open_syncs(profile, watch=True) as syncs, trio.open_nursery() as nursery:
        nursery.start_soon(stop_by_signal, syncs)
        nursery.start_soon(show_progress, syncs)
        async for event in syncs.events:
            match event.event:
                case PassBegan(reason):
                    print(f"{event.target}: looks at the source ({reason})", flush=True)
                case Done(operation) | Failed(operation):
                    verb = "done" if isinstance(event.event, Done) else "failed"
                    print(f"{event.target}: {verb}: {operation.path}", flush=True)
                case Stopped(report):
                    print(f"{event.target}: {report.error or report.refused or 'in sync'}", flush=True)
        nursery.cancel_scope.cancel()
    print("stopped", flush=True)
    return syncs.reports.exit_code


async def stop_by_signal(syncs: actorsync.Syncs) -> None:
    """Drain at the first signal, cancel at the second."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        steps = iter((syncs.drain, syncs.cancel, syncs.now))
        async for _ in signals:
            next(steps, syncs.now)()


async def show_progress(syncs: actorsync.Syncs) -> None:
    """Print a line a second for each target that a long pass is going on for."""
    while True:
        await trio.sleep(1)
        for name, sync in syncs.items():
            levels = sync.statistics()
            if levels.is_passing:
                rate = f"{(levels.rate or 0) / 1e6:.1f} MB/s"
                print(f"{name}: {levels.files_done} of {levels.files_planned} files, {rate}", flush=True)


if __name__ == "__main__":
    sys.exit(trio.run(main, sys.argv[1]))
