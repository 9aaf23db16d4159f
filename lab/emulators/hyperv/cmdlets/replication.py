"""Enable-VMReplication and what follows it: initial replication, suspension, removal."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from lab.emulators.hyperv import errors
from lab.emulators.hyperv.cmdlets.call import Call, Emulated
from lab.emulators.hyperv.contract.tables import Module
from lab.emulators.hyperv.host import Host
from lab.emulators.hyperv.machine import VirtualMachine
from lab.emulators.hyperv.powershell.values import Record, Unsupported
from lab.emulators.hyperv.relations import (
    COPYING,
    FAILED_OVER,
    FAILING_OVER,
    FREQUENCIES,
    PRIMARY,
    READY,
    REPLICA,
    REPLICATING,
    SUSPENDED,
    WAITING,
    Relation,
)

Pair = tuple[VirtualMachine, Relation]


def relation_record(module: Module, host: Host, pair: Pair) -> Record:
    """Return the object VMReplication."""
    machine, relation = pair
    properties = {
        **_common(host, machine, relation),
        "ReplicaServerPort": relation.port,
        "AuthenticationType": relation.authentication,
        "CertificateThumbprint": relation.thumbprint,
        "CompressionEnabled": relation.compression,
        "ReplicationFrequencySec": relation.frequency,
        "RecoveryHistory": relation.history,
        "VSSSnapshotFrequencyHour": relation.application_hours,
        "VSSSnapshotReplicationEnabled": relation.application_hours > 0,
    }
    return module.record("VMReplication", properties, machine.id)


def _common(host: Host, machine: VirtualMachine, relation: Relation) -> dict[str, Any]:
    return {
        "VMName": machine.name,
        "VMId": machine.id,
        "ReplicationState": relation.state,
        "ReplicationMode": relation.mode,
        "ReplicationHealth": host.told.health.get(machine.name, "Normal"),
        "ReplicationRelationshipType": "Simple",
        "LastReplicationTime": relation.last,
        "PrimaryServerName": relation.primary,
        "ReplicaServerName": relation.replica,
        "CurrentReplicaServerName": relation.replica,
        "ComputerName": host.name,
        "IsDeleted": False,
    }


def pairs(call: Call) -> list[Pair]:
    """Return the replicated machines that are meant. Raises CmdletError for one that is not replicated."""
    objects = call.bound.get("VMReplication")
    machines = call.machines("VMName") if objects is None else [call.host.by_id(item.key) for item in objects]
    missing = next((item.name for item in machines if item.id not in call.host.relations), None)
    if missing is not None:
        raise errors.CmdletError("InvalidState", f"Replication is not enabled for virtual machine '{missing}'.")
    return [(item, call.host.relations[item.id]) for item in machines]


def other_side(host: Host, pair: Pair) -> tuple[Host, Pair] | None:
    """Return the other side of a relation, None when that host does not answer or has forgotten it."""
    machine, relation = pair
    partner = host.partners.get(relation.primary if relation.mode == REPLICA else relation.replica)
    if partner is None:
        return None
    twin = next((item for item in partner.machines if item.name == machine.name and item.id in partner.relations), None)
    return (partner, (twin, partner.relations[twin.id])) if twin is not None else None


def require(pair: Pair, *states: str, mode: str | None = None) -> None:
    """Raise CmdletError unless a relation is in one of some states."""
    machine, relation = pair
    if relation.state not in states or (mode is not None and relation.mode != mode):
        raise errors.wrong_state(machine.name)


def _enable(call: Call) -> list[Any]:
    if call.bound.flag("AsReplica"):
        raise Unsupported("parameter -AsReplica of Enable-VMReplication is not emulated")
    made = [_enabled(call, machine) for machine in call.machines("VMName")]
    return call.passed([relation_record(call.module, call.host, pair) for pair in made])


def _enabled(call: Call, machine: VirtualMachine) -> Pair:
    host, server = call.host, call.text("ReplicaServerName")
    authentication = call.text("AuthenticationType")
    if machine.id in host.relations:
        raise errors.CmdletError("InvalidState", f"Replication is already enabled for '{machine.name}'.")
    partner = host.partners.get(server)
    if partner is None or not partner.replication.takes(host.name, authentication):
        raise errors.failed(f"Hyper-V failed to enable replication: the Replica server '{server}' refuses it.")
    if authentication == "Certificate" and not call.text("CertificateThumbprint"):
        raise errors.CmdletError("InvalidParameter", "A certificate is needed: -CertificateThumbprint.")
    frequency = int(call.bound.get("ReplicationFrequencySec", 300))
    if frequency not in FREQUENCIES:
        raise errors.CmdletError("InvalidParameter", f"{frequency} is no replication frequency: {FREQUENCIES}.")
    relation = Relation(
        mode=PRIMARY,
        state=READY,
        primary=host.name,
        replica=server,
        port=int(call.bound.get("ReplicaServerPort")),
        authentication=authentication,
        thumbprint=call.text("CertificateThumbprint"),
        frequency=frequency,
        history=int(call.bound.get("RecoveryHistory", 0)),
        application_hours=int(call.bound.get("VSSSnapshotFrequencyHour", 0)),
        compression=bool(call.bound.get("CompressionEnabled", True)),
        since=host.clock(),
    )
    host.relations[machine.id] = relation
    _twin(partner, machine, relation)
    return machine, relation


def _twin(partner: Host, machine: VirtualMachine, relation: Relation) -> None:
    """Make the replica machine on the other host; its disks are brought by who replicates."""
    twin = VirtualMachine(
        id=uuid.uuid4(),
        name=machine.name,
        machine=partner.new_name(machine.name),
        generation=machine.generation,
        memory=machine.memory,
        created=partner.clock(),
        path=partner.replication.location or machine.path,
        processors=machine.processors,
    )
    partner.machines.append(twin)
    partner.relations[twin.id] = replace(relation, mode=REPLICA, state=WAITING)


def _get(call: Call) -> list[Any]:
    return [relation_record(call.module, call.host, pair) for pair in _chosen(call)]


def _chosen(call: Call) -> list[Pair]:
    if call.given("VMName") or call.given("VM"):
        found = pairs(call)
    else:
        found = [(item, call.host.relations[item.id]) for item in call.host.machines if item.id in call.host.relations]
    return [
        (machine, relation)
        for machine, relation in found
        if call.text("ReplicationMode", relation.mode) == relation.mode
        and call.text("ReplicationState", relation.state) == relation.state
    ]


def _begin(call: Call) -> list[Any]:
    for pair in pairs(call):
        require(pair, READY, mode=PRIMARY)
        pair[1].state = COPYING
    return []


def _stop(call: Call) -> list[Any]:
    for pair in pairs(call):
        require(pair, COPYING, mode=PRIMARY)
        pair[1].state = READY
    return []


def _suspend(call: Call) -> list[Any]:
    return _moved(call, REPLICATING, SUSPENDED)


def _resume(call: Call) -> list[Any]:
    return _moved(call, SUSPENDED, REPLICATING)


def _moved(call: Call, before: str, after: str) -> list[Any]:
    found = pairs(call)
    for pair in found:
        require(pair, before)
        pair[1].state = after
    return call.passed([relation_record(call.module, call.host, pair) for pair in found])


def _set(call: Call) -> list[Any]:
    found = pairs(call)
    for pair in found:
        if call.bound.flag("Reverse"):
            _reverse(call.host, pair)
        relation = pair[1]
        relation.frequency = int(call.bound.get("ReplicationFrequencySec", relation.frequency))
        relation.history = int(call.bound.get("RecoveryHistory", relation.history))
        if relation.frequency not in FREQUENCIES:
            raise errors.CmdletError("InvalidParameter", f"{relation.frequency} is no replication frequency.")
    return call.passed([relation_record(call.module, call.host, pair) for pair in found])


def _reverse(host: Host, pair: Pair) -> None:
    """Let the machine that was failed over to be the primary of the other one."""
    require(pair, FAILING_OVER, FAILED_OVER, mode=REPLICA)
    other = other_side(host, pair)
    if other is None:
        raise errors.failed(f"Hyper-V failed to reverse replication of '{pair[0].name}': the server does not answer.")
    if not pair[1].planned:
        raise Unsupported("Set-VMReplication -Reverse after an unplanned failover is not emulated")
    there = other[1][1]
    here = pair[1]
    here.primary, here.replica = there.primary, there.replica = here.replica, here.primary
    here.mode, here.state, here.planned = PRIMARY, REPLICATING, False
    there.mode, there.state = REPLICA, REPLICATING


def _remove(call: Call) -> list[Any]:
    found = pairs(call)
    for machine, _ in found:
        del call.host.relations[machine.id]
    return call.passed([relation_record(call.module, call.host, pair) for pair in found])


def _measure(call: Call) -> list[Any]:
    return [
        call.module.record(
            "VMReplicationHealth",
            {**_common(call.host, machine, relation), "MonitoringStartTime": relation.since},
        )
        for machine, relation in _chosen(call)
    ]


_WHICH = "VM VMName VMReplication"
CMDLETS = {
    "Enable-VMReplication": Emulated(
        _enable,
        "VM VMName ReplicaServerName ReplicaServerPort AuthenticationType CertificateThumbprint CompressionEnabled "
        "ReplicationFrequencySec RecoveryHistory VSSSnapshotFrequencyHour AsReplica",
    ),
    "Get-VMReplication": Emulated(_get, "VM VMName ReplicationMode ReplicationState"),
    "Set-VMReplication": Emulated(_set, f"{_WHICH} Reverse ReplicationFrequencySec RecoveryHistory"),
    "Remove-VMReplication": Emulated(_remove, _WHICH),
    "Start-VMInitialReplication": Emulated(_begin, _WHICH),
    "Stop-VMInitialReplication": Emulated(_stop, _WHICH),
    "Suspend-VMReplication": Emulated(_suspend, _WHICH),
    "Resume-VMReplication": Emulated(_resume, _WHICH),
    "Measure-VMReplication": Emulated(_measure, "VM VMName ReplicationMode ReplicationState"),
}
