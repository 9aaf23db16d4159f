"""Hypervisor hosts of a lab that are machines of it: what they are given at first, and how they are reached.

Machines inside of a host are on bridges that the host's own identity makes: one for each network that they use. Where
the host has a card on that network, the card is on the bridge too; where it has none (a network for tests), nothing
leaves the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path

from lab.hypervisors.libvirt import LibvirtHypervisor
from lab.hypervisors.model import Endpoint, Medium, image_serial
from lab.hypervisors.nested import Access, Inner, NestedHypervisor, connect
from lab.hypervisors.nested.host import MANAGEMENT, bridge_name
from lab.hypervisors.protocols import Hypervisor, NotFound
from lab.hypervisors.routed import RoutedHypervisor, driver_of_kind
from lab.images.identity import Bridge, NetworkCard
from lab.machines.ssh import Login, SshTransport
from lab.provision.home import Home, LabFolder
from lab.provision.state import LabState
from lab.topology.hosts import NestedHost
from lab.topology.machines import Machine
from lab.topology.model import Topology
from lab.topology.naming import mac_for
from lab.topology.networks import Interface, ManagementNetwork


def hosts_of(topology: Topology) -> list[str]:
    """Return the machines that are hypervisor hosts of the topology, in its order."""
    return [host.machine for host in topology.hosts.values() if isinstance(host, NestedHost)]


def inside(topology: Topology) -> dict[str, str]:
    """Return every machine that runs inside of another one, and that one."""
    found = {name: topology.inside_of(name) for name in topology.machines}
    return {name: host for name, host in found.items() if host is not None}


def numbered(machines: Mapping[str, str]) -> tuple[Inner, ...]:
    """Return inner machines with their numbers."""
    return tuple(Inner(name, number) for number, name in enumerate(machines))


def management_network(topology: Topology) -> str:
    """Return the name of the management network, or "" when there is none."""
    found = (name for name, network in topology.networks.items() if isinstance(network, ManagementNetwork))
    return next(found, "")


def networks_inside(topology: Topology) -> list[str]:
    """Return the networks that machines inside of hosts use, also as replicas, in the order of the topology."""
    used = {card.network for name in inside(topology) for card in _every_card(topology.machines[name])}
    return [name for name in topology.networks if name in used]


def bridges(topology: Topology, host: str) -> tuple[Bridge, ...]:
    """Return the bridges of a host; the one of the management network hands out the addresses of its machines."""
    addresses = {card.network: card.address for card in topology.machines[host].interfaces}
    made = []
    for name in networks_inside(topology):
        network = topology.networks[name]
        if isinstance(network, ManagementNetwork):
            leases = tuple(
                (mac_for(topology.name, each.name, name), each.address) for each in numbered(inside(topology))
            )
            made.append(Bridge(bridge_name(name), MANAGEMENT, leases))
            continue
        address = addresses.get(name)
        made.append(Bridge(bridge_name(name), IPv4Interface((address, network.subnet.prefixlen)) if address else None))
    return tuple(made)


def bridged(topology: Topology, cards: tuple[NetworkCard, ...]) -> tuple[NetworkCard, ...]:
    """Return the cards of a host, each on the bridge of its network where there is one."""
    shared = {name for name in networks_inside(topology) if not isinstance(topology.networks[name], ManagementNetwork)}
    return tuple(replace(card, bridge=bridge_name(card.network)) if card.network in shared else card for card in cards)


def media(topology: Topology, host: str, images: Mapping[str, Path]) -> tuple[Medium, ...]:
    """Return what a host is given as disks: the images of its machines. ``images`` are files by machine."""
    mine = {images[name] for name, where in inside(topology).items() if where == host}
    return tuple(Medium(str(image), image_serial(image)) for image in sorted(mine))


def with_hosts(outer: Hypervisor, state: LabState, home: Home) -> Hypervisor:
    """Return the driver of a lab, with the hosts that are machines of it as far as they exist."""
    libvirt = driver_of_kind(outer, LibvirtHypervisor)
    if libvirt is None or not state.inside:
        return outer
    found: dict[str, Hypervisor] = {}
    for name in state.nested_hosts:
        try:
            found[name] = _open(libvirt, name, state, home.lab(state.lab), home.labs)
        except NotFound:
            continue  # The lab was never made as a whole.
    if not found:
        return outer
    return RoutedHypervisor({"": libvirt, **found}, lambda name: _place(name, state))


def _place(name: str, state: LabState) -> str:
    fitting = [machine for machine in state.host_keys if name == machine or name.startswith(f"{machine}-")]
    return state.inside.get(max(fitting, key=len), "") if fitting else ""


def _open(outer: LibvirtHypervisor, name: str, state: LabState, folder: LabFolder, store: Path) -> NestedHypervisor:
    endpoint = outer.endpoint(name)
    inner = numbered(state.inside)
    access = Access(
        name=name,
        endpoint=endpoint,
        key=folder.login_key,
        known_hosts=_known_hosts(folder, name, endpoint, state.host_keys[name]),
        management=state.management,
        inner=inner,
        ports={each.name: outer.forwarded(name, each.port) for each in inner},
    )
    shell = SshTransport(name, endpoint, Login("root", folder.login_key, state.host_keys[name]))
    return connect(access, shell, state.lab, store)


def _known_hosts(folder: LabFolder, name: str, endpoint: Endpoint, key: str) -> Path:
    path = folder.login_key.parent / f"known-libvirt-{name}"
    path.write_text(f"[{endpoint.host}]:{endpoint.port} {key}\n", encoding="ascii")
    return path


def _every_card(machine: Machine) -> tuple[Interface, ...]:
    replica = machine.replica
    if replica is None:
        return machine.interfaces
    return machine.interfaces + replica.interfaces + replica.test_interfaces + replica.failback_interfaces
