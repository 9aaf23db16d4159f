"""What only two hosts of one lab can get wrong; what one host does is in the contract."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.hypervisors.memory import MemoryHypervisor
from lab.hypervisors.model import Disk, DiskAttachment, DiskId, Machine, MachineSpec, PowerState
from lab.hypervisors.protocols import Conflict, NotFound, Unreachable
from lab.hypervisors.routed import RoutedHypervisor, driver_of_kind

MIB = 1 << 20
LEFT, RIGHT = DiskId("app1-data"), DiskId("app2-data")


def spec(name: str) -> MachineSpec:
    return MachineSpec(name, 1, 64, (), (), None)


@pytest.fixture
def hosts() -> RoutedHypervisor:
    places = {"app1": "left", "app1-data": "left", "app2": "right", "app2-data": "right", "app2-data-more": "right"}
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


class Silent(MemoryHypervisor):
    """A host that is off: it answers nothing."""

    def power(self, name: str) -> PowerState:
        raise Unreachable(f"machine {name}: Broken pipe")

    def disk(self, disk: DiskId) -> Disk:
        raise Unreachable(f"disk {disk.name}: Broken pipe")

    def machines(self) -> Sequence[Machine]:
        raise Unreachable("list of machines: Broken pipe")

    def disks(self) -> Sequence[Disk]:
        raise Unreachable("list of disks: Broken pipe")


@pytest.fixture
def outage(hosts: RoutedHypervisor) -> RoutedHypervisor:
    return RoutedHypervisor({"left": Silent(), "right": hosts.drivers["right"]}, hosts.place_of)


def test_a_silent_host_does_not_hide_what_is_on_another(outage: RoutedHypervisor) -> None:
    assert outage.power("app2") is PowerState.OFF
    assert outage.disk(RIGHT).size_bytes == MIB
    assert [machine.name for machine in outage.machines()] == ["app2"]
    assert [disk.id for disk in outage.disks()] == [RIGHT]


def test_what_may_be_on_a_silent_host_is_not_called_missing(outage: RoutedHypervisor) -> None:
    with pytest.raises(Unreachable, match=r"machine app1: is on no host that answers, and .*Broken pipe"):
        outage.power_on("app1")
    with pytest.raises(Unreachable, match="disk app1-data"):
        outage.disk(LEFT)


def test_the_console_of_a_machine_on_a_silent_host_is_what_is_known_of_it(
    outage: RoutedHypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[str] = []

    def copied(name: str) -> Path:
        copies.append(name)
        return tmp_path / name

    monkeypatch.setattr(outage.drivers["left"], "console_log", copied)
    assert outage.console_log("app1") == tmp_path / "app1"
    assert copies == ["app1"], "it is fetched once"


def test_a_machine_is_made_beside_a_silent_host(outage: RoutedHypervisor) -> None:
    with pytest.raises(Conflict, match="app2"):
        outage.define(spec("app2"))
    outage.undefine("app2")
    assert outage.define(spec("app2")).name == "app2"
    outage.create_disk(DiskId("app2-data-more"), MIB)
