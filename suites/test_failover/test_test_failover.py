"""A test failover boots an isolated copy at a recovery point; replication goes on, and clean-up leaves nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from fixtures.inventory import objects
from fixtures.stacks import Protected
from fixtures.workloads import Workload
from lab.measure.peers import call
from lab.oracle.findings import Rule
from lab.oracle.judge import Claim
from lab.oracle.scan import Copy
from lab.provision.lab import Lab
from lab.stacks.addresses import server_addresses
from lab.stacks.machines import Operation, RecoveryPoint
from lab.stacks.protocol import Stack
from lab.topology.machines import Role
from lab.topology.model import Topology
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_test_failover

FAILOVER_SECONDS = 900.0
LABEL_ERRORS = (2, 4, 8, 16, 32, 64)
"""By how many seconds a label is made wrong."""


@dataclass(frozen=True)
class IsolatedCopy:
    """A test failover that is up: the point it shows, what its disk holds, what existed before it."""

    point: RecoveryPoint
    copy: Copy
    objects_before: frozenset[str]


@pytest.fixture(scope="module")
def tested(stack: Stack, lab: Lab, primary_role: Protected, workloads: dict[str, Workload]) -> Iterator[IsolatedCopy]:
    """The primary role's test machine, running at the newest recovery point of a moment with a busy writer."""
    workload = workloads[primary_role.name]
    # Beyond what it had written when this begins: a test before this one may have frozen it until just now.
    last = workload.wait_beyond(workload.wait_beyond(0).sequence)
    point = stack.wait_recovery_point(primary_role.name, last.acknowledged_ns, Deadline.after(300.0))
    before = objects(lab)
    deadline = Deadline.after(FAILOVER_SECONDS)
    stack.run(primary_role.name, Operation.TEST_FAILOVER, deadline, {"recovery_point": point.id})
    primary_role.test_machine.wait_ready(deadline)
    yield IsolatedCopy(point, workload.scan(primary_role.test_machine.ssh), before)
    if stack.machine(primary_role.name).test_machine:
        stack.run(primary_role.name, Operation.CLEANUP_TEST_FAILOVER, Deadline.after(300.0))


@pytest.mark.requirement("LAB-WRITE-ORDER", "LAB-POINT-IN-TIME", "LAB-POINT-LABEL")
@pytest.mark.requirement("V2S-MT-RETENTION", "H2S-TFO", "H2A-TFO")
def test_the_copy_is_what_a_power_cut_at_the_point_would_have_left(
    tested: IsolatedCopy, primary_role: Protected, workloads: dict[str, Workload], evidence: EvidenceRecorder
) -> None:
    workload = workloads[primary_role.name]
    verdict = workload.judge(tested.copy, Claim(workload.label(tested.point)))
    evidence.attach("point.txt", f"{tested.point}\n")
    evidence.attach("verdict.json", verdict.as_json())
    assert min(verdict.frontier) > 0, "the writer's records are not in the copy at all"
    assert verdict.sound, verdict.findings


@pytest.mark.requirement("LAB-NEGATIVE-CONTROL")
def test_the_checker_rejects_a_copy_with_a_wrong_label(
    tested: IsolatedCopy,
    primary_role: Protected,
    workloads: dict[str, Workload],
    record_measurement: Callable[..., None],
) -> None:
    """From a host two things make a label wide: how long the cut took, and the comparison of its clock over SSH."""
    workload = workloads[primary_role.name]
    found = max(noticed_error(workload, tested, direction) for direction in (-1, 1))
    record_measurement("label-error-noticed", found, "s", context="smallest error of those tried, both directions")
    limit = LABEL_ERRORS[0] if primary_role.from_host is None else primary_role.policy.rpo_threshold
    assert found <= limit, f"a label that is wrong by {limit} s must be found"


def noticed_error(workload: Workload, tested: IsolatedCopy, direction: int) -> float:
    """Return the smallest error of a label (s) that is found, and nothing else with it; infinite when none is."""
    for seconds in LABEL_ERRORS:
        verdict = workload.judge(tested.copy, Claim(workload.label(tested.point, direction * seconds * 10**9)))
        assert verdict.rules <= {Rule.LABEL}, verdict.findings
        if verdict.rules:
            return seconds
    return math.inf


@pytest.mark.requirement("LAB-TFO-ISOLATION")
def test_the_copy_reaches_nobody(tested: IsolatedCopy, primary_role: Protected, topology: Topology) -> None:
    assert tested.point
    ssh = primary_role.test_machine.ssh
    for role in (Role.CONFIGURATION_SERVER, Role.PROCESS_SERVER, Role.PROTECTED):
        for name in topology.machines_with(role):
            for _, address in server_addresses(topology, name):
                if str(address) not in own_addresses(primary_role):
                    assert not call(ssh, str(address), 22, plain=True).tcp, f"the test copy reaches {name}"


@pytest.mark.requirement("LAB-TFO-ISOLATION", "LAB-RPO")
def test_replication_goes_on_meanwhile(
    tested: IsolatedCopy, stack: Stack, primary_role: Protected, workloads: dict[str, Workload]
) -> None:
    last = workloads[primary_role.name].wait_beyond(0)
    point = stack.wait_recovery_point(primary_role.name, last.acknowledged_ns, Deadline.after(300.0))
    assert point.begin_ns > tested.point.begin_ns
    assert point.stream == tested.point.stream


@pytest.mark.requirement("LAB-TFO-ISOLATION", "V2A-TFO-GATE")
def test_clean_up_leaves_nothing(tested: IsolatedCopy, stack: Stack, lab: Lab, primary_role: Protected) -> None:
    stack.run(primary_role.name, Operation.CLEANUP_TEST_FAILOVER, Deadline.after(300.0))
    lab.forget(f"{primary_role.name}-test")
    status = stack.machine(primary_role.name)
    assert objects(lab) == tested.objects_before
    assert status.test_machine is None
    assert status.test_failover == "performed"


def own_addresses(role: Protected) -> set[str]:
    """Return the addresses that the test copy has itself."""
    replica = role.lab.topology.machines[role.name].replica
    cards = replica.test_interfaces if replica is not None else ()
    return {str(card.address) for card in cards}
