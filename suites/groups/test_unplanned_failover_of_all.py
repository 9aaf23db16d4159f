"""The primary site loses power; all members fail over to one instant, and none of them alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fixtures.groups import FAILOVER_SECONDS, GroupUnderTest, all_ready, judge_together
from fixtures.workloads import Workload
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_group

COMMIT_SECONDS = 300.0


@dataclass(frozen=True)
class FailedOver:
    """What a failover of the whole group took, and the point of each member that its replica shows."""

    rto_seconds: float
    points: dict[str, str]
    shared: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def failed_over(group: GroupUnderTest, stack: Stack, workloads: dict[str, Workload]) -> FailedOver:
    """Cut the power of all members with busy writers, and fail the group over."""
    known = [point.id for point in stack.groups.get(group.name).shared_points]
    stack.groups.wait_shared_point(group.name, known, Deadline.after(COMMIT_SECONDS))
    for role in group.roles:
        role.machine.power_off()
    for role in group.roles:
        workloads[role.name].stop()
    requested = time.monotonic()
    deadline = Deadline.after(FAILOVER_SECONDS)
    for job in stack.groups.start(group.name, Operation.FAILOVER).values():
        stack.wait_job(job, deadline)
    all_ready([role.replica for role in group.roles], deadline)
    rto = time.monotonic() - requested
    points = {role.name: stack.machine(role.name).attributes["recovery_point"] for role in group.roles}
    # Not before: what the process server still had becomes shared points while the failover begins.
    shared = {point.id: dict(point.members) for point in stack.groups.get(group.name).shared_points}
    return FailedOver(rto, points, shared)


@pytest.mark.requirement("V2A-MVM-CRASH", "LAB-REFUSAL")
def test_a_member_alone_is_refused(group: GroupUnderTest, stack: Stack) -> None:
    name = group.roles[-1].name
    before = stack.machine(name)
    with pytest.raises(OperationRefused) as refusal:
        stack.start(name, Operation.FAILOVER)
    after = stack.machine(name)
    assert refusal.value.reason == "group-member"
    assert (after.state, after.attributes["stream"]) == (before.state, before.attributes["stream"])
    assert group.roles[-1].machine.ssh.run("true").ok, "the source still runs"


@pytest.mark.requirement("V2A-MVM-CRASH", "V2A-UFO", "V2S-MT-REPLICA")
def test_all_replicas_run_at_one_shared_point(failed_over: FailedOver, group: GroupUnderTest, stack: Stack) -> None:
    assert failed_over.points in failed_over.shared.values(), "the replicas are of different instants"
    for role in group.roles:
        assert stack.machine(role.name).state is MachineState.COMMIT_PENDING
        assert role.replica.host.file("/etc/hostname").content_string.strip() == role.name


@pytest.mark.requirement("V2A-MVM-CRASH", "LAB-WRITE-ORDER", "LAB-POINT-IN-TIME")
def test_the_replicas_together_are_one_instant(
    failed_over: FailedOver, group: GroupUnderTest, workloads: dict[str, Workload], evidence: EvidenceRecorder
) -> None:
    verdict = judge_together(group, workloads, replicas=True)
    evidence.attach("points.txt", f"{failed_over.points}\n")
    evidence.attach("verdict.json", verdict.as_json())
    assert min(verdict.frontier) > 0
    assert verdict.sound, verdict.findings


@pytest.mark.requirement("LAB-RTO")
def test_the_time_of_the_groups_failover_is_measured(
    failed_over: FailedOver, group: GroupUnderTest, record_measurement: Callable[..., None]
) -> None:
    context = f"{len(group.roles)} machines of a group, request to a login on all replicas"
    record_measurement("group-rto", failed_over.rto_seconds, "s", context=context)
    assert failed_over.rto_seconds < FAILOVER_SECONDS


@pytest.mark.requirement("V2A-FO-COMMIT")
def test_a_commit_of_all_leaves_no_other_point(failed_over: FailedOver, group: GroupUnderTest, stack: Stack) -> None:
    assert failed_over.points
    for job in stack.groups.start(group.name, Operation.COMMIT).values():
        stack.wait_job(job, Deadline.after(COMMIT_SECONDS))
    for role in group.roles:
        assert stack.machine(role.name).state is MachineState.FAILED_OVER
        assert not stack.recovery_points(role.name)
    assert not stack.groups.get(group.name).shared_points
