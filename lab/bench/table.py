"""Rows as a table on the terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from lab.bench.rows import Row

_MET = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}


def table(rows: Sequence[Row]) -> Table:
    """Return the table of all rows."""
    found = Table(box=None, header_style="bold", pad_edge=False)
    found.add_column("row")
    for title in ("unit", "ours", "peer", "limit", "ratio", "goal", "met", "n", "spread"):
        found.add_column(title, justify="right")
    for row in rows:
        numbers = [_number(value, 1) for value in (row.ours, row.peer, row.limit)]
        goal = "" if row.goal is None else f"{row.goal:g}"
        ratio, spread = _number(row.ratio, 3), _number(row.spread, 3)
        found.add_row(row.name, row.unit, *numbers, ratio, goal, _MET[row.met], str(row.n), spread)
    return found


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
