"""What must be true of machines that are only lent. Pure: a topology in, findings out."""

from __future__ import annotations

from collections.abc import Iterator

from lab.topology.bmc_rules import no_way_back_to_itself
from lab.topology.findings import Finding, Location
from lab.topology.hosts import LibvirtHost
from lab.topology.machines import Machine, Role
from lab.topology.model import Topology
from lab.topology.networks import ManagementNetwork, SwitchNetwork
from lab.topology.scenario import Scenario

AGENTS = frozenset({Scenario.P2S, Scenario.P2A})
"""Scenarios whose machines belong to no hypervisor of the lab."""


def lent_findings(topology: Topology) -> Iterator[Finding]:
    """Yield what cannot be done with a machine that is there already, or has no way to it."""
    for name in topology.lent:
        yield from _machine(topology, name, topology.machines[name])
    for name, network in topology.networks.items():
        if isinstance(network, SwitchNetwork) and network.uplink is not None:
            yield from _uplink(topology, name, network)


def _machine(topology: Topology, name: str, machine: Machine) -> Iterator[Finding]:
    here: Location = ("machines", name)
    for key in ("host", "bmc"):
        if getattr(machine, key) is not None:
            yield Finding((*here, key), f"{name} is only lent: it has no '{key}' here")
    if set(machine.roles) != {Role.PROTECTED}:
        yield Finding((*here, "roles"), f"{name} is only lent: its only role can be 'protected'")
    if topology.scenario not in AGENTS:
        message = f"{name} is only lent: scenario {topology.scenario} needs its hypervisor"
        yield Finding((*here, "provision"), f"{message}; expected one of {', '.join(sorted(AGENTS))}")
    if topology.stack.adapter != "reference":
        message = f"{name} is only lent: of the stacks here only 'reference' can be taken off a machine again"
        yield Finding((*here, "provision"), message)
    yield from no_way_back_to_itself(topology, name, "is only lent")
    for index, card in enumerate(machine.interfaces):
        network = topology.networks.get(card.network)
        if isinstance(network, ManagementNetwork):
            message = f"{name} is only lent: its login is in 'provision', and the lab gives it no management card"
            yield Finding((*here, "interfaces", index), message)
        elif isinstance(network, SwitchNetwork) and network.uplink is None:
            message = f"{name} is only lent and on '{card.network}': that network needs an 'uplink' to reach it"
            yield Finding((*here, "interfaces", index), message)


def _uplink(topology: Topology, name: str, network: SwitchNetwork) -> Iterator[Finding]:
    if not all(isinstance(host, LibvirtHost) and host.uri.endswith("/system") for host in topology.hosts.values()):
        message = "an 'uplink' needs switches of the kernel: every host has to be libvirt with the uri qemu:///system"
        yield Finding(("networks", name, "uplink"), message)
    others = [
        key
        for key, other in topology.networks.items()
        if key < name and isinstance(other, SwitchNetwork) and other.uplink == network.uplink
    ]
    if others:
        yield Finding(("networks", name, "uplink"), f"{network.uplink} is the uplink of {others[0]} already")
