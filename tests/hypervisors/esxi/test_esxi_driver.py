"""What only the ESXi driver promises: faults, files, places and disks."""

import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from esxi_backends import MEMORY, VCENTER, Emulated, emulated
from esxi_machines import MIB, SYSTEM, spec
from pyVmomi import vim, vmodl

from lab.emulators.common.faults import Drop, Fail
from lab.hypervisors.esxi import EsxiHypervisor, Placement, connect
from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Management, Nic
from lab.hypervisors.protocols import (
    Conflict,
    Discovery,
    FreeLicence,
    Hypervisor,
    HypervisorError,
    NotFound,
    PortGroups,
    Snapshots,
)
from lab.replication.common.config import Endpoint
from lab.replication.fabric.config import Driver, FabricConfig
from lab.replication.fabric.inventory import Inventory
from lab.waiting import Deadline, DeadlineExceeded


def test_the_driver_has_every_ability(driver: EsxiHypervisor) -> None:
    """The type checker reads this: a driver that lacks an ability does not pass it."""
    hypervisor: Hypervisor = driver
    discovery: Discovery = driver
    snapshots: Snapshots = driver.snapshots
    networks: PortGroups = driver.port_groups
    assert all((hypervisor, discovery, snapshots, networks))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (vim.fault.NotFound(msg="gone"), NotFound),
        (vim.fault.FileNotFound(file="x", msg="gone"), NotFound),
        (vim.fault.InvalidPowerState(msg="busy"), Conflict),
        (vim.fault.TaskInProgress(msg="busy"), Conflict),
        (vim.fault.ResourceInUse(msg="busy"), Conflict),
        (vim.fault.RestrictedVersion(msg="no"), FreeLicence),
        (vmodl.fault.SystemError(reason="r", msg="broken"), HypervisorError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_a_fault_of_the_host_is_ours_with_its_words(
    host: Emulated, driver: EsxiHypervisor, fault: vmodl.MethodFault, expected: type[HypervisorError]
) -> None:
    driver.define(spec("m1"))
    words = fault.msg
    host.emulator.faults.next("PowerOnVM_Task", Fail(fault))
    with pytest.raises(HypervisorError, match=f"start of m1: {words}") as caught:
        driver.power_on("m1")
    assert type(caught.value) is expected


def test_a_slow_task_ends_with_the_deadline(host: Emulated, driver: EsxiHypervisor) -> None:
    driver.create_disk(SYSTEM, MIB)
    driver.define(spec("m1", SYSTEM))
    machine = host.emulator.site.machines[0]
    with machine.lock:  # somebody else's work on this machine does not end
        thread = threading.Thread(target=_detach_late, args=(driver,))
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
    assert LATE == ["disk m1-system out of m1 was not done within 1 s"]


LATE: list[str] = []


def _detach_late(driver: EsxiHypervisor) -> None:
    LATE.clear()
    try:
        driver.detach_disk("m1", SYSTEM, Deadline.after(1))
    except DeadlineExceeded as error:
        LATE.append(str(error))


def test_a_dropped_connection_is_tried_again_only_for_what_may_be_repeated(
    host: Emulated, driver: EsxiHypervisor
) -> None:
    host.emulator.faults.next("RetrievePropertiesEx", Drop())
    assert list(driver.machines()) == []
    host.emulator.faults.next("CreateVM_Task", Drop(after=True))
    with pytest.raises(HypervisorError, match="does not answer"):
        driver.define(spec("m1"))
    host.emulator.site.tasks.settle(10)
    assert [machine.name for machine in driver.machines()] == ["m1"]
    host.emulator.faults.next("RetrievePropertiesEx", Drop(), Drop())
    with pytest.raises(HypervisorError, match="does not answer"):
        driver.machines()


def test_a_broken_transfer_of_a_file_is_an_error(tls: Emulated, stack: ExitStack, tmp_path: Path) -> None:
    driver = tls.driver("mine")
    stack.callback(driver.close)
    image = tmp_path / "image.raw"
    image.write_bytes(b"x" * MIB)
    for mishap in (Drop(), Fail(vmodl.fault.SystemError(reason="r", msg="out of space"))):
        tls.emulator.faults.next("/folder", mishap)
        with pytest.raises(HypervisorError, match=r"flat\.vmdk"):
            driver.import_disk(SYSTEM, image, MIB)
        assert list(driver.disks()) == []
    driver.import_disk(SYSTEM, image, MIB)
    assert tls.file_of("mine", SYSTEM).read_bytes() == b"x" * MIB


def test_a_qcow2_image_is_imported_as_what_it_shows(tls: Emulated, stack: ExitStack, tmp_path: Path) -> None:
    driver = tls.driver("mine")
    stack.callback(driver.close)
    raw, image = tmp_path / "image.raw", tmp_path / "image.qcow2"
    raw.write_bytes(b"content".ljust(MIB, b"\1"))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(image)], check=True, timeout=60)
    assert driver.import_disk(SYSTEM, image, 3 * MIB).size_bytes == 3 * MIB
    assert tls.file_of("mine", SYSTEM).read_bytes() == raw.read_bytes().ljust(3 * MIB, b"\0")


def test_networks_come_and_go(host: Emulated, driver: EsxiHypervisor) -> None:
    driver.define(spec("m1", nics=(Nic("primary", "52:54:00:00:00:02"),)))
    driver.port_groups.ensure_network("primary")
    driver.port_groups.ensure_network("wan")
    assert driver.port_groups.networks() == ["primary", "wan"]
    with pytest.raises(Conflict, match=r"in use by mine\.m1"):
        driver.port_groups.remove_network("primary")
    with pytest.raises(NotFound, match="nowhere"):
        driver.port_groups.remove_network("nowhere")
    driver.undefine("m1")
    driver.port_groups.remove_network("primary")
    assert driver.port_groups.networks() == ["wan"]
    assert "VM Network" in host.emulator.site.networks


def test_a_hundred_machines_are_listed_in_one_round_trip(host: Emulated, driver: EsxiHypervisor) -> None:
    for number in range(100):
        driver.site.run(
            "machine",
            lambda number=number: driver.site.host.machines.CreateVM_Task(  # type: ignore[misc]
                _config(driver, f"m{number:03}"), driver.site.host.pool
            ),
        )
    driver.machines()
    calls: list[str] = []
    take = host.emulator.faults.take
    host.emulator.faults.take = lambda method: calls.append(method) or take(method)  # type: ignore[method-assign,func-returns-value]
    found = driver.machines()
    assert calls == ["RetrievePropertiesEx"]
    assert [machine.name for machine in found] == [f"m{number:03}" for number in range(100)]


def _config(driver: EsxiHypervisor, name: str) -> object:
    from lab.hypervisors.esxi.spec import config_spec

    return config_spec(spec(name), driver.site.names, Placement())


def test_more_objects_than_a_page_are_read_all(host: Emulated, driver: EsxiHypervisor, monkeypatch) -> None:
    monkeypatch.setattr("lab.hypervisors.esxi.session.PAGE", 2)
    for name in "abcde":
        driver.define(spec(name))
    assert [machine.name for machine in driver.machines()] == list("abcde")


def test_places_that_do_not_exist_are_named_with_those_that_do(tls: Emulated) -> None:
    for placement, message in (
        (Placement(datastore="san7"), r"datastore san7: does not exist; there are: datastore1"),
        (Placement(datacenter="dc7"), r"datacenter dc7: does not exist; there are: ha-datacenter"),
        (Placement(host="esx7"), r"host esx7: does not exist; there are: emulated-esxi"),
    ):
        with pytest.raises(NotFound, match=message):
            connect(tls.target(), "mine", tls.home, placement)


@pytest.mark.parametrize("name", ["../x", "a/b", "x-flat", "x-000001", "x-ctk", "", "[other] x", "-x"])
def test_names_that_are_no_disks_are_refused(driver: EsxiHypervisor, name: str) -> None:
    with pytest.raises(HypervisorError, match="is no name for a disk"):
        driver.create_disk(DiskId(name), MIB)


def test_a_size_that_the_host_cannot_make_is_refused(driver: EsxiHypervisor) -> None:
    with pytest.raises(HypervisorError, match="whole KiB, not of 1536 bytes"):
        driver.create_disk(SYSTEM, 1536)


def test_a_second_controller_takes_the_sixteenth_disk(driver: EsxiHypervisor) -> None:
    disks = [DiskId(f"d{number:02}") for number in range(17)]
    for disk in disks:
        driver.create_disk(disk, MIB)
    driver.define(spec("m1", *disks[:15]))
    for disk in disks[15:]:
        driver.attach_disk("m1", DiskAttachment(disk, disk.name))
    assert [item.disk for item in driver.machine("m1").disks] == disks


def test_a_disk_goes_into_a_running_machine_and_out_again(host: Emulated, driver: EsxiHypervisor) -> None:
    driver.create_disk(SYSTEM, MIB)
    driver.define(spec("m1"))
    driver.power_on("m1")
    driver.attach_disk("m1", DiskAttachment(SYSTEM, "system"))
    driver.detach_disk("m1", SYSTEM, Deadline.after(5))
    assert driver.machine("m1").disks == ()
    assert driver.disk(SYSTEM).attached_to is None
    driver.attach_disk("m1", DiskAttachment(SYSTEM, "again"))
    driver.power_off("m1")
    assert driver.machine("m1").disks == (DiskAttachment(SYSTEM, "again"),)


def test_the_console_is_fetched(host: Emulated, driver: EsxiHypervisor) -> None:
    driver.define(spec("m1"))
    driver.power_on("m1")
    folder = host.emulator.site.folder.root / "recovery-lab-mine" / "consoles"
    (folder / "m1.log").write_bytes(b"Linux version 6.1")
    assert driver.console_log("m1").read_bytes() == b"Linux version 6.1"


@pytest.mark.parametrize("kind", [MEMORY, VCENTER])
def test_a_fabric_works_on_it_without_change(kind: str, tmp_path: Path, stack: ExitStack) -> None:
    driver = emulated(kind, tmp_path / "host", stack).driver("mine")
    stack.callback(driver.close)
    driver.define(MachineSpec("mt1", 1, 64, (), (), Management("52:54:00:00:00:09")))
    config = FabricConfig("f", Endpoint("127.0.0.1", 0), tmp_path, Driver("memory"), frozenset({"mt1"}))
    fabric = Inventory(config, driver)
    assert fabric.create_disk({"name": "app1-replica", "size": MIB}) == {"name": "app1-replica", "size": MIB}
    assert fabric.create_disk({"name": "app1-replica", "size": MIB})["size"] == MIB
    serial = fabric.attach_disk("app1-replica", {"machine": "mt1"})["serial"]
    assert fabric.attach_disk("app1-replica", {"machine": "mt1"}) == {"serial": serial}
    assert fabric.machine("mt1")["disks"][0]["serial"] == serial
    fabric.clone_disk("app1-replica", {"name": "app1-test-copy"})
    fabric.detach_disk("app1-replica")
    disks = [{"disk": "app1-replica"}]
    made = fabric.create_machine({"name": "app1-replica", "cpus": 1, "memory_mib": 64, "disks": disks})
    assert made["state"] == "off"
    assert fabric.switch("app1-replica", {"action": "on"}) == {"state": "on"}
    assert fabric.switch("app1-replica", {"action": "off"}) == {"state": "off"}
    fabric.delete_machine("app1-replica")
    fabric.delete_disk("app1-replica")
    fabric.delete_disk("app1-test-copy")
