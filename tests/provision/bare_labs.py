"""What tests of bare machines share: the libvirt that they need, and what a lab has left there."""

import io

import pytest
from libvirt_here import URI, libvirt_refusal
from rich.console import Console

from lab.hypervisors.libvirt import connect
from lab.provision import processes
from lab.provision.board import ConsoleBoard
from lab.provision.home import LabFolder
from lab.provision.stand_in import bare_tag, store_of


def need_libvirt() -> None:
    """Skip the test where libvirt does not answer."""
    refusal = libvirt_refusal()
    if refusal is not None:
        pytest.skip(refusal)


def board() -> ConsoleBoard:
    return ConsoleBoard(Console(file=io.StringIO(), force_terminal=False), "lab")


def left_over(folder: LabFolder) -> list[str]:
    """Name what libvirt and the kernel still have of the lab."""
    found = []
    for tag in (folder.name, bare_tag(folder.name)):
        hypervisor = connect(URI, tag, store_of(folder), "tcg")
        found += [machine.name for machine in hypervisor.machines()] + [disk.id.name for disk in hypervisor.disks()]
        found += hypervisor.switches.leftovers()
        hypervisor.close()
    return found + [process.name for process in processes.recorded(folder) if process.alive]
