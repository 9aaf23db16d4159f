"""What is kept of machines that a stack made by itself."""

from dataclasses import replace

import pytest

from lab.errors import LabError
from lab.hypervisors.memory import MemoryHypervisor
from lab.provision.artifacts import collect
from lab.provision.blueprint import blueprint
from lab.provision.home import LabFolder
from lab.provision.lab import Lab
from lab.provision.login import origin_of
from lab.provision.up import first_state
from lab.topology.model import Topology


@pytest.fixture
def lab(folder: LabFolder, embedded: Topology) -> Lab:
    return Lab(embedded, folder, first_state(embedded, "lab1", "tcg", {"app1": "ssh-ed25519 AAAA"}), MemoryHypervisor())


def run_machine(lab: Lab, name: str) -> None:
    plan = blueprint(lab.topology, "app1")
    lab.hypervisor.define(replace(plan.spec, name=name, disks=()))
    lab.hypervisor.power_on(name)


@pytest.mark.parametrize("name", ["app1", "app1-replica", "app1-test", "app1-failback"])
def test_whatever_a_stack_makes_of_a_machine_shows_its_host_key(name: str) -> None:
    assert origin_of(name) == "app1"


def test_a_machine_of_unknown_origin_is_no_end_of_the_run(lab: Lab) -> None:
    run_machine(lab, "someone-else")
    with pytest.raises(LabError, match="no host key of someone-else"):
        lab.machine("someone-else")
    collect(lab, lab.folder.path / "machines")
    said = (lab.folder.path / "machines/someone-else/not-collected.txt").read_text()
    assert "no host key of someone-else" in said
