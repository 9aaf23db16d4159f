"""``lab save``, ``saved`` and ``forget``: labs that others can go on from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lab.commands.terminal import console, plain_table
from lab.errors import BadInput, LabError

if TYPE_CHECKING:
    from lab.provision.home import Home
    from lab.saved.store import Entry


def register(app: typer.Typer) -> None:
    """Add the commands of this family."""
    app.command()(save)
    app.command()(saved)
    app.command()(forget)


def save(name: Annotated[str, typer.Argument(help="Name of a lab that is up.")]) -> None:
    """Install the stack on a lab that is up, and save it, before anything is done on it."""
    from lab.provision.board import ConsoleBoard
    from lab.provision.home import Home
    from lab.provision.lease import leased
    from lab.provision.state import load_state
    from lab.provision.up import open_lab
    from lab.saved.ready import save_new
    from lab.topology.load import load_topology

    home = Home.default()
    state = load_state(home.lab(name))
    if state is None:
        raise LabError(f"lab {name} is not up", hint="lab up FILE")
    topology = load_topology(state.topology)
    with leased(home, name), ConsoleBoard(console(), f"lab {name}") as board:
        lab = open_lab(home, name, topology)
        try:
            key = save_new(lab, home, board)
        finally:
            lab.close()
    console().print(f"saved as {key}: lab up {state.topology} goes on from there")


def saved(
    verify: Annotated[bool, typer.Option("--verify", help="Read every file and compare it.")] = False,
) -> None:
    """Show the saved labs: what they take, how old they are, and whether they are of use now."""
    from lab.provision.home import Home
    from lab.saved.store import SavedLabs

    home = Home.default()
    store = SavedLabs(home.saved)
    for gone in store.sweep() if store.folder.is_dir() else []:
        console().print(f"removed {gone}: its maker was interrupted", markup=False)
    table = plain_table("key", "topology", "GiB", "taken", "used", "of use")
    damaged = []
    for entry in store.all():
        files = entry.verify() if verify else entry.damage()
        damaged += [f"{entry.saved.key}: {name}" for name in files]
        table.add_row(
            entry.saved.key,
            entry.saved.name,
            f"{entry.bytes / (1 << 30):.2f}",
            _ago(entry.saved.taken_ns / 10**9),
            _ago(entry.used),
            "no: damaged" if files else _use(entry, home),
        )
    for folder in store.unreadable():
        table.add_row(folder.name, "", "", "", "", "no: its description cannot be read")
    console().print(table)
    if damaged:
        raise LabError("damaged files:\n" + "\n".join(damaged), hint="lab forget KEY")


def forget(
    key: Annotated[str | None, typer.Argument(help="Key of a saved lab, or its beginning.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="Those that are of no use now.")] = False,
) -> None:
    """Remove saved labs; one that a lab stands on stays until that lab is down."""
    from lab.provision.home import Home
    from lab.saved.ready import used_keys
    from lab.saved.store import SavedLabs

    if [key is not None, everything, stale].count(True) != 1:
        raise BadInput("lab forget KEY, lab forget --all, or lab forget --stale")
    home = Home.default()
    store = SavedLabs(home.saved)
    if key is not None:
        chosen: Sequence[Entry] = [store.named(key)]
    else:
        chosen = [entry for entry in store.all() if everything or entry.damage() or _use(entry, home) != "yes"]
        for folder in store.unreadable():
            store.remove_unreadable(folder)
            console().print(f"{folder.name}: removed")
    kept = []
    for entry in chosen:
        try:
            store.forget(entry, used_keys(home))
            console().print(f"{entry.saved.key}: removed")
        except LabError as error:
            kept.append(error)
    if kept:
        raise kept[0]


def _use(entry: Entry, home: Home) -> str:
    from lab.saved.ready import why_stale

    reason = entry.saved.unusable() or why_stale(entry, home)
    return f"no: {reason}" if reason else "yes"


def _ago(moment: float) -> str:
    minutes = max(0.0, time.time() - moment) / 60
    for unit, length in (("days", 1440), ("h", 60)):
        if minutes >= 2 * length:
            return f"{minutes / length:.0f} {unit} ago"
    return f"{minutes:.0f} min ago"
