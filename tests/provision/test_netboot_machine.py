"""A bare machine that is installed over a network, in QEMU: what it becomes, and what is said when it does not."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from bare_labs import URI, board, left_over, need_libvirt

from lab.errors import LabError
from lab.home import home as own_home
from lab.hypervisors.libvirt import connect
from lab.hypervisors.model import DiskId, PowerState
from lab.images.cache import Image, ImageCache
from lab.images.identity import SshKey, new_ssh_key
from lab.images.medium import TOKEN_FILE
from lab.machines.installation import Patience
from lab.provision import install, processes
from lab.provision.blueprint import blueprint
from lab.provision.bmc import BmcControl
from lab.provision.down import tear_down
from lab.provision.home import Home, LabFolder
from lab.provision.lab import BOOT_SECONDS, Lab
from lab.provision.netboot import OverNetwork, serving_netboot
from lab.provision.physical import installing, with_stand_ins
from lab.provision.stand_in import bare_tag, store_of
from lab.provision.up import _write_login_keys, first_state, open_hypervisor, raise_all
from lab.topology.load import load_topology
from lab.topology.model import Topology
from lab.waiting import Deadline

TOPOLOGY = Path(__file__).parents[2] / "topologies" / "physical-pxe.yaml"
OLD_SYSTEM = bytes.fromhex("f4ebfd").ljust(510, b"\0") + b"\x55\xaa"
"""A boot sector that stops: hlt, again and again."""
pytestmark = [pytest.mark.qemu, pytest.mark.timeout(580)]


@dataclass(frozen=True)
class Bare:
    """A lab whose only machine is bare."""

    lab: Lab
    home: Home
    key: SshKey
    image: Image

    def install(self) -> None:
        plan = blueprint(self.lab.topology, "app1")
        images = {(plan.image, plan.disk_sizes[plan.spec.disks[0].disk]): self.image}
        with installing(self.lab, [plan], {"app1": self.key}, images=images, home=self.home, board=board()) as jobs:
            raise_all(jobs, self.lab.folder.name)

    @property
    def control(self) -> BmcControl:
        return BmcControl(self.lab.state.physical["app1"], self.lab.folder)


@pytest.fixture
def bare() -> Iterator[Bare]:
    need_libvirt()
    topology = load_topology(TOPOLOGY)
    cache = ImageCache(own_home() / "images")
    image = cache.lookup("debian-12", topology.machines["app1"].disks[0].size)
    if image is None:
        pytest.skip("the image debian-12 is not built yet: lab up topologies/embedded.yaml builds it")
    # Not tmp_path: QEMU's user has to be able to enter the folder.
    home = Home(Path(tempfile.mkdtemp(prefix="netboot-", dir="/var/tmp")))
    for folder in (home.folder, home.labs):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)
    home.images.symlink_to(cache.folder)
    folder, key = home.lab(f"netboot-{os.getpid()}"), new_ssh_key("app1")
    folder.make()
    _write_login_keys(folder)
    try:
        state = first_state(topology, folder.name, "tcg", {"app1": key.public})
        state = with_stand_ins(topology, folder, state, board())
        lab = Lab(topology, folder, state, open_hypervisor(state, home))
        yield Bare(lab, home, key, image)
        lab.close()
    finally:
        tear_down(home, folder.name, board())
        left = left_over(folder)
        shutil.rmtree(home.folder)
    assert left == []


def test_a_bare_machine_is_installed_over_the_network_and_boots_its_disk_afterwards(bare: Bare) -> None:
    bare.install()
    lab = bare.lab
    assert lab.state.physical["app1"].ipmi_port, "its power goes by IPMI"
    running = [process.name for process in processes.recorded(lab.folder) if process.alive]
    assert not [name for name in running if name.startswith("netboot-")], "nobody answers on that network any more"
    assert not (lab.folder.path / "netboot").exists()
    machine = lab.machine("app1")
    token = machine.ssh.check("cat", TOKEN_FILE)
    assert machine.ssh.check("hostname").strip() == "app1"
    assert "10.40.0.11/24" in machine.ssh.check("ip", "-brief", "address")
    machine.power_off()
    machine.power_on()
    machine.wait_ready(Deadline.after(BOOT_SECONDS["tcg"]))
    assert machine.ssh.check("cat", TOKEN_FILE) == token, "it boots what was installed"


def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """End the DHCP server as soon as it has started."""

    @contextmanager
    def without_dhcp(topology: Topology, folder: LabFolder) -> Iterator[Mapping[str, OverNetwork]]:
        with serving_netboot(topology, folder) as ways:
            processes.end_all(folder, "netboot-dhcp")
            yield ways

    monkeypatch.setattr("lab.provision.physical.serving_netboot", without_dhcp)


def test_a_machine_that_boots_its_old_disk_is_noticed(bare: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = connect(URI, bare_tag(bare.lab.folder.name), store_of(bare.lab.folder), "tcg")
    with machines.storage.path(DiskId("app1-system")).open("r+b") as disk:
        disk.write(OLD_SYSTEM)
    machines.close()
    nobody_answers(monkeypatch)
    monkeypatch.setitem(install.PATIENCE, "tcg", Patience(start=240, end=400))
    with pytest.raises(LabError, match=r"started no installer: .* an old disk perhaps(?s:.*)Booting from Hard Disk"):
        bare.install()
    assert bare.control.power() is PowerState.OFF


def test_a_network_without_an_answer_is_shown_with_the_console(bare: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody_answers(monkeypatch)
    with pytest.raises(LabError, match=r"machine app1: .*found nothing to boot(?s:.*)iPXE(?s:.*)No bootable device"):
        bare.install()
    assert bare.control.power() is PowerState.OFF


def test_an_image_that_is_not_the_expected_one_is_not_written(bare: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ImageCache.stream
    monkeypatch.setattr(ImageCache, "stream", lambda cache, image: replace(stream(cache, image), digest="0" * 64))
    with pytest.raises(LabError, match=r"refused: the image .* is damaged"):
        bare.install()
    assert bare.control.power() is PowerState.OFF
