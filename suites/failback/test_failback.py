"""Back to the primary site: changes of the replica return, nothing of the old primary survives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from fixtures.stacks import REPLICATION_SECONDS, Protected
from fixtures.workloads import Workload
from lab.oracle.findings import Rule, Verdict
from lab.oracle.judge import Claim
from lab.provision.lab import LabMachine
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.topology.machines import Role
from lab.topology.model import Topology
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_lone, pytest.mark.needs_way_back]

FAILBACK_SECONDS = 900.0
SECOND_EPOCH = 2


@dataclass(frozen=True)
class Turned:
    """Replication that has turned round, and the disks of each master target before that."""

    role: Protected
    workload: Workload
    disks_before: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class FailedBack:
    """A machine that is back: what its disks show, and how many writes of its replica they lack."""

    verdict: Verdict
    lost_writes: int


@pytest.fixture(scope="module")
def turned(
    stack: Stack, primary_role: Protected, workloads: dict[str, Workload], servers: dict[Role, list[LabMachine]]
) -> Iterator[Turned]:
    """The replica, writing a second epoch and replicating to the primary site."""
    if stack.machine(primary_role.name).state is not MachineState.FAILED_OVER:
        pytest.fail("failback begins with a committed failover: run suites/failover before it")
    workload = workloads[primary_role.name]
    disks = {server.name: disks_of(server) for server in servers[Role.MASTER_TARGET]}
    workload.start(primary_role.replica.ssh, SECOND_EPOCH)
    stack.run(primary_role.name, Operation.REPROTECT, Deadline.after(REPLICATION_SECONDS))
    stack.wait_state(primary_role.name, MachineState.PROTECTED_REVERSE, deadline=Deadline.after(REPLICATION_SECONDS))
    yield Turned(primary_role, workload, disks)
    workload.stop()


def disks_of(server: LabMachine) -> frozenset[str]:
    """Return the names of the disks that are plugged into a server."""
    lines = server.ssh.check("lsblk", "--nodeps", "--noheadings", "--output", "NAME,TYPE").splitlines()
    return frozenset(name for name, kind in (line.split() for line in lines) if kind == "disk")


@pytest.mark.requirement("V2A-FB-REVERSE", "V2S-MT-FAILBACK")
def test_replication_runs_in_reverse(stack: Stack, turned: Turned) -> None:
    name = turned.role.name
    assert stack.machine(name).direction == "reverse"
    last = turned.workload.wait_beyond(0)
    if stack.machine(name).behind_bytes is None:
        stack.wait_recovery_point(name, last.acknowledged_ns, Deadline.after(300.0))
    else:
        stack.wait_status(name, lambda status: status.behind_bytes == 0, "replica that follows", Deadline.after(300.0))
    assert stack.machine(name).state is MachineState.PROTECTED_REVERSE


@pytest.mark.needs_azure
@pytest.mark.requirement("V2A-MT-FAILBACK", "V2A-MT-SEPARATE")
def test_the_way_back_lands_at_its_own_master_target_and_at_no_other(
    turned: Turned, topology: Topology, servers: dict[Role, list[LabMachine]], evidence: EvidenceRecorder
) -> None:
    """On the way to Azure no master target had a disk of a replica; now the one of the way back has them all."""
    back = topology.stack.protect[turned.role.name].failback
    assert back is not None
    for server in servers[Role.MASTER_TARGET]:
        before = turned.disks_before[server.name]
        came = disks_of(server) - before
        evidence.attach(f"disks-of-{server.name}.txt", f"before: {sorted(before)}\ncame: {sorted(came)}\n")
        wanted = len(turned.role.disks) if server.name == back.master_target else 0
        assert len(came) == wanted, f"{server.name} has {sorted(came)}"
        for disk in came:
            assert int(server.ssh.check("cat", f"/sys/block/{disk}/stat").split()[6]) > 0, f"nothing came to {disk}"


@pytest.fixture(scope="module")
def failed_back(stack: Stack, turned: Turned) -> FailedBack:
    """The machine at home, running again with the data of its replica."""
    role, workload = turned.role, turned.workload
    workload.wait_beyond(workload.wait_beyond(0).sequence + 100)
    workload.stop()
    deadline = Deadline.after(FAILBACK_SECONDS)
    stack.run(role.name, Operation.FAILBACK, deadline)
    role.returned.ssh.close()
    role.returned.wait_ready(deadline)
    copy = workload.scan(role.returned.ssh)
    return FailedBack(workload.judge(copy, Claim(epoch=SECOND_EPOCH)), workload.loss(copy).lost_writes)


@pytest.mark.requirement("V2A-FB-UFO", "LAB-ZOMBIE", "LAB-WRITE-ORDER")
def test_every_acknowledged_record_of_the_replica_is_back(failed_back: FailedBack, evidence: EvidenceRecorder) -> None:
    evidence.attach("verdict.json", failed_back.verdict.as_json())
    assert failed_back.verdict.sound, failed_back.verdict.findings
    assert failed_back.verdict.epoch == SECOND_EPOCH
    assert failed_back.lost_writes == 0, "acknowledged writes of the replica are lost"


@pytest.mark.requirement("LAB-ZOMBIE")
def test_no_write_of_the_old_primary_survives(
    failed_back: FailedBack, primary_role: Protected, workloads: dict[str, Workload], evidence: EvidenceRecorder
) -> None:
    workload = workloads[primary_role.name]
    beyond = workload.history.steps_beyond(SECOND_EPOCH)
    evidence.attach("steps-of-the-old-primary-after-the-cut.txt", f"{beyond}\n")
    if not sum(beyond.values()):
        pytest.skip("the old primary wrote nothing that the failover lost, so nothing could come back")
    assert Rule.ZOMBIE not in failed_back.verdict.rules, failed_back.verdict.findings


@pytest.mark.needs_commit
@pytest.mark.requirement("V2A-FB-COMMIT")
def test_commit_of_the_failback_removes_the_replica(
    failed_back: FailedBack, stack: Stack, primary_role: Protected
) -> None:
    assert failed_back.verdict.sound
    stack.run(primary_role.name, Operation.COMMIT_FAILBACK, Deadline.after(300.0))
    primary_role.lab.forget(f"{primary_role.name}-replica")
    machines = {machine.name for machine in primary_role.lab.hypervisor.machines()}
    assert stack.machine(primary_role.name).state is MachineState.FAILED_BACK
    assert f"{primary_role.name}-replica" not in machines
    with pytest.raises(OperationRefused):
        stack.start(primary_role.name, Operation.FAILBACK)


@pytest.mark.needs_commit
@pytest.mark.requirement("V2A-FB-REENABLE")
def test_protection_has_to_be_enabled_again(failed_back: FailedBack, stack: Stack, primary_role: Protected) -> None:
    assert failed_back.verdict.sound
    assert not stack.recovery_points(primary_role.name)
    stack.run(primary_role.name, Operation.ENABLE, Deadline.after(300.0))
    stack.wait_state(primary_role.name, MachineState.PROTECTED, deadline=Deadline.after(REPLICATION_SECONDS))
