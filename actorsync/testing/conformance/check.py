"""Check an endpoint against the contract: all checks, or one at a time.

With pytest, one test for each check::

    @pytest.mark.parametrize("check", CHECKS)
    async def test_conformance(check: str, tmp_path: Path) -> None:
        await check_endpoint(lambda: MyEndpoint(tmp_path), only=check)

All in a row, without pytest::

    trio.run(check_endpoint, MyEndpoint.fresh)

Both raise `ChecksFailed`, which states each failed check and what was found instead. For a place that can only be read,
use `check_source` and `SOURCE_CHECKS`.
"""

from __future__ import annotations

import linecache
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from inspect import isawaitable
from typing import Final, TypeAlias, TypeVar

import trio

from actorsync.endpoints.contract import Endpoint, Source
from actorsync.endpoints.releases import ReachesOutside
from actorsync.testing.conformance.place import Place, checking
from actorsync.testing.conformance.source_checks import SOURCE_CHECK_FUNCTIONS, Tree, fill, tree_of
from actorsync.testing.conformance.suite import CHECK_FUNCTIONS, NEED_DIRECTORIES

__all__ = [
    "CHECKS",
    "SOURCE_CHECKS",
    "CheckFailed",
    "ChecksFailed",
    "MakeEndpoint",
    "MakeSource",
    "check_endpoint",
    "check_source",
]

MakeEndpoint: TypeAlias = Endpoint | Awaitable[Endpoint] | AbstractAsyncContextManager[Endpoint]
"""What a factory may return: an endpoint, an awaitable of one, or an async context manager of one."""

MakeSource: TypeAlias = Source | Awaitable[Source] | AbstractAsyncContextManager[Source]
"""The same for a place that is only read."""

_PlaceT = TypeVar("_PlaceT", bound=Source)


_SECONDS: Final = 60.0


def _name(check: Callable[..., object]) -> str:
    return check.__name__.removeprefix("check_")


#: The names of the checks of a target that can also be read.
CHECKS: Sequence[str] = (*map(_name, CHECK_FUNCTIONS), *map(_name, SOURCE_CHECK_FUNCTIONS))
#: The names of the checks of a source.
SOURCE_CHECKS: Sequence[str] = tuple(map(_name, SOURCE_CHECK_FUNCTIONS))


class CheckFailed(AssertionError):
    """One check that an endpoint does not pass.

    ``check`` is its name, ``statement`` what it checks, ``why`` what was found instead. The cause is the exception.
    """

    def __init__(self, check: str, statement: str, why: str) -> None:
        super().__init__(f"{check}: {statement} But: {why}")
        self.check, self.statement, self.why = check, statement, why


class ChecksFailed(ExceptionGroup[CheckFailed]):
    """All checks that an endpoint does not pass; its text has a line for each."""


async def check_endpoint(
    make: Callable[[], MakeEndpoint],
    *,
    only: str | None = None,
    keeps_times: bool = True,
    reads: bool = True,
    keeps_directories: bool = True,
    seconds: float = _SECONDS,
) -> None:
    """Check an endpoint against the contract, as a target and as a source.

    Args:
        make: returns an endpoint rooted in an empty directory that exists, a fresh one for each check.
        only: run this check only, one of `CHECKS`.
        keeps_times: whether a committed file has the time of its source, to the second.
        reads: whether files can be read back.
        keeps_directories: whether an empty directory exists. What the place cannot do is not checked.
        seconds: a check that takes longer fails.

    Raises:
        ChecksFailed: at least one check failed.
    """

    async def written(check: Callable[[Place], Awaitable[None]]) -> None:
        async with _opened(make()) as endpoint:
            outside = endpoint.outside if isinstance(endpoint, ReachesOutside) else ""
            place = Place(endpoint, keeps_times, reads, keeps_directories, outside)
            with checking(place):
                await check(place)

    async def filled(check: Callable[[Source], Awaitable[None]]) -> None:
        async with _opened(make()) as endpoint:
            await fill(endpoint, tree_of(check))
            await check(endpoint)

    possible = [check for check in CHECK_FUNCTIONS if keeps_directories or check not in NEED_DIRECTORIES]
    checks: dict[str, _Runnable] = {_name(check): (check, partial(written, check)) for check in possible}
    if reads:
        checks.update({_name(check): (check, partial(filled, check)) for check in SOURCE_CHECK_FUNCTIONS})
    await _run(checks, CHECKS, only, seconds)


async def check_source(
    make: Callable[[Tree], MakeSource], *, only: str | None = None, seconds: float = _SECONDS
) -> None:
    """Check a place against the part of the contract that reads.

    Args:
        make: gets each path with its content, None for a directory, and returns a place that holds exactly that tree.
        only: run this check only, one of `SOURCE_CHECKS`.
        seconds: a check that takes longer fails.

    Raises:
        ChecksFailed: at least one check failed.
    """

    async def made(check: Callable[[Source], Awaitable[None]]) -> None:
        async with _opened(make(tree_of(check))) as endpoint:
            await check(endpoint)

    checks: dict[str, _Runnable] = {_name(check): (check, partial(made, check)) for check in SOURCE_CHECK_FUNCTIONS}
    await _run(checks, SOURCE_CHECKS, only, seconds)


_Runnable: TypeAlias = tuple[Callable[..., object], Callable[[], Awaitable[None]]]
"""A check, and a function that runs it on a fresh endpoint."""


async def _run(checks: dict[str, _Runnable], known: Sequence[str], only: str | None, seconds: float) -> None:
    if not __debug__:
        raise RuntimeError("python -O removes the asserts that the checks consist of; run Python without -O")
    if only is not None and only not in known:
        raise ValueError(f"no check is called {only!r}; known: {', '.join(known)}")
    chosen = {name: check for name, check in checks.items() if only in {None, name}}
    failed = [it for name, check in chosen.items() if (it := await _failure(name, check, seconds)) is not None]
    if failed:
        lines = "".join(f"\n  {failure}" for failure in failed)
        raise ChecksFailed(f"{len(failed)} of {len(chosen)} checks failed:{lines}", failed)


async def _failure(name: str, runnable: _Runnable, seconds: float) -> CheckFailed | None:
    """Run one check, and return what failed. Exceptions that end the whole test, such as KeyboardInterrupt, go on."""
    check, run = runnable
    try:
        with trio.fail_after(seconds):
            await run()
    except Exception as error:  # noqa: BLE001 - an unknown endpoint may raise anything
        failure = CheckFailed(name, (check.__doc__ or "").partition("\n")[0], _why(error, seconds))
        failure.__cause__ = error
        return failure
    return None


def _why(error: BaseException, seconds: float) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, trio.TooSlowError):
        return f"the check did not end within {seconds:g} seconds"
    if not isinstance(error, AssertionError):
        return f"raised {type(error).__name__}: {error}" if str(error) else f"raised {type(error).__name__}"
    if str(error):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"not true: {linecache.getline(frame.filename, frame.lineno or 0).strip()}"


@asynccontextmanager
async def _opened(
    made: _PlaceT | Awaitable[_PlaceT] | AbstractAsyncContextManager[_PlaceT],
) -> AsyncIterator[_PlaceT]:
    if isinstance(made, AbstractAsyncContextManager):
        async with made as endpoint:
            yield endpoint
    elif isawaitable(made):
        yield await made
    else:
        yield made
