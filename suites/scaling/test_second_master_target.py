"""A machine moves to a second master target while it is replicated, with its recovery points (V2S-MT-COUNT).

Six to ten minutes: two moves (there and back), each with a hand-over of the undo log, and a test failover to a point
from before the move. Afterwards the first master target has everything again, as the later subjects expect.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from fixtures.equality import as_evidence, digests_at_rest, point_now, prepare_digests
from fixtures.needs import second_master_target
from fixtures.replica_data import MasterTargetDisks
from fixtures.stacks import Protected
from fixtures.workloads import Workload
from lab.oracle.judge import Claim
from lab.provision.lab import Lab
from lab.stacks.addresses import address_towards
from lab.stacks.machines import MachineState, Operation, RecoveryPoint
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_second_master_target, pytest.mark.needs_lone, pytest.mark.requirement("V2S-MT-COUNT")]

MOVE_SECONDS = 900.0
FAILOVER_SECONDS = 900.0
CLEAN_UP_SECONDS = 300.0


@dataclass(frozen=True)
class Moved:
    """A machine on its second master target, and its recovery points before."""

    role: Protected
    stream: str
    first: str
    second: str
    points_before: list[RecoveryPoint]


def move(stack: Stack, topology: Topology, role: Protected, target: str) -> None:
    """Have another master target write the replica of a machine."""
    address = address_towards(topology, topology.machines[role.process_server.name].interfaces, target)
    arguments = {"master_target": {"name": target, "address": address}}
    stack.run(role.name, Operation.MOVE, Deadline.after(MOVE_SECONDS), arguments)


@pytest.fixture(scope="module")
def moved(
    lab: Lab, stack: Stack, topology: Topology, other_role: Protected, workloads: dict[str, Workload]
) -> Iterator[Moved]:
    """A machine with a busy writer that was moved; it is back afterwards."""
    name = second_master_target(topology)
    if name is None:
        raise pytest.UsageError("a test of scaling needs the marker needs_second_master_target")
    workloads[other_role.name].wait_beyond(0)
    point_now(stack, other_role)
    stream = str(stack.machine(other_role.name).attributes["stream"])
    points = list(stack.recovery_points(other_role.name))
    home = topology.master_target_of(other_role.name)
    move(stack, topology, other_role, name)
    there = replace(other_role, replica_data=MasterTargetDisks(other_role.name, lab, name))
    yield Moved(there, stream, home, name, points)
    move(stack, topology, other_role, home)


def test_the_disks_are_at_the_second_one_and_no_longer_at_the_first(
    moved: Moved, lab: Lab, evidence: EvidenceRecorder
) -> None:
    first, second = (replicas_at(lab, target, moved.role.name) for target in (moved.first, moved.second))
    evidence.attach("disks.txt", f"{moved.first}: {sorted(first)}\n{moved.second}: {sorted(second)}\n")
    assert not first
    assert len(second) == len(moved.role.disks)


def replicas_at(lab: Lab, target: str, machine: str) -> set[str]:
    """Return the replica disks of a machine that the hypervisor has plugged into a master target."""
    disks = (attachment.disk.name for attachment in lab.hypervisor.machine(target).disks)
    return {name for name in disks if name.startswith(f"{machine}-")}


def test_points_from_before_are_kept_and_new_ones_come(moved: Moved, stack: Stack) -> None:
    newest = point_now(stack, moved.role)
    known = [point.id for point in stack.recovery_points(moved.role.name)]
    status = stack.machine(moved.role.name)
    assert (status.state, status.attributes["stream"]) == (MachineState.PROTECTED, moved.stream)
    assert not status.resynchronising, "the move cost a comparison"
    assert moved.points_before[-1].id in known
    assert newest.id in known


def test_nothing_was_lost_on_the_way(moved: Moved, stack: Stack, evidence: EvidenceRecorder) -> None:
    prepare_digests(moved.role)
    source, replica = digests_at_rest(stack, moved.role, moved.role.data_disk)
    evidence.attach("digests.txt", as_evidence(source, replica))
    assert not source.differing(replica)


@pytest.mark.requirement("V2S-MT-RETENTION", "LAB-WRITE-ORDER", "LAB-POINT-IN-TIME")
def test_a_point_from_before_the_move_can_still_be_had(
    moved: Moved, stack: Stack, workloads: dict[str, Workload], evidence: EvidenceRecorder
) -> None:
    """The undo log went over too: the second one rolls back to an instant that only the first had seen."""
    role, point, workload = moved.role, moved.points_before[-1], workloads[moved.role.name]
    stack.run(role.name, Operation.TEST_FAILOVER, Deadline.after(FAILOVER_SECONDS), {"recovery_point": point.id})
    try:
        role.test_machine.wait_ready(Deadline.after(FAILOVER_SECONDS))
        verdict = workload.judge(workload.scan(role.test_machine.ssh), Claim(workload.label(point)))
    finally:
        stack.run(role.name, Operation.CLEANUP_TEST_FAILOVER, Deadline.after(CLEAN_UP_SECONDS))
        role.lab.forget(f"{role.name}-test")
    evidence.attach("verdict.json", verdict.as_json())
    assert min(verdict.frontier) > 0
    assert verdict.sound, verdict.findings
