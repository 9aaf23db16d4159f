"""Two peers that lose sight of each other: the application writes on, and afterwards only what differs is sent.

One to three minutes without acceleration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fixtures.equality import as_evidence, digests, frozen, mount_of, prepare_digests, settle
from fixtures.stacks import Protected
from fixtures.workloads import Workload
from lab.measure.disks import DiskDigest
from lab.measure.ports import received_bytes
from lab.networks.firewall import Firewall
from lab.stacks.machines import MachineStatus
from lab.stacks.protocol import Stack
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_peers, pytest.mark.needs_bridges]

NOTICE_SECONDS = 180.0
HEAL_SECONDS = 300.0
STEPS = 100
"""Dependent writes of each lane that the replica lacks when the link comes back."""
MOST_SENT_SHARE = 5
"""At most so many-th of the disk."""


@dataclass(frozen=True)
class Healed:
    """What the stack said without its link, and what came over it afterwards until the disks were compared."""

    without_link: MachineStatus
    sent: int
    source: DiskDigest
    replica: DiskDigest


@pytest.fixture
def healed(stack: Stack, primary_role: Protected, workloads: dict[str, Workload], firewall: Firewall) -> Healed:
    """The link is cut while the application writes, and comes back."""
    name, workload, peer = primary_role.name, workloads[primary_role.name], primary_role.peer.ssh
    prepare_digests(primary_role)
    workload.wait_beyond(0)
    with firewall.only([]):
        deadline = Deadline.after(NOTICE_SECONDS)
        stack.wait_status(name, lambda seen: seen.health.status == "critical", "loss of the link", deadline)
        workload.wait_beyond(workload.newest().sequence + STEPS, NOTICE_SECONDS)
        without_link = stack.machine(name)
        before = received_bytes(peer, primary_role.peer_address)
    deadline = Deadline.after(HEAL_SECONDS)
    stack.wait_status(name, lambda seen: seen.health.status == "healthy", "link that has healed", deadline)
    disk = primary_role.data_disk
    with frozen(primary_role.machine.ssh, mount_of(disk)):
        settle(stack, primary_role)
        sent = received_bytes(peer, primary_role.peer_address) - before
        return Healed(without_link, sent, *digests(primary_role, disk))


@pytest.mark.requirement("LAB-RECOVERY", "LAB-RESYNC")
def test_a_lost_link_heals_and_only_what_differs_is_sent(
    healed: Healed, primary_role: Protected, evidence: EvidenceRecorder, record_measurement: Callable[..., None]
) -> None:
    evidence.attach("without-link.txt", f"{healed.without_link}\n")
    evidence.attach("digests.txt", as_evidence(healed.source, healed.replica))
    assert (healed.without_link.behind_bytes or 0) > 0, "the stack does not notice that its replica lacks something"
    assert not healed.source.differing(healed.replica)
    megabytes = healed.sent / 1e6
    record_measurement("resynchronisation-sent", megabytes, "MB", context="after a lost link, by the card of the peer")
    assert 0 < healed.sent < primary_role.data_disk.size / MOST_SENT_SHARE, "much more was sent than differed"
