"""The replica of a machine that is replicated from its host has drifted: it is compared by digests and mended.

About five minutes without acceleration.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fixtures.equality import as_evidence, digests, digests_at_rest, frozen, mount_of, point_now, prepare_digests
from fixtures.host_ways import sent_to_recovery_host
from fixtures.stacks import Protected
from lab.stacks.machines import Operation
from lab.stacks.protocol import Stack
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_hosts, pytest.mark.needs_secondary_site]

DAMAGED = (3, 97)
"""Numbers of the MiB of the data disk that are overwritten behind the stack's back."""
MOST_SENT_SHARE = 5
RESYNCHRONISATION_SECONDS = 1800.0


@pytest.mark.requirement("LAB-RESYNC")
def test_a_drifted_replica_on_a_host_is_mended_and_nothing_else_is_sent(
    stack: Stack, other_role: Protected, evidence: EvidenceRecorder, record_measurement: Callable[..., None]
) -> None:
    role, disk = other_role, other_role.data_disk
    prepare_digests(role)
    with frozen(role.machine.ssh, mount_of(disk)):
        point_now(stack, role)
        for number in DAMAGED:
            role.replica_data.damage(disk, number)
        source, replica = digests(role, disk)
    assert source.differing(replica) == list(DAMAGED), "the damage is not what is seen, so mending it proves nothing"
    stream = stack.machine(role.name).attributes["stream"]
    before = sent_to_recovery_host(role)
    deadline = Deadline.after(RESYNCHRONISATION_SECONDS)
    stack.run(role.name, Operation.RESYNCHRONISE, deadline)
    stack.wait_status(role.name, lambda status: not status.resynchronising, "end of the resynchronisation", deadline)
    moved = sent_to_recovery_host(role) - before
    source, replica = digests_at_rest(stack, role, disk)
    evidence.attach("digests.txt", as_evidence(source, replica))
    assert not source.differing(replica)
    record_measurement("resynchronisation-sent", moved / 1e6, "MB", context=f"{len(DAMAGED)} MiB were damaged")
    assert moved < role.bytes / MOST_SENT_SHARE, "much more was sent than differed"
    assert stack.machine(role.name).attributes["stream"] == stream, "nothing was copied anew"
