"""Whether an endpoint keeps the contract: everything that is demanded of one, or one demand at a time.

In a test of yours, with one test for each demand::

    @pytest.mark.parametrize("demand", DEMANDS)
    async def test_conformance(demand: str, tmp_path: Path) -> None:
        await check_endpoint(lambda: MyEndpoint(tmp_path), only=demand)

or all in a row, without pytest::

    trio.run(check_endpoint, MyEndpoint.fresh)

Both raise `DemandsUnmet`, which says what was demanded and what was found instead. A place that can only be read from
has `check_source`, and ``SOURCE_DEMANDS``.
"""

from __future__ import annotations

import linecache
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from inspect import isawaitable
from typing import Final, TypeAlias

import trio

from actorsync.endpoints.contract import Endpoint
from actorsync.testing.conformance.demands import CHECKS, OF_DIRECTORIES, Place, asked_of
from actorsync.testing.conformance.source_demands import SOURCE_CHECKS, Tree, fill, tree_of

__all__ = [
    "DEMANDS",
    "SOURCE_DEMANDS",
    "CheckFailed",
    "DemandsUnmet",
    "MakeEndpoint",
    "check_endpoint",
    "check_source",
]

MakeEndpoint: TypeAlias = Endpoint | Awaitable[Endpoint] | AbstractAsyncContextManager[Endpoint]
"""What a factory may give: an endpoint, something to await for one, or something to enter for one and leave after."""

_SECONDS: Final = 60.0


def _name(check: Callable[..., object]) -> str:
    return check.__name__.removeprefix("check_")


#: The names of all that is demanded of a target that can be read from as well.
DEMANDS: Sequence[str] = (*map(_name, CHECKS), *map(_name, SOURCE_CHECKS))
#: The names of what is demanded of a source.
SOURCE_DEMANDS: Sequence[str] = tuple(map(_name, SOURCE_CHECKS))


class CheckFailed(AssertionError):
    """One demand that an endpoint does not meet.

    ``demand`` is its name, ``statement`` what it says, ``why`` what was found instead. The cause is what was raised.
    """

    def __init__(self, demand: str, statement: str, why: str) -> None:
        super().__init__(f"{demand}: {statement} But: {why}")
        self.demand, self.statement, self.why = demand, statement, why


class DemandsUnmet(ExceptionGroup[CheckFailed]):
    """All the demands that an endpoint does not meet; its text has a line for each."""


async def check_endpoint(
    make: Callable[[], MakeEndpoint],
    *,
    only: str | None = None,
    keeps_times: bool = True,
    reads: bool = True,
    keeps_directories: bool = True,
    seconds: float = _SECONDS,
) -> None:
    """Check that an endpoint keeps the contract, as a target and as a source. Raises `DemandsUnmet`.

    ``make`` gives an endpoint rooted in an empty directory that exists, a fresh one each time: every demand has its
    own. ``only`` is one of `DEMANDS`. ``keeps_times``, ``reads`` and ``keeps_directories`` say what the place can do:
    whether a file has the time of its source, to the second, whether files can be read back, and whether a directory is
    there with nothing in it. What it cannot do is not demanded. A demand that takes more than ``seconds`` is not met.
    """

    async def written(check: Callable[[Place], Awaitable[None]]) -> None:
        async with _opened(make()) as endpoint:
            place = Place(endpoint, keeps_times=keeps_times, reads=reads, keeps_directories=keeps_directories)
            with asked_of(place):
                await check(place)

    async def filled(check: Callable[[Endpoint], Awaitable[None]]) -> None:
        async with _opened(make()) as endpoint:
            await fill(endpoint, tree_of(check))
            await check(endpoint)

    checks = [check for check in CHECKS if keeps_directories or check not in OF_DIRECTORIES]
    demands: dict[str, _Demand] = {_name(check): (check, partial(written, check)) for check in checks}
    if reads:
        demands.update({_name(check): (check, partial(filled, check)) for check in SOURCE_CHECKS})
    await _check(demands, DEMANDS, only, seconds)


async def check_source(
    make: Callable[[Tree], MakeEndpoint], *, only: str | None = None, seconds: float = _SECONDS
) -> None:
    """Check that an endpoint keeps the contract as a source, by verbs that only read. Raises `DemandsUnmet`.

    ``make`` gets a tree, every path with its content or None for a directory, parents first, and gives an endpoint
    whose root has just that in it. ``only`` is one of `SOURCE_DEMANDS`; for the rest see `check_endpoint`.
    """

    async def made(check: Callable[[Endpoint], Awaitable[None]]) -> None:
        async with _opened(make(tree_of(check))) as endpoint:
            await check(endpoint)

    demands: dict[str, _Demand] = {_name(check): (check, partial(made, check)) for check in SOURCE_CHECKS}
    await _check(demands, SOURCE_DEMANDS, only, seconds)


_Demand: TypeAlias = tuple[Callable[..., object], Callable[[], Awaitable[None]]]


async def _check(demands: dict[str, _Demand], known: Sequence[str], only: str | None, seconds: float) -> None:
    if not __debug__:
        raise RuntimeError("python -O leaves out the asserts that the suite is made of; run it without")
    if only is not None and only not in known:
        raise ValueError(f"there is no demand {only!r}; known: {', '.join(known)}")
    chosen = {name: demand for name, demand in demands.items() if only in {None, name}}
    unmet = [fault for name, demand in chosen.items() if (fault := await _fault(name, demand, seconds)) is not None]
    if unmet:
        lines = "".join(f"\n  {fault}" for fault in unmet)
        raise DemandsUnmet(f"{len(unmet)} of {len(chosen)} demands unmet:{lines}", unmet)


async def _fault(name: str, demand: _Demand, seconds: float) -> CheckFailed | None:
    """Try one demand; give what is wrong. What is raised to end the test itself goes on."""
    check, run = demand
    try:
        with trio.fail_after(seconds):
            await run()
    except Exception as error:  # noqa: BLE001 - whatever a strange endpoint raises is the answer
        unmet = CheckFailed(name, (check.__doc__ or "").partition("\n")[0], _why(error, seconds))
        unmet.__cause__ = error
        return unmet
    return None


def _why(error: BaseException, seconds: float) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, trio.TooSlowError):
        return f"it had not ended after {seconds:g} seconds"
    if not isinstance(error, AssertionError):
        return f"{type(error).__name__} was raised: {error}" if str(error) else f"{type(error).__name__} was raised"
    if str(error):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"not so: {linecache.getline(frame.filename, frame.lineno or 0).strip()}"


@asynccontextmanager
async def _opened(made: MakeEndpoint) -> AsyncIterator[Endpoint]:
    if isinstance(made, AbstractAsyncContextManager):
        async with made as endpoint:
            yield endpoint
    elif isawaitable(made):
        yield await made
    else:
        yield made
