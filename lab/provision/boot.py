"""A machine from power-on to a login, with a clock that can be believed."""

from __future__ import annotations

from lab.errors import LabError
from lab.machines.pace import read_pace
from lab.provision.board import Board
from lab.provision.lab import BOOT_SECONDS, LabMachine
from lab.topology.facts import Acceleration
from lab.waiting import Deadline

BOOTS = 2


def boot_in_time(machine: LabMachine, acceleration: Acceleration, board: Board) -> None:
    """Boot a machine; without acceleration, once more when its kernel has measured its clock wrong.

    Raises:
        LabError: it cannot be logged in to, or its clock is wrong twice.
    """
    for left in reversed(range(BOOTS)):
        machine.power_on()
        machine.wait_ready(Deadline.after(BOOT_SECONDS[acceleration]))
        if acceleration is Acceleration.KVM or (pace := read_pace(machine.ssh)).right:
            return
        if left:
            board.step(machine.name, f"its clock runs {pace}: booting again")
            machine.ssh.check("sync")
            machine.power_off()
    message = f"machine {machine.name}: in {BOOTS} boots its clock ran {pace}"
    raise LabError(message, hint="its kernel measures it while it boots: let this host do less at that time")
