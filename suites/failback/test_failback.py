"""Back to the primary site: changes of the replica return, nothing of the old primary survives them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fixtures.stacks import REPLICATION_SECONDS, Protected
from fixtures.workloads import SLOTS, Workload
from lab.oracle.checker import judge
from lab.oracle.witness import Witness
from lab.stacks.protocol import MachineState, Operation, OperationRefused, Stack
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

FAILBACK_SECONDS = 900.0


@dataclass(frozen=True)
class FailedBack:
    """A machine that is back: the records that its replica wrote in the meantime, and the newest one before them."""

    epoch: Workload
    last_acknowledged: int
    newest_before: int


@pytest.fixture(scope="module")
def reversed_role(
    stack: Stack, primary_role: Protected, workloads: dict[str, Workload], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Protected, Workload]]:
    """The replica, writing a second epoch and replicating to the primary site."""
    if stack.machine(primary_role.name).state is not MachineState.FAILED_OVER:
        pytest.fail("failback begins with a committed failover: run suites/failover before it")
    first = workloads[primary_role.name]
    witness = Witness(Path(tmp_path_factory.mktemp("witness")) / "epoch.log")
    epoch = Workload(f"{first.name}-epoch2", f"{first.path}-epoch2", first.per_second, witness)
    epoch.start(primary_role.replica.ssh)
    stack.run(primary_role.name, Operation.REPROTECT, Deadline.after(REPLICATION_SECONDS))
    stack.wait_state(primary_role.name, MachineState.PROTECTED_REVERSE, deadline=Deadline.after(REPLICATION_SECONDS))
    yield primary_role, epoch
    epoch.stop()


@pytest.mark.requirement("V2A-FB-REVERSE", "V2S-MT-FAILBACK")
def test_replication_runs_in_reverse(
    stack: Stack, reversed_role: tuple[Protected, Workload], primary_role: Protected
) -> None:
    role, epoch = reversed_role
    status = stack.machine(role.name)
    assert status.direction == "reverse"
    last = epoch.wait_beyond(0)
    stack.wait_recovery_point(role.name, last.acknowledged_ns, Deadline.after(300.0))
    assert stack.machine(primary_role.name).state is MachineState.PROTECTED_REVERSE


@pytest.fixture(scope="module")
def failed_back(stack: Stack, reversed_role: tuple[Protected, Workload], workloads: dict[str, Workload]) -> FailedBack:
    """The original machine, running again with the data of its replica."""
    role, epoch = reversed_role
    newest_before = judge(workloads[role.name].scan(role.replica.ssh), SLOTS, [], None).newest
    epoch.wait_beyond(epoch.wait_beyond(0).sequence + 100)
    epoch.stop()
    last = epoch.witness.records()[-1].sequence
    deadline = Deadline.after(FAILBACK_SECONDS)
    stack.run(role.name, Operation.FAILBACK, deadline)
    role.machine.ssh.close()
    role.machine.wait_ready(deadline)
    return FailedBack(epoch, last, newest_before)


@pytest.mark.requirement("V2A-FB-UFO", "LAB-ZOMBIE", "LAB-WRITE-ORDER")
def test_every_acknowledged_record_of_the_replica_is_back(
    failed_back: FailedBack, primary_role: Protected, evidence: EvidenceRecorder
) -> None:
    verdict = judge(failed_back.epoch.scan(primary_role.machine.ssh), SLOTS, [], None)
    evidence.attach("verdict.txt", f"last acknowledged {failed_back.last_acknowledged}\n{verdict}\n")
    assert verdict.consistent, verdict
    assert verdict.newest >= failed_back.last_acknowledged, "acknowledged records of the replica are lost"


@pytest.mark.requirement("LAB-ZOMBIE")
def test_no_write_of_the_old_primary_survives(
    failed_back: FailedBack, primary_role: Protected, workloads: dict[str, Workload]
) -> None:
    verdict = judge(workloads[primary_role.name].scan(primary_role.machine.ssh), SLOTS, [], None)
    assert verdict.consistent, verdict
    assert verdict.newest == failed_back.newest_before, "records that the failover had lost are there again"


@pytest.mark.requirement("V2A-FB-COMMIT")
def test_commit_of_the_failback_removes_the_replica(
    failed_back: FailedBack, stack: Stack, primary_role: Protected
) -> None:
    assert failed_back.last_acknowledged
    stack.run(primary_role.name, Operation.COMMIT_FAILBACK, Deadline.after(300.0))
    primary_role.lab.forget(f"{primary_role.name}-replica")
    machines = {machine.name for machine in primary_role.lab.hypervisor.machines()}
    assert stack.machine(primary_role.name).state is MachineState.FAILED_BACK
    assert f"{primary_role.name}-replica" not in machines
    with pytest.raises(OperationRefused):
        stack.start(primary_role.name, Operation.FAILBACK)


@pytest.mark.requirement("V2A-FB-REENABLE")
def test_protection_has_to_be_enabled_again(failed_back: FailedBack, stack: Stack, primary_role: Protected) -> None:
    assert failed_back.last_acknowledged
    assert not stack.recovery_points(primary_role.name)
    stack.run(primary_role.name, Operation.ENABLE, Deadline.after(300.0))
    stack.wait_state(primary_role.name, MachineState.PROTECTED, deadline=Deadline.after(REPLICATION_SECONDS))
