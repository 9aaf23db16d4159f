"""What must be true of public addresses of replicas in Azure (seed L109). Pure: a topology in, findings out."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from lab.topology.azure import Azure
from lab.topology.findings import Finding, Location
from lab.topology.machines import Replica
from lab.topology.model import Topology
from lab.topology.networks import SwitchNetwork


def public_findings(topology: Topology) -> Iterator[Finding]:
    """Yield what is wrong with public addresses."""
    taken: dict[IPv4Address, str] = {}
    if topology.azure is not None:
        taken = _taken(topology, topology.azure)
    for name, machine in topology.machines.items():
        address = machine.replica.public_address if machine.replica is not None else None
        if address is None or machine.replica is None:
            continue
        here: Location = ("machines", name, "replica", "public_address")
        if topology.azure is None or name not in topology.stack.protect_from_host:
            message = "is for machines that are replicated from their host to Azure; others have a card on the internet"
            yield Finding(here, f"a public address {message}")
            continue
        yield from _outside(topology, topology.azure, address, here)
        if address in taken:
            yield Finding(here, f"{address} on {topology.azure.route} belongs to {taken[address]} already")
        taken[address] = f"the replica of {name}"
        yield from _gateway(topology, name, machine.replica)


def _taken(topology: Topology, azure: Azure) -> dict[IPv4Address, str]:
    cards = {
        card.address: name
        for name, machine in topology.machines.items()
        for card in machine.interfaces
        if card.network == azure.route and card.address is not None
    }
    return {**cards, azure.vault_address: "the vault", azure.storage_address: "the storage"}


def _outside(topology: Topology, azure: Azure, address: IPv4Address, here: Location) -> Iterator[Finding]:
    network = topology.networks.get(azure.route)
    if not isinstance(network, SwitchNetwork) or network.kind != "internet":
        yield Finding(here, f"a public address is on the internet; '{azure.route}', by which Azure is reached, is not")
    elif address not in network.subnet:
        yield Finding(here, f"{address} is outside {network.subnet} of network '{azure.route}'")


def _gateway(topology: Topology, name: str, replica: Replica) -> Iterator[Finding]:
    """The gateway that translates takes the first address of the replica's network."""
    card = replica.interfaces[0]
    network = topology.networks.get(card.network)
    if not isinstance(network, SwitchNetwork):
        return
    gateway = next(network.subnet.hosts())
    if card.address == gateway:
        message = f"{gateway} on '{card.network}' is the gateway's, which makes the public address of {name} lead to it"
        yield Finding(("machines", name, "replica", "interfaces", 0, "address"), message)
