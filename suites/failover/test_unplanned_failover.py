"""The source dies; its replica takes over at the newest recovery point, and after the commit there is no way back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fixtures.equality import mount_of
from fixtures.stacks import Protected
from fixtures.workloads import Workload
from lab.oracle.judge import Claim
from lab.oracle.scan import Copy
from lab.stacks.errors import OperationRefused
from lab.stacks.jobs import Job
from lab.stacks.machines import MachineState, Operation, RecoveryPoint
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_lone

FAILOVER_SECONDS = 900.0


@dataclass(frozen=True)
class FailedOver:
    """A failover that has happened: when the source died (its clock), how long it took."""

    failed_at_ns: int
    job: Job
    rto_seconds: float


@pytest.fixture(scope="module")
def failed_over(stack: Stack, primary_role: Protected, workloads: dict[str, Workload]) -> FailedOver:
    """Cut the power of a machine with a busy writer and fail over to its replica."""
    workload = workloads[primary_role.name]
    workload.wait_beyond(workload.wait_beyond(0).sequence + 100)
    primary_role.machine.power_off()
    workload.stop()
    failed_at_ns = workload.newest().acknowledged_ns
    requested = time.monotonic()
    deadline = Deadline.after(FAILOVER_SECONDS)
    job = stack.run(primary_role.name, Operation.FAILOVER, deadline, {"recovery_point": "latest"})
    primary_role.replica.wait_ready(deadline)
    primary_role.replica.ssh.check("ls", workload.path)  # the application's data answers
    rto = time.monotonic() - requested
    return FailedOver(failed_at_ns, job, rto)


@pytest.fixture(scope="module")
def copy(failed_over: FailedOver, primary_role: Protected, workloads: dict[str, Workload]) -> Copy:
    """What the replica holds of the workload's files."""
    assert failed_over.job.seconds is not None
    return workloads[primary_role.name].scan(primary_role.replica.ssh)


@pytest.fixture(scope="module")
def used_point(failed_over: FailedOver, stack: Stack, primary_role: Protected) -> RecoveryPoint:
    """The recovery point that the failover took."""
    assert failed_over.job.ended_ns is not None
    return stack.recovery_points(primary_role.name)[-1]


@pytest.mark.needs_agent
@pytest.mark.requirement("V2A-PFO-REFUSED", "LAB-REFUSAL")
def test_a_planned_failover_is_refused_and_changes_nothing(stack: Stack, primary_role: Protected) -> None:
    before = stack.machine(primary_role.name)
    with pytest.raises(OperationRefused) as refusal:
        stack.start(primary_role.name, Operation.PLANNED_FAILOVER)
    after = stack.machine(primary_role.name)
    assert refusal.value.reason == "not-supported"
    assert (after.state, after.attributes) == (before.state, before.attributes)
    assert primary_role.machine.ssh.run("true").ok, "the source still runs"


@pytest.mark.needs_whole_machines
@pytest.mark.requirement("V2A-UFO", "V2A-FO-SINGLE", "V2S-MT-REPLICA")
@pytest.mark.requirement("H2S-UFO", "H2S-FO-SINGLE", "H2A-UFO", "H2A-FO-SINGLE")
def test_the_replica_runs_with_the_source_gone(
    failed_over: FailedOver, stack: Stack, primary_role: Protected, topology: Topology
) -> None:
    assert stack.machine(primary_role.name).state is MachineState.COMMIT_PENDING
    replica = primary_role.replica.host
    assert replica.file("/etc/hostname").content_string.strip() == primary_role.name
    settings = topology.machines[primary_role.name].replica
    assert settings is not None
    addresses = replica.check_output("ip -4 -br address")
    assert all(str(card.address) in addresses for card in settings.interfaces)
    assert failed_over.job.seconds is not None


@pytest.mark.needs_peers
@pytest.mark.requirement("V2A-UFO", "V2A-FO-SINGLE")
def test_the_peer_runs_the_application_with_the_source_gone(
    failed_over: FailedOver, stack: Stack, primary_role: Protected, workloads: dict[str, Workload]
) -> None:
    assert stack.machine(primary_role.name).state is MachineState.FAILED_OVER
    assert failed_over.job.seconds is not None
    assert not primary_role.running, "the source has power"
    peer, mount = primary_role.peer.ssh, mount_of(primary_role.data_disk)
    assert "rw" in peer.check("findmnt", "--noheadings", "--output", "OPTIONS", mount).strip().split(",")
    peer.check("ls", workloads[primary_role.name].path)


@pytest.mark.requirement("LAB-WRITE-ORDER")
def test_the_replica_is_the_source_at_one_instant(
    copy: Copy, primary_role: Protected, workloads: dict[str, Workload], evidence: EvidenceRecorder
) -> None:
    verdict = workloads[primary_role.name].judge(copy)
    evidence.attach("verdict.json", verdict.as_json())
    assert min(verdict.frontier) > 0
    assert verdict.sound, verdict.findings


@pytest.mark.needs_synchronous
@pytest.mark.requirement("LAB-RPO")
def test_no_acknowledged_write_is_lost(
    failed_over: FailedOver,
    copy: Copy,
    primary_role: Protected,
    workloads: dict[str, Workload],
    evidence: EvidenceRecorder,
) -> None:
    loss = workloads[primary_role.name].loss(copy, failed_over.failed_at_ns)
    evidence.attach("loss.txt", f"{loss}\n")
    assert loss.lost_writes == 0


@pytest.mark.needs_points
@pytest.mark.requirement("LAB-WRITE-ORDER", "LAB-POINT-IN-TIME", "LAB-POINT-LABEL")
def test_the_replica_holds_the_recovery_point_and_nothing_else(
    used_point: RecoveryPoint,
    copy: Copy,
    primary_role: Protected,
    workloads: dict[str, Workload],
    evidence: EvidenceRecorder,
) -> None:
    workload = workloads[primary_role.name]
    verdict = workload.judge(copy, Claim(workload.label(used_point)))
    evidence.attach("point.txt", f"{used_point}\n")
    evidence.attach("verdict.json", verdict.as_json())
    assert min(verdict.frontier) > 0
    assert verdict.sound, verdict.findings


@pytest.mark.requirement("LAB-RPO")
def test_the_loss_is_within_the_policy(
    failed_over: FailedOver,
    copy: Copy,
    primary_role: Protected,
    workloads: dict[str, Workload],
    record_measurement: Callable[..., None],
) -> None:
    loss = workloads[primary_role.name].loss(copy, failed_over.failed_at_ns)
    rpo = loss.rpo_ns / 1e9
    record_measurement("rpo", rpo, "s", context=f"{loss.lost_writes} acknowledged writes lost, from the payload")
    assert rpo <= primary_role.rpo_threshold


@pytest.mark.requirement("LAB-RTO")
def test_the_time_to_the_application_is_measured(
    failed_over: FailedOver,
    primary_role: Protected,
    record_measurement: Callable[..., None],
    record_timeline: Callable[..., None],
    evidence: EvidenceRecorder,
) -> None:
    record_measurement("rto", failed_over.rto_seconds, "s", context="failover request to the application's data")
    timed = [(step.name, step.state, step.started_ns, step.ended_ns) for step in failed_over.job.steps]
    record_timeline(f"unplanned failover of {primary_role.name}", timed, failed_over.rto_seconds)
    steps = [(step.name, ((step.ended_ns or 0) - step.started_ns) / 1e9) for step in failed_over.job.steps]
    evidence.attach("steps.txt", "\n".join(f"{name}: {seconds:.1f} s" for name, seconds in steps))
    assert failed_over.job.seconds is not None
    assert failed_over.job.seconds <= failed_over.rto_seconds


@pytest.mark.needs_commit
@pytest.mark.requirement("V2A-FO-COMMIT", "LAB-REFUSAL", "H2S-COMMIT", "H2A-COMMIT")
def test_a_commit_ends_the_choice_of_points(used_point: RecoveryPoint, stack: Stack, primary_role: Protected) -> None:
    assert used_point in stack.recovery_points(primary_role.name)
    stack.run(primary_role.name, Operation.COMMIT, Deadline.after(300.0))
    assert stack.machine(primary_role.name).state is MachineState.FAILED_OVER
    assert not stack.recovery_points(primary_role.name)
    with pytest.raises(OperationRefused):
        stack.start(primary_role.name, Operation.FAILOVER)
    assert primary_role.replica.ssh.run("true").ok, "the workload is still there"
