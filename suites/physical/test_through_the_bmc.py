"""A physical machine is installed, leased and switched through its BMC; nothing else of the lab can do any of it."""

from __future__ import annotations

import pytest

from fixtures.stacks import Protected
from lab.images.medium import DONE, TOKEN_FILE
from lab.machines.bmc_lease import BmcLease
from lab.machines.console import without_control
from lab.machines.lease_file import Leased
from lab.provision.blueprint import disk_id
from lab.provision.bmc import opened
from lab.provision.lab import Lab
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_bmc


@pytest.fixture(scope="module")
def physical(everyone: list[Protected], lab: Lab) -> list[Protected]:
    """The protected machines that are behind BMCs."""
    return [role for role in everyone if role.name in lab.state.physical]


@pytest.mark.requirement("GEN-P2S-OS", "GEN-P2A-OS")
def test_the_machine_runs_what_was_installed_from_its_medium(
    physical: list[Protected], lab: Lab, evidence: EvidenceRecorder
) -> None:
    for role in physical:
        token = role.machine.ssh.check("cat", TOKEN_FILE).strip()
        assert len(token) == 32, "the mark of an installation"
        console = lab.state.physical[role.name].console
        assert console is not None
        text = without_control(console.read_text(encoding="utf-8", errors="replace"))
        evidence.attach(f"console-{role.name}.txt", text)
        assert f"{DONE} {token}" in text, "recorded from the first power-on"


def test_no_hypervisor_of_the_lab_knows_the_machine(physical: list[Protected], lab: Lab) -> None:
    known = {machine.name for machine in lab.hypervisor.machines()}
    disks = {disk.id for disk in lab.hypervisor.disks()}
    for role in physical:
        assert role.name not in known
        assert disks.isdisjoint(disk_id(role.name, disk) for disk in role.disks)
        assert role.running, "asked of its BMC"


def test_another_lab_is_refused(physical: list[Protected], lab: Lab) -> None:
    for role in physical:
        with opened(lab.state.physical[role.name]) as bmc:
            before = bmc.asset_tag()
            with pytest.raises(Leased, match=f"{lab.folder.name} works with this machine"):
                BmcLease(bmc, "0" * 8).acquire("another", 60)
            assert bmc.asset_tag() == before
