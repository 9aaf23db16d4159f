"""Start-, Stop- and Complete-VMFailover, and the settings of a Replica server."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from lab.emulators.hyperv import errors
from lab.emulators.hyperv.cmdlets.call import Asks, Call, Emulated
from lab.emulators.hyperv.cmdlets.replication import Pair, other_side, pairs, require
from lab.emulators.hyperv.host import Host
from lab.emulators.hyperv.powershell.values import Record
from lab.emulators.hyperv.relations import (
    FAILED_OVER,
    FAILING_OVER,
    PREPARED,
    PRIMARY,
    REPLICA,
    REPLICATING,
    SUSPENDED,
    TEST,
)


def _start(call: Call) -> list[Any]:
    for pair in pairs(call):
        if call.bound.flag("Prepare"):
            _prepare(call.host, pair)
        elif call.bound.flag("AsTest"):
            _test(call.host, pair)
        else:
            _fail_over(call.host, pair)
    return []


def _prepare(host: Host, pair: Pair) -> None:
    require(pair, REPLICATING, mode=PRIMARY)
    host.require_off(pair[0])
    pair[1].state = PREPARED


def _fail_over(host: Host, pair: Pair) -> None:
    require(pair, REPLICATING, SUSPENDED, mode=REPLICA)
    other = other_side(host, pair)
    pair[1].planned = other is not None and other[1][1].state == PREPARED
    pair[1].state = FAILING_OVER


def _test(host: Host, pair: Pair) -> None:
    """Make the machine of a test; its disks are brought by who replicates."""
    machine, relation = pair
    require(pair, REPLICATING, SUSPENDED, mode=REPLICA)
    if relation.test is not None:
        raise errors.wrong_state(machine.name)
    relation.test = f"{machine.name} - Test"
    made = replace(machine, id=uuid.uuid4(), name=relation.test, machine=host.new_name(relation.test), defined=False)
    made.drives, made.adapters, made.checkpoints = list(machine.drives), [], []
    host.machines.append(made)
    host.relations[made.id] = replace(relation, mode=TEST, test=None)


def _stop(call: Call) -> list[Any]:
    for pair in pairs(call):
        machine, relation = pair
        if relation.test is not None:
            _end_test(call.host, relation.test)
            relation.test = None
        elif relation.mode == PRIMARY:
            require(pair, PREPARED)
            relation.state = REPLICATING
        else:
            require(pair, FAILING_OVER, mode=REPLICA)
            call.host.require_off(machine)
            relation.state, relation.planned = REPLICATING, False
    return []


def _end_test(host: Host, name: str) -> None:
    for machine in [item for item in host.machines if item.name == name]:
        host.require_off(machine)
        host.machines.remove(machine)
        host.relations.pop(machine.id, None)


def _complete(call: Call) -> list[Any]:
    for pair in pairs(call):
        require(pair, FAILING_OVER, mode=REPLICA)
        pair[1].state = FAILED_OVER
    return []


def may_start(host: Host, machine_id: uuid.UUID) -> bool:
    """Whether a machine is no replica that waits for its failover."""
    relation = host.relations.get(machine_id)
    return relation is None or relation.mode != REPLICA or relation.state in {FAILING_OVER, FAILED_OVER}


def _server(call: Call) -> Record:
    server = call.host.replication
    entries = [_entry(call, name) for name in server.entries]
    return call.module.record(
        "VMReplicationServer",
        {
            "ReplicationEnabled": server.enabled,
            "AllowedAuthenticationType": server.authentication,
            "ReplicationAllowedFromAnyServer": server.any_server,
            "KerberosAuthenticationPort": server.kerberos_port,
            "CertificateAuthenticationPort": server.certificate_port,
            "CertificateThumbprint": server.thumbprint,
            "DefaultStorageLocation": server.location,
            "AuthorizationEntries": entries,
            "ComputerName": call.host.name,
        },
    )


def _set_server(call: Call) -> list[Any]:
    server = call.host.replication
    server.enabled = bool(call.bound.get("ReplicationEnabled", server.enabled))
    server.authentication = call.text("AllowedAuthenticationType", server.authentication)
    server.any_server = bool(call.bound.get("ReplicationAllowedFromAnyServer", server.any_server))
    server.kerberos_port = int(call.bound.get("KerberosAuthenticationPort", server.kerberos_port))
    server.certificate_port = int(call.bound.get("CertificateAuthenticationPort", server.certificate_port))
    server.thumbprint = call.text("CertificateThumbprint", server.thumbprint)
    server.location = call.text("DefaultStorageLocation", server.location)
    return call.passed([_server(call)])


def _entry(call: Call, name: str) -> Record:
    location, group = call.host.replication.entries[name]
    properties = {"AllowedPrimaryServer": name, "ReplicaStorageLocation": location, "TrustGroup": group}
    return call.module.record("VMReplicationAuthorizationEntry", properties, name)


def _new_entry(call: Call) -> list[Any]:
    name = call.text("AllowedPrimaryServer")
    call.host.replication.entries[name] = (call.text("ReplicaStorageLocation"), call.text("TrustGroup"))
    return [_entry(call, name)]


def _get_entries(call: Call) -> list[Any]:
    return [_entry(call, name) for name in call.host.replication.entries if call.fits(name, "AllowedPrimaryServer")]


def _remove_entry(call: Call) -> list[Any]:
    for name in [item for item in call.host.replication.entries if call.fits(item, "AllowedPrimaryServer")]:
        del call.host.replication.entries[name]
    return []


def _test_connection(call: Call) -> list[Any]:
    name = call.text("ReplicaServerName")
    partner = call.host.partners.get(name)
    if partner is None or not partner.replication.takes(call.host.name, call.text("AuthenticationType")):
        raise errors.failed(f"Hyper-V cannot connect to the specified Replica server '{name}'.")
    return [f"The connection to the specified Replica server '{name}' was successful."]


CMDLETS = {
    "Start-VMFailover": Emulated(_start, "VM VMName Prepare AsTest", Asks.WITHOUT_CONFIRM),
    "Stop-VMFailover": Emulated(_stop, "VM VMName"),
    "Complete-VMFailover": Emulated(_complete, "VM VMName", Asks.WITHOUT_CONFIRM),
    "Get-VMReplicationServer": Emulated(lambda call: [_server(call)]),
    "Set-VMReplicationServer": Emulated(
        _set_server,
        "ReplicationEnabled AllowedAuthenticationType ReplicationAllowedFromAnyServer KerberosAuthenticationPort "
        "CertificateAuthenticationPort CertificateThumbprint DefaultStorageLocation",
        Asks.WITHOUT_FORCE,
    ),
    "New-VMReplicationAuthorizationEntry": Emulated(
        _new_entry, "AllowedPrimaryServer ReplicaStorageLocation TrustGroup"
    ),
    "Get-VMReplicationAuthorizationEntry": Emulated(_get_entries, "AllowedPrimaryServer"),
    "Remove-VMReplicationAuthorizationEntry": Emulated(_remove_entry, "AllowedPrimaryServer"),
    "Test-VMReplicationConnection": Emulated(
        _test_connection, "ReplicaServerName ReplicaServerPort AuthenticationType CertificateThumbprint"
    ),
}
