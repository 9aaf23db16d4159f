"""After a failover to Azure the workload runs there, and comes back to VMware only.

A minute. It begins with a committed failover (suites/failover) and changes nothing: what is tried is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from fixtures.needs import public_address
from fixtures.stacks import SSH_PORT, Protected
from lab.measure.peers import call
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_azure


@pytest.fixture
def failed_over(stack: Stack, primary_role: Protected) -> Iterator[Protected]:
    """The machine that runs in Azure; its settings are the topology's again afterwards."""
    if stack.machine(primary_role.name).state is not MachineState.FAILED_OVER:
        pytest.fail("this begins with a committed failover: run suites/failover before it")
    yield primary_role
    stack.protect(primary_role.name)


def refusal_of(stack: Stack, role: Protected, failback: Mapping[str, Any] | None) -> OperationRefused:
    """Ask for the way back with these servers, and show that nothing has changed."""
    stack.protect(role.name, {"failback": failback})
    before = stack.machine(role.name)
    with pytest.raises(OperationRefused) as refusal:
        stack.start(role.name, Operation.REPROTECT)
    after = stack.machine(role.name)
    assert (after.state, after.attributes) == (before.state, before.attributes)
    assert role.replica.ssh.run("true").ok, "the workload still runs"
    return refusal.value


@pytest.mark.requirement("V2A-FO-REPLICA", "V2A-UFO")
def test_the_workload_runs_in_azure(failed_over: Protected, topology: Topology) -> None:
    host = failed_over.lab.hypervisor
    machine = host.machine(failed_over.replica.name)
    settings = topology.machines[failed_over.name].replica
    assert settings is not None
    assert {nic.network for nic in machine.nics} == {card.network for card in settings.interfaces}
    assert machine.disks
    assert all(attachment.disk.name.startswith("azure-") for attachment in machine.disks)
    assert not failed_over.running, "the source runs beside its replica"
    assert failed_over.replica.ssh.check("ls", str(failed_over.data_disk.mount))


@pytest.mark.needs_public_address
@pytest.mark.requirement("V2A-FO-REPLICA")
def test_the_workload_answers_at_its_public_address(failed_over: Protected, topology: Topology) -> None:
    """Called from the internet's side; that network has no way to the private address, so it proves the card."""
    address = public_address(topology, failed_over.name)
    if address is None:
        pytest.fail(f"the replica that has a public address has to be that of {failed_over.name}")
    caller = failed_over.process_server.ssh
    settings = topology.machines[failed_over.name].replica
    assert settings is not None
    private = next(str(card.address) for card in settings.interfaces if str(card.address) != address)
    assert call(caller, address, SSH_PORT, plain=True).tcp
    assert not call(caller, private, SSH_PORT, plain=True).tcp, f"{private} is reached without the public address"


@pytest.mark.requirement("P2A-FB-NOPHYS", "LAB-REFUSAL")
def test_it_does_not_come_back_as_a_physical_machine(
    stack: Stack, failed_over: Protected, evidence: EvidenceRecorder
) -> None:
    servers = failed_over.process_server.name
    refusal = refusal_of(stack, failed_over, {"process_server": servers, "master_target": servers, "to": "physical"})
    evidence.attach("refusal.txt", f"{refusal.reason}: {refusal}")
    assert refusal.reason == "not-supported"
    assert "can only fail back to VMware" in str(refusal)


@pytest.mark.requirement("P2A-FB-VMWARE", "V2A-FB-PREREQ", "LAB-REFUSAL")
def test_it_does_not_come_back_without_vmware(stack: Stack, failed_over: Protected, evidence: EvidenceRecorder) -> None:
    servers = failed_over.process_server.name
    vmware = {"process_server": servers, "master_target": servers, "to": "vmware", "fabric": "elsewhere"}
    refusal = refusal_of(stack, failed_over, vmware)
    evidence.attach("refusal.txt", f"{refusal.reason}: {refusal}")
    assert refusal.reason == "not-ready"
    assert "elsewhere" in str(refusal), "what is missing is not named"


@pytest.mark.requirement("V2A-FB-PREREQ", "LAB-REFUSAL")
def test_it_does_not_come_back_without_servers_of_the_way_back(stack: Stack, failed_over: Protected) -> None:
    refusal = refusal_of(stack, failed_over, None)
    assert refusal.reason == "not-ready"
    assert "failback" in str(refusal)
