"""``lab up``, ``down``, ``status``, ``ssh`` and ``run``: labs on this machine."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lab.commands.terminal import console, plain_table
from lab.errors import BadInput, LabError
from lab.garbage import none_looked_for

Name = Annotated[str | None, typer.Option("--name", help="Name of the lab; the topology's name if not given.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Boot, also if a saved lab fits, and save none.")]
File = Annotated[Path, typer.Argument(help="Topology file.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this family."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(ssh)
    app.command()(power)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run)


def up(file: File, name: Name = None, fresh: Fresh = False) -> None:
    """Make the machines of a topology and wait until all let us log in.

    The stack is installed on them too, and the lab saved, so that the next one goes on from there. With --fresh, or
    where labs cannot be saved, they are just booted.
    """
    from lab.provision.board import ConsoleBoard
    from lab.provision.home import Home
    from lab.provision.lease import leased
    from lab.provision.runnable import facts_for, refuse_unrunnable
    from lab.saved.ready import deployed_and_saved, make_ready
    from lab.topology.load import load_topology

    with none_looked_for():
        topology = load_topology(file)
    home, lab_name = Home.default(), name or topology.name
    refuse_unrunnable(topology, facts_for(topology, home.folder))
    with leased(home, lab_name), ConsoleBoard(console(), f"lab {lab_name}") as board:
        lab = make_ready(topology, home, lab_name, board, fresh=fresh)
        if lab.state.save_as:
            with deployed_and_saved(lab, home, board):
                pass
        lab.close()
    console().print(f"log in: lab ssh {next(iter(topology.machines))} --name {lab_name}; end: lab down {lab_name}")


def down(what: Annotated[str | None, typer.Argument(help="Name of the lab, or its topology file.")] = None) -> None:
    """Remove a lab with everything that belongs to it, also after a crash; without a name, every lab."""
    from lab.provision.board import ConsoleBoard
    from lab.provision.down import tear_down
    from lab.provision.home import Home
    from lab.provision.lease import leased
    from lab.saved.store import SavedLabs

    home = Home.default()
    if home.saved.is_dir():
        for left in SavedLabs(home.saved).sweep():
            console().print(f"{left}: a saved lab that was left half made, removed")
    names = [_lab_name(what)] if what else home.lab_names()
    for lab_name in names:
        with leased(home, lab_name), ConsoleBoard(console(), f"lab {lab_name}") as board:
            removed = tear_down(home, lab_name, board)
        console().print(f"{lab_name}: {len(removed)} objects removed")
    if not names:
        console().print("no lab is up")


def status() -> None:
    """Show the labs on this machine and their machines."""
    from lab.provision.bmc import power_over_bmc
    from lab.provision.home import Home
    from lab.provision.state import load_state
    from lab.provision.up import open_hypervisor

    home = Home.default()
    table = plain_table("lab", "phase", "machine", "power", "ssh")
    damaged: list[LabError] = []
    for lab_name in home.lab_names():
        try:
            state = load_state(home.lab(lab_name))
        except LabError as error:
            damaged.append(error)
            table.add_row(lab_name, "damaged", "", "", f"lab down {lab_name}")
            continue
        if state is None:
            table.add_row(lab_name, "left over", "", "", f"lab down {lab_name}")
            continue
        hypervisor = open_hypervisor(state, home)
        for machine in hypervisor.machines():
            port = hypervisor.endpoint(machine.name).port
            table.add_row(lab_name, state.phase.value, machine.name, machine.power.value, f"127.0.0.1:{port}")
        hypervisor.close()
        for machine_name, access in state.physical.items():
            power_state = power_over_bmc(access)
            table.add_row(
                lab_name, state.phase.value, machine_name, power_state, f"{access.ssh_host}:{access.ssh_port}"
            )
        for machine_name, lent in state.lent.items():
            table.add_row(lab_name, state.phase.value, machine_name, "lent", f"{lent.ssh_host}:{lent.ssh_port}")
    console().print(table)
    if damaged:
        raise damaged[0]


def ssh(
    machine: Annotated[str, typer.Argument(help="Machine, a replica too.")],
    command: Annotated[list[str] | None, typer.Argument(help="Program and arguments; without, a shell.")] = None,
    name: Name = None,
) -> None:
    """Log in to a machine of a lab that is up."""
    from lab.provision.home import Home
    from lab.provision.login import ssh_command

    home = Home.default()
    argv = ssh_command(home, _meant(name, home.lab_names()), machine, command or [])
    os.execvp(argv[0], argv)  # noqa: S606 - the terminal belongs to ssh from here on


class Switch(StrEnum):
    """What can be done with a machine's power."""

    ON = "on"
    OFF = "off"
    CYCLE = "cycle"
    STATE = "state"


def power(
    machine: Annotated[str, typer.Argument(help="Machine, a replica too.")],
    action: Annotated[Switch, typer.Argument(help="'off' and 'cycle' cut the power without asking the system.")],
    name: Name = None,
) -> None:
    """Switch a machine of a lab that is up, through its BMC or its host, and say what its power is then."""
    from lab.provision.home import Home
    from lab.provision.power import machine_control

    home = Home.default()
    with machine_control(home, _meant(name, home.lab_names()), machine) as control:
        if action in (Switch.OFF, Switch.CYCLE):
            control.power_off()
        if action in (Switch.ON, Switch.CYCLE):
            control.power_on()
        console().print(f"{machine}: {control.power().value}")


def run(
    context: typer.Context,
    file: File,
    *,
    keep: Annotated[str, typer.Option(help="Keep the machines: never, on-failure or always.")] = "never",
    name: Name = None,
    out: Annotated[Path, typer.Option(help="Folder for the reports.")] = Path("reports/out"),
    fresh: Fresh = False,
    reinstall: Annotated[bool, typer.Option("--reinstall", help="Go on from a saved lab of any build.")] = False,
) -> None:
    """Bring a topology up, run the suites on it, write the certificate, take it down."""
    from lab.run import Keep, run_topology

    if keep not in {choice.value for choice in Keep}:
        raise BadInput(f"--keep is never, on-failure or always, not {keep!r}")
    if fresh and reinstall:
        raise BadInput("--fresh boots all machines, --reinstall goes on from a saved lab: one of them")
    outcome = run_topology(
        file,
        name=name,
        keep=Keep(keep),
        out=out,
        pytest_arguments=context.args,
        terminal=console(),
        fresh=fresh,
        reinstall=reinstall,
    )
    if not outcome.passed:
        raise LabError(f"verdict: {outcome.verdict}", hint=f"certificate: {outcome.certificate}")


def _meant(name: str | None, known: list[str]) -> str:
    """Return the lab that is meant. Raises BadInput when it is not clear which."""
    names = [name] if name else known
    if len(names) != 1:
        raise BadInput(
            f"there are {len(names)} labs: say which with --name ({', '.join(names) or 'lab up FILE first'})"
        )
    return names[0]


def _lab_name(what: str) -> str:
    path = Path(what)
    if path.suffix in {".yaml", ".yml"}:
        from lab.topology.load import load_topology

        return load_topology(path).name
    return what
