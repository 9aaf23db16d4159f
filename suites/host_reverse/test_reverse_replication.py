"""After an unplanned failover nothing is protected; reverse replication protects it, and the other site stays active.

About six minutes without acceleration. It begins with a committed failover (suites/failover) and leaves the machine
protected at home.
"""

from __future__ import annotations

import pytest

from fixtures.host_proofs import Back, judge_at_home, nothing_lost, write_on_replica
from fixtures.stacks import REPLICATION_SECONDS, Protected
from fixtures.workloads import Workload
from lab.hypervisors.model import PowerState
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_hosts, pytest.mark.needs_secondary_site]

FAILBACK_SECONDS = 900.0
COMMIT_SECONDS = 300.0


@pytest.mark.requirement("H2S-UFO-UNPROT", "LAB-REFUSAL")
def test_after_an_unplanned_failover_nothing_is_protected(stack: Stack, primary_role: Protected) -> None:
    status = stack.machine(primary_role.name)
    if status.state is not MachineState.FAILED_OVER:
        pytest.fail("this begins with a committed failover: run suites/failover before it")
    assert status.recovery_points == 0
    assert not stack.recovery_points(primary_role.name)
    for operation in (Operation.FAILOVER, Operation.PLANNED_FAILOVER, Operation.FAILBACK):
        with pytest.raises(OperationRefused):
            stack.start(primary_role.name, operation)
    assert stack.machine(primary_role.name).state is MachineState.FAILED_OVER


@pytest.fixture(scope="module")
def turned(stack: Stack, primary_role: Protected, workloads: dict[str, Workload]) -> int:
    """The replica, writing an epoch of its own and replicating to the primary site; its epoch."""
    workload = workloads[primary_role.name]
    epoch = write_on_replica(primary_role, workload)
    stack.run(primary_role.name, Operation.REPROTECT, Deadline.after(REPLICATION_SECONDS))
    stack.wait_state(primary_role.name, MachineState.PROTECTED_REVERSE, deadline=Deadline.after(REPLICATION_SECONDS))
    return epoch


@pytest.mark.requirement("H2S-RR", "H2S-RR-STATE")
def test_reverse_replication_leaves_the_secondary_site_active(
    turned: int, stack: Stack, primary_role: Protected, workloads: dict[str, Workload]
) -> None:
    assert turned
    status = stack.machine(primary_role.name)
    assert status.direction == "reverse"
    power = primary_role.lab.hypervisor.power
    assert power(f"{primary_role.name}-replica") is PowerState.ON
    assert power(primary_role.name) is PowerState.OFF
    last = workloads[primary_role.name].wait_beyond(0)
    stack.wait_recovery_point(primary_role.name, last.acknowledged_ns, Deadline.after(FAILBACK_SECONDS))


@pytest.fixture(scope="module")
def returned(turned: int, stack: Stack, primary_role: Protected, workloads: dict[str, Workload]) -> Back:
    """Home, by a planned failover in the other direction."""
    role, workload = primary_role, workloads[primary_role.name]
    workload.wait_beyond(workload.wait_beyond(0).sequence + 100)
    workload.stop()
    deadline = Deadline.after(FAILBACK_SECONDS)
    stack.run(role.name, Operation.FAILBACK, deadline)
    return judge_at_home(role, workload, turned, deadline)


@pytest.mark.requirement("H2S-FB", "LAB-ZOMBIE", "LAB-WRITE-ORDER")
def test_nothing_of_the_replica_is_missing_and_nothing_of_the_old_primary_survives(
    returned: Back, workloads: dict[str, Workload], primary_role: Protected, evidence: EvidenceRecorder
) -> None:
    beyond = workloads[primary_role.name].history.steps_beyond(returned.epoch)
    evidence.attach("steps-of-the-old-primary-after-the-cut.txt", f"{beyond}\n")
    nothing_lost(returned, evidence)


@pytest.mark.requirement("H2S-FB")
def test_the_machine_is_protected_at_home(returned: Back, stack: Stack, primary_role: Protected) -> None:
    assert returned.verdict.sound
    stack.run(primary_role.name, Operation.COMMIT_FAILBACK, Deadline.after(COMMIT_SECONDS))
    stack.run(primary_role.name, Operation.REPROTECT, Deadline.after(COMMIT_SECONDS))
    deadline = Deadline.after(REPLICATION_SECONDS)
    status = stack.wait_state(primary_role.name, MachineState.PROTECTED, deadline=deadline)
    assert status.direction == "forward"
