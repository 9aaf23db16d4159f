"""A machine that says it is another system is refused before anything is put on it.

About a minute: two questions over SSH from the process server and a look at the machine before and after. It comes
first of all subjects, when nothing is installed yet; on a lab that is up it is a repeated installation that is refused.
"""

from __future__ import annotations

import pytest

from fixtures.disguise import disguised
from fixtures.stacks import INSTALL_SECONDS, Protected
from lab.stacks.jobs import JobFailed
from lab.stacks.machines import Operation
from lab.stacks.protocol import Stack
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_support_matrix

REFUSAL_SECONDS = 300.0
FOOTPRINT = (
    "cat /proc/sys/kernel/random/boot_id; "
    "find /opt /etc/recovery /etc/initramfs /etc/systemd/system /boot /var/tmp "
    "-printf '%p %s %T@ %C@\\n' 2>/dev/null | sort"
)
"""Everything that an installation changes: its folders, the unit, the initramfs, its work folder, a restart."""


@pytest.mark.requirement("GEN-P2S-OS", "GEN-P2A-OS", "GEN-V2S-HOST", "V2S-PS-PUSH", "LAB-REFUSAL")
def test_an_unsupported_machine_is_refused_and_nothing_is_put_on_it(
    stack: Stack, everyone: list[Protected], evidence: EvidenceRecorder
) -> None:
    role = everyone[-1]
    stack.protect(role.name)
    known = {component.id for component in stack.components()}
    with disguised(role.machine.ssh):
        before = role.machine.ssh.check("sh", "-c", FOOTPRINT)
        assert "sles" in role.machine.ssh.check("cat", "/etc/os-release"), "the machine is not disguised"
        with pytest.raises(JobFailed) as refusal:
            stack.run(role.name, Operation.PUSH_INSTALL, Deadline.after(REFUSAL_SECONDS))
        after = role.machine.ssh.check("sh", "-c", FOOTPRINT)
    error = refusal.value.job.error
    assert error is not None
    evidence.attach("refusal.txt", f"{error.type}: {error.message}\n")
    assert error.type == "unsupported-system"
    assert "sles 11.4" in error.message, "what was found is not named"
    assert "debian 12" in error.message, "what is supported is not named"
    assert after == before
    assert {component.id for component in stack.components()} == known


@pytest.mark.requirement("GEN-P2S-OS", "GEN-P2A-OS", "GEN-V2S-HOST")
def test_a_machine_of_the_matrix_is_installed(stack: Stack, installed: list[Protected]) -> None:
    """The control: what was refused is the system, not the machine."""
    role = installed[-1]
    assert f"mobility-{role.name}" in {component.id for component in stack.components()}
    stack.run(role.name, Operation.PUSH_INSTALL, Deadline.after(INSTALL_SECONDS))
    assert "last_error" not in stack.machine(role.name).attributes
