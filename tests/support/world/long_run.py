"""Stories by the hundred thousand, in processes: ``python -m tests.support.world.long_run --seeds 200000 --jobs 2``.

Says how far it is, names each failure with its seed as it comes, and ends with what was done: seeds, runs, steps, how
the runs ended, and how many stories each kind of trouble came up in. Exits with 1 if a story went wrong, and with 130
if it was interrupted; what it did until then is said all the same.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

import attrs

from tests.support.world.climate import NO_CLIMATE
from tests.support.world.simulation import Story, simulate

__all__ = ["Totals", "tell_block"]

BLOCK = 50
#: Seconds between two lines of progress.
PAUSE = 10.0


@attrs.define
class Totals:
    """What some stories came to. ``failures`` are seeds with what went wrong."""

    seeds: int = 0
    runs: int = 0
    steps: int = 0
    ends: Counter[int | None] = attrs.Factory(Counter)
    seen: Counter[str] = attrs.Factory(Counter)
    failures: list[tuple[int, str]] = attrs.Factory(list)

    def add(self, other: Totals) -> None:
        self.seeds += other.seeds
        self.runs += other.runs
        self.steps += other.steps
        self.ends += other.ends
        self.seen += other.seen
        self.failures += other.failures

    def __str__(self) -> str:
        ends = ", ".join(f"{'cut off' if code is None else code}: {count}" for code, count in _sorted(self.ends))
        seen = ", ".join(f"{kind}: {count}" for kind, count in sorted(self.seen.items()))
        return (
            f"{self.seeds} seeds, {self.runs} runs, {self.steps} steps, {len(self.failures)} failures"
            f"\nends: {ends}\nstories with: {seen}"
        )


def _sorted(ends: Counter[int | None]) -> list[tuple[int | None, int]]:
    return sorted(ends.items(), key=lambda end: (end[0] is None, end[0] or 0))


def tell_block(seeds: range, *, plain: bool = False) -> Totals:
    """Tell the stories of some seeds. What goes wrong in one is kept, and the others are told all the same."""
    totals = Totals()
    for seed in seeds:
        story = Story(seed, climate=NO_CLIMATE if plain else None)
        try:
            simulate(story)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported with its seed
            totals.failures.append((seed, f"{type(error).__name__}: {error}"))
        totals.seeds += 1
        totals.runs += len(story.told)
        totals.steps += story.all_steps
        totals.ends.update(story.told)
        totals.seen.update(story.seen.keys())
    return totals


def _work(task: tuple[range, bool]) -> Totals:
    seeds, plain = task
    return tell_block(seeds, plain=plain)


def _leave_signals_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _blocks(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, BLOCK):
        yield range(start, min(start + BLOCK, first + count))


def run(first: int, count: int, jobs: int, *, plain: bool, say: Callable[[str], None]) -> tuple[Totals, bool]:
    """Tell ``count`` stories from seed ``first`` on; give what they came to, and whether that was all of them."""
    totals, began = Totals(), time.monotonic()
    said = began
    tasks = [(block, plain) for block in _blocks(first, count)]
    with multiprocessing.get_context("fork").Pool(jobs, _leave_signals_to_the_parent) as pool:
        try:
            for block in pool.imap_unordered(_work, tasks):
                totals.add(block)
                for seed, problem in block.failures:
                    say(f"seed {seed}: {problem[:500]}")
                if time.monotonic() - said > PAUSE:
                    said = time.monotonic()
                    left = (said - began) / totals.seeds * (count - totals.seeds)
                    say(f"{totals.seeds} of {count}, {len(totals.failures)} failures, {left:.0f} s to go")
        except KeyboardInterrupt:
            pool.terminate()
    return totals, totals.seeds == count


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.world.long_run", description="Tell very many stories."
    )
    parser.add_argument("--seeds", type=int, default=20_000, help="how many (20000)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one (0)")
    parser.add_argument("--jobs", type=int, default=2, help="in how many processes (2)")
    parser.add_argument("--plain", action="store_true", help="the first weather alone, as the oldest seeds had it")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    began = time.monotonic()

    def say(line: str) -> None:
        print(line, flush=True)

    totals, is_complete = run(chosen.first, chosen.seeds, chosen.jobs, plain=chosen.plain, say=say)
    say(f"from seed {chosen.first}{'' if is_complete else ', interrupted'}, {time.monotonic() - began:.0f} s: {totals}")
    for seed, problem in sorted(totals.failures)[:50]:
        say(f"FAILED {seed}: {problem[:200]}")
    if totals.failures:
        return 1
    return 0 if is_complete else 130


if __name__ == "__main__":
    sys.exit(main())
