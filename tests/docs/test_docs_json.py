"""The JSON section of docs/cli.md and the records of the code name the same events, fields and values."""

from __future__ import annotations

import io
import json
import re

import pytest
import trio

from actorsync.actors.statistics import Statistics
from actorsync.cli.output.json_lines import JsonLines
from actorsync.cli.output.plan_lines import outline_record
from actorsync.errors import ProfileError
from actorsync.model.json_records import records_of
from actorsync.model.messages import RESULTS
from actorsync.model.operation import Fault
from actorsync.planning.publishing.forecast import Outline
from actorsync.service.running import refused
from tests.support.every_event import EVERY_EVENT
from tests.support.root import ROOT

SECTION = (ROOT / "docs" / "cli.md").read_text().partition("\n## JSON\n")[2]


def documented_records() -> dict[str, set[str]]:
    """Return the fields that the page lists for each record."""
    rows = re.findall(r"^\| `([a-z_]+)` \|([^|\n]*)\|[^|\n]+\|$", SECTION, re.MULTILINE)
    return {name: set(re.findall(r"`([a-z_]+)`", fields)) for name, fields in rows}


async def written_records() -> dict[str, set[str]]:
    """Return the fields of each record that the code can write, besides ``event`` and ``time``."""
    stream = io.StringIO()
    output = JsonLines(Statistics(), stream, None)
    output.stopping(30.0)
    output.stopping(None)
    output.show_results([refused("shop", ProfileError("missing"))])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run, trio.Event())
        output.close()
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    records.append(outline_record(Outline()))
    for event in EVERY_EVENT:
        records += records_of(event)
    found: dict[str, set[str]] = {}
    for record in records:
        found.setdefault(record["event"], set()).update(record.keys() - {"event", "time"})
    return found


async def test_every_record_is_documented_and_every_documented_record_exists() -> None:
    assert documented_records().keys() == (await written_records()).keys()


async def test_every_field_is_documented_and_every_documented_field_exists() -> None:
    assert documented_records() == await written_records()


@pytest.mark.parametrize(
    ("documented", "values"),
    [
        (re.findall(r"^\| `([a-z]+)` \|[^|\n]+\|$", SECTION, re.MULTILINE), [fault.value for fault in Fault]),
        (re.findall(r"`([a-z ]+)`", SECTION.rpartition("`result` is")[2]), RESULTS.values()),
        (
            re.findall(r"`([a-z_]+)`", SECTION.partition("`operation` is")[2].partition(" |")[0].partition("\n\n")[0]),
            {record["operation"] for event in EVERY_EVENT for record in records_of(event) if "operation" in record},
        ),
    ],
    ids=["fault", "result", "operation"],
)
def test_documented_values_of_a_field_are_those_of_the_code(documented: list[str], values: list[str]) -> None:
    assert sorted(documented) == sorted(values)
