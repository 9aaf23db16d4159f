"""What makes a resynchronisation necessary is noticed by itself, named, and mended: power, a full log, a larger disk.

Twelve to eighteen minutes without acceleration: three resynchronisations of all disks, one test failover, and two
things after which nothing has to be mended, an orderly restart and a process server that loses its power. It begins
with a protected machine (after suites/failback) and leaves it protected; its data disk is larger afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from fixtures.equality import as_evidence, digests_at_rest, mount_of, point_now, prepare_digests
from fixtures.services import stopped
from fixtures.stacks import REPLICATION_SECONDS, Protected
from fixtures.workloads import Workload
from lab.provision.blueprint import disk_id
from lab.stacks.machines import MachineState, Operation, RecoveryPoint
from lab.stacks.protocol import Event, Stack
from lab.topology.machines import Disk, Purpose
from lab.waiting import Deadline, wait_until
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_lone, pytest.mark.needs_agent]

BOOT_SECONDS = 600.0
NOTICE_SECONDS = 300.0
FAILOVER_SECONDS = 900.0
MIB = 1 << 20
GROWTH = 16 * MIB
MASTER_TARGET = "recovery-master-target"
AGENT = "recovery-mobility"
FILLING = 32
"""MiB of the file that is written over and over to fill a change log."""
CACHE = "/var/lib/recovery/process-server"


class Happenings:
    """The events of one machine since this was made."""

    def __init__(self, stack: Stack, machine: str) -> None:
        self._stack = stack
        self._machine = machine
        self._seen: list[Event] = []
        self._last = 0
        self._read()
        self._seen.clear()

    def wait(self, kind: str, seconds: float) -> Mapping[str, Any]:
        """Return the data of the first event of a kind."""
        deadline = Deadline.after(seconds)
        while not (found := self.of(kind)):
            assert not deadline.expired, f"no {kind} of {self._machine}; there were {[e.kind for e in self._seen]}"
            self._read(deadline.clamp(15.0))
        return found[0].data

    def of(self, kind: str) -> Sequence[Event]:
        """Return the events of a kind that were read until now."""
        return [event for event in self._seen if event.kind == kind]

    def until_now(self, kind: str) -> Sequence[Event]:
        """Return the events of a kind, those that were not read yet included."""
        self._read()
        return self.of(kind)

    def _read(self, wait: float = 0) -> None:
        """Read all pages; only the first read waits."""
        while events := self._stack.events(self._last, wait=wait):
            self._last, wait = events[-1].id, 0
            self._seen += [event for event in events if event.machine == self._machine]


def mended(stack: Stack, role: Protected, happenings: Happenings) -> None:
    """Wait for the end of the resynchronisation that nobody has asked for."""
    happenings.wait("resynchronisation-complete", REPLICATION_SECONDS)
    stack.wait_status(role.name, lambda status: not status.resynchronising, "end of it", Deadline.after(NOTICE_SECONDS))
    asked = [event for event in happenings.of("job") if event.data["operation"] == Operation.RESYNCHRONISE]
    assert not asked, "somebody has asked for it"


@contextmanager
def noticed_and_mended(
    stack: Stack, role: Protected, evidence: EvidenceRecorder, cause: str
) -> Iterator[RecoveryPoint]:
    """What is done in the block makes a resynchronisation necessary; yields a point from before, which outlives it."""
    stream = stack.machine(role.name).attributes["stream"]
    before = point_now(stack, role)
    happenings = Happenings(stack, role.name)
    yield before
    required = happenings.wait("resynchronisation-required", NOTICE_SECONDS)
    evidence.attach("required.txt", f"{dict(required)}\n")
    assert required["cause"] == cause
    mended(stack, role, happenings)
    assert stack.machine(role.name).attributes["stream"] == stream, "nothing was copied anew"
    assert before.id in {point.id for point in stack.recovery_points(role.name)}, "a point from before is gone"


def assert_equal(
    stack: Stack, role: Protected, evidence: EvidenceRecorder, name: str, disk: Disk | None = None
) -> None:
    """Compare a disk, else the one with data, with its replica while nothing changes."""
    disk = disk or role.data_disk
    prepare_digests(role)
    source, replica = digests_at_rest(stack, role, disk)
    evidence.attach(name, as_evidence(source, replica))
    assert not source.differing(replica)


@pytest.fixture
def role(stack: Stack, other_role: Protected, workloads: dict[str, Workload]) -> Protected:
    """A protected machine whose writer has ended: it would die with its machine."""
    if stack.machine(other_role.name).state is not MachineState.PROTECTED:
        pytest.fail("this begins with a protected machine")
    workloads[other_role.name].stop()
    return other_role


@pytest.mark.requirement("LAB-RESYNC", "LAB-RECOVERY")
def test_lost_power_is_noticed_and_mended(stack: Stack, role: Protected, evidence: EvidenceRecorder) -> None:
    with noticed_and_mended(stack, role, evidence, "forced-shutdown"):
        role.machine.power_off()
        role.machine.power_on()
        role.machine.wait_ready(Deadline.after(BOOT_SECONDS))
    assert_equal(stack, role, evidence, "digests-after-lost-power.txt")


@pytest.mark.requirement("LAB-RECOVERY")
def test_an_orderly_restart_costs_no_resynchronisation(
    stack: Stack, role: Protected, evidence: EvidenceRecorder
) -> None:
    happenings = Happenings(stack, role.name)
    new_file(role)
    role.machine.ssh.reboot(Deadline.after(BOOT_SECONDS))
    back_ns = int(role.machine.ssh.check("date", "+%s%N"))
    # The service has to be there again before anybody can ask it for a cut.
    wait_until(
        lambda: any(point.begin_ns > back_ns for point in stack.recovery_points(role.name)),
        Deadline.after(NOTICE_SECONDS),
        "a recovery point after the restart",
        every=1,
    )
    for disk in role.disks:
        assert_equal(stack, role, evidence, f"digests-{disk.name}-after-an-orderly-restart.txt", disk)
    assert not happenings.until_now("resynchronisation-required"), "the record of changes was given up"


@pytest.mark.needs_secondary_site
@pytest.mark.requirement("V2A-PS-CACHE", "LAB-RECOVERY")
def test_a_process_server_without_power_keeps_what_it_has_acknowledged(
    stack: Stack, role: Protected, evidence: EvidenceRecorder
) -> None:
    stream = stack.machine(role.name).attributes["stream"]
    happenings = Happenings(stack, role.name)
    server, target = role.process_server, role.master_target
    with stopped(target.ssh, MASTER_TARGET):
        new_file(role)
        stack.cut_now(role.name, Deadline.after(NOTICE_SECONDS))
        cached = wait_until(
            lambda: server.ssh.check("find", CACHE, "-path", f"*{stream}*", "-name", "*.doc").split(),
            Deadline.after(NOTICE_SECONDS),
            "an acknowledged document in the cache of the process server",
            every=0.2,
        )
        # Before the kernel writes by itself what nobody has asked it to.
        server.power_off()
        evidence.attach("cached.txt", "\n".join(cached))
        server.power_on()
        server.wait_ready(Deadline.after(BOOT_SECONDS))
    assert_equal(stack, role, evidence, "digests-after-the-process-server-lost-power.txt")
    assert stack.machine(role.name).attributes["stream"] == stream, "nothing was copied anew"
    assert not happenings.until_now("resynchronisation-required"), "what was acknowledged had to be sent again"


@pytest.mark.needs_agent
@pytest.mark.requirement("LAB-RESYNC", "LAB-RECOVERY")
def test_a_change_log_that_ran_full_is_noticed_and_mended(
    stack: Stack, role: Protected, evidence: EvidenceRecorder
) -> None:
    with noticed_and_mended(stack, role, evidence, "log-overflow"), stopped(role.machine.ssh, AGENT):
        fill_change_log(role)
    assert_equal(stack, role, evidence, "digests-after-a-full-log.txt")


def fill_change_log(role: Protected) -> None:
    """Write more than the whole disk for changes holds, while nobody reads it out."""
    [log] = [disk for disk in role.lab.topology.machines[role.name].disks if disk.purpose is Purpose.CHANGE_LOG]
    file = f"{mount_of(role.data_disk)}/written-over-and-over"
    for _ in range(log.size // (FILLING * MIB) + 1):
        role.machine.ssh.check(
            "dd", "if=/dev/urandom", f"of={file}", "bs=1M", f"count={FILLING}", "oflag=direct", "conv=notrunc"
        )
    role.machine.ssh.check("rm", file)


def new_file(role: Protected) -> None:
    """Write something that is in no document yet."""
    file = f"{mount_of(role.data_disk)}/before-the-power-went"
    role.machine.ssh.check("dd", "if=/dev/urandom", f"of={file}", "bs=1M", "count=2", "conv=fsync")


@pytest.mark.needs_secondary_site  # a replica in Azure does not grow, and the stack refuses to (decision 0011)
@pytest.mark.requirement("LAB-RESYNC", "V2A-POLICY-APPLIES")
def test_a_disk_that_has_grown_is_noticed_and_its_replica_grows(
    stack: Stack, role: Protected, evidence: EvidenceRecorder
) -> None:
    host, disk = role.lab.hypervisor, role.data_disk
    old = host.disk(disk_id(role.name, disk)).size_bytes
    with noticed_and_mended(stack, role, evidence, "disk-resized") as before:
        host.grow_disk(disk_id(role.name, disk), old + GROWTH)
    replica = next(each for each in host.disks() if each.id.name == f"{role.name}-{disk.name}-replica")
    assert replica.size_bytes == old + GROWTH
    assert replica.attached_to == role.master_target.name
    write_behind(role, old)
    assert_equal(stack, role, evidence, "digests-after-growth.txt")
    look_at_point_before(stack, role, before)


def write_behind(role: Protected, old: int) -> None:
    """Write where the disk had no place before, past the file system on it; the mapping has to have grown too."""
    device = f"/dev/mapper/mobility-{role.data_disk.name}"
    size = int(role.machine.ssh.check("blockdev", "--getsize64", device))
    assert size == old + GROWTH, f"{device} still ends at {size}"
    last = f"seek={size // MIB - 1}"
    role.machine.ssh.check(
        "dd", "if=/dev/urandom", f"of={device}", "bs=1M", last, "count=1", "oflag=direct", "conv=notrunc,fsync"
    )


def look_at_point_before(stack: Stack, role: Protected, point: RecoveryPoint) -> None:
    """Start a copy from a point that is older than the growth."""
    assert point.id in {each.id for each in stack.recovery_points(role.name)}
    try:
        deadline = Deadline.after(FAILOVER_SECONDS)
        stack.run(role.name, Operation.TEST_FAILOVER, deadline, {"recovery_point": point.id})
        role.test_machine.wait_ready(deadline)
        role.test_machine.ssh.check("ls", mount_of(role.data_disk))
    finally:
        if stack.machine(role.name).test_machine:
            stack.run(role.name, Operation.CLEANUP_TEST_FAILOVER, Deadline.after(FAILOVER_SECONDS))
        role.lab.forget(f"{role.name}-test")
