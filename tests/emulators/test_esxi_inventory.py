"""What the emulator does with calls of an unmodified pyVmomi client; marked where a real host was never asked."""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from esxi_host import Client, Device, card, controller, emulator, new_disk
from hypothesis import given
from hypothesis import strategies as st
from pyVmomi import vim, vmodl

from lab.emulators.esxi import vmx
from lab.emulators.esxi.backend import Extent
from lab.emulators.esxi.configuration import new_config
from lab.emulators.esxi.devices import apply_changes, default_devices
from lab.emulators.esxi.disk_files import merged
from lab.emulators.esxi.registry import snake
from lab.emulators.esxi.stub import InProcessStub

Collector = vmodl.query.PropertyCollector


@pytest.fixture(params=[False, True], ids=["host", "vcenter"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    with emulator(tmp_path, vcenter=request.param) as found:
        yield Client(found)
        assert found.unknown == []


def test_nothing_is_told_before_the_login(tmp_path: Path) -> None:
    with emulator(tmp_path) as found:
        content = vim.ServiceInstance("ServiceInstance", InProcessStub(found)).RetrieveContent()
        with pytest.raises(vim.fault.NotAuthenticated):
            _ = content.rootFolder.childEntity
        with pytest.raises(vim.fault.InvalidLogin):
            content.sessionManager.Login("root", "wrong")
        with pytest.raises(vim.fault.NotAuthenticated):
            content.fileManager.MakeDirectory("[datastore1] x")
        assert list(found.site.folder.root.iterdir()) == []


def test_sessions_begin_and_end(client: Client) -> None:
    manager = client.content.sessionManager
    session = manager.currentSession
    assert manager.SessionIsActive(session.key, "root")
    assert not manager.SessionIsActive(session.key, "another")
    manager.Logout()
    with pytest.raises(vim.fault.NotAuthenticated):
        _ = manager.currentSession


def test_what_is_not_implemented_is_refused_and_noted(tmp_path: Path) -> None:
    with emulator(tmp_path) as found:
        machine = Client(found).create()
        with pytest.raises(vmodl.fault.MethodNotFound):
            machine.ExportVm()
        assert found.unknown == ["vim.VirtualMachine.ExportVm"]


def test_python_names_of_the_server_are_no_operations(client: Client) -> None:
    """Only what is marked can be called: not a helper that happens to have a method's name."""
    found = client.emulator.registry.find(client.create())
    assert found.handler("PowerOnVM_Task") is not None
    assert found.handler("save") is None
    assert found.handler("remove") is None
    assert found.handler("__init__") is None


def test_a_machine_lives(client: Client) -> None:
    machine = client.create("a", controller(), new_disk(), card("VM Network"), annotation="hello")
    assert (machine.name, machine.config.annotation, machine.runtime.powerState) == ("a", "hello", "poweredOff")
    assert client.folder.childEntity == [machine]
    client.result(machine.PowerOnVM_Task())
    assert isinstance(machine.runtime.bootTime, datetime)
    client.result(machine.ResetVM_Task())
    with pytest.raises(vim.fault.InvalidPowerState):
        client.result(machine.PowerOnVM_Task())
    with pytest.raises(vim.fault.InvalidPowerState):
        client.result(machine.Destroy_Task())
    machine.ShutdownGuest()
    assert machine.runtime.powerState == "poweredOff"
    client.result(machine.Destroy_Task())
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = machine.name
    assert list(client.emulator.site.folder.root.iterdir()) == []


def test_names_are_given_once_and_are_names(client: Client) -> None:
    machine = client.create("a")
    with pytest.raises(vim.fault.DuplicateName):
        client.create("a")
    other = client.create("b")
    with pytest.raises(vim.fault.DuplicateName):
        client.result(other.Rename_Task("a"))
    for name in ("", "../x", "a/b", "x" * 81, ".."):
        with pytest.raises(vim.fault.InvalidName):
            client.create(name)
    client.result(machine.Rename_Task("c"))
    assert sorted(item.name for item in client.folder.childEntity) == ["b", "c"]


def test_a_machine_that_cannot_be_made_leaves_nothing(client: Client) -> None:
    missing = new_disk(file="[datastore1] nowhere.vmdk")
    missing.fileOperation = None
    for devices in ([controller(), new_disk(), missing], [card("nowhere")], [new_disk(controller_key=-77)]):
        with pytest.raises((vim.fault.FileNotFound, vim.fault.InvalidDeviceSpec)):
            client.create("a", *devices)
        assert client.folder.childEntity == []
        assert list(client.emulator.site.folder.root.iterdir()) == []


def test_devices_get_keys_and_units(client: Client) -> None:
    machine = client.create("a", controller(), new_disk(unit=3), new_disk(), new_disk())
    disks = [item for item in machine.config.hardware.device if isinstance(item, Device.VirtualDisk)]
    assert [(disk.key, disk.controllerKey, disk.unitNumber) for disk in disks] == [
        (2000, 1000, 3),
        (2001, 1000, 0),
        (2002, 1000, 1),
    ]
    assert [disk.deviceInfo.label for disk in disks] == ["Hard disk 1", "Hard disk 2", "Hard disk 3"]
    with pytest.raises(vim.fault.InvalidDeviceSpec):
        client.result(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[new_disk(unit=3, controller_key=1000)])))


def test_removing_a_disk_keeps_or_destroys_its_files(client: Client) -> None:
    machine = client.create("a", controller(), new_disk(), new_disk())
    disks = [item for item in machine.config.hardware.device if isinstance(item, Device.VirtualDisk)]
    for disk, operation in zip(disks, (None, "destroy"), strict=True):
        change = Device.VirtualDeviceSpec(operation="remove", device=disk, fileOperation=operation)
        client.result(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))
    names = {file.name for file in (client.emulator.site.folder.root / "a").iterdir()}
    assert names == {"a.vmx", "a.vmdk", "a-flat.vmdk"}


@pytest.mark.unverified_on_real_host
def test_processors_and_memory_are_changed_only_while_it_is_off(client: Client) -> None:
    machine = client.create("a")
    client.result(machine.ReconfigVM_Task(vim.vm.ConfigSpec(numCPUs=2, memoryMB=128)))
    assert (machine.config.hardware.numCPU, machine.config.hardware.memoryMB) == (2, 128)
    client.result(machine.PowerOnVM_Task())
    with pytest.raises(vim.fault.CpuHotPlugNotSupported):
        client.result(machine.ReconfigVM_Task(vim.vm.ConfigSpec(numCPUs=1)))
    with pytest.raises(vim.fault.MemoryHotPlugNotSupported):
        client.result(machine.ReconfigVM_Task(vim.vm.ConfigSpec(memoryMB=64)))
    client.result(machine.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="hot")))
    assert machine.config.annotation == "hot"


def test_a_machine_is_taken_out_and_in_again_by_its_file(client: Client) -> None:
    options = [vim.option.OptionValue(key="my.key", value='a "quoted" | value')]
    machine = client.create("a", controller(), new_disk(), card("VM Network"), extraConfig=options, annotation="x\ny")
    path, mac = machine.config.files.vmPathName, machine.config.hardware.device[-1].macAddress
    machine.UnregisterVM()
    assert client.folder.childEntity == []
    again = client.result(client.folder.RegisterVM_Task(path, None, False, client.pool))
    assert (again.name, again.config.annotation) == ("a", "x\ny")
    assert {item.key: item.value for item in again.config.extraConfig}["my.key"] == 'a "quoted" | value'
    assert [
        item.macAddress for item in again.config.hardware.device if isinstance(item, Device.VirtualEthernetCard)
    ] == [mac]
    with pytest.raises(vim.fault.AlreadyExists):
        client.result(client.folder.RegisterVM_Task(path, "b", False, client.pool))
    with pytest.raises(vim.fault.FileNotFound):
        client.result(client.folder.RegisterVM_Task("[datastore1] no.vmx", "b", False, client.pool))
    client.result(again.PowerOnVM_Task())


def test_a_disk_that_a_running_machine_writes_is_locked(client: Client) -> None:
    first = client.create("a", controller(), new_disk())
    shared = new_disk(file="[datastore1] a/a.vmdk")
    shared.fileOperation = None
    second = client.create("b", controller(), shared)
    client.result(first.PowerOnVM_Task())
    with pytest.raises(vim.fault.FileLocked):
        client.result(second.PowerOnVM_Task())
    manager = client.content.virtualDiskManager
    with pytest.raises(vim.fault.FileLocked):
        client.result(manager.DeleteVirtualDisk_Task("[datastore1] a/a.vmdk", client.datacenter))
    with pytest.raises(vim.fault.FileLocked):
        client.result(client.content.fileManager.DeleteDatastoreFile_Task("[datastore1] a", client.datacenter))
    client.result(first.PowerOffVM_Task())
    client.result(second.PowerOnVM_Task())


def test_files_of_the_datastore(client: Client) -> None:
    manager, datacenter = client.content.fileManager, client.datacenter
    manager.MakeDirectory("[datastore1] x/y", datacenter, True)
    with pytest.raises(vim.fault.FileAlreadyExists):
        manager.MakeDirectory("[datastore1] x", datacenter)
    with pytest.raises(vim.fault.FileNotFound):
        manager.MakeDirectory("[datastore1] p/q", datacenter)
    file = client.emulator.site.folder.root / "x" / "f.iso"
    file.write_bytes(b"content")
    client.result(
        manager.CopyDatastoreFile_Task("[datastore1] x/f.iso", datacenter, "[datastore1] x/y/g.iso", datacenter)
    )
    client.result(
        manager.MoveDatastoreFile_Task("[datastore1] x/f.iso", datacenter, "[datastore1] x/h.iso", datacenter)
    )
    browser = client.datacenter.datastore[0].browser
    spec = vim.host.DatastoreBrowser.SearchSpec(matchPattern=["*.iso"])
    found = client.result(browser.SearchDatastoreSubFolders_Task("[datastore1] x", spec))
    listed = {(folder.folderPath, item.path) for folder in found for item in folder.file}
    assert listed == {("[datastore1] x", "h.iso"), ("[datastore1] x/y", "g.iso")}
    with pytest.raises(vim.fault.FileNotFound):
        client.result(browser.SearchDatastore_Task("[datastore1] nowhere", spec))
    client.result(manager.DeleteDatastoreFile_Task("[datastore1] x", datacenter))
    assert not (client.emulator.site.folder.root / "x").exists()


@pytest.mark.parametrize("path", ["[datastore1] ../x", "[datastore1] a/../../x", "[other] x", "x", "[datastore1"])
def test_no_datastore_path_leads_outside(client: Client, path: str) -> None:
    manager = client.content.fileManager
    with pytest.raises(vim.fault.InvalidDatastorePath):
        manager.MakeDirectory(path, client.datacenter, True)
    with pytest.raises(vim.fault.InvalidDatastorePath):
        client.result(manager.DeleteDatastoreFile_Task(path, client.datacenter))


def test_the_datastore_itself_stays(client: Client) -> None:
    with pytest.raises(vim.fault.CannotDeleteFile):
        client.result(client.content.fileManager.DeleteDatastoreFile_Task("[datastore1]", client.datacenter))


def test_virtual_disks(client: Client) -> None:
    manager, datacenter = client.content.virtualDiskManager, client.datacenter
    spec = vim.VirtualDiskManager.FileBackedVirtualDiskSpec(diskType="thin", adapterType="lsiLogic", capacityKb=1024)
    client.result(manager.CreateVirtualDisk_Task("[datastore1] d.vmdk", datacenter, spec))
    with pytest.raises(vim.fault.FileAlreadyExists):
        client.result(manager.CreateVirtualDisk_Task("[datastore1] d.vmdk", datacenter, spec))
    client.result(manager.CopyVirtualDisk_Task("[datastore1] d.vmdk", datacenter, "[datastore1] e.vmdk", datacenter))
    uuids = {manager.QueryVirtualDiskUuid(f"[datastore1] {name}.vmdk", datacenter) for name in "de"}
    assert len(uuids) == 2
    client.result(manager.DeleteVirtualDisk_Task("[datastore1] d.vmdk", datacenter))
    names = sorted(file.name for file in client.emulator.site.folder.root.iterdir())
    assert names == ["e-flat.vmdk", "e.vmdk"]


def test_things_are_found(client: Client) -> None:
    machine = client.create("a")
    index = client.content.searchIndex
    assert index.FindByUuid(None, machine.config.uuid, True, False) == machine
    assert index.FindByUuid(None, machine.config.instanceUuid, True, True) == machine
    assert index.FindByUuid(None, "nothing", True) is None
    assert index.FindByInventoryPath(f"{client.datacenter.name}/vm/a") == machine
    assert index.FindByInventoryPath("nowhere/vm/a") is None
    assert index.FindChild(client.folder, "a") == machine


def test_reads_come_in_pages(client: Client) -> None:
    for name in "abcde":
        client.create(name)
    view = client.content.viewManager.CreateContainerView(client.content.rootFolder, [vim.VirtualMachine], True)
    step = Collector.TraversalSpec(name="v", type=vim.view.ContainerView, path="view", skip=False)
    spec = Collector.FilterSpec(
        objectSet=[Collector.ObjectSpec(obj=view, skip=True, selectSet=[step])],
        propSet=[Collector.PropertySpec(type=vim.VirtualMachine, pathSet=["name", "snapshot"])],
    )
    collector = client.content.propertyCollector
    sizes, names = [], []
    answer = collector.RetrievePropertiesEx([spec], Collector.RetrieveOptions(maxObjects=2))
    while answer is not None:
        sizes.append(len(answer.objects))
        names += [item.val for each in answer.objects for item in each.propSet]
        answer = collector.ContinueRetrievePropertiesEx(answer.token) if answer.token else None
    assert (sizes, names) == ([2, 2, 1], list("abcde"))
    spec.propSet[0].pathSet = ["nonsense"]
    with pytest.raises(vmodl.query.InvalidProperty):
        collector.RetrievePropertiesEx([spec], Collector.RetrieveOptions())
    with pytest.raises(vmodl.fault.InvalidArgument):
        collector.ContinueRetrievePropertiesEx("nonsense")


def test_updates_tell_what_changed_and_nothing_else(client: Client) -> None:
    machine = client.create("a")
    collector = client.content.propertyCollector.CreatePropertyCollector()
    spec = Collector.FilterSpec(
        objectSet=[Collector.ObjectSpec(obj=machine)],
        propSet=[Collector.PropertySpec(type=vim.VirtualMachine, pathSet=["name", "runtime.powerState"])],
    )
    collector.CreateFilter(spec, False)
    first = collector.WaitForUpdatesEx("", Collector.WaitOptions(maxWaitSeconds=5))
    assert first.filterSet[0].objectSet[0].kind == "enter"
    assert collector.WaitForUpdatesEx(first.version, Collector.WaitOptions(maxWaitSeconds=0)) is None
    client.result(machine.PowerOnVM_Task())
    second = collector.WaitForUpdatesEx(first.version, Collector.WaitOptions(maxWaitSeconds=5))
    [change] = second.filterSet[0].objectSet[0].changeSet
    assert (change.name, change.val) == ("runtime.powerState", "poweredOn")
    with pytest.raises(vmodl.query.InvalidCollectorVersion):
        collector.WaitForUpdatesEx("77", Collector.WaitOptions(maxWaitSeconds=0))


def test_each_session_has_a_collector_of_its_own(client: Client) -> None:
    machine, other = client.create("a"), Client(client.emulator)
    spec = Collector.FilterSpec(
        objectSet=[Collector.ObjectSpec(obj=machine)],
        propSet=[Collector.PropertySpec(type=vim.VirtualMachine, pathSet=["name"])],
    )
    client.content.propertyCollector.CreateFilter(spec, False)
    assert other.content.propertyCollector.CheckForUpdates("") is None
    assert client.content.propertyCollector.CheckForUpdates("") is not None


@pytest.mark.unverified_on_real_host
def test_snapshots_with_memory_or_quiescing_are_refused(client: Client) -> None:
    machine = client.create("a", controller(), new_disk())
    client.result(machine.PowerOnVM_Task())
    with pytest.raises(vmodl.fault.NotSupported):
        client.result(machine.CreateSnapshot_Task("s", "", True, False))
    with pytest.raises(vim.fault.ApplicationQuiesceFault):
        client.result(machine.CreateSnapshot_Task("s", "", False, True))
    assert machine.snapshot is None


def test_the_tree_of_snapshots(client: Client) -> None:
    machine = client.create("a", controller(), new_disk())
    for name in ("one", "two"):
        client.result(machine.CreateSnapshotEx_Task(name, "d", False, None))
    [root] = machine.snapshot.rootSnapshotList
    assert (root.name, root.childSnapshotList[0].name) == ("one", "two")
    assert machine.snapshot.currentSnapshot == root.childSnapshotList[0].snapshot
    client.result(root.snapshot.RevertToSnapshot_Task())
    client.result(machine.CreateSnapshot_Task("three", "", False, False))
    [root] = machine.snapshot.rootSnapshotList
    assert [child.name for child in root.childSnapshotList] == ["two", "three"]
    client.result(root.snapshot.RemoveSnapshot_Task(True))
    assert machine.snapshot is None
    client.result(machine.PowerOnVM_Task())
    client.result(machine.RemoveAllSnapshots_Task())
    client.result(machine.PowerOffVM_Task())
    client.result(machine.Destroy_Task())
    assert list(client.emulator.site.folder.root.iterdir()) == []


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=12))
def test_a_union_of_extents_covers_the_same_bytes_once(pairs: list[tuple[int, int]]) -> None:
    extents = [Extent(start, length) for start, length in pairs]
    found = merged(extents)
    covered = {byte for extent in extents for byte in range(extent.start, extent.start + extent.length)}
    told = [byte for extent in found for byte in range(extent.start, extent.start + extent.length)]
    assert told == sorted(covered)
    assert all(left.start + left.length < right.start for left, right in pairwise(found))


@given(st.text(max_size=30), st.dictionaries(st.from_regex(r"my\.[a-z]{1,8}", fullmatch=True), st.text(max_size=20)))
def test_a_configuration_file_says_what_the_configuration_did(note: str, options: dict[str, str]) -> None:
    pairs = [vim.option.OptionValue(key=key, value=value) for key, value in options.items()]
    config = new_config(vim.vm.ConfigSpec(name="a", annotation=note, memoryMB=512, numCPUs=3, extraConfig=pairs))
    config.hardware.device, _ = apply_changes(default_devices(), [controller(), new_disk(file="[d] x.vmdk")])
    again = vmx.from_text(vmx.to_text(config))
    assert vmx.to_entries(again) == vmx.to_entries(config)
    assert again.annotation == note


@pytest.mark.parametrize(
    ("name", "expected"),
    [("CreateVM_Task", "create_vm"), ("childEntity", "child_entity"), ("layoutEx", "layout_ex"), ("name", "name")],
)
def test_names_in_the_way_of_python(name: str, expected: str) -> None:
    assert snake(name) == expected


def test_a_disk_in_a_machine_grows_by_its_machine_only(client: Client) -> None:
    machine = client.create("a", controller(), new_disk(file="[datastore1] a/a.vmdk"))
    disk = next(item for item in machine.config.hardware.device if isinstance(item, Device.VirtualDisk))
    manager, name = client.content.virtualDiskManager, disk.backing.fileName
    with pytest.raises(vim.fault.FileLocked):
        client.result(manager.ExtendVirtualDisk_Task(name, client.datacenter, 16384, False))
    for size, unit, refusal in ((4096, 0, "cannot become"), (16384, 3, "stays on its controller")):
        disk.capacityInKB, disk.capacityInBytes, disk.unitNumber = size, size * 1024, unit
        edit = Device.VirtualDeviceSpec(operation="edit", device=disk)
        with pytest.raises(vim.fault.InvalidDeviceSpec, match=refusal):
            client.result(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[edit])))
    found = next(item for item in machine.config.hardware.device if isinstance(item, Device.VirtualDisk))
    assert (found.capacityInKB, found.unitNumber) == (8192, 0)


def test_a_disk_in_no_machine_does_not_shrink(client: Client) -> None:
    manager, name = client.content.virtualDiskManager, "[datastore1] free.vmdk"
    spec = vim.VirtualDiskManager.FileBackedVirtualDiskSpec(diskType="thin", adapterType="lsiLogic", capacityKb=8192)
    client.result(manager.CreateVirtualDisk_Task(name, client.datacenter, spec))
    client.result(manager.ExtendVirtualDisk_Task(name, client.datacenter, 16384, False))
    with pytest.raises(vmodl.fault.InvalidArgument):
        client.result(manager.ExtendVirtualDisk_Task(name, client.datacenter, 8192, False))
