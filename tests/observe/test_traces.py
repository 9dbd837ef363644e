"""Traces: the spans of a run, its passes and its files."""

from __future__ import annotations

import logging
import threading

import pytest
import trio
import trio.testing
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from actorsync.model.entry import Entry, Kind
from actorsync.model.event import Event, Intended, PassBegan, Started, Stopped
from actorsync.model.operation import Copy, Done, Failed, Fault
from actorsync.model.report import Report
from actorsync.observe.traces import Traces
from tests.support.every_event import EVERY_EVENT
from tests.support.web import a_state

FILE = Entry("a\udcff.txt", Kind.FILE, 3)


async def spans_of(*events: Event) -> list[ReadableSpan]:
    """Return the spans that are sent after events, in the order in which they ended."""
    exporter = InMemorySpanExporter()
    state = a_state()
    traces = Traces(state, pytest.fail, SimpleSpanProcessor(exporter))
    for event in events:
        state.observe(event)
    await traces.finish()
    return list(exporter.get_finished_spans())


async def test_files_are_in_passes_and_passes_in_the_run() -> None:
    file, second, first, other, run = await spans_of(
        PassBegan("a change", ("a", "b")),
        Started("a", "b", 1),
        Intended((".a.tmp",), FILE),
        Done(Copy(FILE), FILE),
        Failed(Copy(Entry("b", Kind.FILE, 1)), "no permission"),
        Failed(Copy(Entry("c", Kind.FILE, 1)), "parked", Fault.PARKED),
        Stopped(Report(1, 1.0, 2.0, copied=1, failed=1)),
        Started("a", "b", 1),
        Stopped(Report(0, 1.0, 2.0)),
    )
    assert [it.name for it in (file, second, first, other, run)] == ["file", "file", "pass", "pass", "run"]
    assert file.attributes == {"actorsync.path": "a\\xff.txt", "actorsync.size": 3}
    assert file.start_time is not None
    assert file.end_time is not None
    assert file.start_time < file.end_time
    assert file.status.is_unset
    assert (second.status.is_ok, second.status.description) == (False, "no permission")
    assert file.parent is not None
    assert first.parent is not None
    assert first.context is not None
    assert run.context is not None
    assert (file.parent.span_id, first.parent.span_id) == (first.context.span_id, run.context.span_id)
    assert first.attributes is not None
    assert (first.attributes["actorsync.scope"], first.attributes["actorsync.exit_code"]) == (2, 1)
    assert (first.status.is_ok, first.status.description) == (False, "not in sync")
    assert (other.status.is_unset, run.parent) == (True, None)
    assert run.attributes == {"actorsync.profile": "shop", "actorsync.target": "shop"}
    assert run.resource.attributes["service.name"] == "actorsync"


class StuckProcessor(SpanProcessor):
    """A processor whose collector answers nothing until it is let go."""

    def __init__(self) -> None:
        self.may_end = threading.Event()

    def shutdown(self) -> None:
        self.may_end.wait()


async def test_collector_that_does_not_answer_is_a_warning_and_delays_nothing() -> None:
    processor, warnings = StuckProcessor(), list[str]()
    traces = Traces(a_state(), warnings.append, processor)
    with trio.move_on_after(0.01) as waiting:
        await traces.finish()
    processor.may_end.set()
    assert waiting.cancelled_caught
    assert [it.partition(";")[0] for it in warnings] == ["observe.traces: spans were not sent in time"]


async def test_complaint_of_the_library_is_a_warning_without_its_text() -> None:
    warnings: list[str] = []
    traces = Traces(a_state(), warnings.append, SimpleSpanProcessor(InMemorySpanExporter()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(traces.run)
        await trio.testing.wait_all_tasks_blocked()
        logging.getLogger("opentelemetry.exporter.x").error("no answer from http://user:secret@collector")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(warnings) == 1
    assert "secret" not in warnings[0]
    assert logging.getLogger("opentelemetry").handlers == []
    await traces.finish()


async def test_every_event_is_taken() -> None:
    assert (await spans_of(*EVERY_EVENT))[-1].name == "run"


async def test_name_of_the_service_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-mirror")
    assert (await spans_of())[0].resource.attributes["service.name"] == "shop-mirror"
