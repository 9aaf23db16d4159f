"""From the topology to what hypervisors and identities need. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Interface

from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Management, Nic
from lab.images.identity import Bridge, Filesystem, NetworkCard, Route
from lab.provision import nested
from lab.topology.machines import Disk, Machine, Purpose
from lab.topology.model import Topology
from lab.topology.naming import disk_serial, mac_for
from lab.topology.networks import Interface, ManagementNetwork, SwitchNetwork

MIB = 1 << 20


@dataclass(frozen=True)
class Blueprint:
    """One machine, ready to be made; ``seed`` is still missing from the spec."""

    name: str
    image: str
    spec: MachineSpec
    disk_sizes: dict[DiskId, int]
    cards: tuple[NetworkCard, ...]
    filesystems: tuple[Filesystem, ...]
    forwards_packets: bool
    bridges: tuple[Bridge, ...] = ()


def blueprint(topology: Topology, name: str) -> Blueprint:
    """Return the blueprint of a machine of the topology."""
    machine = topology.machines[name]
    is_host = name in nested.hosts_of(topology)
    mine = cards(topology, name, machine.interfaces)
    attachments = tuple(DiskAttachment(disk_id(name, disk), disk_serial(disk.name)) for disk in machine.disks)
    return Blueprint(
        name=name,
        image=machine.image,
        spec=MachineSpec(
            name=name,
            cpus=machine.cpus,
            memory_mib=machine.memory // MIB,
            disks=attachments,
            nics=_nics(topology, name, machine),
            management=_management(topology, name, machine),
        ),
        disk_sizes={disk_id(name, disk): disk.size for disk in machine.disks},
        cards=nested.bridged(topology, mine) if is_host else mine,
        filesystems=tuple(
            Filesystem(disk_serial(disk.name), disk.filesystem, disk.mount)
            for disk in machine.disks
            if disk.filesystem and disk.mount and not is_stacks(topology, name, disk)
        ),
        forwards_packets=machine.forwards_packets,
        bridges=nested.bridges(topology, name) if is_host else (),
    )


def is_stacks(topology: Topology, machine: str, disk: Disk) -> bool:
    """Whether the stack makes and mounts the file system of a disk, on a device that it puts over it."""
    return machine in topology.stack.protect_to_peer and disk.purpose is Purpose.DATA


def disk_id(machine: str, disk: Disk) -> DiskId:
    """Return the name of a machine's disk on its host."""
    return DiskId(f"{machine}-{disk.name}")


def cards(topology: Topology, machine: str, interfaces: tuple[Interface, ...]) -> tuple[NetworkCard, ...]:
    """Return the cards of some interfaces with their addresses and routes."""
    return tuple(
        NetworkCard(
            network=interface.network,
            mac=mac_for(topology.name, machine, interface.network),
            address=_address(topology, interface),
            routes=tuple(Route(route.to, route.via) for route in interface.routes),
        )
        for interface in interfaces
    )


def hosts_file(topology: Topology) -> tuple[tuple[str, str], ...]:
    """Return (machine, address) of every card on a switch."""
    return tuple(
        (name, str(interface.address))
        for name, machine in topology.machines.items()
        for interface in machine.interfaces
        if interface.address is not None
    )


def _address(topology: Topology, interface: Interface) -> IPv4Interface | None:
    network = topology.networks[interface.network]
    if not isinstance(network, SwitchNetwork) or interface.address is None:
        return None
    return IPv4Interface((interface.address, network.subnet.prefixlen))


def _nics(topology: Topology, name: str, machine: Machine) -> tuple[Nic, ...]:
    return tuple(
        Nic(
            interface.network,
            mac_for(topology.name, name, interface.network),
            boots=topology.booted_over.get(name) == interface.network,
        )
        for interface in machine.interfaces
        if isinstance(topology.networks[interface.network], SwitchNetwork)
    )


def _management(topology: Topology, name: str, machine: Machine) -> Management | None:
    for interface in machine.interfaces:
        if isinstance(topology.networks[interface.network], ManagementNetwork):
            inner = nested.numbered(nested.inside(topology)) if name in nested.hosts_of(topology) else ()
            mac = mac_for(topology.name, name, interface.network)
            return Management(mac, interface.host_access, tuple(each.port for each in inner))
    return None
