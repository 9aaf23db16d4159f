"""What must be true of machines that are replicated straight to another one. Pure: a topology in, findings out."""

from __future__ import annotations

from collections.abc import Iterator

from lab.topology.findings import Finding, Location, dangling
from lab.topology.machines import Machine, Purpose, Role
from lab.topology.model import Topology
from lab.topology.stack import PeerProtection
from lab.topology.units import format_size


def peer_findings(topology: Topology) -> Iterator[Finding]:
    """Yield what is wrong with peers."""
    here: Location = ("stack", "protect_to_peer")
    peers: dict[str, str] = {}
    for name, protection in topology.stack.protect_to_peer.items():
        yield from dangling("machine", name, topology.machines, (*here, name))
        yield from dangling("machine", protection.peer, topology.machines, (*here, name, "peer"))
        taken = peers.setdefault(protection.peer, name)
        if taken != name:
            yield Finding((*here, name, "peer"), f"{protection.peer} is the peer of {taken} already")
        if protection.peer in topology.stack.protected:
            yield Finding((*here, name, "peer"), f"{protection.peer} is protected itself, and can be nobody's peer")
        if name in topology.machines and protection.peer in topology.machines:
            yield from _pair(topology, name, protection, (*here, name))
    ways = (topology.stack.protect, topology.stack.protect_from_host)
    if topology.stack.protect_to_peer and any(ways):
        yield Finding(here, "one stack replicates to peers or over servers, not both: see 'protect'")


def _pair(topology: Topology, name: str, protection: PeerProtection, here: Location) -> Iterator[Finding]:
    machine, peer = topology.machines[name], topology.machines[protection.peer]
    if Role.PROTECTED not in machine.roles:
        yield Finding(here, f"{name} does not have role 'protected'")
    if Role.STANDBY not in peer.roles:
        yield Finding((*here, "peer"), f"{protection.peer} does not have role 'standby'")
    if peer.site == machine.site:
        yield Finding((*here, "peer"), f"peer '{protection.peer}' is at the site of the machine it protects")
    if not _switches(machine) & _switches(peer):
        yield Finding((*here, "peer"), f"{name} and {protection.peer} have no network in common but for management")
    yield from _disks(name, machine, protection.peer, peer)


def _disks(name: str, machine: Machine, peer_name: str, peer: Machine) -> Iterator[Finding]:
    there = {disk.name: disk for disk in peer.disks if disk.purpose is Purpose.DATA}
    for disk in machine.disks:
        if disk.purpose is not Purpose.DATA:
            continue
        twin = there.get(disk.name)
        if twin is None or twin.size != disk.size:
            message = f"{peer_name} needs a data disk '{disk.name}' of {format_size(disk.size)}, as {name} has"
            yield Finding(("machines", peer_name, "disks"), message)
        elif twin.filesystem is not None:
            message = f"'{disk.name}' of {peer_name} is a replica: its file system is that of {name}"
            yield Finding(("machines", peer_name, "disks"), message)
    if [disk.purpose for disk in peer.disks].count(Purpose.CHANGE_LOG) != 1:
        yield Finding(("machines", peer_name, "disks"), f"{peer_name} is a peer and needs one disk of 'change-log'")


def _switches(machine: Machine) -> set[str]:
    """Return the networks on which a machine has an address."""
    return {card.network for card in machine.interfaces if card.address is not None}
