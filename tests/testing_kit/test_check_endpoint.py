"""`check_endpoint` names the broken rule, and what it found instead, for endpoints that break the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from actorsync.endpoints.contract import Content, Staged, Upload, nothing_ahead
from actorsync.endpoints.local.endpoint import LocalEndpoint
from actorsync.endpoints.memory.endpoint import MemoryEndpoint, MemorySession
from actorsync.errors import ConnectionLost, OperationRefused
from actorsync.model.entry import Entry, Kind, Listing
from actorsync.testing import CHECKS, SOURCE_CHECKS, CheckFailed, ChecksFailed, check_endpoint, check_source

Results = list[Entry | OperationRefused]


class Wrong(MemoryEndpoint):
    """A tree in memory whose sessions have another class."""

    session: type[MemorySession]

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[MemorySession]:
        await trio.lowlevel.checkpoint()
        yield self.session(self)


def wrong(session: type[MemorySession]) -> Callable[[], MemoryEndpoint]:
    return type("Wrong", (Wrong,), {"session": session})


async def unmet(make: Callable[[], MemoryEndpoint], only: str | None = None, seconds: float = 60) -> dict[str, str]:
    """Return each check that failed with its reason."""
    with pytest.raises(ChecksFailed) as caught:
        await check_endpoint(make, only=only, seconds=seconds)
    faults = [fault for fault in caught.value.exceptions if isinstance(fault, CheckFailed)]
    assert len(faults) == len(caught.value.exceptions)
    for fault in faults:
        assert f"\n  {fault.check}: {fault.statement} But: {fault.why}" in str(caught.value)
        assert fault.statement.endswith(".")
        assert fault.__cause__ is not None
    return {fault.check: fault.why for fault in faults}


class OntoTheFinalName(MemorySession):
    async def stage(
        self, upload: Upload, *, commit: Sequence[Staged] = (), ahead: Callable[[], bool] = nothing_ahead
    ) -> tuple[Staged | OperationRefused, Results]:
        staged, committed = await super().stage(upload, commit=commit, ahead=ahead)
        if isinstance(staged, Staged):
            self._endpoint.rename(upload.temporary, upload.path)
        return staged, committed

    async def commit(self, staged: Sequence[Staged]) -> Results:
        nodes = {item.path: self._endpoint.find(item.path) for item in staged}
        return [self._endpoint.entry(path, node) for path, node in nodes.items() if node is not None]


async def test_endpoint_that_writes_to_the_final_name_fails() -> None:
    faults = await unmet(wrong(OntoTheFinalName))
    assert faults["stage_leaves_the_final_name_alone"].startswith("not as expected: ['file'], instead of ['.actorsync-")
    assert (
        faults["commit_replaces"] == "not as expected: (<Kind.FILE: 'file'>, 3), instead of (<Kind.FILE: 'file'>, 28)"
    )


class Shorter(MemorySession):
    async def list_directory(self, directory: str) -> Listing:
        listing = await super().list_directory(directory)
        return attrs.evolve(listing, entries=listing.entries[:250])


async def test_endpoint_with_incomplete_listings_fails() -> None:
    faults = await unmet(wrong(Shorter))
    assert set(faults) == {"long_listing_is_complete", "listings_are_complete"}
    assert faults["listings_are_complete"] == (
        "the listing of 'many' is shorter than the directory: 'many/250' is missing"
    )


class EmptyForMissing(MemorySession):
    async def list_directory(self, directory: str) -> Listing:
        return attrs.evolve(await super().list_directory(directory), problem=None)


async def test_endpoint_that_lists_a_missing_directory_as_empty_fails() -> None:
    faults = await unmet(wrong(EmptyForMissing))
    assert faults["listing_a_missing_path_or_a_file_is_a_problem"] == "'missing' was listed"
    assert faults["listing_of_no_directory_is_a_problem"] == "'missing' was listed"


class LosesRefusals(MemorySession):
    async def commit(self, staged: Sequence[Staged]) -> Results:
        return [result for result in await super().commit(staged) if isinstance(result, Entry)]

    async def make_directories(self, paths: Sequence[str]) -> Results:
        made = await super().make_directories(paths)
        return [
            it if isinstance(it, Entry) else Entry(path, Kind.DIRECTORY) for path, it in zip(paths, made, strict=True)
        ]


async def test_endpoint_that_loses_a_refusal_fails() -> None:
    faults = await unmet(wrong(LosesRefusals))
    lost = "OperationRefused expected: Entry Entry(path='file', kind=<Kind.DIRECTORY: 'directory'>, "
    assert faults["refused_directories_do_not_hide_the_others"].startswith(lost)
    assert "commits_ride_with_the_next_stage" in faults


class RaisesRefusals(MemorySession):
    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        results = await super().remove(entries)
        for result in results:
            if isinstance(result, OperationRefused):
                raise result
        return results


async def test_endpoint_that_raises_a_refusal_fails() -> None:
    faults = await unmet(wrong(RaisesRefusals), "changed_file_is_not_removed")
    why = "raised OperationRefused: 'file' was changed by another program: not removed"
    assert faults == {"changed_file_is_not_removed": why}


class RemovesWhatWasChanged(MemorySession):
    async def remove(self, entries: Sequence[Entry]) -> list[bool | OperationRefused]:
        return [
            self._endpoint.take(entry.path) is not None if self._endpoint.find(entry.path) else True
            for entry in entries
        ]


async def test_endpoint_that_removes_changed_files_fails() -> None:
    faults = await unmet(wrong(RemovesWhatWasChanged))
    assert {"changed_file_is_not_removed", "remove", "the_root_is_not_removed"} <= set(faults)


class LeavesTemporaries(MemorySession):
    async def sweep(
        self, temporaries: Sequence[str], finals: Mapping[str, str] | None = None
    ) -> list[bool | OperationRefused]:
        return [True for _ in temporaries]

    async def abandon(self, temporary: str) -> bool:
        return True


async def test_endpoint_that_leaves_temporary_files_fails() -> None:
    faults = await unmet(wrong(LeavesTemporaries))
    assert faults["sweep"].startswith("not as expected: [['.actorsync-")
    assert "abandon_after_cancelling" in faults


class Mixes(MemorySession):
    @asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Content]:
        async with super().open(path) as content:
            session = self

            @attrs.frozen
            class Mixed(Content):
                entry: Entry = content.entry

                def fileno(self) -> None:
                    return None

                async def read(self, max_bytes: int) -> bytes:
                    return await content.read(max_bytes)

                async def is_unchanged(self) -> bool:
                    return session is not None

            yield Mixed()


async def test_endpoint_that_mixes_two_versions_in_one_read_fails() -> None:
    endpoint = MemoryEndpoint()

    class InPlace(Mixes):
        async def commit(self, staged: Sequence[Staged]) -> Results:
            for item in staged:
                node = self._endpoint.find(item.temporary)
                self._endpoint.write(item.path, node.data, item.mtime_ns)  # type: ignore[union-attr]
                self._endpoint.delete(item.temporary)
            return [self._endpoint.entry(it.path, self._endpoint.find(it.path)) for it in staged]  # type: ignore[arg-type]

    faults = await unmet(wrong(InPlace), "content_read_to_its_end_is_one_version")
    assert faults == {"content_read_to_its_end_is_one_version": "a mixture of versions is reported as unchanged"}
    assert endpoint.files() == {}


class Hangs(MemorySession):
    async def make_directories(self, paths: Sequence[str]) -> Results:
        await trio.sleep_forever()
        return []


async def test_endpoint_that_never_returns_fails_after_the_timeout() -> None:
    faults = await unmet(wrong(Hangs), "make_nested_directories", seconds=0.1)
    assert faults == {"make_nested_directories": "the check did not end within 0.1 seconds"}


class IsBroken(MemorySession):
    async def list_directory(self, directory: str) -> Listing:
        raise KeyError


async def test_endpoint_that_raises_an_unexpected_error_fails() -> None:
    assert await unmet(wrong(IsBroken), "empty_listing") == {"empty_listing": "raised KeyError"}


@pytest.mark.parametrize("check", CHECKS)
async def test_each_check_can_run_alone(check: str) -> None:
    await check_endpoint(MemoryEndpoint, only=check)


async def test_factory_may_be_a_function_a_coroutine_or_a_context_manager() -> None:
    made: list[str] = []

    async def awaited() -> MemoryEndpoint:
        made.append("awaited")
        return MemoryEndpoint()

    @asynccontextmanager
    async def entered() -> AsyncIterator[MemoryEndpoint]:
        yield MemoryEndpoint()
        made.append("left")

    await check_endpoint(awaited)
    await check_endpoint(entered, only="remove")
    await check_endpoint(MemoryEndpoint, reads=False, keeps_times=False)
    assert made == ["awaited"] * len(CHECKS) + ["left"]


async def test_read_only_source_can_be_checked() -> None:
    class Shown(MemoryEndpoint):
        def __init__(self, tree: Mapping[str, bytes | None]) -> None:
            super().__init__()
            for path, data in tree.items():
                if data is None:
                    self.mkdir(path)
                else:
                    self.write(path, data)

    await check_source(Shown)
    for check in SOURCE_CHECKS:
        await check_source(Shown, only=check)
    with pytest.raises(
        ChecksFailed, match=r"the listing of '' is shorter than the directory: 'Zürich\.txt' is missing"
    ):
        await check_source(lambda tree: MemoryEndpoint(), only="listings_are_complete")


async def test_unknown_check_is_rejected() -> None:
    with pytest.raises(ValueError, match="no check is called 'sweeps'; known: empty_listing, identify, "):
        await check_endpoint(MemoryEndpoint, only="sweeps")


async def test_error_of_the_factory_is_reported_and_cancellation_is_not_caught() -> None:
    async def lost() -> MemoryEndpoint:
        raise ConnectionLost("no server")

    assert await unmet(lost, "identify") == {"identify": "raised ConnectionLost: no server"}  # type: ignore[arg-type]
    with trio.CancelScope() as scope:
        scope.cancel()
        await check_endpoint(MemoryEndpoint)
    assert scope.cancelled_caught


def test_checks_have_unique_names() -> None:
    assert len(set(CHECKS)) == len(CHECKS)
    assert set(SOURCE_CHECKS) < set(CHECKS)


async def test_factory_may_return_an_awaitable(tmp_path: Path) -> None:
    def made() -> Awaitable[LocalEndpoint]:
        async def endpoint() -> LocalEndpoint:
            return LocalEndpoint(tmp_path)

        return endpoint()

    await check_endpoint(made, only="identify")
