"""What only two hosts of one lab can get wrong; what one host does is in the contract."""

import pytest

from lab.hypervisors.memory import MemoryHypervisor
from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec
from lab.hypervisors.protocols import Conflict, NotFound
from lab.hypervisors.routed import RoutedHypervisor, driver_of_kind

MIB = 1 << 20
LEFT, RIGHT = DiskId("app1-data"), DiskId("app2-data")


def spec(name: str) -> MachineSpec:
    return MachineSpec(name, 1, 64, (), (), None)


@pytest.fixture
def hosts() -> RoutedHypervisor:
    places = {"app1": "left", "app1-data": "left", "app2": "right", "app2-data": "right"}
    found = RoutedHypervisor({"left": MemoryHypervisor(), "right": MemoryHypervisor()}, places.get)
    for name in ("app1", "app2", "anything"):
        found.define(spec(name))
    for disk in (LEFT, RIGHT):
        found.create_disk(disk, MIB)
    return found


def test_everything_is_made_at_its_place_and_the_rest_at_the_first(hosts: RoutedHypervisor) -> None:
    left, right = hosts.drivers["left"], hosts.drivers["right"]
    assert [machine.name for machine in left.machines()] == ["anything", "app1"]
    assert [machine.name for machine in right.machines()] == ["app2"]
    assert [disk.id for disk in left.disks()] == [LEFT]
    assert [disk.id for disk in right.disks()] == [RIGHT]
    assert [machine.name for machine in hosts.machines()] == ["anything", "app1", "app2"]


def test_what_somebody_else_made_on_either_host_is_found(hosts: RoutedHypervisor) -> None:
    hosts.drivers["right"].define(spec("app1-replica"))
    hosts.power_on("app1-replica")
    assert hosts.drivers["right"].power("app1-replica") == hosts.power("app1-replica")
    with pytest.raises(NotFound, match="nobody"):
        hosts.machine("nobody")


def test_a_name_is_given_once_on_both_hosts_together(hosts: RoutedHypervisor) -> None:
    hosts.drivers["left"].create_disk(DiskId("app2-more"), MIB)
    hosts.drivers["right"].define(spec("other"))
    with pytest.raises(Conflict, match="other"):
        hosts.define(spec("other"))
    with pytest.raises(Conflict, match="app2-more"):
        hosts.create_disk(DiskId("app2-more"), MIB)


def test_a_disk_does_not_go_into_a_machine_of_the_other_host(hosts: RoutedHypervisor) -> None:
    with pytest.raises(Conflict, match="is on another host than app2"):
        hosts.attach_disk("app2", DiskAttachment(LEFT, "data"))
    hosts.attach_disk("app1", DiskAttachment(LEFT, "data"))
    assert hosts.disk(LEFT).attached_to == "app1"


def test_a_driver_is_found_by_its_kind(hosts: RoutedHypervisor) -> None:
    assert driver_of_kind(hosts, MemoryHypervisor) is hosts.drivers["left"]
    alone = MemoryHypervisor()
    assert driver_of_kind(alone, MemoryHypervisor) is alone
    assert driver_of_kind(alone, RoutedHypervisor) is None
