"""The bench's page in docs: a table between two marks, from the JSON beside it, which keeps rows of earlier runs.

``python -m lab.bench.page PAGE FILE`` joins the rows of a file of the bench to a page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from lab.bench.record import Recorded, Run, as_json, joined, read_rows
from lab.bench.rows import Row
from lab.errors import BadInput

BEGIN, END = "<!-- written by the bench: begin -->", "<!-- written by the bench: end -->"
TITLES = ("row", "ours", "peer", "limit", "ratio", "goal", "met", "n", "spread", "when and where", "")
_MET = {True: "yes", False: "**no**", None: ""}
_THOUSAND = 1000


def update_page(page: Path, later: Iterable[Recorded]) -> None:
    """Join rows to those beside the page, and write both. Raises BadInput when the page has no place for a table."""
    beside = page.with_suffix(".json")
    rows = joined(read_rows(beside), later)
    text = with_table(page, rows)
    beside.write_text(as_json(rows), encoding="utf-8")
    page.write_text(text, encoding="utf-8")


def with_table(page: Path, rows: Sequence[Recorded]) -> str:
    """Return the text of a page with another table in it. Raises BadInput when it has no place for one."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BadInput(f"{page} has no place for the table: a line {BEGIN!r} and, below it, a line {END!r}")
    return f"{before}{BEGIN}\n{table(rows)}\n{END}{after}"


def table(rows: Sequence[Recorded]) -> str:
    """Return the table, in Markdown."""
    ruler = "|".join(["---", *["---:"] * 8, "---", "---"])
    lines = [f"| {' | '.join(TITLES)} |", f"|{ruler}|"]
    return "\n".join([*lines, *(f"| {' | '.join(_cells(each.row, each.run))} |" for each in rows)])


def _cells(row: Row, run: Run) -> list[str]:
    measured = [_amount(number, row.unit) for number in (row.ours, row.peer, row.limit)]
    goal = "" if row.goal is None else f"{row.goal:g}"
    spread = "" if row.spread is None else f"{row.spread:.2f}"
    name, note = f"`{row.name}`", row.note.replace("|", r"\|")
    return [name, *measured, f"{row.ratio:.2f}", goal, _MET[row.met], str(row.n), spread, _where(run), note]


def _amount(number: float | None, unit: str) -> str:
    if number is None:
        return ""
    return f"{number:.0f} {unit}" if abs(number) >= _THOUSAND else f"{number:.3g} {unit}"


def _where(run: Run) -> str:
    told = [
        run.at.replace("T", " "),
        "" if run.cores is None else f"{run.cores} cores",
        run.acceleration or "",
        "" if run.load is None else f"load {run.load:g}",
        run.version,
        f"by hand from [{Path(run.by_hand).stem}]({run.by_hand})" if run.by_hand else "",
    ]
    return ", ".join(word for word in told if word)


def main() -> None:
    """Join the rows of a file to a page."""
    page, rows = (Path(word) for word in sys.argv[1:])
    update_page(page, read_rows(rows))


if __name__ == "__main__":
    main()
