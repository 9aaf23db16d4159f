"""Storage that forgets what it acknowledged, or is changed by somebody else, costs nothing: it is noticed and mended.

Six to eight minutes: the stand-in for the storage account is killed while it takes a delta (it forgets its last
seconds, decision 0011), and a blob is overwritten with the account's key. Digests are read with that key, not through
the vault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from fixtures.equality import as_evidence, digests_at_rest, mount_of, point_now, prepare_digests
from fixtures.replica_data import account
from fixtures.stacks import Protected
from fixtures.workloads import Workload
from lab.measure.disks import DiskDigest
from lab.provision.azure import AZURITE, storage_files
from lab.provision.lab import Lab
from lab.provision.processes import kill_and_start_again
from lab.stacks.machines import MachineState, RecoveryPoint
from lab.stacks.protocol import Stack
from lab.topology.machines import Disk
from lab.waiting import Deadline, wait_until
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_azure

CATCH_UP_SECONDS = 600.0
ARRIVAL_SECONDS = 120.0
NOISE_MIB = 24
DAMAGED = (5, 60)


def equal_now(stack: Stack, role: Protected, disk: Disk) -> tuple[DiskDigest, DiskDigest]:
    """Compare a disk with its replica at a recovery point of a moment in which the disk does not change."""
    prepare_digests(role)
    return digests_at_rest(stack, role, disk)


def logs(lab: Lab, stream: str) -> set[str]:
    """Return the documents of a stream that are in its container."""
    with account(storage_files(lab)) as service:
        return {blob.name for blob in service.get_container_client(stream).list_blobs(name_starts_with="log-")}


@pytest.fixture
def noisy(other_role: Protected) -> Iterator[Protected]:
    """A machine with much that no compression shrinks on its way: a delta that takes a while."""
    path = f"{mount_of(other_role.data_disk)}/noise"
    other_role.machine.ssh.check(
        "dd", "if=/dev/urandom", f"of={path}", "bs=1M", f"count={NOISE_MIB}", "conv=fsync", "status=none"
    )
    yield other_role
    other_role.machine.ssh.check("rm", "-f", path)


@pytest.mark.needs_storage_of_ours
@pytest.mark.requirement("LAB-RECOVERY", "V2A-PORT-443-PS-OUT")
def test_a_storage_killed_in_mid_delta_loses_nothing(
    stack: Stack, lab: Lab, noisy: Protected, workloads: dict[str, Workload], evidence: EvidenceRecorder
) -> None:
    stream = stack.machine(noisy.name).attributes["stream"]
    before = logs(lab, stream)
    points = stack.recovery_points(noisy.name)
    wait_until(
        lambda: logs(lab, stream) - before,
        Deadline.after(ARRIVAL_SECONDS),
        "a document of the delta in the storage",
        every=0.05,
    )
    old, new = kill_and_start_again(lab.folder, AZURITE)
    assert old.pid != new.pid
    last = workloads[noisy.name].wait_beyond(0)
    point = stack.wait_recovery_point(noisy.name, last.acknowledged_ns, Deadline.after(CATCH_UP_SECONDS))
    assert not missing(stack, noisy, points), "a point from before is gone"
    for disk in noisy.disks:
        source, replica = equal_now(stack, noisy, disk)
        evidence.attach(f"digests-{disk.name}.txt", as_evidence(source, replica))
        assert not source.differing(replica), f"{noisy.name} {disk.name}"
    status = stack.machine(noisy.name)
    assert status.state is MachineState.PROTECTED
    assert status.attributes["stream"] == stream == point.stream, "nothing was copied anew"
    assert not status.resynchronising
    kinds = {event.kind for event in stack.events(0) if event.stream == stream}
    assert "resynchronisation-required" not in kinds


def missing(stack: Stack, role: Protected, before: Sequence[RecoveryPoint]) -> set[str]:
    """Return points that are within the retention and not there any more."""
    return {point.id for point in before} - {point.id for point in stack.recovery_points(role.name)}


@pytest.mark.requirement("LAB-RECOVERY", "LAB-NEGATIVE-CONTROL")
def test_a_blob_that_somebody_else_changed_is_seen_and_put_right(
    stack: Stack, other_role: Protected, evidence: EvidenceRecorder
) -> None:
    """The control of every digest in these suites: damage is seen. And the vault does not build on it."""
    disk, data = other_role.data_disk, other_role.replica_data
    point_now(stack, other_role)
    before = data.digest(disk)
    for number in DAMAGED:
        data.damage(disk, number)
    seen = set(before.differing(data.digest(disk)))
    assert set(DAMAGED) <= seen, "damage in the storage is not seen"
    source, replica = equal_now(stack, other_role, disk)
    evidence.attach("digests.txt", as_evidence(source, replica))
    assert not source.differing(replica)
