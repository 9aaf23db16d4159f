"""The host that a machine came from is gone for good: it comes back from Azure to another one (seed L111).

The machine in Azure is shut down and downloaded as a whole. About fifteen minutes without acceleration. It begins with
a committed failover (suites/failover), and is the last subject: the old host stays off.
"""

from __future__ import annotations

import pytest

from fixtures.host_proofs import Back, judge_at_home, nothing_lost, write_on_replica
from fixtures.stacks import Protected
from fixtures.workloads import Workload
from lab.hypervisors.model import PowerState
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.topology.machines import Role
from lab.topology.model import Topology
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_hosts, pytest.mark.needs_azure]

FAILBACK_SECONDS = 1200.0
COMMIT_SECONDS = 300.0


@pytest.fixture(scope="module")
def other_host(topology: Topology, primary_role: Protected) -> str:
    """A host of the primary site that the machine never was on."""
    return next(name for name in topology.machines_with(Role.HYPERVISOR_HOST) if name != primary_role.host.name)


@pytest.fixture(scope="module")
def moved(stack: Stack, primary_role: Protected, other_host: str, workloads: dict[str, Workload]) -> Back:
    """The replica writes an epoch of its own, the old host loses its power, the machine comes back to the other one."""
    role, workload = primary_role, workloads[primary_role.name]
    if stack.machine(role.name).state is not MachineState.FAILED_OVER:
        pytest.fail("this begins with a committed failover: run suites/failover before it")
    epoch = write_on_replica(role, workload)
    workload.stop()
    role.host.power_off()
    # From now on the machine of that name is the one on the other host.
    role.lab.forget(role.name)
    deadline = Deadline.after(FAILBACK_SECONDS)
    wanted = {"to": "alternate", "host": other_host, "data": "download"}
    stack.run(role.name, Operation.FAILBACK, deadline, wanted)
    return judge_at_home(role, workload, epoch, deadline)


@pytest.mark.requirement("H2A-FB-ALT", "H2A-FB-ZERO", "LAB-WRITE-ORDER")
def test_every_acknowledged_record_is_on_the_other_host(
    moved: Back, primary_role: Protected, other_host: str, evidence: EvidenceRecorder
) -> None:
    nothing_lost(moved, evidence)
    running = primary_role.lab.machine(other_host).ssh.check("virsh", "list", "--name").split()
    assert any(name.endswith(primary_role.name) for name in running), f"{other_host} runs {running}"
    assert primary_role.lab.hypervisor.power(f"{primary_role.name}-replica") is PowerState.OFF


@pytest.mark.requirement("H2A-FB-ALT", "H2A-FB-COMMIT")
def test_after_the_commit_there_is_nothing_in_azure(moved: Back, stack: Stack, primary_role: Protected) -> None:
    assert moved.verdict.sound
    stack.run(primary_role.name, Operation.COMMIT_FAILBACK, Deadline.after(COMMIT_SECONDS))
    primary_role.lab.forget(f"{primary_role.name}-replica")
    assert stack.machine(primary_role.name).state is MachineState.FAILED_BACK
    machines = {machine.name for machine in primary_role.lab.hypervisor.machines()}
    assert f"{primary_role.name}-replica" not in machines
    assert primary_role.machine.ssh.run("true").ok, "the workload can be used"
