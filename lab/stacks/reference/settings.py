"""Topology to what the configuration server is told about machines and policies. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.errors import BadInput
from lab.stacks.addresses import address_towards
from lab.topology.machines import Disk, Machine, Purpose, Replica
from lab.topology.model import Topology
from lab.topology.naming import disk_serial
from lab.topology.networks import Interface, ManagementNetwork
from lab.topology.rules import VMWARE
from lab.topology.stack import PlanAction, Policy, Protection, RecoveryPlan, Relay

MacOf = Callable[[str, str], str]
"""Machine and card to MAC address; a replica's cards are ``replica-``, ``test-`` and ``failback-<network>``."""
PROTECTED_PURPOSES = (Purpose.SYSTEM, Purpose.DATA)


def policy_document(policy: Policy) -> dict[str, Any]:
    """Return the document of ``PUT /v1/policies/{name}``."""
    return {
        "recovery_point_interval_s": int(policy.recovery_point_interval),
        "retention_s": int(policy.retention),
        "rpo_threshold_s": int(policy.rpo_threshold),
        "process_server_port": policy.process_server_port,
        "master_target_port": policy.master_target_port,
        "authentication": policy.authentication,
        **_application_interval(policy),
        **_pruning(policy),
    }


def group_document(topology: Topology, name: str) -> dict[str, Any]:
    """Return the document of ``PUT /v1/groups/{name}``. Raises BadInput for a member without an address."""
    group = topology.stack.groups[name]
    return {
        "members": [_member(topology, member) for member in group.members],
        "consistent": group.multi_vm_consistency,
        "stall_bound_ms": int(group.stall_bound * 1000),
    }


def switched_by_fabric(machine: Machine) -> bool:
    """Whether a fabric could touch the machine: neither one behind a BMC nor one that is only lent."""
    return machine.bmc is None and machine.provision is None


def _member(topology: Topology, name: str) -> dict[str, Any]:
    machine = topology.machines[name]
    replica = machine.replica.interfaces if machine.replica is not None else ()
    found = {"address": _first_address(machine.interfaces), "replica_address": _first_address(replica)}
    if found["address"] is None:
        raise BadInput(f"{topology.source}: machines.{name}: a member of a group needs an address")
    return {"name": name, **{key: value for key, value in found.items() if value is not None}}


def _first_address(interfaces: Sequence[Interface]) -> str | None:
    return next((str(card.address) for card in interfaces if card.address is not None), None)


def plan_document(plan: RecoveryPlan) -> dict[str, Any]:
    """Return the document of ``PUT /v1/plans/{name}``."""
    return {
        "groups": [
            {
                "machines": list(group.machines),
                "before": [_action(action) for action in group.before],
                "after": [_action(action) for action in group.after],
            }
            for group in plan.groups
        ]
    }


def _action(action: PlanAction) -> dict[str, Any]:
    if action.script is None:
        return {"manual": action.manual}
    return {"script": action.script, "timeout_s": int(action.timeout)}


def _application_interval(policy: Policy) -> dict[str, int]:
    interval = policy.application_consistent_interval
    return {} if interval is None else {"application_consistent_interval_s": int(interval)}


def _pruning(policy: Policy) -> dict[str, Any]:
    if policy.pruning is None:
        return {}
    return {"pruning": [{"after_s": int(step.after), "every_s": int(step.one_per)} for step in policy.pruning]}


def machine_settings(
    topology: Topology, name: str, mac_of: MacOf, *, push_install: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the document of ``PUT /v1/machines/{name}``.

    The management card keeps the MAC address of the original machine, whose configuration is on the disk; every
    other card of a replica has one of its own.

    Raises:
        BadInput: the topology does not say how this machine is protected, or where its replica goes.
    """
    machine, protection, replica = _protected(topology, name)
    log = change_log_disk(topology, name)
    group = next((key for key, group in topology.stack.groups.items() if name in group.members), None)
    return {
        "policy": protection.policy,
        **_relays(topology, machine, protection, replica),
        **_new_machine(topology, name, replica, mac_of),
        "primary_fabric": machine.site,
        **_target(topology, protection),
        "disks": protected_disks(machine),
        "change_log": {"size": log.size, "serial": disk_serial(log.name)},
        "cpus": machine.cpus,
        "memory_mib": machine.memory // 2**20,
        "replica_nics": _cards(topology, name, replica.interfaces, "replica", mac_of),
        "test_nics": _cards(topology, name, replica.test_interfaces, "test", mac_of),
        **({"group": group} if group is not None else {}),
        **({"vmware": name} if topology.scenario in VMWARE else {}),
        **({} if switched_by_fabric(machine) else {"switched_by_owner": True}),
        **({"push_install": dict(push_install)} if push_install is not None else {}),
    }


def protected_disks(machine: Machine) -> list[dict[str, Any]]:
    """Return the disks of a machine that are replicated, in the order that every component uses."""
    protected = [disk for disk in machine.disks if disk.purpose in PROTECTED_PURPOSES]
    return [
        {"index": index, "name": disk.name, "size": disk.size, "serial": disk_serial(disk.name)}
        for index, disk in enumerate(protected)
    ]


def change_log_disk(topology: Topology, name: str) -> Disk:
    """Return the disk that holds a machine's write logs. Raises BadInput when it has none."""
    for disk in topology.machines[name].disks:
        if disk.purpose is Purpose.CHANGE_LOG:
            return disk
    raise BadInput(f"{topology.source}: {name} needs a disk of purpose 'change-log': its writes are recorded there")


def _protected(topology: Topology, name: str) -> tuple[Machine, Protection, Replica]:
    machine, protection = topology.machines[name], topology.stack.protect.get(name)
    if protection is None:
        raise BadInput(f"{topology.source}: stack.protect has no entry for {name}")
    if machine.replica is None:
        raise BadInput(f"{topology.source}: machines.{name}: a protected machine needs 'replica'")
    return machine, protection, machine.replica


def _relays(topology: Topology, machine: Machine, protection: Protection, replica: Replica) -> dict[str, Any]:
    """Return the servers of both directions: the way back begins where the replica is."""
    forward = _servers(topology, machine.interfaces, protection.process_server, protection.master_target)
    if protection.failback is None:
        return forward
    back: Relay = protection.failback
    servers = _servers(topology, replica.interfaces, back.process_server, back.master_target)
    return {**forward, "failback": {**servers, "fabric": topology.machines[back.master_target].site}}


def _new_machine(topology: Topology, name: str, replica: Replica, mac_of: MacOf) -> dict[str, Any]:
    """Return the cards of the machine as which one comes back that does not come back as itself (seed L90)."""
    if not replica.failback_interfaces:
        return {}
    return {"failback_nics": _cards(topology, name, replica.failback_interfaces, "failback", mac_of)}


def _target(topology: Topology, protection: Protection) -> dict[str, Any]:
    """Return what says where the machine is replicated to, but for the master target."""
    if protection.master_target is not None:
        return {"recovery_fabric": topology.machines[protection.master_target].site}
    source = topology.azure.source if topology.azure else "physical"
    return {"azure": {"server": server_name(topology), "source": source}}


def server_name(topology: Topology) -> str:
    """Return the name under which the topology's machines are added to the vault."""
    return f"{topology.name}-servers"


def _servers(
    topology: Topology, source: Sequence[Interface], process_server: str, master_target: str | None
) -> dict[str, Any]:
    """Each server by the address at which the one before it calls."""
    found = {"process_server": _server(topology, source, process_server)}
    if master_target is not None:
        caller = topology.machines[process_server].interfaces
        found["master_target"] = _server(topology, caller, master_target)
    return found


def _server(topology: Topology, caller: Sequence[Interface], name: str) -> dict[str, str]:
    return {"name": name, "address": address_towards(topology, caller, name)}


def _cards(
    topology: Topology, name: str, interfaces: Sequence[Interface], kind: str, mac_of: MacOf
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
