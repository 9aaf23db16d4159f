"""The stack changes nothing on a physical machine but what it needs: the owner of the machine can read what that is."""

from __future__ import annotations

import pytest

from fixtures.stacks import Protected
from lab.machines.drift import Record, drift, look
from lab.provision.lab import Lab
from lab.stacks.protocol import Stack
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_bmc
OWN = ("recovery", "/boot/initrd.img-", "/etc/initramfs")
"""Everything that the reference stack puts on a machine carries it in its name; capture begins in the initramfs, and a
hook puts it into a new one."""


@pytest.fixture(scope="session")
def untouched(stack: Stack, everyone: list[Protected], lab: Lab) -> dict[str, Record]:
    """Physical machines as they were before the agent came, by name; without those that have it already."""
    there = {component.id for component in stack.components()}
    fresh = [role for role in everyone if role.name in lab.state.physical and f"mobility-{role.name}" not in there]
    if not fresh:
        pytest.skip("the agent is on every physical machine already: nobody knows how they were before")
    return {role.name: look(role.machine.ssh) for role in fresh}


def test_protection_changes_what_it_needs_and_nothing_else(
    untouched: dict[str, Record], installed: list[Protected], evidence: EvidenceRecorder
) -> None:
    for role in (role for role in installed if role.name in untouched):
        changes = drift(untouched[role.name], look(role.machine.ssh))
        evidence.attach(f"drift-{role.name}.txt", "".join(f"{change}\n" for change in changes))
        assert changes, "the agent is there"
        assert [str(change) for change in changes if not any(word in change.name for word in OWN)] == []
