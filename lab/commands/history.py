"""``lab history``: trends over all runs, as a table, as JSON, as a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab.commands.terminal import console as terminal
from lab.commands.terminal import plain_table
from lab.errors import BadInput

if TYPE_CHECKING:
    from lab.history.model import RunRecord


def register(app: typer.Typer) -> None:
    """Add the command of this family."""
    app.command()(history)


def history(
    topology: Annotated[str | None, typer.Option(help="Only runs of this topology.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with charts to this file.")] = None,
    add: Annotated[list[Path] | None, typer.Option(help="Take in the folder of an earlier run first.")] = None,
) -> None:
    """Show what changed between runs: rules, flakes, numbers; RECOVERY_LAB_HISTORY may name another database."""
    from lab.history.store import History, history_url
    from lab.history.trends import as_json as document
    from lab.home import home

    with History.opened(history_url(home())) as store:
        for folder in add or ():
            store.add(_record_of(folder))
        runs = store.runs(topology)
    if html is not None:
        from reports.durable import replace_file
        from reports.history import render_history

        replace_file(html, render_history(runs))
    if as_json:
        typer.echo(json.dumps(document(runs), indent=2))
        return
    _show(runs)


def _record_of(folder: Path) -> RunRecord:
    from lab.history.model import RunRecord

    file = folder / "certificate.json"
    try:
        return RunRecord.of_certificate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file}: not the certificate of a run: {error}") from error


def _show(runs: Sequence[RunRecord]) -> None:
    from lab.history.trends import series, trends

    console = terminal()
    found = trends(runs)
    table = plain_table("rule", "topology", "build", "passed", "interval", "flakes", "bad since")
    for trend in found:
        if trend.first_bad or trend.flake_rate:
            passed, interval = f"{trend.passed} of {trend.runs}", f"{100 * trend.low:.0f} to {100 * trend.high:.0f} %"
            flakes = f"{100 * trend.flake_rate:.0f} %"
            build = trend.build[:12] or "unknown"
            row = (trend.requirement, trend.topology, build, passed, interval, flakes, trend.first_bad or "")
            table.add_row(*row)
    if table.rows:
        console.print(table)
    numbers = plain_table("number", "topology", "context", "last runs", "before", "unit", "p")
    for item in series(runs):
        before = "" if item.before is None else f"{item.before:.4g}"
        p = "" if item.p is None else f"{item.p:.2g}{' changed' if item.changed else ''}"
        numbers.add_row(item.name, item.topology, item.context, f"{item.recent:.4g}", before, item.unit, p)
    if numbers.rows:
        console.print(numbers)
    steady = sum(not trend.first_bad and not trend.flake_rate for trend in found)
    console.print(f"{len(runs)} runs; {steady} rules passed every time that they were shown")
