"""The topology of the rows beside peers: an image with their tools, and equal spare disks on both machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.bench.equipped import IMAGE, RECIPE, data_disk, equipped, protected_disks
from lab.errors import BadInput
from lab.images.recipe import load_recipe
from lab.provision.blueprint import blueprint
from lab.stacks.reference.settings import protected_disks as of_the_stack
from lab.topology.load import load_topology
from lab.topology.machines import Purpose
from lab.topology.model import Topology

TOPOLOGIES = Path(__file__).parents[2] / "topologies"


@pytest.fixture(scope="module")
def embedded() -> Topology:
    return load_topology(TOPOLOGIES / "embedded.yaml")


def test_the_image_has_the_tools_of_every_peer() -> None:
    recipe = load_recipe(RECIPE)
    assert {"fio", "rsync", "drbd-utils", "wireguard-tools", "zstd"} <= set(recipe.packages)
    assert {"drbd.service", "rsync.service"} <= set(recipe.masked_units)


def test_both_ends_have_a_disk_as_large_as_what_is_protected(embedded: Topology) -> None:
    larger = equipped(embedded)
    for name in ("app1", "app2"):
        total = sum(disk.size for disk in protected_disks(larger.machines[name]))
        for one in (name, "mt1"):
            plan = blueprint(larger, one)
            sizes = {disk.serial: plan.disk_sizes[disk.disk] for disk in plan.spec.disks}
            assert sizes[f"mirror-{name}"] == total
            assert f"meta-{name}" in sizes


def test_the_stack_protects_what_it_did_before(embedded: Topology) -> None:
    larger = equipped(embedded)
    names = [disk["name"] for disk in of_the_stack(larger.machines["app1"])]
    assert names == ["system", "data"] == [disk.name for disk in protected_disks(larger.machines["app1"])]


def test_the_machine_that_is_filled_has_room_and_the_other_one_is_as_tight_as_it_was(embedded: Topology) -> None:
    larger = equipped(embedded)
    sizes = {name: data_disk(larger, name).size >> 20 for name in ("app1", "app2")}
    assert sizes == {"app1": 512, "app2": 256}
    assert larger.machines["app2"].disks[:3] == embedded.machines["app2"].disks


def test_machines_that_take_no_part_are_as_they_were(embedded: Topology) -> None:
    before, larger = embedded.digest, equipped(embedded)
    assert larger.machines["ps1"] == embedded.machines["ps1"]
    assert {name for name, machine in larger.machines.items() if machine.image == IMAGE} == {"app1", "app2", "mt1"}
    assert (larger.source, larger.stack, larger.networks) == (embedded.source, embedded.stack, embedded.networks)
    assert larger.digest != before == embedded.digest


@pytest.mark.parametrize(("file", "why"), [("drbd", "no machine is protected"), ("vmware-to-azure", "Azure")])
def test_a_topology_without_a_master_target_is_refused(file: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        equipped(load_topology(TOPOLOGIES / f"{file}.yaml"))


def test_a_master_target_has_room_for_ten_minutes_of_churn(embedded: Topology) -> None:
    two_machines, rate, seconds = 2, 5_000_000, 600
    before, larger = embedded.machines["mt1"], equipped(embedded).machines["mt1"]
    small, large = (
        disk.size for machine in (before, larger) for disk in machine.disks if disk.purpose is Purpose.RETENTION
    )
    assert large > two_machines * rate * seconds > small
    assert larger.memory > before.memory
