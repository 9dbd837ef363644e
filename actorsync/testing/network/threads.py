"""Run a trio context manager in a thread, for tests without trio, blocking clients and subprocesses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from typing import TypeVar

import trio

__all__ = ["in_a_thread"]

T = TypeVar("T")


@contextmanager
def in_a_thread(name: str, make: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Hold the async context of ``make()`` open in a trio thread called ``name`` during a ``with`` block.

    An error of the context is raised at the end of the block.
    """
    started: list[tuple[T, trio.lowlevel.TrioToken, trio.CancelScope]] = []
    failures: list[BaseException] = []
    ready = threading.Event()

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with make() as made:
                started.append((made, trio.lowlevel.current_trio_token(), scope))
                ready.set()
                await trio.sleep_forever()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    ready.wait()
    try:
        if started:
            yield started[0][0]
    finally:
        if started:
            _, token, scope = started[0]
            with suppress(trio.RunFinishedError):  # the thread failed, and its error is raised below
                token.run_sync_soon(scope.cancel)
        thread.join()
        if failures:
            raise failures[0]
