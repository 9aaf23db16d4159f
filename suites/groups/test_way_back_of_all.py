"""The whole group returns to the primary site: what the replicas wrote is there, nothing of the old primary survives.

Eight to twelve minutes without acceleration: a reprotection of all members side by side, their failback, and a new
initial replication. It begins where test_unplanned_failover_of_all.py ends and leaves all members protected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from fixtures.groups import FAILOVER_SECONDS, GroupUnderTest, all_ready, judge_copy, scan_together
from fixtures.stacks import REPLICATION_SECONDS
from fixtures.workloads import Workload
from lab.oracle.findings import Rule, Verdict
from lab.oracle.judge import Claim, loss_of
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_group

POINT_SECONDS = 300.0
COMMIT_SECONDS = 300.0


@dataclass(frozen=True)
class FailedBack:
    """A group that is back: what the disks of all members show together, and what they lack."""

    verdict: Verdict
    lost_writes: int
    epoch: int


def run_together(stack: Stack, group: GroupUnderTest, operation: Operation, seconds: float) -> None:
    """Do an operation of all members as one."""
    deadline = Deadline.after(seconds)
    for job in stack.groups.start(group.name, operation).values():
        stack.wait_job(job, deadline)


@pytest.fixture(scope="module")
def reversed_group(stack: Stack, group: GroupUnderTest, workloads: dict[str, Workload]) -> Iterator[int]:
    """All replicas, writing a new epoch (its number) and replicating to the primary site."""
    if any(stack.machine(role.name).state is not MachineState.FAILED_OVER for role in group.roles):
        pytest.fail("the way back begins with a committed failover of the group: run the suite of that before it")
    epoch = max(workloads[role.name].next_epoch() for role in group.roles)
    for role in group.roles:
        workloads[role.name].start(role.replica.ssh, epoch)
    run_together(stack, group, Operation.REPROTECT, REPLICATION_SECONDS)
    for role in group.roles:
        stack.wait_state(role.name, MachineState.PROTECTED_REVERSE, deadline=Deadline.after(REPLICATION_SECONDS))
    yield epoch
    for role in group.roles:
        workloads[role.name].stop()


@pytest.mark.requirement("V2A-FB-REVERSE", "V2S-MT-FAILBACK", "V2A-MVM-CRASH")
def test_all_members_replicate_in_reverse_and_share_points(
    reversed_group: int, stack: Stack, group: GroupUnderTest, workloads: dict[str, Workload]
) -> None:
    assert reversed_group > 1
    known = [point.id for point in stack.groups.get(group.name).shared_points]
    point = stack.groups.wait_shared_point(group.name, known, Deadline.after(POINT_SECONDS))
    assert set(point.members) == {role.name for role in group.roles}
    for role in group.roles:
        assert stack.machine(role.name).direction == "reverse"
        assert workloads[role.name].wait_beyond(0).sequence > 0


@pytest.mark.requirement("V2A-MVM-CRASH", "LAB-REFUSAL")
def test_a_member_does_not_fail_back_alone(reversed_group: int, stack: Stack, group: GroupUnderTest) -> None:
    assert reversed_group
    name = group.roles[-1].name
    with pytest.raises(OperationRefused) as refusal:
        stack.start(name, Operation.FAILBACK)
    assert refusal.value.reason == "group-member"
    assert stack.machine(name).state is MachineState.PROTECTED_REVERSE


@pytest.fixture(scope="module")
def failed_back(reversed_group: int, stack: Stack, group: GroupUnderTest, workloads: dict[str, Workload]) -> FailedBack:
    """The original machines, running again with the data of their replicas."""
    for role in group.roles:
        workload = workloads[role.name]
        workload.wait_beyond(workload.wait_beyond(0).sequence + 100)
    for role in group.roles:
        workloads[role.name].stop()
    run_together(stack, group, Operation.FAILBACK, FAILOVER_SECONDS)
    for role in group.roles:
        role.machine.ssh.close()
    machines = [role.machine for role in group.roles]
    all_ready(machines, Deadline.after(FAILOVER_SECONDS))
    copy, history = scan_together(group, workloads, machines), group.history(workloads)
    verdict = judge_copy(group, workloads, copy, Claim(epoch=reversed_group))
    loss = loss_of(copy, history.group, history, epoch=reversed_group)
    return FailedBack(verdict, loss.group.lost_writes, reversed_group)


@pytest.mark.requirement("V2A-FB-UFO", "LAB-ZOMBIE", "LAB-WRITE-ORDER")
def test_every_acknowledged_record_of_all_replicas_is_back(
    failed_back: FailedBack, evidence: EvidenceRecorder, record_measurement: Callable[..., None]
) -> None:
    evidence.attach("verdict.json", failed_back.verdict.as_json())
    record_measurement("group-failback-lost-writes", failed_back.lost_writes, "writes", context="of all members")
    assert failed_back.verdict.sound, failed_back.verdict.findings
    assert failed_back.verdict.epoch == failed_back.epoch
    assert failed_back.lost_writes == 0, "acknowledged writes of the replicas are lost"


@pytest.mark.requirement("LAB-ZOMBIE")
def test_no_write_of_the_old_primaries_survives(
    failed_back: FailedBack, group: GroupUnderTest, workloads: dict[str, Workload], evidence: EvidenceRecorder
) -> None:
    beyond = group.history(workloads).steps_beyond(failed_back.epoch)
    evidence.attach("steps-of-the-old-primaries-after-the-cut.txt", f"{beyond}\n")
    if not sum(beyond.values()):
        pytest.skip("the old primaries wrote nothing that the failover lost, so nothing could come back")
    assert Rule.ZOMBIE not in failed_back.verdict.rules, failed_back.verdict.findings


@pytest.mark.requirement("V2A-FB-COMMIT")
def test_a_commit_of_all_removes_every_replica(failed_back: FailedBack, stack: Stack, group: GroupUnderTest) -> None:
    assert failed_back.verdict.sound
    run_together(stack, group, Operation.COMMIT_FAILBACK, COMMIT_SECONDS)
    machines = {machine.name for machine in group.roles[0].lab.hypervisor.machines()}
    for role in group.roles:
        role.lab.forget(f"{role.name}-replica")
        assert stack.machine(role.name).state is MachineState.FAILED_BACK
        assert f"{role.name}-replica" not in machines


@pytest.mark.requirement("V2A-FB-REENABLE")
def test_protection_of_all_has_to_be_enabled_again(
    failed_back: FailedBack, stack: Stack, group: GroupUnderTest
) -> None:
    assert failed_back.verdict.sound
    for role in group.roles:
        assert not stack.recovery_points(role.name)
    for job in [stack.start(role.name, Operation.ENABLE) for role in group.roles]:
        stack.wait_job(job, Deadline.after(COMMIT_SECONDS))
    for role in group.roles:
        stack.wait_state(role.name, MachineState.PROTECTED, deadline=Deadline.after(REPLICATION_SECONDS))
