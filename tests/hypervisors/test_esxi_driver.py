"""What only the ESXi driver promises: trust, sessions, licences, faults, discovery."""

import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from esxi_backends import ACCOUNT, MEMORY, READER, TLS, VCENTER, Emulated, emulated
from pyVmomi import vim, vmodl

from lab.emulators.common.certificate import make_certificate
from lab.emulators.common.faults import Delay, Drop, Fail
from lab.emulators.esxi.service import Licence
from lab.hypervisors.esxi import EsxiHypervisor, Placement, Trust, connect
from lab.hypervisors.esxi.transfer import HttpsTransfer
from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Management, Nic, PowerState, Sighting
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

MIB = 1 << 20
SYSTEM = DiskId("m1-system")


def spec(name: str = "m1", *disks: DiskId, nics: tuple[Nic, ...] = ()) -> MachineSpec:
    return MachineSpec(name, 1, 64, tuple(DiskAttachment(disk, disk.name) for disk in disks), nics, None)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


@pytest.fixture(params=[MEMORY, TLS])
def host(request: pytest.FixtureRequest, tmp_path: Path, stack: ExitStack) -> Emulated:
    return emulated(request.param, tmp_path / "host", stack)


@pytest.fixture
def tls(tmp_path: Path, stack: ExitStack) -> Emulated:
    return emulated(TLS, tmp_path / "host", stack)


@pytest.fixture
def driver(host: Emulated, stack: ExitStack) -> EsxiHypervisor:
    found = host.driver("mine")
    stack.callback(found.close)
    return found


def test_the_driver_has_every_ability(driver: EsxiHypervisor) -> None:
    """The type checker reads this: a driver that lacks an ability does not pass it."""
    hypervisor: Hypervisor = driver
    discovery: Discovery = driver
    snapshots: Snapshots = driver.snapshots
    networks: PortGroups = driver.port_groups
    assert all((hypervisor, discovery, snapshots, networks))


def test_a_wrong_password_is_refused_and_not_repeated_in_the_message(host: Emulated) -> None:
    with pytest.raises(HypervisorError, match="login of lab was refused") as caught:
        host.driver("mine", password="open sesame")
    assert "open sesame" not in str(caught.value)


def test_a_host_with_another_certificate_is_not_trusted(tls: Emulated, tmp_path: Path) -> None:
    make_certificate(tmp_path / "other.pem", tmp_path / "other.key", "other")
    for pinned in (False, True):
        with pytest.raises(HypervisorError, match="CERTIFICATE_VERIFY_FAILED"):
            tls.driver("mine", trust=Trust(tmp_path / "other.pem", pinned=pinned))


def test_a_pinned_certificate_is_trusted_under_any_name_and_a_ca_only_under_its_own(tls: Emulated) -> None:
    certificate = tls.target().trust.certificate
    # Another address of loopback, which the certificate does not carry: the socket is the server's own.
    with _forwarder(tls.target().port) as port:
        named = {"host": "127.0.0.2", "port": port}
        with pytest.raises(HypervisorError, match="IP address mismatch"):
            tls.driver("mine", **named)
        tls.driver("mine", **named, trust=Trust(certificate, pinned=True)).close()


@contextmanager
def _forwarder(target: int) -> Iterator[int]:
    """Listen on 127.0.0.2 and pass connections on."""

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", target), timeout=10) as there:
                back = threading.Thread(target=_pump, args=(there, self.request), daemon=True)
                back.start()
                _pump(self.request, there)
                back.join(10)

    with socketserver.ThreadingTCPServer(("127.0.0.2", 0), Forward) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def test_files_are_not_fetched_from_an_untrusted_host(tls: Emulated, driver: EsxiHypervisor, tmp_path: Path) -> None:
    make_certificate(tmp_path / "other.pem", tmp_path / "other.key", "other")
    stranger = replace(tls.target(), trust=Trust(tmp_path / "other.pem"))
    with pytest.raises(HypervisorError, match="CERTIFICATE_VERIFY_FAILED"):
        HttpsTransfer(stranger, "ha-datacenter", "datastore1").read_whole("x")


def test_nobody_answers_at_a_closed_port(tls: Emulated) -> None:
    assert tls.server is not None
    target = tls.target()
    tls.server.close()
    with pytest.raises(HypervisorError, match="does not answer"):
        connect(target, "mine", tls.home)
    tls.server.close = lambda: None  # type: ignore[method-assign]  # it is closed already


def test_an_expired_session_is_renewed(host: Emulated, driver: EsxiHypervisor) -> None:
    driver.create_disk(SYSTEM, MIB)
    driver.define(spec("m1", SYSTEM))
    assert host.emulator.sessions.expire_all() == 1
    assert [machine.name for machine in driver.machines()] == ["m1"]
    host.emulator.sessions.expire_all()
    driver.power_on("m1")
    assert driver.power("m1") is PowerState.ON


def test_a_session_that_cannot_be_renewed_is_an_error(host: Emulated, driver: EsxiHypervisor) -> None:
    host.emulator.faults.next("Login", Fail(vim.fault.InvalidLogin(msg="the account was locked")))
    host.emulator.sessions.expire_all()
    with pytest.raises(HypervisorError, match="the account was locked"):
        driver.machines()


def test_a_wait_goes_on_when_its_session_expires(host: Emulated, driver: EsxiHypervisor) -> None:
    driver.define(spec("m1"))
    host.emulator.faults.next("PowerOnVM_Task", Delay(0.0))
    host.emulator.faults.next("WaitForUpdatesEx", Fail(vim.fault.NotAuthenticated(privilegeId="x")))
    driver.power_on("m1")
    assert driver.power("m1") is PowerState.ON


CHANGES: list[tuple[str, Callable[[EsxiHypervisor], object]]] = [
    ("define", lambda driver: driver.define(spec("m1"))),
    ("create_disk", lambda driver: driver.create_disk(SYSTEM, MIB)),
    ("power_on", lambda driver: driver.power_on("old")),
    ("attach_disk", lambda driver: driver.attach_disk("old", DiskAttachment(DiskId("spare"), "x"))),
    ("delete_disk", lambda driver: driver.delete_disk(DiskId("spare"))),
    ("undefine", lambda driver: driver.undefine("old")),
    ("clone_disk", lambda driver: driver.clone_disk(DiskId("spare"), SYSTEM)),
    ("snapshot", lambda driver: driver.snapshots.create_snapshot("old", "s")),
    ("network", lambda driver: driver.port_groups.ensure_network("primary")),
]


@pytest.mark.parametrize("known", [True, False], ids=["found at connect", "found by the fault"])
def test_a_free_licence_is_named_for_every_change_and_reading_goes_on(
    tmp_path: Path, stack: ExitStack, *, known: bool
) -> None:
    host = emulated(MEMORY, tmp_path / "host", stack)
    full = host.driver("mine")
    full.define(spec("old"))
    full.create_disk(DiskId("spare"), MIB)
    object.__setattr__(host.emulator.settings, "licence", Licence.FREE)
    if known:
        manager = host.emulator.registry.find(vim.LicenseManager("ha-license-manager"))
        manager.licenses[0].editionKey = "esxBasic"  # type: ignore[attr-defined]
    driver = host.driver("mine")
    assert driver.site.host.free_licence is known
    for name, change in CHANGES:
        with pytest.raises(FreeLicence, match="free ESXi licence"):
            change(driver)
        assert name
    assert [machine.name for machine in driver.machines()] == ["old"]
    assert [disk.id.name for disk in driver.disks()] == ["spare"]
    assert host.emulator.site.networks.keys().isdisjoint({"mine.primary"})


def test_an_emulated_free_host_says_so(tmp_path: Path, stack: ExitStack) -> None:
    host = emulated(MEMORY, tmp_path / "host", stack, licence=Licence.FREE)
    assert host.driver("mine").site.host.free_licence


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


def test_the_inventory_is_followed(host: Emulated, driver: EsxiHypervisor) -> None:
    driver.define(spec("m1"))
    foreign = host.driver("another")
    seen: list[tuple[Sighting, str, str, PowerState]] = []
    steps = iter(
        [
            lambda: driver.define(spec("m2")),
            lambda: foreign.define(spec("m9")) and driver.power_on("m2"),
            lambda: driver.site.session.wait(
                driver.site.find("m2").ref.Rename_Task("new name"), "rename", Deadline.after(5)
            ),
            lambda: driver.power_off("m2"),
            lambda: driver.undefine("m2"),
        ]
    )
    for event in driver.follow(Deadline.after(20)):
        seen.append((event.sighting, event.name, event.display_name, event.power))
        step = next(steps, None)
        if step is None:
            break
        step()
    on, off = PowerState.ON, PowerState.OFF
    assert seen == [
        (Sighting.APPEARED, "m1", "mine.m1", off),
        (Sighting.APPEARED, "m2", "mine.m2", off),
        (Sighting.CHANGED, "m2", "mine.m2", on),
        (Sighting.CHANGED, "m2", "new name", on),
        (Sighting.CHANGED, "m2", "new name", off),
        (Sighting.GONE, "m2", "new name", off),
    ]
    foreign.close()


def test_a_machine_that_went_while_the_session_was_away_is_told_as_gone(host: Emulated, driver: EsxiHypervisor) -> None:
    for name in ("m1", "m2"):
        driver.define(spec(name))
    other = host.driver("mine")
    seen: list[tuple[Sighting, str]] = []
    for event in driver.follow(Deadline.after(20)):
        seen.append((event.sighting, event.name))
        if len(seen) == 2:
            # Between two waits for updates: the next one is refused before it could tell.
            other.undefine("m1")
            host.emulator.sessions.expire_all()
        if len(seen) == 3:
            break
    assert seen == [(Sighting.APPEARED, "m1"), (Sighting.APPEARED, "m2"), (Sighting.GONE, "m1")]
    other.close()


def test_the_whole_inventory_is_told_after_every_change(driver: EsxiHypervisor) -> None:
    driver.define(spec("m2"))
    told: list[list[str]] = []
    for machines in driver.watch(Deadline.after(20)):
        names = [machine.name for machine in machines]
        if told[-1:] == [names]:
            continue
        told.append(names)
        if len(told) == 1:
            driver.define(spec("m1"))
        elif len(told) == 2:
            driver.undefine("m2")
        else:
            break
    assert told == [["m2"], ["m1", "m2"], ["m1"]]


def test_an_account_of_the_role_read_only_follows_and_changes_nothing(host: Emulated, driver: EsxiHypervisor) -> None:
    driver.define(spec("m1"))
    reader = host.driver("mine", user=READER.user, password=READER.password)
    assert [machine.name for machine in next(reader.watch(Deadline.after(20)))] == ["m1"]
    for change in (
        lambda: reader.power_on("m1"),
        lambda: reader.undefine("m1"),
        lambda: reader.create_disk(SYSTEM, MIB),
        lambda: reader.define(spec("m2")),
    ):
        with pytest.raises(HypervisorError, match="NoPermission"):
            change()
    assert driver.power("m1") is PowerState.OFF
    assert [machine.name for machine in driver.machines()] == ["m1"]
    assert driver.disks() == []
    reader.close()


def test_the_files_of_the_datastore_are_not_for_a_reader(tls: Emulated, stack: ExitStack) -> None:
    driver = tls.driver("mine")
    stack.callback(driver.close)
    driver.create_disk(SYSTEM, MIB)
    reader = tls.driver("mine", user=READER.user, password=READER.password)
    stack.callback(reader.close)
    flat = reader.site.names.flat_file(SYSTEM)
    with pytest.raises(HypervisorError, match="403"):
        reader.site.files.read(flat, 0, 512)
    # Refused before the body is read, so that the answer may not get through.
    with pytest.raises(HypervisorError, match=r"403|does not answer"):
        reader.site.files.write(flat, MIB, [b"x" * MIB])
    assert driver.site.files.read(flat, 0, 512) == bytes(512)


def test_following_ends_with_its_deadline(driver: EsxiHypervisor) -> None:
    assert list(driver.follow(Deadline.after(0.5))) == []


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


def test_the_password_is_in_no_text_about_the_target(tls: Emulated) -> None:
    assert ACCOUNT.password not in repr(tls.target())
    assert ACCOUNT.password not in repr(ACCOUNT)
