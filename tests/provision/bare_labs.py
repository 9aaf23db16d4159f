"""What tests of bare machines share: the libvirt that they need, and what a lab has left there."""

import io

import pytest
from rich.console import Console

from lab.hypervisors.libvirt import connect
from lab.provision import processes
from lab.provision.board import ConsoleBoard
from lab.provision.home import LabFolder
from lab.provision.stand_in import bare_tag, store_of

URI = "qemu:///system"


def need_libvirt() -> None:
    """Skip the test where libvirt does not answer."""
    libvirt = pytest.importorskip("libvirt")
    from lab.hypervisors.libvirt.session import silence_library

    silence_library()
    try:
        libvirt.open(URI).close()
    except libvirt.libvirtError as error:
        pytest.skip(f"libvirt does not answer at {URI}: {error}")


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
