"""The documentation agrees with the code: tables, tests, links, commands and options."""

from __future__ import annotations

import re

import click

from actorsync.cli.commands import cli
from actorsync.planning.pairs import table
from actorsync.planning.reconcile import TABLE, Action, Source, Target
from actorsync.profile import two_way
from tests.support.docs.matrix import ROWS, rows_in, rows_of
from tests.support.root import ROOT


def reconcile_table() -> str:
    targets = list(Target)
    lines = ["| source \\ target | " + " | ".join(target.value for target in targets) + " |"]
    lines.append("|---" * (len(targets) + 1) + "|")
    for source in Source:
        actions = [TABLE.get((source, target)) for target in targets]
        cells = ["" if action is None else "-" if action is Action.NOTHING else action.value for action in actions]
        lines.append(f"| {source.value} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def test_reconcile_table_equals_the_code() -> None:
    text = (ROOT / "docs/design.md").read_text()
    printed = text.partition("<!-- reconcile table: begin -->\n")[2].partition("\n<!-- reconcile table: end -->")[0]
    assert printed == reconcile_table()


def test_two_way_table_equals_the_code() -> None:
    text = (ROOT / "docs/two-way.md").read_text()
    printed = text.partition("<!-- two-way table: begin -->\n")[2].partition("\n<!-- two-way table: end -->")[0]
    assert printed == table.as_markdown()


def test_keys_of_two_way_equal_the_code() -> None:
    text = (ROOT / "docs/two-way.md").read_text()
    printed = text.partition("<!-- two-way keys: begin -->\n")[2].partition("\n<!-- two-way keys: end -->")[0]
    assert printed == two_way.as_markdown()


def test_fault_matrix_lists_exactly_the_tests_of_each_row() -> None:
    """A row lists all tests with its number in their names, and no other tests."""
    written = {row.number: row for row in rows_in((ROOT / "docs/reliability.md").read_text())}
    claimed: dict[int, set[str]] = {number: set() for number in ROWS}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"def (test_\w+)", path.read_text()):
            for number in rows_of(name):
                claimed[number].add(name)
    assert list(written) == list(ROWS)
    assert {number: row.names for number, row in written.items()} == claimed, "run pytest --matrix to update the table"
    assert sum(bool(row.names) for row in written.values()) >= 120
    for row in written.values():
        assert row.names or row.tests.startswith("none: "), (
            f"row {row.number} has no test; write 'none: ' and the reason"
        )
        assert set(row.result.split()[1::2]) <= {"passed", "passed,"}, row


def test_readme_has_exactly_two_commands_for_a_clone() -> None:
    blocks = (ROOT / "README.md").read_text().split("```")[1::2]
    commands = [line for block in blocks for line in block.splitlines() if line.startswith("make ")]
    assert commands == ["make demo", "make test"]


def test_links_between_pages_are_not_broken() -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for part in path.read_text().split("](")[1:]:
            target = part.partition(")")[0].partition("#")[0]
            if target and not target.startswith("http"):
                assert (path.parent / target).exists(), f"{path.name} has a broken link to {target}"


def test_cli_page_documents_every_command_and_option() -> None:
    text = (ROOT / "docs/cli.md").read_text()
    for_all = text.partition("\n## ")[0]
    sections = {
        head.split()[1].rstrip("`"): body for head, body in re.findall(r"(?ms)^## `(.*?)`$(.*?)(?=^## |\Z)", text)
    }
    assert sections.keys() == cli.commands.keys()
    for name, command in cli.commands.items():
        for option in command.params:
            if isinstance(option, click.Option):
                assert f"`{max(option.opts, key=len)}" in for_all + sections[name], f"{name} {option.opts}"
