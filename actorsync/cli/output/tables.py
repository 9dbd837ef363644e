"""Tables as plain lines: for terminals, pipes and clipboards alike.

rich measures the columns (a wide character takes two cells). It does not colour, wrap or cut the lines, and does not
interpret the cells as markup. It is imported only when a table is printed, because the import is slow.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from typing import Final

__all__ = ["table_lines"]

#: Spaces between two columns.
_GAP: Final = 2


def table_lines(
    rows: Sequence[Sequence[str]], *, head: Sequence[str] = (), numbers: Collection[int] = ()
) -> Iterator[str]:
    """Yield the lines of a table, ``head`` first if there is one.

    All rows have the same length. Columns are aligned to the left, those in ``numbers`` (counted from 0) to the right.
    Each cell is one line, already passed through `actorsync.model.text.display`.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    lines = [head, *rows] if head else rows
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, _GAP, 0, 0))
    for number in range(len(lines[0])):
        table.add_column(justify="right" if number in numbers else "left", no_wrap=True)
    for line in lines:
        table.add_row(*map(Text, line))
    width = sum(max(map(cell_len, column)) + _GAP for column in zip(*lines, strict=True))
    text = io.StringIO()  # the console writes nowhere else: standard output may be closed or full
    Console(file=text, width=width, color_system=None, force_terminal=False, legacy_windows=False).print(table)
    for line in text.getvalue().splitlines():
        yield line.rstrip()
