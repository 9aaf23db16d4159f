"""How commands print: as wide as the terminal, and wide enough for programs that read a pipe."""

from __future__ import annotations

import os

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
