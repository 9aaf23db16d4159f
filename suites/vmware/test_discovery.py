"""The stack knows the machines of the vCenter by itself, and takes in no machine that is not there.

About a minute: the inventory is read and a machine without disks comes, is renamed and goes. It comes before
replication begins: how a machine is to be protected can be changed only while it is not protected.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from fixtures.stacks import INSTALL_SECONDS, Protected
from lab.hypervisors.esxi import EsxiHypervisor
from lab.hypervisors.model import MachineSpec
from lab.hypervisors.protocols import HypervisorError
from lab.hypervisors.routed import driver_of_kind
from lab.provision.esxi import as_reader, open_esxi
from lab.provision.lab import Lab
from lab.stacks.deployment import Discovered, SiteInventory
from lab.stacks.jobs import JobFailed
from lab.stacks.machines import Operation
from lab.stacks.protocol import Stack
from lab.topology.hosts import EsxiHost
from lab.topology.model import Topology
from lab.waiting import Deadline, wait_until
from reports.evidence import EvidenceRecorder

FOLLOW_SECONDS = 15.0
"""The bound: the stack's inventory is this far behind the host's at most."""
REFUSAL_SECONDS = 120.0

pytestmark = [pytest.mark.needs_esxi, pytest.mark.requirement("V2A-ESX", "V2S-ESX")]


@pytest.fixture
def host(lab: Lab) -> EsxiHypervisor:
    """The host or vCenter with every right, as its administrator has it."""
    found = driver_of_kind(lab.hypervisor, EsxiHypervisor)
    assert found is not None, "the lab has no ESXi host"
    return found


@pytest.fixture
def newcomer(host: EsxiHypervisor) -> Iterator[str]:
    """The name of a machine that does not exist; it is gone afterwards, whatever a test did with it."""
    name = f"newcomer-{secrets.token_hex(3)}"
    yield name
    if any(machine.name == name for machine in host.machines()):
        host.undefine(name)


@pytest.mark.requirement("GEN-V2S-HOST", "GEN-V2A-HOST", "V2A-PS-DISCOVER")
def test_the_protected_machines_are_on_a_host_that_the_stack_looks_at(
    stack: Stack, everyone: list[Protected], topology: Topology, evidence: EvidenceRecorder
) -> None:
    found = stack.inventory()
    evidence.attach("inventory.txt", "\n".join(f"{site}: {inventory}" for site, inventory in found.items()))
    for role in everyone:
        site = topology.machines[role.name].site
        known = {machine.name: machine for machine in found[site].machines}
        assert known[role.name].power == "on"


def test_a_stand_alone_host_is_advised_against_and_a_vcenter_is_not(stack: Stack, topology: Topology) -> None:
    for site, inventory in stack.inventory().items():
        host = topology.hosts[topology.sites[site].host]
        assert isinstance(host, EsxiHost)
        assert inventory.problem is None
        if host.emulated:
            assert inventory.vcenter == host.vcenter
        assert any("no-vcenter" in advisory for advisory in inventory.advisories) != inventory.vcenter


@pytest.mark.requirement("V2A-PS-DISCOVER")
def test_a_machine_that_comes_is_renamed_and_goes_is_followed(
    stack: Stack, host: EsxiHypervisor, newcomer: str, everyone: list[Protected], topology: Topology
) -> None:
    site = topology.machines[everyone[0].name].site
    renamed = f"{newcomer} under another name"

    def seen() -> Discovered | None:
        return next((machine for machine in _of(stack, site).machines if machine.name == newcomer), None)

    assert seen() is None
    host.define(MachineSpec(newcomer, 1, 64, (), (), None))
    _within_bound(lambda: seen() is not None, f"{newcomer} in the inventory of {site}")
    first = seen()
    assert first is not None
    assert first.power == "off"
    machine = host.site.find(newcomer)
    host.site.run(f"renaming of {newcomer}", lambda: machine.ref.Rename_Task(renamed))
    _within_bound(lambda: getattr(seen(), "display_name", "") == renamed, f"the new name of {newcomer}")
    host.undefine(newcomer)
    _within_bound(lambda: seen() is None, f"{newcomer} out of the inventory of {site}")


@pytest.mark.requirement("V2A-PS-DISCOVER")
def test_the_account_of_discovery_changes_nothing(lab: Lab, host: EsxiHypervisor, newcomer: str) -> None:
    """The converse: the same call with the administrator's account makes the machine."""
    assert lab.state.esxi is not None
    access = as_reader(lab.state.esxi)
    assert access is not None, "the stack looks with an account that may change the host"
    reader = open_esxi(access, lab.folder.name, lab.folder.path.parent)
    spec = MachineSpec(newcomer, 1, 64, (), (), None)
    try:
        with pytest.raises(HypervisorError, match="NoPermission"):
            reader.define(spec)
    finally:
        reader.close()
    assert newcomer not in {machine.name for machine in host.machines()}
    assert host.define(spec).name == newcomer


@pytest.mark.requirement("GEN-V2S-HOST", "GEN-V2A-HOST", "LAB-REFUSAL")
def test_a_machine_that_no_host_has_is_refused_before_anything_is_put_on_it(
    stack: Stack, everyone: list[Protected]
) -> None:
    """The control is every installation that follows: the same machine under its own name is taken in."""
    role = everyone[-1]
    components = {component.id for component in stack.components()}
    stack.protect(role.name, {"vmware": "elsewhere"})
    try:
        with pytest.raises(JobFailed) as refusal:
            stack.run(role.name, Operation.PUSH_INSTALL, Deadline.after(REFUSAL_SECONDS))
    finally:
        stack.protect(role.name)
    error = refusal.value.job.error
    assert error is not None
    assert error.type == "not-on-esxi"
    assert "elsewhere" in error.message, "what was looked for is not named"
    assert role.name in error.message, "what is there is not named"
    assert [step.name for step in refusal.value.job.steps] == ["find-in-inventory"]
    assert {component.id for component in stack.components()} == components
    found = stack.run(role.name, Operation.PUSH_INSTALL, Deadline.after(INSTALL_SECONDS))
    assert [step.name for step in found.steps] == ["find-in-inventory", "push-install"]


def _of(stack: Stack, site: str) -> SiteInventory:
    inventory = stack.inventory()[site]
    assert inventory.problem is None
    return inventory


def _within_bound(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, Deadline.after(FOLLOW_SECONDS), what)
