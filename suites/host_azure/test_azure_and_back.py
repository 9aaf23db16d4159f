"""From a host to Azure and back: a planned failover that loses nothing, and both ways home (seed L107-111).

The five-part proof of domain facts 4.6 with every disk: the source's images after its shutdown are compared with the
page blobs. Then the machine comes back to itself, with its changes synchronised before it is shut down in Azure.

About ten minutes without acceleration. It begins with a protected machine, and leaves it protected.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import pytest

from fixtures.host_images import images
from fixtures.host_proofs import refuses_writes, roots, sample, watched
from fixtures.stacks import REPLICATION_SECONDS, SSH_PORT, Protected
from fixtures.workloads import Workload
from lab.hypervisors.model import PowerState
from lab.measure.disks import send_digest_tool
from lab.measure.ports import open_ports
from lab.oracle.checks.zero_loss import Evidence, ZeroLossProof, prove_zero_loss
from lab.oracle.findings import Verdict
from lab.oracle.judge import Claim, find_frontiers
from lab.stacks.protocol import Job, JobState, MachineState, Operation, OperationRefused, Stack
from lab.topology.model import Role, Topology
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_hosts, pytest.mark.needs_azure]

FAILOVER_SECONDS = 900.0
COMMIT_SECONDS = 300.0


@dataclass(frozen=True)
class Proven:
    """A planned failover, judged, and its job."""

    proof: ZeroLossProof
    verdict: Verdict
    job: Job


@dataclass(frozen=True)
class Back:
    """The machine at home again: what its disks show, and how many writes of its replica they lack."""

    verdict: Verdict
    lost_writes: int
    epoch: int


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


@pytest.fixture(scope="module")
def proven(stack: Stack, primary_role: Protected, workloads: dict[str, Workload]) -> Proven:
    """Stop the application, fail over as planned, look all the time which side is active, put the parts together."""
    role, workload = primary_role, workloads[primary_role.name]
    if stack.machine(role.name).state is not MachineState.PROTECTED:
        pytest.fail("a planned failover begins with a protected machine")
    workload.wait_beyond(workload.wait_beyond(0).sequence + 100)
    send_digest_tool(role.host.ssh)
    epoch = workload.next_epoch() - 1
    workload.stop()
    stopped_ns = int(role.machine.ssh.check("date", "+%s%N"))
    started = stack.start(role.name, Operation.PLANNED_FAILOVER)

    def ended() -> Job | None:
        found = stack.job(started)
        return None if found.state is JobState.RUNNING else found

    job, samples = watched(role, ended, f"end of job {started}", FAILOVER_SECONDS)
    assert job.state is JobState.SUCCEEDED, job.error
    role.machine.ssh.close()
    role.replica.wait_ready(Deadline.after(FAILOVER_SECONDS))
    samples.append(sample(role))
    copy = workload.scan(role.replica.ssh)
    frontiers, _ = find_frontiers(copy, workload.group, workload.history.epochs(), epoch)
    ended_ns = {step.name: step.ended_ns or 0 for step in job.steps if step.state == "done"}
    begun_ns = {step.name: step.started_ns for step in job.steps}
    start = next(name for name in begun_ns if name.startswith("start-") and name.endswith("-machine"))
    observed = Evidence(
        stopped_ns={workload.machine: stopped_ns},
        last_ack_ns={workload.machine: workload.newest().acknowledged_ns},
        stopped_at_ns=ended_ns["shutdown-source"],
        delta_ended_ns=ended_ns["final-delta"],
        replica_started_ns=begun_ns[start],
        disks=[roots(role, disk) for disk in role.disks],
        old_side_refused=refuses_writes(role),
        samples=samples,
    )
    facts = workload.history.facts(frontiers, epoch, None)
    return Proven(prove_zero_loss(frontiers, facts, observed), workload.judge(copy, Claim(epoch=epoch)), job)


@pytest.mark.requirement("H2A-PFO", "H2A-PFO-ZERO", "LAB-RPO", "LAB-WRITE-ORDER")
def test_nothing_acknowledged_is_missing(proven: Proven, evidence: EvidenceRecorder) -> None:
    evidence.attach("proof.json", json.dumps(asdict(proven.proof), indent=1))
    evidence.attach("verdict.json", proven.verdict.as_json())
    evidence.attach("steps.txt", "\n".join(f"{step.name} {step.state} {step.ended_ns}" for step in proven.job.steps))
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


@pytest.fixture(scope="module")
def back(proven: Proven, stack: Stack, primary_role: Protected, workloads: dict[str, Workload]) -> Back:
    """The replica writes an epoch of its own; then the planned failover back to the same machine."""
    role, workload = primary_role, workloads[primary_role.name]
    assert proven.proof.parts
    epoch = workload.next_epoch()
    workload.start(role.replica.ssh, epoch)
    workload.wait_beyond(workload.wait_beyond(0).sequence + 100)
    workload.stop()
    deadline = Deadline.after(FAILOVER_SECONDS)
    stack.run(role.name, Operation.FAILBACK, deadline, {"to": "original", "data": "synchronise"})
    role.replica.ssh.close()
    role.machine.ssh.close()
    role.machine.wait_ready(deadline)
    copy = workload.scan(role.machine.ssh)
    return Back(workload.judge(copy, Claim(epoch=epoch)), workload.loss(copy).lost_writes, epoch)


@pytest.mark.requirement("H2A-FB-PLANNED", "H2A-FB-SAME", "H2A-FB-SYNC", "H2A-FB-ZERO", "LAB-ZOMBIE")
def test_every_acknowledged_record_of_the_replica_is_back(back: Back, evidence: EvidenceRecorder) -> None:
    evidence.attach("verdict.json", back.verdict.as_json())
    assert back.verdict.sound, back.verdict.findings
    assert back.verdict.epoch == back.epoch
    assert back.lost_writes == 0


@pytest.mark.requirement("H2A-FB-COMMIT")
def test_after_the_commit_there_is_nothing_in_azure_and_protection_is_enabled_again(
    back: Back, stack: Stack, primary_role: Protected, workloads: dict[str, Workload]
) -> None:
    assert back.verdict.sound
    stack.run(primary_role.name, Operation.COMMIT_FAILBACK, Deadline.after(COMMIT_SECONDS))
    primary_role.lab.forget(f"{primary_role.name}-replica")
    machines = {machine.name for machine in primary_role.lab.hypervisor.machines()}
    assert f"{primary_role.name}-replica" not in machines
    stack.run(primary_role.name, Operation.ENABLE, Deadline.after(COMMIT_SECONDS))
    stack.wait_state(primary_role.name, MachineState.PROTECTED, deadline=Deadline.after(REPLICATION_SECONDS))
    workload = workloads[primary_role.name]
    workload.start(primary_role.machine.ssh, workload.next_epoch())
