"""How commands print: as wide as the terminal, and wide enough for programs that read a pipe."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

_WIDTH_OF_A_PIPE = 160


def console() -> Console:
    """Return a console for results."""
    found = Console(highlight=False)
    if found.is_terminal or "COLUMNS" in os.environ:
        return found
    return Console(highlight=False, width=_WIDTH_OF_A_PIPE)


def plain_table(*titles: str) -> Table:
    """Return a table without lines whose cells wrap at words."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title)
    return table


def padded(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a line for each row, every column as wide as its widest cell. For tables of thousands of rows."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
