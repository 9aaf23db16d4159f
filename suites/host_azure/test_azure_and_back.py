"""From a host to Azure and back: a planned failover that loses nothing, and both ways home (seed L107-111).

The five-part proof of domain facts 4.6 with every disk: the source's images after its shutdown are compared with the
page blobs. Then the machine comes back to itself, with its changes synchronised before it is shut down in Azure.

About ten minutes without acceleration. It begins with a protected machine, and leaves it protected.
"""

from __future__ import annotations

import pytest

from fixtures.host_images import images
from fixtures.host_proofs import (
    Back,
    Seen,
    judge_at_home,
    nothing_lost,
    plan_of,
    planned_run,
    prove,
    roots,
    stop_application,
    write_on_replica,
)
from fixtures.needs import public_address
from fixtures.stacks import REPLICATION_SECONDS, SSH_PORT, Protected
from fixtures.workloads import Workload
from fixtures.zero_loss import Proven, attach, sample
from lab.hypervisors.model import PowerState
from lab.measure.disks import send_digest_tool
from lab.measure.peers import call
from lab.measure.ports import open_ports
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.topology.machines import Role
from lab.topology.model import Topology
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_hosts, pytest.mark.needs_azure]

FAILOVER_SECONDS = 900.0
COMMIT_SECONDS = 300.0


@pytest.mark.requirement("H2A-TARGET", "H2A-VAULT", "H2A-TRACK", "H2A-DELTA", "LAB-MUTUAL-TLS")
def test_hosts_go_to_azure_by_themselves_and_listen_for_nobody(
    stack: Stack, topology: Topology, primary_role: Protected, evidence: EvidenceRecorder
) -> None:
    for name in topology.machines_with(Role.HYPERVISOR_HOST):
        ssh = primary_role.lab.machine(name).ssh
        evidence.attach(f"listeners-{name}.txt", ssh.check("ss", "-ltnp"))
        assert open_ports(ssh) == {SSH_PORT}
    stream = str(stack.machine(primary_role.name).attributes["stream"])
    blobs = primary_role.replica_data.names(stream)
    evidence.attach("blobs.txt", "\n".join(sorted(blobs)))
    assert len(blobs) >= len(primary_role.disks)
    assert not [name for name in images(primary_role.host.ssh) if "replica" in name]
    done = stack.steps_done()
    assert set(done) >= {"vault", "goal", "servers", "policy"}


def answers_the_internet(role: Protected) -> bool:
    """Return whether somebody answers at the public address of a replica, called by who is on the internet only."""
    topology = role.lab.topology
    (caller,) = topology.machines_with(Role.CONFIGURATION_SERVER)
    address = public_address(topology, role.name)
    if address is None:
        pytest.fail(f"the replica that has a public address has to be that of {role.name}")
    return call(role.lab.machine(caller).ssh, address, SSH_PORT, plain=True).tcp


@pytest.mark.needs_public_address
@pytest.mark.requirement("H2A-FO-PIP")
def test_nobody_answers_at_the_public_address_before(primary_role: Protected) -> None:
    assert not answers_the_internet(primary_role)


@pytest.fixture(scope="module")
def proven(stack: Stack, topology: Topology, primary_role: Protected, workloads: dict[str, Workload]) -> Proven:
    """Stop the application, fail over as planned, look all the time which side is active, put the parts together."""
    role, workload = primary_role, workloads[primary_role.name]
    if stack.machine(role.name).state is not MachineState.PROTECTED:
        pytest.fail("a planned failover begins with a protected machine")
    send_digest_tool(role.host.ssh)
    stopped = stop_application(role, workload)
    run, samples = planned_run(stack, plan_of(topology, role), role, FAILOVER_SECONDS)
    job = stack.job(run.machine(role.name).job or "")
    role.machine.ssh.close()
    role.replica.wait_ready(Deadline.after(FAILOVER_SECONDS))
    seen = Seen([*samples, sample(role)], [roots(role, disk) for disk in role.disks])
    return prove(role, workload, stopped, job, seen)


@pytest.mark.requirement("H2A-PFO", "H2A-PFO-ZERO", "H2A-FO-RP", "LAB-RPO", "LAB-WRITE-ORDER")
def test_nothing_acknowledged_is_missing(proven: Proven, evidence: EvidenceRecorder) -> None:
    attach(proven, evidence)
    assert proven.verdict.sound, proven.verdict.findings
    assert proven.proof.holds, [part for part in proven.proof.parts if not part.holds]


@pytest.mark.requirement("H2A-PFO-OFF", "H2A-FO-VISIBLE")
def test_the_source_is_off_and_the_replica_can_be_seen_in_azure(proven: Proven, primary_role: Protected) -> None:
    assert proven.proof.parts
    hypervisor = primary_role.lab.hypervisor
    assert hypervisor.power(primary_role.name) is PowerState.OFF
    assert f"{primary_role.name}-replica" in {machine.name for machine in hypervisor.machines()}
    assert hypervisor.power(f"{primary_role.name}-replica") is PowerState.ON


@pytest.mark.requirement("H2A-COMMIT", "LAB-REFUSAL")
def test_after_the_commit_the_replica_is_the_workload(proven: Proven, stack: Stack, primary_role: Protected) -> None:
    assert proven.proof.parts
    stack.run(primary_role.name, Operation.COMMIT, Deadline.after(COMMIT_SECONDS))
    assert stack.machine(primary_role.name).state is MachineState.FAILED_OVER
    assert primary_role.replica.ssh.run("true").ok
    with pytest.raises(OperationRefused):
        stack.start(primary_role.name, Operation.REPROTECT)


@pytest.mark.needs_public_address
@pytest.mark.requirement("H2A-FO-PIP", "H2A-FO-VISIBLE")
def test_the_workload_answers_at_its_public_address(proven: Proven, primary_role: Protected) -> None:
    """Azure translates it; the machine itself knows nothing of it, because nothing is installed in it."""
    assert proven.proof.parts
    assert answers_the_internet(primary_role)
    address = public_address(primary_role.lab.topology, primary_role.name)
    assert str(address) not in primary_role.replica.ssh.check("ip", "-4", "-br", "address")


@pytest.fixture(scope="module")
def back(proven: Proven, stack: Stack, primary_role: Protected, workloads: dict[str, Workload]) -> Back:
    """The replica writes an epoch of its own; then the planned failover back to the same machine."""
    role, workload = primary_role, workloads[primary_role.name]
    assert proven.proof.parts
    epoch = write_on_replica(role, workload)
    workload.stop()
    deadline = Deadline.after(FAILOVER_SECONDS)
    stack.run(role.name, Operation.FAILBACK, deadline, {"to": "original", "data": "synchronise"})
    return judge_at_home(role, workload, epoch, deadline)


@pytest.mark.requirement("H2A-FB-PLANNED", "H2A-FB-SAME", "H2A-FB-SYNC", "H2A-FB-ZERO", "LAB-ZOMBIE")
def test_every_acknowledged_record_of_the_replica_is_back(back: Back, evidence: EvidenceRecorder) -> None:
    nothing_lost(back, evidence)


@pytest.mark.requirement("H2A-FB-COMMIT")
def test_after_the_commit_there_is_nothing_in_azure_and_protection_is_enabled_again(
    back: Back, stack: Stack, primary_role: Protected, workloads: dict[str, Workload]
) -> None:
    assert back.verdict.sound
    stack.run(primary_role.name, Operation.COMMIT_FAILBACK, Deadline.after(COMMIT_SECONDS))
    primary_role.lab.forget(f"{primary_role.name}-replica")
    machines = {machine.name for machine in primary_role.lab.hypervisor.machines()}
    assert f"{primary_role.name}-replica" not in machines
    if public_address(primary_role.lab.topology, primary_role.name) is not None:
        assert not answers_the_internet(primary_role), "its public address outlives the replica"
    stack.run(primary_role.name, Operation.ENABLE, Deadline.after(COMMIT_SECONDS))
    stack.wait_state(primary_role.name, MachineState.PROTECTED, deadline=Deadline.after(REPLICATION_SECONDS))
    workload = workloads[primary_role.name]
    workload.start(primary_role.machine.ssh, workload.next_epoch(), primary_role.labels_by)
