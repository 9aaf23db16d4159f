"""A master target takes as many replica disks as it says; a machine beyond that is refused, and nothing is changed.

A few seconds. It comes after the end of protection, because only a machine that is not protected may change its disks.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.inventory import objects
from fixtures.stacks import Protected
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_lone, pytest.mark.needs_agent, pytest.mark.needs_secondary_site]

MIB = 1 << 20
MOST_DISKS = 16
"""What one machine may have; no master target of these topologies takes so many beside another machine's."""


@pytest.fixture
def crowded(stack: Stack, other_role: Protected) -> Iterator[Protected]:
    """An unprotected machine that says it has very many disks; its settings are the topology's again afterwards."""
    if stack.machine(other_role.name).state is not MachineState.UNPROTECTED:
        pytest.fail("this begins with a machine whose protection has ended: run suites/disable/test_disable.py before")
    disks = [{"index": n, "name": f"disk{n}", "size": MIB, "serial": f"disk{n}"} for n in range(MOST_DISKS)]
    stack.protect(other_role.name, {"disks": disks})
    yield other_role
    stack.protect(other_role.name)


@pytest.mark.requirement("V2S-MT-COUNT", "LAB-REFUSAL")
def test_a_machine_beyond_the_capacity_is_refused_and_nothing_changes(
    stack: Stack, crowded: Protected, evidence: EvidenceRecorder
) -> None:
    before, seen = objects(crowded.lab), stack.machine(crowded.name)
    attached = crowded.lab.hypervisor.machine(crowded.master_target.name).disks
    with pytest.raises(OperationRefused) as refusal:
        stack.start(crowded.name, Operation.ENABLE)
    evidence.attach("refusal.txt", f"{refusal.value.reason}: {refusal.value}\n")
    assert refusal.value.reason == "master-target-full"
    assert f"{crowded.name} needs {MOST_DISKS}" in str(refusal.value)
    assert "another master target" in str(refusal.value), "the way out is not named"
    after = stack.machine(crowded.name)
    assert (after.state, after.attributes) == (seen.state, seen.attributes)
    assert objects(crowded.lab) == before
    assert crowded.lab.hypervisor.machine(crowded.master_target.name).disks == attached
