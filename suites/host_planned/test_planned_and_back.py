"""A planned failover of a plan loses nothing, the machine is protected after it, and comes home the same way.

The five-part proof of domain facts 4.6: the application is stopped, then the plan shuts the source down, takes its last
changes from its host and starts the replica. Every disk counts, the system's too: the last changes are taken when the
source is off. The way back is closed while digests are taken: what the replica writes goes to the source's disks.

About ten minutes without acceleration. It begins with a protected machine, and leaves it protected.
"""

from __future__ import annotations

import pytest

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
from fixtures.packet_filter import closed
from fixtures.stacks import REPLICATION_SECONDS, Protected
from fixtures.workloads import Workload
from fixtures.zero_loss import Proven, attach, sample
from lab.hypervisors.model import PowerState
from lab.measure.disks import send_digest_tool
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState, Operation
from lab.stacks.plans import PlanRunKind, PlanRunState
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_hosts, pytest.mark.needs_secondary_site]

FAILOVER_SECONDS = 900.0
COMMIT_SECONDS = 300.0


@pytest.fixture(scope="module")
def proven(stack: Stack, topology: Topology, primary_role: Protected, workloads: dict[str, Workload]) -> Proven:
    """Stop the application, fail over as planned, look all the time which side is active, put the parts together."""
    role, workload = primary_role, workloads[primary_role.name]
    if stack.machine(role.name).state is not MachineState.PROTECTED:
        pytest.fail("a planned failover begins with a protected machine")
    role.replica_data.prepare()
    send_digest_tool(role.host.ssh)
    stopped = stop_application(role, workload)
    with closed(role.host.ssh, role.policy.master_target_port):
        run, samples = planned_run(stack, plan_of(topology, role), role, FAILOVER_SECONDS)
        job = stack.job(run.machine(role.name).job or "")
        disks = [roots(role, disk) for disk in role.disks]
    role.machine.ssh.close()
    role.replica.wait_ready(Deadline.after(FAILOVER_SECONDS))
    return prove(role, workload, stopped, job, Seen([*samples, sample(role)], disks))


@pytest.mark.requirement("H2S-PFO", "H2S-PFO-ZERO", "H2S-FO-RP", "LAB-RPO", "LAB-WRITE-ORDER")
def test_nothing_acknowledged_is_missing(proven: Proven, evidence: EvidenceRecorder) -> None:
    attach(proven, evidence)
    assert proven.verdict.sound, proven.verdict.findings
    assert proven.proof.holds, [part for part in proven.proof.parts if not part.holds]
    assert len(proven.proof.parts) == 5


@pytest.mark.requirement("H2S-PFO-OFF")
def test_the_source_was_shut_down_before_its_last_changes_were_taken(proven: Proven, primary_role: Protected) -> None:
    order = [step.name for step in proven.job.steps if step.state == "done"]
    assert order.index("shutdown-source") < order.index("final-delta") < order.index("start-replica-machine")
    assert primary_role.lab.hypervisor.power(primary_role.name) is PowerState.OFF


@pytest.mark.requirement("LAB-REFUSAL")
def test_no_other_point_can_be_chosen(proven: Proven, stack: Stack, primary_role: Protected) -> None:
    assert proven.proof.parts
    with pytest.raises(OperationRefused) as refusal:
        stack.start(primary_role.name, Operation.CHANGE_RECOVERY_POINT, {"recovery_point": "latest"})
    assert refusal.value.reason == "not-supported"


@pytest.mark.requirement("H2S-COMMIT", "H2S-PFO-PROT")
def test_after_the_commit_the_machine_is_protected_from_the_other_side(
    proven: Proven, stack: Stack, topology: Topology, primary_role: Protected, evidence: EvidenceRecorder
) -> None:
    assert proven.proof.parts
    plan = plan_of(topology, primary_role)
    number = stack.start_plan(plan, PlanRunKind.COMMIT)
    stack.wait_plan(plan, number, PlanRunState.SUCCEEDED, deadline=Deadline.after(COMMIT_SECONDS))
    deadline = Deadline.after(REPLICATION_SECONDS)
    status = stack.wait_state(primary_role.name, MachineState.PROTECTED_REVERSE, deadline=deadline)
    evidence.attach("status.txt", f"{status}\n")
    assert status.direction == "reverse"
    assert primary_role.replica.ssh.run("true").ok, "the workload can be used"
    events = stack.events(0)
    kinds = {event.kind for event in events if event.stream == status.attributes["stream"]}
    assert "initial-replication-complete" not in kinds, "the disks were equal, so nothing was to be copied"


@pytest.fixture(scope="module")
def back(proven: Proven, stack: Stack, primary_role: Protected, workloads: dict[str, Workload]) -> Back:
    """The replica writes an epoch of its own; then a planned failover in the other direction."""
    role, workload = primary_role, workloads[primary_role.name]
    assert proven.proof.parts
    if stack.machine(role.name).state is not MachineState.PROTECTED_REVERSE:
        pytest.fail("the way back begins with a machine that is protected in reverse")
    epoch = write_on_replica(role, workload)
    workload.stop()
    deadline = Deadline.after(FAILOVER_SECONDS)
    stack.run(role.name, Operation.FAILBACK, deadline)
    return judge_at_home(role, workload, epoch, deadline)


@pytest.mark.requirement("H2S-FB", "LAB-ZOMBIE", "LAB-WRITE-ORDER")
def test_every_acknowledged_record_of_the_replica_is_back(
    back: Back, stack: Stack, primary_role: Protected, evidence: EvidenceRecorder
) -> None:
    nothing_lost(back, evidence)
    assert stack.machine(primary_role.name).state is MachineState.FAILBACK_COMMIT_PENDING
    assert primary_role.lab.hypervisor.power(f"{primary_role.name}-replica") is PowerState.OFF


@pytest.mark.requirement("H2S-FB")
def test_another_reverse_replication_protects_it_again(
    back: Back, stack: Stack, primary_role: Protected, workloads: dict[str, Workload]
) -> None:
    assert back.verdict.sound
    stack.run(primary_role.name, Operation.COMMIT_FAILBACK, Deadline.after(COMMIT_SECONDS))
    assert stack.machine(primary_role.name).state is MachineState.FAILED_BACK
    stack.run(primary_role.name, Operation.REPROTECT, Deadline.after(COMMIT_SECONDS))
    deadline = Deadline.after(REPLICATION_SECONDS)
    status = stack.wait_state(primary_role.name, MachineState.PROTECTED, deadline=deadline)
    assert status.direction == "forward"
    primary_role.lab.forget(f"{primary_role.name}-replica")
    workload = workloads[primary_role.name]
    workload.start(primary_role.machine.ssh, workload.next_epoch(), primary_role.labels_by)
