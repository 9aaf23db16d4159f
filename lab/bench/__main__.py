"""``python -m lab.bench``: measure the rows, print them, write them to a file. Nothing is asserted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from lab.bench import (
    azure,
    azure_merge,
    churn,
    churn_steps,
    esxi,
    failover,
    groups,
    harness,
    host,
    hyperv,
    lab_up,
    lab_up_warm,
    last_run,
    oracle,
    overhead,
    replication,
)
from lab.bench.rows import Row, as_json
from lab.bench.table import table
from lab.errors import BadInput, LabError
from lab.provision.board import Board, ConsoleBoard
from lab.provision.down import tear_down
from lab.provision.home import Home
from lab.provision.lab import Lab
from lab.provision.lease import leased
from lab.provision.up import open_lab
from lab.saved.ready import deployed_and_saved, make_ready
from lab.topology.load import load_topology
from lab.topology.model import Topology

NAMES = (
    lab_up.NAME,
    lab_up_warm.NAME,
    replication.NAME,
    churn_steps.NAME,
    failover.NAME,
    overhead.NAME,
    groups.NAME,
    oracle.NAME,
    azure.UPLOAD,
    azure_merge.NAME,
    azure.START,
    esxi.READS,
    esxi.LIST,
    hyperv.NAME,
    *host.NAMES,
    *harness.NAMES,
    last_run.RUN_TIME,
    last_run.PEAK_MEMORY,
)
_WIDTH_OF_A_PIPE = 160
ALONE: dict[str, Callable[[int], Row]] = {
    groups.NAME: groups.group_cut,
    oracle.NAME: oracle.oracle_speed,
    azure.UPLOAD: azure.azure_upload,
    azure_merge.NAME: azure_merge.azure_merge,
    azure.START: azure.azure_kernel_start,
    hyperv.NAME: hyperv.hyperv_command,
}
"""Rows that need no lab."""
OF_THE_HARNESS: dict[str, Callable[[int], list[Row]]] = {
    harness.PLAN: harness.plan_many,
    harness.COLLECT: harness.collect_many,
    harness.MEMORY: harness.memory_of_many,
    harness.COST: harness.cost_per_machine,
}
ON_A_LAB = frozenset({replication.NAME, churn_steps.NAME, failover.NAME})
"""Rows that share a lab."""
ON_MACHINES = ON_A_LAB | {lab_up.NAME, lab_up_warm.NAME, overhead.NAME}
Report = Callable[[list[Row]], None]


def bench(
    topology: Annotated[Path, typer.Option(help="Topology file.")] = Path("topologies/embedded.yaml"),
    out: Annotated[Path, typer.Option(help="File for the rows, JSON.")] = Path("reports/out/bench.json"),
    only: Annotated[str | None, typer.Option(help=f"One row: {', '.join(NAMES)}.")] = None,
    times: Annotated[int, typer.Option(min=1, help="Turns of each comparison.")] = 1,
    run: Annotated[Path, typer.Option(help="Folder of the last whole run.")] = Path("reports/out/latest"),
) -> None:
    """Compare the lab with what a person would do by hand."""
    if only is not None and only not in NAMES:
        raise BadInput(f"there is no row {only!r}; there are: {', '.join(NAMES)}")
    console = _console()
    chosen = frozenset([only] if only else NAMES)
    found: list[Row] = []

    def report(rows: list[Row]) -> None:
        """Write at once: a later row that breaks off must not take these with it."""
        found.extend(rows)
        _write(found, out)

    try:
        if chosen & ON_MACHINES:
            _on_machines(load_topology(topology), chosen, times, console, report)
        for name in (name for name in ALONE if name in chosen):
            report([ALONE[name](times)])
        for name in (name for name in OF_THE_HARNESS if name in chosen):
            report(OF_THE_HARNESS[name](times))
        if chosen & frozenset(host.NAMES):
            rows, reason = host.host(times, chosen)
            report(rows)
            _say(reason, console)
        if chosen & {esxi.READS, esxi.LIST}:
            report([row for row in esxi.esxi_emulator(times) if row.name in chosen])
        if chosen & {last_run.RUN_TIME, last_run.PEAK_MEMORY}:
            rows, left_out = last_run.rows_of_run(run)
            report([row for row in rows if row.name in chosen])
            _say(left_out, console)
    finally:
        if found:
            console.print(table(found))
            console.print(f"rows: {out}", markup=False)


def _say(left_out: str | None, console: Console) -> None:
    if left_out:
        console.print(left_out, markup=False)


def _write(rows: list[Row], out: Path) -> None:
    """Write the rows; without any, what an earlier run wrote stays."""
    if rows:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(as_json(rows), encoding="utf-8")


def _console() -> Console:
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_WIDTH_OF_A_PIPE)


def _on_machines(topology: Topology, chosen: frozenset[str], times: int, console: Console, report: Report) -> None:
    """Measure what needs the lab "bench", and take it down."""
    home, name = Home.default(), lab_up.LAB
    with leased(home, name), ConsoleBoard(console, "bench") as board:
        try:
            if lab_up_warm.NAME in chosen:
                report(lab_up_warm.lab_up_warm(topology, home, board, times))
            if lab_up.NAME in chosen:
                report([lab_up.lab_up(topology, home, board, times)])
            if chosen & ON_A_LAB:
                with closing(_lab(topology, home, board, made=lab_up.NAME in chosen)) as lab:
                    _on_a_lab(lab, chosen, times, board, report)
            if overhead.NAME in chosen:
                report(overhead.overhead(topology, home, board, times))
        finally:
            tear_down(home, name, board)


def _on_a_lab(lab: Lab, chosen: frozenset[str], times: int, board: Board, report: Report) -> None:
    """Measure what shares a lab; last what leaves machines failed over."""
    if replication.NAME in chosen:
        report(replication.replication(lab, board, times))
    if churn_steps.NAME in chosen:
        report(churn.churn(lab, board))
    if failover.NAME in chosen:
        report([failover.failover(lab, board, times)])


def _lab(topology: Topology, home: Home, board: Board, *, made: bool) -> Lab:
    """Return the lab with its stack installed; unless it is there already, by the shortest way."""
    if made:
        return open_lab(home, lab_up.LAB, topology)
    tear_down(home, lab_up.LAB, board)
    lab = make_ready(topology, home, lab_up.LAB, board, fresh=False)
    with deployed_and_saved(lab, home, board):
        return lab


def main() -> None:
    """Run: exit code 0 whatever the ratios are, 1 (LabError) or 2 (BadInput) when something did not work."""
    try:
        typer.run(bench)
    except (LabError, TimeoutError) as error:
        errors = Console(stderr=True, soft_wrap=True, highlight=False)
        errors.print(Text(str(error), style="red"))
        hint = error.hint if isinstance(error, LabError) else None
        if hint:
            errors.print(Text(f"hint: {hint}", style="dim"))
        sys.exit(error.exit_code if isinstance(error, LabError) else 1)


if __name__ == "__main__":
    main()
