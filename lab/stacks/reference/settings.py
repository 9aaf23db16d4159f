"""Topology to what the configuration server is told about machines and policies. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lab.errors import BadInput
from lab.topology.model import Disk, Interface, Machine, ManagementNetwork, Policy, Purpose, Relay, Topology

MacOf = Callable[[str, str], str]
"""Machine and card to MAC address; the cards of a replica are ``replica-<network>`` and ``test-<network>``."""
SerialOf = Callable[[str, Disk], str]
PROTECTED_PURPOSES = (Purpose.SYSTEM, Purpose.DATA)


def serial_by_name(_machine: str, disk: Disk) -> str:
    """Return the name of a disk as its serial number."""
    return disk.name[:20]


def policy_document(policy: Policy) -> dict[str, Any]:
    """Return the document of ``PUT /v1/policies/{name}``."""
    return {
        "recovery_point_interval_s": int(policy.recovery_point_interval),
        "retention_s": int(policy.retention),
        "rpo_threshold_s": int(policy.rpo_threshold),
        "process_server_port": policy.process_server_port,
        "master_target_port": policy.master_target_port,
    }


def machine_settings(
    topology: Topology,
    name: str,
    mac_of: MacOf,
    *,
    serial_of: SerialOf = serial_by_name,
    push_install: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the document of ``PUT /v1/machines/{name}``.

    The management card keeps the MAC address of the original machine, whose configuration is on the disk; every
    other card of a replica has one of its own.

    Raises:
        BadInput: the topology does not say how this machine is protected, or where its replica goes.
    """
    machine, protection = topology.machines[name], topology.stack.protect.get(name)
    if protection is None:
        raise BadInput(f"stack.protect has no entry for {name}")
    if machine.replica is None:
        raise BadInput(f"machines.{name}: a protected machine needs 'replica'")
    document: dict[str, Any] = {
        "policy": protection.policy,
        **_relay(topology, machine.interfaces, protection),
        "primary_fabric": machine.site,
        "recovery_fabric": topology.machines[protection.master_target].site,
        "disks": _disks(name, machine, serial_of),
        "cpus": machine.cpus,
        "memory_mib": machine.memory // 2**20,
        "replica_nics": _cards(topology, name, machine.replica.interfaces, "replica", mac_of),
        "test_nics": _cards(topology, name, machine.replica.test_interfaces, "test", mac_of),
    }
    if protection.failback is not None:
        document["failback"] = _relay(topology, machine.replica.interfaces, protection.failback)
    log = next((disk for disk in machine.disks if disk.purpose is Purpose.CHANGE_LOG), None)
    if log is not None:
        document["change_log"] = {"size": log.size, "serial": serial_of(name, log)}
    group = next((key for key, group in topology.stack.groups.items() if name in group.members), None)
    if group is not None:
        document["group"] = group
    if push_install is not None:
        document["push_install"] = dict(push_install)
    return document


def address_towards(topology: Topology, source: Iterable[Interface], target: str) -> str | None:
    """Return the address of machine ``target`` that ``source`` reaches: on a network of its own, or by a route."""
    cards = [card for card in source if card.address is not None]
    addresses = [card.address for card in topology.machines[target].interfaces if card.address is not None]
    own = {card.network for card in cards}
    near = [card.address for card in topology.machines[target].interfaces if card.network in own and card.address]
    routed = [address for address in addresses for card in cards for route in card.routes if address in route.to]
    found = next(iter([*near, *routed]), None)
    return None if found is None else str(found)


def _relay(topology: Topology, source: Iterable[Interface], relay: Relay) -> dict[str, Any]:
    process_server = topology.machines[relay.process_server]
    return {
        "process_server": _server(relay.process_server, address_towards(topology, source, relay.process_server)),
        "master_target": _server(
            relay.master_target, address_towards(topology, process_server.interfaces, relay.master_target)
        ),
    }


def _server(name: str, address: str | None) -> dict[str, str]:
    if address is None:
        raise BadInput(f"{name} has no address that can be reached from where its data comes from")
    return {"name": name, "address": address}


def _disks(name: str, machine: Machine, serial_of: SerialOf) -> list[dict[str, Any]]:
    protected = [disk for disk in machine.disks if disk.purpose in PROTECTED_PURPOSES]
    return [
        {"index": index, "name": disk.name, "size": disk.size, "serial": serial_of(name, disk)}
        for index, disk in enumerate(protected)
    ]


def _cards(
    topology: Topology, name: str, interfaces: Iterable[Interface], kind: str, mac_of: MacOf
) -> list[dict[str, Any]]:
    management = [
        {"network": card.network, "mac": mac_of(name, card.network), "address": None}
        for card in topology.machines[name].interfaces
        if isinstance(topology.networks[card.network], ManagementNetwork)
    ]
    switched = [_card(topology, name, card, kind, mac_of) for card in interfaces if card.address is not None]
    return [*management, *switched]


def _card(topology: Topology, name: str, card: Interface, kind: str, mac_of: MacOf) -> dict[str, Any]:
    network = topology.networks[card.network]
    if isinstance(network, ManagementNetwork):
        raise BadInput(f"the management card of {name} has no address")
    return {
        "network": card.network,
        "mac": mac_of(name, f"{kind}-{card.network}"),
        "address": str(card.address),
        "prefix": network.subnet.prefixlen,
        "routes": [{"to": str(route.to), "via": str(route.via)} for route in card.routes],
    }
