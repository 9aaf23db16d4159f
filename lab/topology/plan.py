"""Everything that a topology would make on this machine, and what is missing for it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from lab.topology.facts import Acceleration, Facts, Lack, libvirt_lacks, netboot_lacks, tool_lacks
from lab.topology.hosts import NestedHost
from lab.topology.images import RecipeImage
from lab.topology.machines import Disk, Machine, Purpose, Replica
from lab.topology.model import Topology
from lab.topology.naming import mac_for
from lab.topology.networks import Interface, ManagementNetwork, SwitchNetwork
from lab.topology.units import format_size

SYSTEM_RESERVE = 2**30
"""Bytes of memory that stay free for the host itself."""


@dataclass(frozen=True)
class PlannedDisk:
    """A virtual disk; size in bytes."""

    name: str
    size_bytes: int
    purpose: str


@dataclass(frozen=True)
class PlannedInterface:
    """A network card; ``address`` is None on the management network."""

    network: str
    mac: str
    address: str | None


@dataclass(frozen=True)
class PlannedMachine:
    """A machine; memory in bytes. ``source`` names the machine that a replica or test copy comes from."""

    name: str
    host: str
    site: str
    roles: tuple[str, ...]
    image: str | None
    cpus: int
    memory_bytes: int
    disks: tuple[PlannedDisk, ...]
    interfaces: tuple[PlannedInterface, ...]
    source: str | None = None

    @property
    def disk_bytes(self) -> int:
        """The size of all its disks together."""
        return sum(disk.size_bytes for disk in self.disks)


@dataclass(frozen=True)
class PlannedNetwork:
    """A network and a pattern of the namespace that it lives in (None: QEMU's own user networking, or hubs)."""

    name: str
    kind: str
    subnet: str | None
    isolated: bool
    namespace: str | None


@dataclass(frozen=True)
class PlannedImage:
    """A disk image and where it comes from."""

    name: str
    origin: str


@dataclass(frozen=True)
class PortForward:
    """A port of this host's loopback that leads to a machine; the number is chosen when the machine starts."""

    machine: str
    guest_port: int
    bind: str = "127.0.0.1"


@dataclass(frozen=True)
class Plan:
    """What would exist. ``replicas`` and ``test_copies`` only exist while suites fail over. Sizes in bytes."""

    topology: str
    scenario: str
    acceleration: str
    hosts: dict[str, str]
    machines: tuple[PlannedMachine, ...]
    replicas: tuple[PlannedMachine, ...]
    test_copies: tuple[PlannedMachine, ...]
    networks: tuple[PlannedNetwork, ...]
    images: tuple[PlannedImage, ...]
    port_forwards: tuple[PortForward, ...]
    namespaces: tuple[str, ...]
    memory_bytes: int
    disk_bytes: int
    lacks: tuple[Lack, ...]

    @property
    def runnable(self) -> bool:
        """Whether nothing is missing."""
        return not self.lacks


def make_plan(topology: Topology, facts: Facts) -> Plan:
    """Return every object that ``topology`` needs at most at one time, and what this machine lacks."""
    machines = tuple(_machine(topology, name, machine) for name, machine in topology.machines.items())
    replicas, copies = _replicas(topology, test=False), _replicas(topology, test=True)
    networks = tuple(_network(topology, name) for name in topology.networks)
    # What runs inside of a machine takes memory and disks of that machine, which are counted there; a lent one is none
    # of ours.
    outside = {name for name, host in topology.hosts.items() if not isinstance(host, NestedHost)}
    bare = set(topology.physical)
    counted = [
        [each for each in some if each.host in outside or each.name in bare] for some in (machines, replicas, copies)
    ]
    memory = sum(machine.memory_bytes for machine in (*counted[0], *max(counted[1:], key=_memory)))
    disk = sum(machine.disk_bytes for some in counted for machine in some)
    return Plan(
        topology=topology.name,
        scenario=topology.scenario.value,
        acceleration=facts.acceleration.acceleration.value,
        hosts={name: host.where for name, host in topology.hosts.items()},
        machines=machines,
        replicas=replicas,
        test_copies=copies,
        networks=networks,
        images=tuple(_image(topology, name) for name in topology.images),
        port_forwards=tuple(PortForward(name, 22) for name in _managed(topology)),
        namespaces=tuple(sorted({network.namespace for network in networks if network.namespace})),
        memory_bytes=memory,
        disk_bytes=disk,
        lacks=tuple(_lacks(topology, facts, memory, disk)),
    )


def _memory(machines: Sequence[PlannedMachine]) -> int:
    return sum(machine.memory_bytes for machine in machines)


def _machine(topology: Topology, name: str, machine: Machine) -> PlannedMachine:
    return PlannedMachine(
        name=name,
        host=_where(topology, name),
        site=machine.site,
        roles=tuple([str(role) for role in machine.roles]),
        image=machine.image,
        cpus=machine.cpus,
        memory_bytes=machine.memory,
        disks=tuple([_disk(disk) for disk in machine.disks]),
        interfaces=tuple([_interface(topology, name, interface) for interface in machine.interfaces]),
    )


def _where(topology: Topology, name: str) -> str:
    lent = topology.loan_of(name)
    if lent is not None:
        return f"lent, at {lent.address}:{lent.port}"
    host = topology.host_name_of(name)
    return f"BMC over {host}" if topology.machines[name].bmc else host


def _replicas(topology: Topology, *, test: bool) -> tuple[PlannedMachine, ...]:
    return tuple(
        _replica(topology, name, machine, machine.replica, test=test)
        for name in (*topology.stack.protect, *topology.stack.protect_from_host)
        if (machine := topology.machines[name]).replica and (not test or machine.replica.test_interfaces)
    )


def _replica(topology: Topology, name: str, machine: Machine, replica: Replica, *, test: bool) -> PlannedMachine:
    host, site = _recovery_place(topology, name)
    own_name = f"{name}-{'test' if test else 'replica'}"
    interfaces = replica.test_interfaces if test else replica.interfaces
    return PlannedMachine(
        name=own_name,
        host=host,
        site=site,
        roles=(),
        image=None,
        cpus=machine.cpus,
        memory_bytes=machine.memory,
        disks=tuple([_disk(disk) for disk in machine.disks if disk.purpose is not Purpose.CHANGE_LOG]),
        interfaces=tuple([_interface(topology, own_name, interface) for interface in interfaces]),
        source=name,
    )


def _recovery_place(topology: Topology, name: str) -> tuple[str, str]:
    """Return the host and the site of a replica."""
    from_host = topology.stack.protect_from_host.get(name)
    if from_host is not None and from_host.recovery_host is not None:
        nested = [
            key
            for key, h in topology.hosts.items()
            if isinstance(h, NestedHost) and h.machine == from_host.recovery_host
        ]
        return next(iter(nested), ""), topology.machines[from_host.recovery_host].site
    target = topology.stack.protect[name].master_target if from_host is None else None
    if target is None:
        return (topology.azure.host if topology.azure else "", "azure")
    site = topology.machines[target].site
    return topology.sites[site].host, site


def _disk(disk: Disk) -> PlannedDisk:
    return _planned_disk(disk.name, disk.size, disk.purpose)


@lru_cache(maxsize=1024)
def _planned_disk(name: str, size_bytes: int, purpose: Purpose) -> PlannedDisk:
    """Machines by the thousand have the same few disks."""
    return PlannedDisk(name, size_bytes, purpose.value)


def _interface(topology: Topology, machine: str, interface: Interface) -> PlannedInterface:
    address = str(interface.address) if interface.address else None
    return PlannedInterface(interface.network, mac_for(topology.name, machine, interface.network), address)


def _network(topology: Topology, name: str) -> PlannedNetwork:
    network = topology.networks[name]
    if isinstance(network, SwitchNetwork):
        rootless = bool(topology.needed_uris) and all(uri.endswith("/session") for uri in topology.needed_uris)
        namespace = None if rootless else f"recovery-lab-{topology.name}-*"
        return PlannedNetwork(name, network.kind, str(network.subnet), network.isolated, namespace)
    return PlannedNetwork(name, network.kind, None, isolated=True, namespace=None)


def _image(topology: Topology, name: str) -> PlannedImage:
    image = topology.images[name]
    if isinstance(image, RecipeImage):
        return PlannedImage(name, f"recipe {image.recipe}")
    return PlannedImage(name, f"file {image.path}")


def _managed(topology: Topology) -> list[str]:
    """Return the machines with a card on a network for management."""
    networks = {name for name, network in topology.networks.items() if isinstance(network, ManagementNetwork)}
    return [
        name
        for name, machine in topology.machines.items()
        if not networks.isdisjoint([interface.network for interface in machine.interfaces])
    ]


def _lacks(topology: Topology, facts: Facts, memory: int, disk: int) -> list[Lack]:
    lacks = tool_lacks(facts)
    lacks += netboot_lacks(facts) if topology.booted_over else []
    lacks += libvirt_lacks(facts, topology.needed_uris)
    lacks += _physical_lacks(topology)
    if memory + SYSTEM_RESERVE > facts.memory_available_bytes:
        what = f"memory: {_gib(memory + SYSTEM_RESERVE)} needed, {_gib(facts.memory_available_bytes)} available"
        lacks.append(Lack(what, "stop other labs (lab status, lab down NAME) or make the machines smaller"))
    if disk > facts.disk_free_bytes:
        what = f"disk: up to {_gib(disk)} needed, {_gib(facts.disk_free_bytes)} free in {facts.disk_path}"
        lacks.append(Lack(what, f"free space in {facts.disk_path}, or set RECOVERY_LAB_HOME to a folder with more"))
    hungry = [name for name, machine in topology.machines.items() if machine.cpus > facts.cores]
    if hungry and facts.acceleration.acceleration is Acceleration.KVM:
        lacks.append(Lack(f"cores: {', '.join(hungry)} want more than {facts.cores}", "lower their 'cpus'"))
    return lacks


def _physical_lacks(topology: Topology) -> list[Lack]:
    """Machines behind real BMCs cannot be reached yet; making virtual ones in their place would be a lie."""
    real = [name for name, machine in topology.machines.items() if machine.bmc and machine.bmc.endpoint]
    if not real:
        return []
    cure = "'bmc: {emulated: true}' lets a bare virtual machine behind an emulated BMC take the place"
    what = f"a way from the lab's networks to physical ones: {', '.join(real)} behind a BMC cannot be reached yet"
    return [Lack(what, cure)]


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes % 2**30 else format_size(size_bytes)
