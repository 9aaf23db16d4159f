"""What every hypervisor driver promises, run over all of them."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from backends import Backend
from esxi_backends import EMULATED
from hyperv_backends import EMULATED as HYPERV

from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Management, NetworkSource, Nic, PowerState
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound
from lab.waiting import Deadline, DeadlineExceeded, wait_until

MIB = 1 << 20
REAL = [pytest.param(name, marks=pytest.mark.qemu) for name in ("libvirt", "esxi-qemu", "hyperv-libvirt")]
SYSTEM, DATA, COPY = DiskId("m1-system"), DiskId("m1-data"), DiskId("m1-copy")
NOWHERE = DiskId("nowhere")


def soon() -> Deadline:
    return Deadline.after(5)


def spec(name: str = "m1", *disks: DiskId, nics: tuple[Nic, ...] = (), management: bool = False) -> MachineSpec:
    return MachineSpec(
        name=name,
        cpus=1,
        memory_mib=64,
        disks=tuple(DiskAttachment(disk, disk.name) for disk in disks),
        nics=nics,
        management=Management("52:54:00:00:00:01") if management else None,
    )


def defined(backend: Backend, *, management: bool = False) -> None:
    backend.host.create_disk(SYSTEM, 8 * MIB)
    backend.host.define(spec("m1", SYSTEM, management=management))


def test_a_defined_machine_is_off_and_as_specified(backend: Backend) -> None:
    backend.host.create_disk(SYSTEM, 8 * MIB)
    nic = Nic("primary", "52:54:00:00:00:02")
    machine = backend.host.define(spec("m1", SYSTEM, nics=(nic,)))
    assert machine == backend.host.machine("m1")
    assert (machine.name, machine.power, machine.cpus, machine.memory_mib) == ("m1", PowerState.OFF, 1, 64)
    assert machine.disks == (DiskAttachment(SYSTEM, SYSTEM.name),)
    assert machine.nics == (nic,)


def test_machines_and_disks_are_listed_by_name(backend: Backend) -> None:
    assert list(backend.host.machines()) == []
    assert list(backend.host.disks()) == []
    for name in ("b", "a", "c"):
        backend.host.create_disk(DiskId(name), MIB)
        backend.host.define(spec(name, DiskId(name)))
    assert [machine.name for machine in backend.host.machines()] == ["a", "b", "c"]
    assert [(disk.id.name, disk.attached_to) for disk in backend.host.disks()] == [("a", "a"), ("b", "b"), ("c", "c")]


def test_a_machine_name_is_given_once(backend: Backend) -> None:
    defined(backend)
    with pytest.raises(Conflict, match="m1"):
        backend.host.define(spec("m1"))
    assert backend.host.machine("m1").disks != ()


def test_a_machine_needs_disks_that_exist_and_are_free(backend: Backend) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        backend.host.define(spec("m1", NOWHERE))
    defined(backend)
    with pytest.raises(Conflict, match="m1-system"):
        backend.host.define(spec("m2", SYSTEM))
    assert [machine.name for machine in backend.host.machines()] == ["m1"]


def test_undefining_keeps_the_disks(backend: Backend) -> None:
    defined(backend)
    backend.host.undefine("m1")
    assert list(backend.host.machines()) == []
    assert backend.host.disk(SYSTEM).attached_to is None
    backend.host.define(spec("m1", SYSTEM))


def test_power_goes_on_and_off_and_repeats_without_harm(backend: Backend) -> None:
    defined(backend)
    backend.host.power_off("m1")
    for _ in range(2):
        backend.host.power_on("m1")
        assert backend.host.power("m1") is PowerState.ON
    with pytest.raises(Conflict, match="m1"):
        backend.host.undefine("m1")
    for _ in range(2):
        backend.host.power_off("m1")
        assert backend.host.power("m1") is PowerState.OFF
    backend.host.shut_down("m1", soon())
    backend.host.undefine("m1")


def test_shutting_down_waits_no_longer_than_the_deadline(backend: Backend) -> None:
    """These machines have no system: a host with real machines waits for one in vain."""
    defined(backend)
    backend.host.power_on("m1")
    if backend.needs_a_guest:
        with pytest.raises(DeadlineExceeded, match="m1"):
            backend.host.shut_down("m1", Deadline.after(0.3))
        assert backend.host.power("m1") is PowerState.ON
    else:
        backend.host.shut_down("m1", soon())
        assert backend.host.power("m1") is PowerState.OFF


def test_machines_with_cards_start_side_by_side(backend: Backend) -> None:
    for number, name in enumerate(("m1", "m2")):
        backend.host.define(spec(name, nics=(Nic("primary", f"52:54:00:00:01:{number:02x}"),)))
        backend.host.power_on(name)
        backend.host.power_on(name)
    assert {machine.power for machine in backend.host.machines()} == {PowerState.ON}
    backend.host.power_off("m1")
    backend.host.power_on("m1")
    assert backend.host.power("m1") is PowerState.ON


def test_a_disk_has_its_size_and_a_name_of_its_own(backend: Backend) -> None:
    made = backend.host.create_disk(SYSTEM, 8 * MIB)
    assert made == backend.host.disk(SYSTEM)
    assert (made.id, made.size_bytes, made.attached_to) == (SYSTEM, 8 * MIB, None)
    with pytest.raises(Conflict, match="m1-system"):
        backend.host.create_disk(SYSTEM, MIB)
    assert backend.host.disk(SYSTEM).size_bytes == 8 * MIB


@pytest.mark.parametrize(("asked", "expected"), [(4 * MIB, 4 * MIB), (MIB, 2 * MIB)])
def test_an_imported_disk_is_never_smaller_than_its_image(
    backend: Backend, tmp_path: Path, asked: int, expected: int
) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(b"content".ljust(2 * MIB, b"\0"))
    assert backend.host.import_disk(SYSTEM, image, asked).size_bytes == expected
    with pytest.raises(Conflict, match="m1-system"):
        backend.host.import_disk(SYSTEM, image, asked)


@pytest.mark.parametrize("where", ["nowhere", "in a machine that is off", "in a running machine"])
def test_a_disk_grows_where_it_is(backend: Backend, where: str) -> None:
    defined(backend)
    backend.host.create_disk(DATA, MIB)
    if where != "nowhere":
        backend.host.attach_disk("m1", DiskAttachment(DATA, "data"))
    if where == "in a running machine":
        backend.host.power_on("m1")
    if backend.file_of:
        backend.file_of(DATA).write_bytes(b"\1" * MIB)
    grown = backend.host.grow_disk(DATA, 3 * MIB)
    assert grown == backend.host.disk(DATA)
    assert (grown.size_bytes, grown.attached_to) == (3 * MIB, None if where == "nowhere" else "m1")
    assert backend.host.grow_disk(DATA, 3 * MIB) == grown, "growing again to the same size is no error"
    if backend.file_of:
        assert backend.file_of(DATA).read_bytes() == b"\1" * MIB + bytes(2 * MIB)
    with pytest.raises(Conflict, match="m1-data"):
        backend.host.grow_disk(DATA, 2 * MIB)
    assert backend.host.disk(DATA).size_bytes == 3 * MIB
    with pytest.raises(NotFound, match="nowhere"):
        backend.host.grow_disk(NOWHERE, MIB)


def test_a_disk_over_an_image_grows_too(backend: Backend, tmp_path: Path) -> None:
    image = tmp_path / "image.raw"
    image.write_bytes(b"content".ljust(MIB, b"\0"))
    backend.host.import_disk(SYSTEM, image, MIB)
    assert backend.host.grow_disk(SYSTEM, 2 * MIB).size_bytes == 2 * MIB


def test_a_clone_is_a_copy_of_its_own(backend: Backend) -> None:
    defined(backend)
    if backend.file_of:
        backend.file_of(SYSTEM).write_bytes(b"before".ljust(8 * MIB, b"\1"))
    clone = backend.host.clone_disk(SYSTEM, COPY)
    assert (clone.size_bytes, clone.attached_to) == (8 * MIB, None)
    if backend.file_of:
        backend.file_of(SYSTEM).write_bytes(b"after".ljust(8 * MIB, b"\2"))
        assert backend.file_of(COPY).read_bytes() == b"before".ljust(8 * MIB, b"\1")
    backend.host.delete_disk(COPY)
    assert backend.host.disk(SYSTEM).attached_to == "m1"


def test_a_clone_needs_a_source_and_a_free_name(backend: Backend) -> None:
    backend.host.create_disk(SYSTEM, MIB)
    backend.host.create_disk(DATA, MIB)
    with pytest.raises(NotFound, match="nowhere"):
        backend.host.clone_disk(NOWHERE, COPY)
    with pytest.raises(Conflict, match="m1-data"):
        backend.host.clone_disk(SYSTEM, DATA)
    with pytest.raises(NotFound):
        backend.host.disk(COPY)


def test_disks_go_into_a_machine_and_out_again(backend: Backend) -> None:
    """Out of a running machine only with a system inside that lets go: the suites do that with real guests."""
    defined(backend)
    backend.host.create_disk(DATA, MIB)
    backend.host.attach_disk("m1", DiskAttachment(DATA, "data"))
    assert backend.host.disk(DATA).attached_to == "m1"
    assert backend.host.machine("m1").disks == (DiskAttachment(SYSTEM, SYSTEM.name), DiskAttachment(DATA, "data"))
    backend.host.detach_disk("m1", DATA, soon())
    assert backend.host.disk(DATA).attached_to is None
    backend.host.attach_disk("m1", DiskAttachment(DATA, "again"))
    assert backend.host.machine("m1").disks[-1] == DiskAttachment(DATA, "again")


def test_a_disk_goes_into_a_running_machine_and_stays_after_power_off(backend: Backend) -> None:
    defined(backend)
    backend.host.create_disk(DATA, MIB)
    backend.host.power_on("m1")
    backend.host.attach_disk("m1", DiskAttachment(DATA, "data"))
    assert backend.host.machine("m1").disks[-1] == DiskAttachment(DATA, "data")
    assert backend.host.clone_disk(DATA, COPY).size_bytes == MIB
    backend.host.power_off("m1")
    assert backend.host.machine("m1").disks[-1] == DiskAttachment(DATA, "data")
    backend.host.detach_disk("m1", DATA, soon())
    assert len(backend.host.machine("m1").disks) == 1


def test_disks_of_one_running_machine_are_cloned_side_by_side(backend: Backend) -> None:
    """The machines of a group are failed over at once, and one master target has all their replicas."""
    defined(backend)
    disks = [DiskId(f"m1-data{number}") for number in range(3)]
    for disk in disks:
        backend.host.create_disk(disk, 8 * MIB)
        backend.host.attach_disk("m1", DiskAttachment(disk, disk.name))
    backend.host.power_on("m1")
    for _ in range(2):
        copies = [DiskId(f"{disk.name}-copy") for disk in disks]
        with ThreadPoolExecutor(len(disks)) as pool:
            found = list(pool.map(backend.host.clone_disk, disks, copies))
        assert [(copy.size_bytes, copy.attached_to) for copy in found] == [(8 * MIB, None)] * len(disks)
        for copy in copies:
            backend.host.delete_disk(copy)
    assert len(backend.host.machine("m1").disks) == 1 + len(disks)


def test_an_attached_disk_is_neither_attached_again_nor_deleted(backend: Backend) -> None:
    defined(backend)
    backend.host.define(spec("m2"))
    for machine in ("m1", "m2"):
        with pytest.raises(Conflict, match="m1-system"):
            backend.host.attach_disk(machine, DiskAttachment(SYSTEM, "twice"))
    with pytest.raises(Conflict, match="m1-system"):
        backend.host.delete_disk(SYSTEM)
    with pytest.raises(Conflict, match="m1-system"):
        backend.host.detach_disk("m2", SYSTEM, soon())
    assert backend.host.disk(SYSTEM).attached_to == "m1"


def test_a_deleted_disk_is_gone(backend: Backend) -> None:
    backend.host.create_disk(DATA, MIB)
    backend.host.delete_disk(DATA)
    assert list(backend.host.disks()) == []
    with pytest.raises(NotFound, match="m1-data"):
        backend.host.disk(DATA)
    assert backend.host.create_disk(DATA, 2 * MIB).size_bytes == 2 * MIB


@pytest.mark.parametrize(
    "ability", ["machine", "undefine", "power", "power_on", "power_off", "endpoint", "console_log", "shut_down"]
)
def test_an_unknown_machine_is_not_found(backend: Backend, ability: str) -> None:
    more = (soon(),) if ability == "shut_down" else ()
    with pytest.raises(NotFound, match="nobody"):
        getattr(backend.host, ability)("nobody", *more)


def test_an_unknown_disk_is_not_found(backend: Backend) -> None:
    defined(backend)
    with pytest.raises(NotFound, match="nowhere"):
        backend.host.delete_disk(NOWHERE)
    with pytest.raises(NotFound, match="nowhere"):
        backend.host.attach_disk("m1", DiskAttachment(NOWHERE, "x"))
    with pytest.raises(NotFound, match="nobody"):
        backend.host.attach_disk("nobody", DiskAttachment(SYSTEM, "x"))
    with pytest.raises(NotFound, match="nobody"):
        backend.host.detach_disk("nobody", SYSTEM, soon())
    with pytest.raises(HypervisorError, match="nowhere"):
        backend.host.detach_disk("m1", NOWHERE, soon())


def test_ssh_is_reached_by_the_management_card_only(backend: Backend) -> None:
    defined(backend, management=True)
    endpoint = backend.host.endpoint("m1")
    assert endpoint == backend.host.endpoint("m1")
    assert endpoint.port > 0
    backend.host.define(spec("m2"))
    with pytest.raises(Conflict, match="m2"):
        backend.host.endpoint("m2")


@pytest.mark.parametrize("backend", REAL, indirect=True)
def test_a_started_machine_listens_at_its_endpoint_and_on_loopback_only(backend: Backend) -> None:
    defined(backend, management=True)
    backend.host.power_on("m1")
    endpoint = backend.host.endpoint("m1")
    assert endpoint.host == "127.0.0.1"
    socket.create_connection((endpoint.host, endpoint.port), timeout=5).close()
    listening = Path("/proc/net/tcp").read_text().split()
    assert f"0100007F:{endpoint.port:04X}" in listening
    assert f"00000000:{endpoint.port:04X}" not in listening


def test_the_console_is_a_file(backend: Backend) -> None:
    defined(backend)
    backend.host.power_on("m1")
    assert backend.host.console_log("m1").exists()


def test_another_lab_sees_and_touches_nothing(backend: Backend) -> None:
    defined(backend)
    other = backend.neighbour
    assert list(other.machines()) == []
    assert list(other.disks()) == []
    with pytest.raises(NotFound):
        other.power_on("m1")
    with pytest.raises(NotFound):
        other.undefine("m1")
    with pytest.raises(NotFound):
        other.delete_disk(SYSTEM)
    other.create_disk(SYSTEM, MIB)
    other.define(spec("m1", SYSTEM))
    assert backend.host.disk(SYSTEM).size_bytes == 8 * MIB
    other.undefine("m1")
    other.delete_disk(SYSTEM)
    assert backend.host.disk(SYSTEM).attached_to == "m1"


@pytest.mark.parametrize("backend", [*REAL, *EMULATED[:3], *HYPERV[:2]], indirect=True)
def test_removing_everything_leaves_the_neighbour_alone(backend: Backend) -> None:
    defined(backend)
    backend.host.create_disk(DATA, MIB)
    backend.host.power_on("m1")
    backend.neighbour.define(spec("m1"))
    assert set(backend.remove_all()) == {"machine m1", "disk m1-system", "disk m1-data"}
    assert backend.remove_all() == []
    assert list(backend.host.machines()) == []
    assert [machine.name for machine in backend.neighbour.machines()] == ["m1"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[NetworkSource]:
    """Eight MiB that an NBD server serves read-only; the host's QEMU may open the socket."""
    content, socket_path = tmp_path / "content.raw", tmp_path / "nbd"
    content.write_bytes(b"begin" + bytes(8 * MIB - 5))
    command = ["qemu-nbd", "-r", "-t", "-f", "raw", "-x", "system", "-k", str(socket_path), str(content)]
    with subprocess.Popen(command) as server:
        wait_until(socket_path.exists, Deadline.after(10), "socket of qemu-nbd", every=0.05)
        yield NetworkSource(socket_path, "system")
        server.terminate()


needs_nbd = pytest.mark.skipif(shutil.which("qemu-nbd") is None, reason="needs qemu-nbd: apt-get install qemu-utils")


# Azure's region is a libvirt host: no other driver makes overlays over what is served.
makes_overlays = pytest.mark.parametrize(
    "backend", ["memory", pytest.param("libvirt", marks=pytest.mark.qemu)], indirect=True
)


@needs_nbd
@makes_overlays
def test_an_overlay_begins_as_what_is_served_and_is_written_here(
    backend: Backend, served: NetworkSource, tmp_path: Path
) -> None:
    made = backend.host.create_overlay(SYSTEM, served, 8 * MIB)
    assert (made.id, made.size_bytes, made.attached_to) == (SYSTEM, 8 * MIB, None)
    assert [disk.id for disk in backend.host.disks()] == [SYSTEM]
    backend.host.define(spec("m1", SYSTEM))
    assert backend.host.disk(SYSTEM).attached_to == "m1"
    with pytest.raises(Conflict):
        backend.host.create_overlay(SYSTEM, served, 8 * MIB)
    backend.host.undefine("m1")
    if backend.file_of is not None:
        copy = tmp_path / "copy.raw"
        command = ["qemu-img", "convert", "-O", "raw", str(backend.file_of(SYSTEM)), str(copy)]
        subprocess.run(command, check=True, timeout=30)
        assert copy.read_bytes().startswith(b"begin")
    backend.host.delete_disk(SYSTEM)
    assert list(backend.host.disks()) == []


@makes_overlays
def test_an_overlay_over_nothing_leaves_nothing(backend: Backend, tmp_path: Path) -> None:
    if backend.file_of is None:
        return
    with pytest.raises(HypervisorError, match="m1-system"):
        backend.host.create_overlay(SYSTEM, NetworkSource(tmp_path / "nobody", "system"), 8 * MIB)
    assert list(backend.host.disks()) == []
