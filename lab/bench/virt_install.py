"""The lab's machines as a user would make them: ``virt-install`` side by side, and a loop that waits for SSH.

What is said to libvirt is what a machine of the lab has too: disks, memory, processors, the management card. All else
(processor model, disk caches, other devices) is what ``virt-install`` chooses.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Protocol

from lab.bench.bare import BareMachine, wait_answer
from lab.bench.by_hand import prepare
from lab.bench.host_pair import URI
from lab.bench.unpacked import Program
from lab.errors import LabError
from lab.hypervisors.libvirt import connect
from lab.hypervisors.libvirt.driver import LibvirtHypervisor
from lab.hypervisors.libvirt.session import translated
from lab.hypervisors.libvirt.xml import MANAGEMENT_SLOT, domain_name
from lab.hypervisors.protocols import HypervisorError
from lab.hypervisors.translated import possible_processors
from lab.images.cache import Image
from lab.provision.board import Board
from lab.provision.down import tear_down
from lab.provision.home import Home
from lab.provision.lab import BOOT_SECONDS
from lab.topology.model import Topology
from lab.waiting import Deadline

MAKE_S = 120.0
PROGRAM = Program(
    "virt-install",
    ("virtinst", "python3-libvirt", "python3-libxml2", "python3-gi", "libgirepository-1.0-1", "gir1.2-glib-2.0",
     "gir1.2-freedesktop", "gir1.2-libosinfo-1.0", "libosinfo-1.0-0", "libsoup-3.0-0", "libxslt1.1",
     "python3-requests", "python3-urllib3", "python3-idna", "python3-certifi", "python3-chardet",
     "python3-charset-normalizer"),
)  # fmt: skip


class Domains(Protocol):
    """What is done to libvirt."""

    def make(self, machine: BareMachine) -> None:
        """Make a machine and start it. Raises LabError."""

    def refuse_ended(self, machine: BareMachine) -> None:
        """Raise HypervisorError when a machine does not run any more."""

    def remove(self) -> None:
        """Remove all that was made, and its files. Raises HypervisorError."""


@dataclass(frozen=True)
class InstalledDomains:
    """Domains with names of a lab, by which ``lab down`` finds them: ``virt-install`` can give them no tag."""

    hypervisor: LibvirtHypervisor
    mode: str

    def make(self, machine: BareMachine) -> None:
        """Run ``virt-install``. Raises LabError with its last words."""
        command = [*PROGRAM.command, *options(machine, self._name(machine), self.mode)]
        try:
            subprocess.run(
                command, env=PROGRAM.environment, stdin=subprocess.DEVNULL,
                check=True, capture_output=True, text=True, timeout=MAKE_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise LabError(f"virt-install of {machine.name} did not end within {MAKE_S:.0f} s") from error
        except subprocess.CalledProcessError as error:
            words = (error.stderr or error.stdout).strip()[-500:]
            raise LabError(f"virt-install of {machine.name} failed: {words}") from error

    def refuse_ended(self, machine: BareMachine) -> None:
        """Ask libvirt. Raises HypervisorError, also for one that is not there any more."""
        what = f"machine {machine.name} by virt-install"
        with translated(what):
            runs = self.hypervisor.session.connection.lookupByName(self._name(machine)).isActive()
        if not runs:
            raise HypervisorError(f"{what}: does not run any more")

    def remove(self) -> None:
        """Destroy and undefine everything that has a name of the lab. Raises HypervisorError."""
        self.hypervisor.remove_all()

    def _name(self, machine: BareMachine) -> str:
        return domain_name(self.hypervisor.session.lab, machine.name)


def by_virt_install(
    topology: Topology, home: Home, images: dict[str, Image], board: Board, *, lab: str, mode: str
) -> float:
    """Return the seconds from the first ``virt-install`` to the last login; files are made before.

    The lab's own pool has the files: without one ``virt-install`` would make a pool for their folder, and leave it.

    Raises:
        LabError: a machine was not made, or nobody could log in; nothing of any is left.
    """
    try:
        with closing(connect(URI, lab, home.labs, mode)) as hypervisor:
            hypervisor.storage.pool()
            machines = prepare(topology, images, hypervisor.storage.folder)
            board.step("virt-install", "booting")
            return seconds_to_logins(machines, InstalledDomains(hypervisor, mode), BOOT_SECONDS[mode])
    except HypervisorError as error:
        raise LabError(str(error)) from error
    finally:
        tear_down(home, lab, board)


def seconds_to_logins(machines: Sequence[BareMachine], domains: Domains, seconds: float) -> float:
    """Make machines, wait until a login to each works, and remove them, however that ends.

    Raises:
        LabError, HypervisorError: a machine was not made, ended, or let nobody log in.
    """
    with ExitStack() as stack:
        for machine in machines:
            stack.callback(machine.ssh.close)
        waiting = stack.enter_context(ThreadPoolExecutor(len(machines)))
        # Before those who wait are waited for: they end once their machines have.
        stack.callback(domains.remove)
        begin, deadline = time.monotonic(), Deadline.after(seconds)
        with ThreadPoolExecutor(len(machines)) as making:
            list(making.map(domains.make, machines))
        for job in as_completed([waiting.submit(_wait, machine, domains, deadline) for machine in machines]):
            job.result()
        return time.monotonic() - begin


def _wait(machine: BareMachine, domains: Domains, deadline: Deadline) -> None:
    wait_answer(machine, lambda: domains.refuse_ended(machine), deadline)


def options(machine: BareMachine, domain: str, mode: str) -> list[str]:
    """Return what ``virt-install`` is told; ``mode`` is "tcg" or "kvm"."""
    translated_too = f",maxvcpus={possible_processors(machine.cpus)}" if mode == "tcg" else ""
    found = ["--connect", URI, "--name", domain, "--virt-type", "kvm" if mode == "kvm" else "qemu", "--machine", "pc"]
    found += ["--import", "--osinfo", "generic", "--memory", str(machine.memory_mib)]
    found += ["--vcpus", f"{machine.cpus}{translated_too}", "--rng", "/dev/urandom"]
    for disk in machine.disks:
        only = ",readonly=on" if disk.read_only else ""
        found += ["--disk", f"path={disk.path},format={disk.format},bus=virtio,serial={disk.serial}{only}"]
    found += ["--network", "none", "--graphics", "none", "--serial", f"file,path={machine.console}"]
    forward = f"hostfwd=tcp:{machine.ssh.endpoint.host}:{machine.ssh.endpoint.port}-:22"
    card = f"virtio-net-pci,netdev=management,mac={machine.mac},addr={MANAGEMENT_SLOT:#x},romfile="
    # libvirt's own user networking forwards no port.
    found += [f"--qemu-commandline=-netdev user,id=management,restrict=on,{forward} -device {card}"]
    return [*found, "--noautoconsole"]
