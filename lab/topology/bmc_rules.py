"""What must be true of machines behind BMCs. Pure: a topology in, findings out."""

from __future__ import annotations

from collections.abc import Iterator

from lab.topology.findings import Finding, Location
from lab.topology.hosts import Host, LibvirtHost
from lab.topology.images import RecipeImage
from lab.topology.machines import Machine, Role
from lab.topology.model import Topology

HOLDERS = frozenset({Role.PROTECTED})
"""What a physical machine can be: only what is protected is there already, all else is made by the lab."""


def bmc_findings(topology: Topology) -> Iterator[Finding]:
    """Yield BMCs that would lead to another machine than the one that is meant."""
    taken: dict[tuple[str, str | None], str] = {}
    behind: dict[str, list[str]] = {}
    for name, machine in topology.machines.items():
        if machine.bmc is not None and machine.bmc.endpoint is not None:
            behind.setdefault(machine.bmc.endpoint, []).append(name)
    for name, machine in topology.machines.items():
        if machine.bmc is None:
            continue
        yield from _machine(topology, name, machine)
        if machine.bmc.endpoint is None:
            continue
        here = ("machines", name, "bmc")
        others = [other for other in behind[machine.bmc.endpoint] if other != name]
        if others and machine.bmc.system is None:
            message = f"{', '.join(others)} is behind {machine.bmc.endpoint} too: each needs its 'system'"
            yield Finding(here, message)
        first = taken.setdefault((machine.bmc.endpoint, machine.bmc.system), name)
        if first != name and machine.bmc.system is not None:
            yield Finding((*here, "system"), f"system '{machine.bmc.system}' there is {first} already")


def _machine(topology: Topology, name: str, machine: Machine) -> Iterator[Finding]:
    here: Location = ("machines", name)
    if machine.host is not None:
        yield Finding((*here, "host"), f"{name} has a BMC: it runs on no host")
    if not set(machine.roles) <= HOLDERS:
        yield Finding((*here, "roles"), f"{name} has a BMC: its only role can be 'protected'")
    if machine.image in topology.images and not isinstance(topology.images[machine.image], RecipeImage):
        message = f"{name} has a BMC and is installed: its image has to be one that the lab builds ({{recipe: NAME}})"
        yield Finding((*here, "image"), message)
    yield from no_way_back_to_itself(topology, name, "has a BMC")
    host = host_of_site(topology, machine)
    if machine.bmc is not None and machine.bmc.emulated and host is not None and not isinstance(host, LibvirtHost):
        yield Finding((*here, "bmc"), f"an emulated BMC needs a site on libvirt, not on '{host.kind}'")


def host_of_site(topology: Topology, machine: Machine) -> Host | None:
    """Return the host of a machine's site, None where the file names a site or host that it has not."""
    return topology.hosts.get(topology.sites[machine.site].host) if machine.site in topology.sites else None


def no_way_back_to_itself(topology: Topology, name: str, why: str) -> Iterator[Finding]:
    """Refuse the failback of a machine that no hypervisor of the lab runs, unless it returns as another machine."""
    protection, machine = topology.stack.protect.get(name), topology.machines[name]
    returns_as_another = machine.replica is not None and machine.replica.failback_interfaces
    if protection is not None and protection.failback is not None and not returns_as_another:
        message = f"{name} {why}: nothing can plug disks into it, so it has no 'failback' to itself"
        yield Finding(("stack", "protect", name, "failback"), message)
