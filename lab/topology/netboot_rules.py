"""What must be true of machines that are installed over a network. Pure: a topology in, findings out."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from lab.topology.bmc_rules import host_of_site
from lab.topology.findings import Finding, Location, dangling
from lab.topology.hosts import LibvirtHost
from lab.topology.machines import Machine
from lab.topology.model import Topology
from lab.topology.networks import SwitchNetwork


def netboot_findings(topology: Topology) -> Iterator[Finding]:
    """Yield networks for installation that would reach others, or not the machine that is meant."""
    for name, network in topology.booted_over.items():
        if topology.machines[name].bmc is None:
            message = f"{name} boots over a network: it needs a 'bmc' that chooses so, and that switches it"
            yield Finding(("machines", name, "provision"), message)
        yield from _network(topology, name, network)


def boot_server_address(subnet: IPv4Network) -> IPv4Address:
    """Return where the lab answers machines that boot over a network: the last address for a host."""
    return subnet.broadcast_address - 1


def _network(topology: Topology, name: str, key: str) -> Iterator[Finding]:
    here: Location = ("machines", name, "provision", "network")
    yield from dangling("network", key, topology.networks, here)
    network = topology.networks.get(key)
    if network is None:
        return
    if not isinstance(network, SwitchNetwork) or network.uplink is not None:
        yield Finding(here, f"'{key}' has to be a switch without an 'uplink': the lab answers DHCP there")
        return
    machine = topology.machines[name]
    if not any(card.network == key and card.address is not None for card in machine.interfaces):
        yield Finding(here, f"{name} needs a card with an address on '{key}' to boot over it")
    yield from _others(topology, key, network, here)
    host = host_of_site(topology, machine)
    if isinstance(host, LibvirtHost) and not host.uri.endswith("/system"):
        yield Finding(here, "a boot server needs switches of the kernel: the host has to have the uri qemu:///system")


def _others(topology: Topology, key: str, network: SwitchNetwork, here: Location) -> Iterator[Finding]:
    """Yield who else is on the network: what boots a machine is not encrypted there."""
    guests = [
        name
        for name, other in topology.machines.items()
        if key in _networks_of(other, own=name in topology.booted_over)
    ]
    if guests:
        yield Finding(here, f"{', '.join(guests)} is on '{key}' too: only machines that are installed over it may be")
    server = boot_server_address(network.subnet)
    if server in {card.address for other in topology.machines.values() for card in other.interfaces}:
        yield Finding(here, f"{server} is for the lab's boot server, the last address of '{key}'")


def _networks_of(machine: Machine, *, own: bool) -> set[str]:
    """Return the networks of a machine's cards, and of those of its replica; ``own``: of the replica alone."""
    replica = machine.replica
    behind = (*replica.interfaces, *replica.test_interfaces, *replica.failback_interfaces) if replica else ()
    return {card.network for card in (*(() if own else machine.interfaces), *behind)}
