"""What every driver promises that can save machines: they go on where they were, several at once, and write nothing."""

from pathlib import Path

import pytest
from backends import Backend
from counting_sector import BOOTED, counting_disk, in_order, next_letter

from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Management, Nic, PowerState
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound, SavingHypervisor
from lab.hypervisors.sparse import content_digest
from lab.waiting import Deadline, wait_until

MIB = 1 << 20
BACKENDS = ["memory", pytest.param("libvirt", marks=pytest.mark.qemu)]
pytestmark = pytest.mark.parametrize("backend", BACKENDS, indirect=True)
SYSTEM = DiskId("m1-system")
SECONDS = 30.0


def soon() -> Deadline:
    return Deadline.after(SECONDS)


def spec(*, saveable: bool = False, memory_mib: int = 64) -> MachineSpec:
    return MachineSpec(
        name="m1",
        cpus=1,
        memory_mib=memory_mib,
        disks=(DiskAttachment(SYSTEM, "system"),),
        nics=(Nic("primary", "52:54:00:00:00:02"),),
        management=Management("52:54:00:00:00:01"),
        saveable=saveable,
    )


@pytest.fixture
def host(backend: Backend) -> SavingHypervisor:
    assert isinstance(backend.host, SavingHypervisor)
    return backend.host


@pytest.fixture
def files(backend: Backend, tmp_path: Path) -> Path:
    """A folder that the machines of a backend can read from."""
    folder = (tmp_path if backend.file_of is None else backend.file_of(SYSTEM).parents[2]) / "saved"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    return folder


@pytest.fixture
def image(files: Path) -> Path:
    path = files.with_name("image.raw")
    path.write_bytes(counting_disk(MIB))
    return path


def letters(host: SavingHypervisor) -> str:
    return host.console_log("m1").read_text(encoding="ascii", errors="replace").strip("\0")


def running(backend: Backend, host: SavingHypervisor, image: Path) -> None:
    host.import_disk(SYSTEM, image, MIB)
    host.define(spec(saveable=True))
    host.power_on("m1")
    if backend.needs_a_guest:
        wait_until(lambda: len(letters(host).partition(BOOTED)[2]) > 3, soon(), "letters")


def saved(backend: Backend, host: SavingHypervisor, image: Path, folder: Path) -> Path:
    """Return a folder with a machine that was saved while it counted; it stays paused."""
    running(backend, host, image)
    host.saving.pause("m1")
    host.saving.save("m1", folder / "m1.state", folder / "m1.memory", soon())
    host.saving.save_disk(SYSTEM, folder / "m1.img")
    return folder


def go_on(host: SavingHypervisor, folder: Path, memory_mib: int = 64) -> None:
    host.import_disk(SYSTEM, folder / "m1.img", MIB)
    host.define(spec(memory_mib=memory_mib))
    host.saving.go_on("m1", folder / "m1.state", folder / "m1.memory", soon())


def test_a_saved_machine_runs_on(backend: Backend, host: SavingHypervisor, image: Path, files: Path) -> None:
    saved(backend, host, image, files)
    assert host.power("m1") is PowerState.PAUSED
    before = letters(host)
    host.saving.resume("m1")
    assert host.power("m1") is PowerState.ON
    if backend.needs_a_guest:
        wait_until(lambda: len(letters(host)) > len(before) + 3, soon(), "more letters")
        assert in_order(letters(host).partition(BOOTED)[2])


def test_others_go_on_where_it_was_side_by_side(
    backend: Backend, host: SavingHypervisor, image: Path, files: Path
) -> None:
    folder = saved(backend, host, image, files)
    digests = {path: content_digest(path) for path in folder.iterdir()}
    last, console = letters(host)[-1:], host.console_log("m1")
    backend.remove_all()
    if backend.file_of is None:
        host.power_off("m1")
        host.undefine("m1")
        host.delete_disk(SYSTEM)
    else:
        console.unlink()
    neighbour = backend.neighbour
    assert isinstance(neighbour, SavingHypervisor)
    for other in (host, neighbour):
        go_on(other, folder)
        assert other.power("m1") is PowerState.PAUSED
    for other in (host, neighbour):
        other.saving.resume("m1")
        assert other.power("m1") is PowerState.ON
        if backend.needs_a_guest:
            wait_until(lambda other=other: len(letters(other)) > 5, soon(), "letters")
            text = letters(other)
            assert BOOTED not in text
            assert in_order(text)
            assert text[0] == next_letter(last)
    assert {path: content_digest(path) for path in folder.iterdir()} == digests


def test_the_next_start_is_an_ordinary_one(backend: Backend, host: SavingHypervisor, image: Path, files: Path) -> None:
    folder = saved(backend, host, image, files)
    neighbour = backend.neighbour
    assert isinstance(neighbour, SavingHypervisor)
    go_on(neighbour, folder)
    neighbour.power_off("m1")
    assert neighbour.power("m1") is PowerState.OFF
    neighbour.power_on("m1")
    assert neighbour.power("m1") is PowerState.ON
    if backend.needs_a_guest:
        wait_until(lambda: BOOTED in letters(neighbour), soon(), "a boot")


def test_what_cannot_be_saved_is_refused(backend: Backend, host: SavingHypervisor, image: Path, files: Path) -> None:
    with pytest.raises(NotFound, match="m1"):
        host.saving.pause("m1")
    host.import_disk(SYSTEM, image, MIB)
    host.define(spec())
    for refused in (host.saving.pause, host.saving.resume):
        with pytest.raises(Conflict, match="m1"):
            refused("m1")
    host.power_on("m1")
    with pytest.raises(Conflict, match="paused"):
        host.saving.save("m1", files / "m1.state", files / "m1.memory", soon())
    host.saving.pause("m1")
    with pytest.raises(Conflict, match="made to be saved"):
        host.saving.save("m1", files / "m1.state", files / "m1.memory", soon())
    assert list(files.iterdir()) == []


def test_a_machine_that_runs_cannot_go_on(backend: Backend, host: SavingHypervisor, image: Path, files: Path) -> None:
    folder = saved(backend, host, image, files)
    with pytest.raises(Conflict, match="is running"):
        host.saving.go_on("m1", folder / "m1.state", folder / "m1.memory", soon())


def test_another_shape_than_the_saved_one_is_refused_and_off(
    backend: Backend, host: SavingHypervisor, image: Path, files: Path
) -> None:
    folder = saved(backend, host, image, files)
    neighbour = backend.neighbour
    assert isinstance(neighbour, SavingHypervisor)
    with pytest.raises(HypervisorError):
        go_on(neighbour, folder, memory_mib=96)
    assert neighbour.power("m1") is PowerState.OFF
