"""``lab sensitivity``: would the tests notice? Each seeded defect against the tests that should."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab.commands.terminal import console as terminal
from lab.commands.terminal import plain_table
from lab.errors import BadInput, LabError

if TYPE_CHECKING:
    from lab.defects.matrix import Matrix
    from lab.defects.model import Defect
    from lab.defects.probing import Probed


def register(app: typer.Typer) -> None:
    """Add the command of this family."""
    app.command()(sensitivity)


def sensitivity(  # noqa: PLR0917 - typer's options are its parameters
    topology: Annotated[Path | None, typer.Argument(help="Topology whose suites run, once for each defect.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Only what needs no machine: parts in one process.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Only this defect; may be given again.")] = None,
    clean: Annotated[int, typer.Option(min=1, help="How many times the stack without a defect is probed.")] = 1,
    exhaustive: Annotated[bool, typer.Option("--exhaustive", help="Run all probes of a part.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes side by side; all cores by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Seed defects into copies of the reference stack and see which tests notice; exit code 1 when one survives."""
    from lab.defects.matrix import judge
    from lab.defects.registry import DEFECTS, defect
    from lab.home import home
    from lab.requirements import load_catalogue
    from lab.runs import SENSITIVITY_FILE, stack_build
    from reports.durable import replace_file

    if fast == (topology is not None):
        raise BadInput("either --fast, or a topology whose suites are to run on a lab")
    chosen = [defect(name) for name in only] if only else list(DEFECTS)
    done = list(_fast(chosen, clean, exhaustive, workers) if fast else _on_a_lab(topology or Path(), chosen, clean))
    matrix = judge(chosen, done)
    how = "probes of its parts in one process" if topology is None else f"the suites on {topology.name}"
    document = matrix.to_json(load_catalogue().by_id, stack_build(), how)
    if not only:
        home().mkdir(parents=True, exist_ok=True)
        replace_file(home() / SENSITIVITY_FILE, json.dumps(document, indent=1))
    if as_json:
        typer.echo(json.dumps(document, indent=1))
    else:
        _show(matrix, document["unproven"])
    if not matrix.passed:
        raise LabError("a defect was not noticed, or the stack without one gave an alarm")


def _fast(chosen: Sequence[Defect], clean: int, exhaustive: bool, workers: int | None) -> Iterator[Probed]:
    from rich.console import Console

    from lab.defects.probing import orders_for, probe

    orders = orders_for([item for item in chosen if not item.needs_machines], clean_runs=clean, exhaustive=exhaustive)
    progress = Console(stderr=True)
    for number, probed in enumerate(probe(orders, workers or os.cpu_count() or 1), 1):
        if progress.is_terminal:
            progress.print(f"{number} of {len(orders)}: {probed.defect or 'no defect'}", end="\r", highlight=False)
        yield probed


def _on_a_lab(topology: Path, chosen: Sequence[Defect], clean: int) -> Iterator[Probed]:
    from lab.defects.lab_runs import run_on_lab

    for item in [None] * clean + list(chosen):
        yield run_on_lab(topology, item)


def _show(matrix: Matrix, unproven: Sequence[str]) -> None:
    console = terminal()
    table = plain_table("defect", "part", "breaks", "noticed by")
    for row in matrix.rows:
        by = "\n".join(test.partition("::")[2] or test for test in row.caught_by)
        if not row.ran:
            by = "[dim]not run: needs machines[/]"
        elif row.equivalent:
            by = "equivalent: every image is the oracle's"
        elif row.survived:
            by = "[bold red]nothing[/]"
        table.add_row(row.defect.name, row.defect.part.value, " ".join(row.defect.requirements), by)
    console.print(table)
    ran = [row for row in matrix.rows if row.ran]
    caught, equal = sum(bool(row.caught_by) for row in ran), sum(row.equivalent for row in ran)
    missed = len(ran) - caught - equal
    console.print(f"\n{len(ran)} defects tried: {caught} noticed, {equal} equivalent, {missed} not noticed")
    for test, problem in matrix.false_alarms.items():
        console.print(f"false alarm: {test}: {problem}", style="red", markup=False)
    console.print(f"{len(matrix.rows) - len(ran)} need machines and were not run")
    console.print(f"{len(matrix.proven)} rules proven by a defect, {len(unproven)} unproven")
