"""A machine that is only lent is leased, protected, and free of the stack again when protection ends.

What is not as it was found afterwards is in ``drift-MACHINE.txt`` of the run, written when the lab is taken down: only
then the stack is off the machine.
"""

from __future__ import annotations

import pytest

from fixtures.stacks import Protected
from lab.machines.lease_file import Leased, LeaseFile
from lab.provision.lab import Lab
from lab.stacks.machines import MachineState, Operation
from lab.stacks.protocol import Stack
from lab.waiting import Deadline

pytestmark = pytest.mark.needs_lent


@pytest.fixture(scope="module")
def lent(protected: list[Protected], lab: Lab) -> list[Protected]:
    """The protected machines that are only lent."""
    return [role for role in protected if role.name in lab.state.lent]


def test_another_lab_is_refused(lent: list[Protected]) -> None:
    for role in lent:
        with pytest.raises(Leased, match="works with this machine for another"):
            LeaseFile(role.machine.ssh).acquire("another", 60)


def test_no_hypervisor_of_the_lab_knows_the_machine(lent: list[Protected], lab: Lab) -> None:
    known = {machine.name for machine in lab.hypervisor.machines()}
    for role in lent:
        assert role.name not in known
        assert role.running, "it lets us log in"


def test_it_is_replicated_and_free_again(lent: list[Protected], stack: Stack) -> None:
    for role in lent:
        assert stack.recovery_points(role.name)
        stack.run(role.name, Operation.DISABLE, Deadline.after(300.0))
        assert stack.machine(role.name).state is MachineState.UNPROTECTED
