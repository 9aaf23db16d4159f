"""``python -m lab.bench``: measure the rows, print them, write them to a file and a page. Nothing is asserted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from lab.bench import (
    azure,
    azure_merge,
    churn_steps,
    esxi,
    failover,
    groups,
    harness,
    holds,
    host,
    hyperv,
    lab_up,
    lab_up_warm,
    last_run,
    on_machines,
    oracle,
    overhead,
    replication_rows,
)
from lab.bench.page import update_page, with_table
from lab.bench.record import Recorded, as_json, joined, read_rows, this_run
from lab.bench.rows import Row
from lab.bench.table import table
from lab.errors import BadInput, LabError
from lab.interrupts import end_on_sigterm
from lab.provision.home import Home
from lab.topology.load import load_topology

NAMES = (
    *lab_up.NAMES,
    lab_up_warm.NAME,
    failover.NAME,
    churn_steps.NAME,
    churn_steps.MIRRORED,
    *replication_rows.NAMES,
    overhead.NAME,
    overhead.MIRRORED,
    groups.NAME,
    holds.NAME,
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
GROUPS: dict[str, tuple[str, ...]] = {
    lab_up.NAME: lab_up.NAMES,
    **{group: tuple(name for name in NAMES if name.startswith(f"{group}-")) for group in replication_rows.GROUPS},
}
KNOWN = ", ".join(dict.fromkeys((*NAMES, *GROUPS)))
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


def bench(
    *,
    topology: Annotated[Path, typer.Option(help="Topology file.")] = Path("topologies/embedded.yaml"),
    out: Annotated[Path, typer.Option(help="File for the rows, JSON.")] = Path("reports/out/bench.json"),
    only: Annotated[list[str] | None, typer.Option(help=f"A row, or a group; may come again. {KNOWN}.")] = None,
    times: Annotated[int, typer.Option(min=1, help="Turns of each comparison.")] = 1,
    run: Annotated[Path, typer.Option(help="Folder of the last whole run.")] = Path("reports/out/latest"),
    page: Annotated[Path | None, typer.Option(help="Page whose table has these rows from now on.")] = None,
) -> None:
    """Compare the lab with what a person would do by hand."""
    chosen = chosen_names(only)
    if page is not None:
        with_table(page, [])  # a page without a place for the table is found before hours are spent
    console = _console()
    this = this_run(Home.default().folder)
    found: list[Row] = []

    def report(rows: Sequence[Row]) -> None:
        """Write at once: a later row that breaks off must not take these with it."""
        found[:] = [row for row in found if row.name not in {each.name for each in rows}] + list(rows)
        _write([Recorded(row, this) for row in rows], out, page)

    try:
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
        if chosen & on_machines.NAMES:
            on_machines.measure(load_topology(topology), chosen, times, console, report)
    finally:
        if found:
            console.print(table(found))
            console.print(f"rows: {out}", markup=False)


def chosen_names(only: Sequence[str] | None) -> frozenset[str]:
    """Return the rows that are named or in a named group, all for None. Raises BadInput: a slip starts no machines."""
    return frozenset(name for each in only for name in _names(each)) if only else frozenset(NAMES)


def _names(one: str) -> tuple[str, ...]:
    if one not in NAMES and one not in GROUPS:
        raise BadInput(f"there is no row {one!r}; there are: {KNOWN}")
    return GROUPS.get(one, (one,))


def _say(left_out: str | None, console: Console) -> None:
    if left_out:
        console.print(left_out, markup=False)


def _write(rows: list[Recorded], out: Path, page: Path | None) -> None:
    """Join rows to what earlier runs wrote."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(as_json(joined(read_rows(out), rows)), encoding="utf-8")
    if page is not None:
        update_page(page, rows)


def _console() -> Console:
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_WIDTH_OF_A_PIPE)


def main() -> None:
    """Run: exit code 0 whatever the ratios are, 1 (LabError) or 2 (BadInput) when something did not work."""
    end_on_sigterm()
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
