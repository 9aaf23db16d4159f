"""``lab plan``, ``lab doctor``, ``lab schema``: looking before anything is touched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import to_json
from rich.table import Table

from lab.commands.terminal import console as terminal
from lab.commands.terminal import padded, plain_table
from lab.garbage import none_looked_for
from lab.topology.plan import Plan, PlannedNetwork, make_plan
from lab.topology.units import format_size

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
TITLES = ("machine", "site", "roles", "cpus", "memory", "disks", "networks")
MOST_WRAPPED = 100
"""Machines that are laid out to the width of the terminal; for more that takes seconds."""
_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "problem": "[red]problem[/]"}


def register(app: typer.Typer) -> None:
    """Add the commands of this family."""
    app.command()(plan)
    app.command()(doctor)
    app.command()(schema)


def plan(file: Annotated[Path, typer.Argument(help="Topology file.")], as_json: Json = False) -> None:
    """Show every object that a topology would make here, and what is missing for it."""
    from lab.doctor.facts import gather
    from lab.home import home
    from lab.topology.load import load_topology

    with none_looked_for():
        topology = load_topology(file)
        result = make_plan(topology, gather(home(), topology.libvirt_uris))
        if as_json:
            content = {"topology": result.topology, "digest": topology.digest}
            content |= {each.name: getattr(result, each.name) for each in fields(result)}
            typer.echo(to_json({**content, "runnable": result.runnable}, indent=2).decode())
        else:
            _show_plan(result)
    if not result.runnable:
        raise typer.Exit(1)


def doctor(as_json: Json = False) -> None:
    """Show what this machine can do for a lab, and the cure for what it cannot."""
    from lab.doctor.checks import healthy, judge
    from lab.doctor.facts import gather
    from lab.home import home

    checks = judge(gather(home()))
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        table = plain_table("subject", "", "finding", "cure")
        for check in checks:
            table.add_row(check.subject, _MARKS[check.grade], check.detail, check.cure)
        terminal().print(table)
    if not healthy(checks):
        raise typer.Exit(1)


def schema(write: Annotated[Path | None, typer.Option(help="Write to a file instead of printing.")] = None) -> None:
    """Print the JSON Schema of topology files, for editors."""
    from lab.topology.schema import schema_text

    if write is None:
        typer.echo(schema_text(), nl=False)
    else:
        write.write_text(schema_text(), encoding="utf-8")


def _show_plan(result: Plan) -> None:
    console = terminal()
    console.print(f"[bold]{result.topology}[/] ({result.scenario}), runs with {result.acceleration}\n")
    rows = list(_machines(result))
    few = len(rows) <= MOST_WRAPPED
    if few:
        console.print(_table(rows))
    else:
        typer.echo("\n".join(padded([TITLES, *rows])))
    for network in result.networks:
        place = f"{network.subnet} {_where(network)}" if network.subnet else "SSH from this host only"
        console.print(f"network {network.name}: {place}{', isolated' if network.isolated and network.subnet else ''}")
    for image in result.images:
        console.print(f"image {image.name}: {image.origin}")
    forwards = ", ".join(f"{forward.machine}:{forward.guest_port}" for forward in result.port_forwards)
    (console.print if few else typer.echo)(f"forwarded from 127.0.0.1: {forwards}")
    totals = f"{result.memory_bytes / 2**30:.1f} GiB memory, {result.disk_bytes / 2**30:.1f} GiB disk"
    console.print(f"\nat most: [bold]{totals}[/]")
    for lack in result.lacks:
        console.print(f"[red]missing[/] {lack.what}\n        [bold]{lack.cure}[/]", soft_wrap=True)


def _where(network: PlannedNetwork) -> str:
    return f"in namespace {network.namespace}" if network.namespace else "on a hub between QEMU processes"


def _table(rows: list[tuple[str, ...]]) -> Table:
    table = plain_table(*TITLES)
    for row in rows:
        table.add_row(*row)
    return table


def _machines(result: Plan) -> Iterator[tuple[str, ...]]:
    for machine in (*result.machines, *result.replicas, *result.test_copies):
        what = ", ".join(machine.roles) or f"made from {machine.source} while suites run"
        disks = ", ".join(f"{disk.name} {format_size(disk.size_bytes)}" for disk in machine.disks)
        networks = ", ".join(f"{card.network} {card.address or ''}".strip() for card in machine.interfaces)
        size = format_size(machine.memory_bytes)
        yield machine.name, machine.site, what, str(machine.cpus), size, disks, networks
