"""``lab report``, ``lab requirements``: what a run showed, and what there is to show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lab.commands.terminal import console as terminal
from lab.commands.terminal import plain_table
from lab.topology.model import Scenario


def register(app: typer.Typer) -> None:
    """Add the commands of this family."""
    app.command()(report)
    app.command()(requirements)


def report(run_dir: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Make the certificate of a run again from its ledger; exit code 1 unless it passed."""
    from lab.requirements import load_catalogue
    from reports.certificate import write_certificate
    from reports.model import Verdict

    certificate = write_certificate(run_dir, load_catalogue())
    console = terminal()
    console.print(f"[bold]{certificate.verdict}[/]")
    for name, result in certificate.scenarios.items():
        counts = f"{result.passed} passed, {result.failed} failed, {result.not_run} not run"
        console.print(f"{name}: {counts}, of {result.requirements} requirements")
    for reason in certificate.reasons:
        console.print(reason, markup=False, soft_wrap=True)
    console.print(str(run_dir / "certificate.html"), markup=False, soft_wrap=True)
    if certificate.verdict is not Verdict.PASS:
        raise typer.Exit(1)


def requirements(
    scenario: Annotated[Scenario | None, typer.Option(help="Only what this scenario needs.")] = None,
) -> None:
    """List the catalogue of requirements."""
    from lab.requirements import load_catalogue

    catalogue = load_catalogue()
    items = catalogue.for_scenario(scenario) if scenario else list(catalogue.by_id.values())
    table = plain_table("id", "level", "rule", "source")
    for item in items:
        table.add_row(item.id, item.level.value, item.rule, item.source_for(scenario) if scenario else item.source)
    terminal().print(table)
