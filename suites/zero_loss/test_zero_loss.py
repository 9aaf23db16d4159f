"""A failover that was prepared loses nothing: the five-part proof of domain facts 4.6, each part from observations.

The application is stopped and its disk made read-only, then the stack shuts the source down, applies everything and
starts the replica from the latest point. The system disk is excluded by name: a system writes to it while it goes down,
after the last cut. Meanwhile a program on the source keeps every block device open.

Five to seven minutes without acceleration. It begins with a protected machine (after suites/failback) and leaves it
failed over and committed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from fixtures.device_watch import watch_devices
from fixtures.equality import mount_of
from fixtures.stacks import Protected
from fixtures.workloads import Workload
from fixtures.zero_loss import Proven, attach, judged, refuses_writes, sample, watched
from lab.hypervisors.model import DiskAttachment
from lab.measure.disks import DiskDigest, device_by_serial, digest, send_digest_tool
from lab.oracle.checks.zero_loss import DiskRoots, Evidence
from lab.provision.blueprint import disk_id
from lab.provision.lab import LabMachine
from lab.stacks.jobs import Job, JobState
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.topology.naming import disk_serial
from lab.waiting import Deadline, wait_until
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_lone, pytest.mark.needs_agent, pytest.mark.needs_way_back]

FAILOVER_SECONDS = 900.0
DISK_SECONDS = 120.0
SAMPLE_SECONDS = 0.5
GUEST_SERIAL = "zero-loss"


@dataclass(frozen=True)
class Stopped:
    """A source whose application was stopped: when a write was refused, and the last acknowledgement (its clock)."""

    refused_at_ns: int
    last_ack_ns: int
    epoch: int


@pytest.fixture(scope="module")
def stopped(stack: Stack, primary_role: Protected, workloads: dict[str, Workload]) -> Stopped:
    """The source after its application has ended; it takes no write any more."""
    if stack.machine(primary_role.name).state is not MachineState.PROTECTED:
        pytest.fail("a failover begins with a protected machine: run suites/failback before")
    workload, ssh = workloads[primary_role.name], primary_role.machine.ssh
    workload.stop()
    assert watch_devices(ssh) > 0
    epoch = workload.next_epoch()
    workload.start(ssh, epoch)
    workload.wait_beyond(workload.wait_beyond(0).sequence + 100)
    primary_role.replica_data.prepare()
    send_digest_tool(primary_role.process_server.ssh)
    workload.stop()
    ssh.check("mount", "-o", "remount,ro", mount_of(primary_role.data_disk))
    attempt = ssh.run("touch", f"{mount_of(primary_role.data_disk)}/one-more-write")
    assert not attempt.ok, "the source still takes writes"
    return Stopped(int(ssh.check("date", "+%s%N")), workload.newest().acknowledged_ns, epoch)


@pytest.fixture(scope="module")
def proven(stopped: Stopped, stack: Stack, primary_role: Protected, workloads: dict[str, Workload]) -> Proven:
    """Fail over, look all the time which side is active, and put the five parts together."""
    workload = workloads[primary_role.name]
    arguments = {"recovery_point": "latest", "shutdown_source": True}
    started = stack.start(primary_role.name, Operation.FAILOVER, arguments)
    primary_role.machine.ssh.close()
    job, samples = watched(
        primary_role,
        lambda: ended_job(stack, started),
        f"end of job {started}",
        FAILOVER_SECONDS,
        every=SAMPLE_SECONDS,
    )
    assert job.state is JobState.SUCCEEDED, job.error
    ended = {step.name: step.ended_ns or 0 for step in job.steps if step.state == "done"}
    needed = {"cut", "shutdown-source", "drain", "start-replica-machine"}
    assert needed <= set(ended), f"not done: {needed - set(ended)}, so nothing was prepared"
    begun = {step.name: step.started_ns for step in job.steps}
    primary_role.replica.wait_ready(Deadline.after(FAILOVER_SECONDS))
    samples.append(sample(primary_role))
    copy = workload.scan(primary_role.replica.ssh)
    evidence = Evidence(
        stopped_ns={workload.machine: stopped.refused_at_ns},
        last_ack_ns={workload.machine: stopped.last_ack_ns},
        # The three moments by one clock: that of the configuration server, which did all three.
        stopped_at_ns=ended["shutdown-source"],
        delta_ended_ns=ended["drain"],
        replica_started_ns=begun["start-replica-machine"],
        disks=[roots(primary_role)],
        old_side_refused=refuses_writes(primary_role),
        samples=samples,
        excluded_disks=[disk.name for disk in primary_role.disks if disk != primary_role.data_disk],
    )
    return judged(copy, workload, stopped.epoch, evidence, job)


def ended_job(stack: Stack, job: str) -> Job | None:
    """Return a job once it has ended, however."""
    found = stack.job(job)
    return None if found.state is JobState.RUNNING else found


def roots(role: Protected) -> DiskRoots:
    """Return the digests of the data disk: the source's after its shutdown, the replica's as the copies were made."""
    disk = role.data_disk
    with lent(role, role.process_server) as device:
        source = digest(role.process_server.ssh, device)
    replica: DiskDigest = role.replica_data.digest(disk)
    return DiskRoots(disk.name, source.root, replica.root, tuple(source.differing(replica)))


@contextmanager
def lent(role: Protected, reader: LabMachine) -> Iterator[str]:
    """Plug the data disk of a machine that is off into another one inside the block, and yield its device there."""
    host, disk = role.lab.hypervisor, role.data_disk
    own = disk_id(role.name, disk)
    host.detach_disk(role.name, own, Deadline.after(DISK_SECONDS))
    host.attach_disk(reader.name, DiskAttachment(own, GUEST_SERIAL))
    try:
        yield wait_until(lambda: found(reader), Deadline.after(DISK_SECONDS), f"disk {own.name} in {reader.name}")
    finally:
        host.detach_disk(reader.name, own, Deadline.after(DISK_SECONDS))
        host.attach_disk(role.name, DiskAttachment(own, disk_serial(disk.name)))


def found(reader: LabMachine) -> str | None:
    """Return the device of the disk that was lent, once it is there."""
    try:
        return device_by_serial(reader.ssh, GUEST_SERIAL)
    except LookupError:
        return None


@pytest.mark.requirement("LAB-RPO", "V2A-UFO", "LAB-WRITE-ORDER")
def test_nothing_acknowledged_is_missing(proven: Proven, evidence: EvidenceRecorder) -> None:
    attach(proven, evidence)
    assert proven.verdict.sound, proven.verdict.findings
    assert proven.proof.holds, [part for part in proven.proof.parts if not part.holds]


@pytest.mark.requirement("LAB-RPO")
def test_all_five_parts_were_observed(proven: Proven) -> None:
    assert len(proven.proof.parts) == 5
    assert [part.name for part in proven.proof.parts if part.reasons] == []


@pytest.mark.requirement("V2A-FO-COMMIT")
def test_the_prepared_failover_is_committed(proven: Proven, stack: Stack, primary_role: Protected) -> None:
    assert proven.proof.holds
    stack.run(primary_role.name, Operation.COMMIT, Deadline.after(300.0))
    assert stack.machine(primary_role.name).state is MachineState.FAILED_OVER
