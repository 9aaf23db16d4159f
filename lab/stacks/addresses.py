"""By which address one machine calls another: a network that both are on, else one that it has a route to."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from lab.errors import BadInput
from lab.topology.model import Topology
from lab.topology.networks import Interface


def address_towards(topology: Topology, interfaces: Sequence[Interface], server: str) -> str:
    """Return the address of ``server`` as seen from a machine with these interfaces.

    Raises:
        BadInput: the topology gives no way from the one to the other.
    """
    candidates = server_addresses(topology, server)
    for interface in interfaces:
        for network, address in candidates:
            if interface.network == network:
                return str(address)
    for interface in interfaces:
        for route in interface.routes:
            for _, address in candidates:
                if address in route.to:
                    return str(address)
    networks = ", ".join(interface.network for interface in interfaces)
    raise BadInput(
        f"{topology.source}: a machine on {networks} has no way to {server}: "
        f"give it a card on one of {server}'s networks, or a route to one"
    )


def server_addresses(topology: Topology, name: str) -> list[tuple[str, IPv4Address]]:
    """Return (network, address) of every card of a machine on a switch."""
    return [
        (interface.network, interface.address)
        for interface in topology.machines[name].interfaces
        if interface.address is not None
    ]
