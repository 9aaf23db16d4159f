"""The initial copy is complete and exact, and deltas begin after it."""

from __future__ import annotations

import pytest

from fixtures.equality import as_evidence, digests_at_rest, prepare_digests
from fixtures.stacks import Protected
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from reports.evidence import EvidenceRecorder


@pytest.mark.requirement("V2A-IR-COPY", "V2S-MT-SECONDARY", "H2S-IR", "H2A-IR", "H2S-VM-ONE")
def test_every_disk_is_equal_to_its_replica(stack: Stack, other_role: Protected, evidence: EvidenceRecorder) -> None:
    prepare_digests(other_role)
    for disk in other_role.disks:
        source, replica = digests_at_rest(stack, other_role, disk)
        evidence.attach(f"digests-{disk.name}.txt", as_evidence(source, replica))
        assert not source.differing(replica), f"{other_role.name} {disk.name}"


@pytest.mark.needs_points
@pytest.mark.requirement("V2A-DELTA-AFTER-IR", "V2S-DELTA", "H2S-DELTA", "H2A-DELTA")
def test_deltas_begin_after_the_initial_copy(stack: Stack, protected: list[Protected]) -> None:
    events = stack.events(0)
    for role in protected:
        stream = stack.machine(role.name).attributes["stream"]
        kinds = [event.kind for event in events if event.stream == stream]
        assert kinds.count("initial-replication-complete") == 1
        assert kinds.index("initial-replication-complete") < kinds.index("recovery-point")


@pytest.mark.requirement("LAB-REFUSAL")
def test_a_second_enable_is_refused_and_changes_nothing(stack: Stack, other_role: Protected) -> None:
    before = stack.machine(other_role.name)
    with pytest.raises(OperationRefused) as refusal:
        stack.start(other_role.name, Operation.ENABLE)
    after = stack.machine(other_role.name)
    assert refusal.value.state == MachineState.PROTECTED
    assert Operation.ENABLE not in refusal.value.allowed
    assert (after.state, after.attributes) == (before.state, before.attributes)
