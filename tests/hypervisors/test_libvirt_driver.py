"""What only the libvirt driver promises."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from backends import libvirt_store
from libvirt_here import URI

from lab.hypervisors.image import inspect_image
from lab.hypervisors.libvirt import connect
from lab.hypervisors.libvirt.driver import LibvirtHypervisor
from lab.hypervisors.libvirt.session import Session
from lab.hypervisors.libvirt.storage import Storage
from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Nic
from lab.hypervisors.protocols import HypervisorError
from lab.networks.protocol import NetworkError

MIB = 1 << 20


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
def test_a_qcow2_image_is_as_large_as_the_machine_sees_it(tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "3M"], check=True)
    assert inspect_image(image) == ("qcow2", 3 * MIB)


@pytest.mark.parametrize("content", [b"", b"QFI", b"QFI\xfb", bytes(100)])
def test_anything_else_is_raw(tmp_path: Path, content: bytes) -> None:
    image = tmp_path / "image"
    image.write_bytes(content)
    assert inspect_image(image) == ("raw", len(content))


class NoDomains:
    """A libvirt without machines."""

    def listAllDomains(self) -> list[object]:  # noqa: N802 - libvirt's name
        return []


class BrokenSwitches:
    def ensure(self, network: str) -> None:
        raise NetworkError(f"no switch for {network}")

    def leftovers(self) -> list[str]:
        raise NetworkError("the `ip` command is missing")


def test_a_switch_that_refuses_is_an_error_of_the_hypervisor(tmp_path: Path) -> None:
    session = Session(NoDomains(), "lab")
    host = LibvirtHypervisor(session, Storage(session, tmp_path), BrokenSwitches(), "qemu", tmp_path)  # type: ignore[arg-type]
    with pytest.raises(HypervisorError, match="machine m1: no switch for primary"):
        host.define(MachineSpec("m1", 1, 64, (), (Nic("primary", "52:54:00:00:00:01"),), None))


def lab_in_a_home_of_its_own(stack: ExitStack, name: str) -> LibvirtHypervisor:
    lab = connect(URI, f"{name}-{os.getpid()}", libvirt_store(stack, name), "tcg")
    stack.callback(lab.close)
    stack.callback(lab.remove_all)
    return lab


def test_labs_of_one_name_in_two_homes_do_not_see_each_other() -> None:
    disk = DiskId("app1-system")
    with ExitStack() as stack:
        mine, theirs = (lab_in_a_home_of_its_own(stack, "twin") for _ in "ab")
        for lab in (mine, theirs):
            lab.create_disk(disk, MIB)
            lab.define(MachineSpec("app1", 1, 32, (DiskAttachment(disk, "system"),), (), None))
        mine.remove_all()
        assert not mine.disks()
        assert not mine.machines()
        assert [each.id for each in theirs.disks()] == [disk]
        assert [each.name for each in theirs.machines()] == ["app1"]


def test_disks_are_cloned_side_by_side() -> None:
    """As two test failovers at once do: libvirt reads no pool anew that has a copy in progress."""
    with ExitStack() as stack:
        lab = lab_in_a_home_of_its_own(stack, "clones")
        lab.create_disk(DiskId("source"), 256 * MIB)
        lab.storage.path(DiskId("source")).write_bytes(os.urandom(MIB) * 256)
        with ThreadPoolExecutor(4) as pool:
            clones = [pool.submit(lab.clone_disk, DiskId("source"), DiskId(f"clone{number}")) for number in range(4)]
            while not all(each.done() for each in clones):
                lab.disks()
        assert [each.exception() for each in clones] == [None] * 4
        assert len(lab.disks()) == 5
