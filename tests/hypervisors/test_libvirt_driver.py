"""What only the libvirt driver promises."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lab.hypervisors.image import inspect_image
from lab.hypervisors.libvirt.driver import LibvirtHypervisor
from lab.hypervisors.libvirt.session import Session
from lab.hypervisors.libvirt.storage import Storage
from lab.hypervisors.model import MachineSpec, Nic
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
