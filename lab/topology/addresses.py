"""Rules about network cards: which network, which address, which way out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lab.topology.findings import Finding, Location, dangling, repeated
from lab.topology.model import Topology
from lab.topology.networks import Interface, SwitchNetwork


def address_findings(topology: Topology) -> Iterator[Finding]:
    """Yield what is wrong with the cards of machines, of replicas and of test copies."""
    taken: dict[tuple[str, int], str] = {}
    for owner, location, interfaces in _cards(topology):
        if len(interfaces) > 1:
            yield from _crowded(owner, location, interfaces)
        for index, interface in enumerate(interfaces):
            here = (*location, index)
            yield from _interface(topology, interface, here)
            if interface.address is None:
                continue
            other = taken.setdefault((interface.network, int(interface.address)), owner)
            if other != owner:
                message = f"{interface.address} on {interface.network} belongs to {other} already"
                yield Finding((*here, "address"), message)


def _cards(topology: Topology) -> Iterator[tuple[str, Location, tuple[Interface, ...]]]:
    for name, machine in topology.machines.items():
        yield name, ("machines", name, "interfaces"), machine.interfaces
        if machine.replica:
            here = ("machines", name, "replica")
            yield f"the replica of {name}", (*here, "interfaces"), machine.replica.interfaces
            if machine.replica.test_interfaces:
                yield f"the test copy of {name}", (*here, "test_interfaces"), machine.replica.test_interfaces
            if machine.replica.failback_interfaces:
                yield name, (*here, "failback_interfaces"), machine.replica.failback_interfaces


def _crowded(owner: str, location: Location, interfaces: tuple[Interface, ...]) -> Iterator[Finding]:
    for network, count in repeated(interface.network for interface in interfaces):
        yield Finding(location, f"{owner} has {count} interfaces on '{network}'")


def _interface(topology: Topology, interface: Interface, here: Location) -> Iterable[Finding]:
    network = topology.networks.get(interface.network)
    if network is None:
        return dangling("network", interface.network, topology.networks, (*here, "network"))
    if isinstance(network, SwitchNetwork):
        return _switch_port(network, interface, here)
    if interface.address or interface.routes:
        return (Finding(here, "a management interface has neither address nor routes"),)
    return ()


def _switch_port(network: SwitchNetwork, interface: Interface, here: Location) -> Iterator[Finding]:
    subnet, address = network.subnet, interface.address
    if interface.host_access:
        yield Finding((*here, "host_access"), "only a management interface can have host_access")
    if address is None:
        yield Finding(here, f"the interface on '{interface.network}' needs an address")
    elif address not in subnet:
        yield Finding((*here, "address"), f"{address} is outside {subnet} of network '{interface.network}'")
    elif address in (subnet.network_address, subnet.broadcast_address):
        yield Finding((*here, "address"), f"{address} is not an address for a machine in {subnet}")
    for place, route in enumerate(interface.routes):
        if route.via not in subnet:
            message = f"via {route.via} is not on network '{interface.network}' ({subnet}) of this interface"
            yield Finding((*here, "routes", place, "via"), message)
