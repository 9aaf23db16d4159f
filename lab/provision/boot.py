"""A machine from power-on to a login, with a clock that can be believed."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future, wait
from contextlib import suppress

from lab.errors import LabError
from lab.hypervisors.protocols import HypervisorError
from lab.machines.pace import read_pace
from lab.provision.board import Board
from lab.provision.lab import BOOT_SECONDS, LabMachine
from lab.topology.facts import Acceleration
from lab.waiting import Deadline

BOOTS = 2
CUT_SECONDS = 1.0


def boot_in_time(machine: LabMachine, acceleration: Acceleration, board: Board) -> None:
    """Boot a machine; without acceleration, once more when its kernel has measured its clock wrong.

    Raises:
        LabError: it cannot be logged in to, or its clock is wrong twice.
    """
    for left in reversed(range(BOOTS)):
        machine.power_on()
        machine.wait_booted(Deadline.after(BOOT_SECONDS[acceleration]))
        if acceleration is Acceleration.KVM or (pace := read_pace(machine.ssh)).right:
            return
        if left:
            board.step(machine.name, f"its clock runs {pace}: booting again")
            machine.ssh.check("sync")
            machine.power_off()
    message = f"machine {machine.name}: in {BOOTS} boots its clock ran {pace}"
    raise LabError(message, hint="its kernel measures it while it boots: let this host do less at that time")


def end_boots(jobs: Collection[Future[None]], machines: Collection[LabMachine]) -> None:
    """Cut the power of machines until their boots have ended: one may be switched on only now."""
    while wait(jobs, timeout=CUT_SECONDS).not_done:
        for machine in machines:
            with suppress(HypervisorError):  # whoever ends boots goes on to end the lab, which says what is wrong
                machine.control.power_off()
