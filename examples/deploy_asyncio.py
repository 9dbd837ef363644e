"""The same from a program on asyncio: the run has a thread of its own, and the signals of the loop stop it.

python examples/deploy_asyncio.py shop.toml
"""

from __future__ import annotations

import asyncio
import signal
import sys

import actorsync


async def main(profile: str) -> int:
    """Mirror, while the loop goes on with whatever else the program does; give the exit code."""
    stop = actorsync.Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.ask)  # once: drain; twice: cancel; three times: now
    report = await asyncio.to_thread(actorsync.run, profile, stop=stop)
    print(f"{report.copied} files sent, {report.left} left for the next time")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
