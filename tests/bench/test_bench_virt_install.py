"""The lab's machines by ``virt-install``: its command line, and that nothing of them stays. No machine is started."""

from __future__ import annotations

import os
import sys
import threading
import xml.etree.ElementTree as ET
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from libvirt_here import URI, libvirt_refusal

from lab.bench import virt_install
from lab.bench.bare import BareDisk, BareMachine
from lab.bench.unpacked import Program
from lab.bench.virt_install import InstalledDomains, by_virt_install, options, seconds_to_logins
from lab.errors import LabError
from lab.hypervisors.libvirt import connect
from lab.hypervisors.model import Endpoint
from lab.hypervisors.protocols import HypervisorError
from lab.images.cache import Image
from lab.machines.ssh import SshTransport
from lab.provision.down import tear_down
from lab.provision.home import Home
from lab.topology.load import load_topology
from lab.waiting import Deadline, DeadlineExceeded, wait_until

EMBEDDED = Path(__file__).parents[2] / "topologies" / "embedded.yaml"
REFUSAL = libvirt_refusal()
needs_libvirt = pytest.mark.skipif(REFUSAL is not None, reason=str(REFUSAL))


class SilentBoard:
    def step(self, subject: str, step: str) -> None:
        """Say nothing."""


@dataclass
class Ssh:
    """A machine that lets us log in, or does not."""

    endpoint: Endpoint = field(default_factory=lambda: Endpoint("127.0.0.1", 9))
    answers: bool = True
    closed: bool = False

    def wait_ready(self, deadline: Deadline) -> None:
        if not self.answers:
            raise DeadlineExceeded("no login")

    def close(self) -> None:
        self.closed = True


def machine(folder: Path, name: str = "app1", *, answers: bool = True, cpus: int = 1) -> BareMachine:
    return BareMachine(
        name=name,
        cpus=cpus,
        memory_mib=384,
        disks=(
            BareDisk(folder / "system.img", "qcow2", "system"),
            BareDisk(folder / "seed.iso", "raw", "lab-seed", read_only=True),
        ),
        mac="52:54:00:01:02:03",
        ssh=cast(SshTransport, Ssh(answers=answers)),
        console=folder / f"{name}.console",
    )


@dataclass
class Remembered:
    """Domains that only remember."""

    refused: str = ""
    ended: str = ""
    asked_to_remove: bool = False
    made: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    begun: threading.Event = field(default_factory=threading.Event)
    failed: threading.Event = field(default_factory=threading.Event)

    def make(self, machine: BareMachine) -> None:
        if machine.name == self.refused:
            assert self.begun.wait(10)
            self.failed.set()
            raise LabError(f"virt-install of {machine.name} failed")
        if self.refused:
            self.begun.set()
            assert self.failed.wait(10)
            with suppress(DeadlineExceeded):
                wait_until(lambda: self.asked_to_remove, Deadline.after(0.3), "removal that comes too early")
        self.made.add(machine.name)

    def refuse_ended(self, machine: BareMachine) -> None:
        if machine.name == self.ended or machine.name in self.removed:
            raise HypervisorError(f"{machine.name} does not run any more")

    def remove(self) -> None:
        self.asked_to_remove = True
        self.removed |= self.made


def after(command: list[str], option: str) -> list[str]:
    return [value for word, value in pairwise(command) if word == option]


@pytest.mark.parametrize(("mode", "kind", "processors"), [("tcg", "qemu", "1,maxvcpus=2"), ("kvm", "kvm", "1")])
def test_the_command_line_has_what_the_labs_machine_has(tmp_path: Path, mode: str, kind: str, processors: str) -> None:
    said = options(machine(tmp_path), "bench-0a1b2c.app1", mode)
    assert {"--import", "--noautoconsole"} <= set(said)
    assert (after(said, "--connect"), after(said, "--name")) == (["qemu:///system"], ["bench-0a1b2c.app1"])
    assert (after(said, "--virt-type"), after(said, "--vcpus"), after(said, "--memory")) == (
        [kind],
        [processors],
        ["384"],
    )
    assert after(said, "--disk") == [
        f"path={tmp_path}/system.img,format=qcow2,bus=virtio,serial=system",
        f"path={tmp_path}/seed.iso,format=raw,bus=virtio,serial=lab-seed,readonly=on",
    ]
    assert (after(said, "--graphics"), after(said, "--network")) == (["none"], ["none"])
    card = said[-2]
    assert card.startswith("--qemu-commandline=-netdev user,id=management,restrict=on,hostfwd=tcp:127.0.0.1:9-:22 ")
    assert "mac=52:54:00:01:02:03" in card


def test_the_time_is_until_the_last_login_and_all_are_removed(tmp_path: Path) -> None:
    machines, domains = [machine(tmp_path, "app1"), machine(tmp_path, "app2")], Remembered()
    assert seconds_to_logins(machines, domains, 10) > 0
    assert domains.removed == {"app1", "app2"}
    assert all(cast(Ssh, each.ssh).closed for each in machines)


def test_domains_are_removed_when_a_login_fails(tmp_path: Path) -> None:
    machines, domains = [machine(tmp_path, "app1"), machine(tmp_path, "app2", answers=False)], Remembered()
    machines[1].console.write_text("Kernel panic")
    with pytest.raises(LabError, match=r"(?s)SSH login to app2.*Kernel panic"):
        seconds_to_logins(machines, domains, 0.1)
    assert domains.removed == {"app1", "app2"}


def test_one_that_ended_ends_the_wait_for_the_others(tmp_path: Path) -> None:
    machines = [machine(tmp_path, "app1", answers=False), machine(tmp_path, "app2")]
    domains = Remembered(ended="app2")
    with pytest.raises(HypervisorError, match="app2 does not run any more"):
        seconds_to_logins(machines, domains, 600)
    assert domains.removed == {"app1", "app2"}


def test_one_that_is_made_while_another_is_refused_is_removed_too(tmp_path: Path) -> None:
    machines, domains = [machine(tmp_path, "app1"), machine(tmp_path, "app2")], Remembered(refused="app1")
    with pytest.raises(LabError, match="virt-install of app1 failed"):
        seconds_to_logins(machines, domains, 10)
    assert domains.removed == {"app2"}


def test_the_last_words_of_virt_install_are_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Program, "command", [sys.executable, "-c", "import sys; sys.exit('ERROR no such host')"])

    class Session:
        lab = "bench-0a1b2c"

    class Hypervisor:
        session = Session()

    domains = InstalledDomains(cast(Any, Hypervisor()), "tcg")
    with pytest.raises(LabError, match="virt-install of app1 failed: ERROR no such host"):
        domains.make(machine(tmp_path))


@needs_libvirt
def test_a_domain_with_a_labs_name_and_no_tag_goes_with_the_lab(tmp_path: Path) -> None:
    """As it is found after the bench was killed."""
    home, lab = Home(tmp_path), f"stray-{os.getpid()}"
    with ExitStack() as stack:
        mine = connect(URI, lab, home.labs, "tcg")
        stack.callback(mine.close)
        names = [f"{mine.session.lab}.app1", f"x{mine.session.lab}.app1"]
        for name in names:
            domain = mine.session.connection.defineXML(document(name))
            stack.callback(undefined, domain)
        assert f"domain {names[0]}" in tear_down(home, lab, SilentBoard())
        left = {domain.name() for domain in mine.session.connection.listAllDomains()}
        assert not left & {names[0]}
        assert left & {names[1]}
        assert tear_down(home, lab, SilentBoard()) == []


@needs_libvirt
def test_no_pool_and_no_file_stays_when_a_machine_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Program, "command", [sys.executable, "-c", "import sys; sys.exit('ERROR no such host')"])
    home, lab = Home(tmp_path), f"refused-{os.getpid()}"
    image = tmp_path / "image.raw"
    with image.open("wb") as file:
        file.truncate(1 << 20)
    topology = load_topology(EMBEDDED)
    images = {name: Image(image, Path(), Path()) for name in topology.machines}
    with pytest.raises(LabError, match="no such host"):
        by_virt_install(topology, home, images, SilentBoard(), lab=lab, mode="tcg")
    assert not home.lab(lab).path.exists()
    other = connect(URI, lab, home.labs, "tcg")
    assert not other.storage.exists()
    other.close()


def test_what_libvirt_refuses_is_an_error_of_the_bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise HypervisorError("libvirt does not answer")

    removed: list[str] = []
    monkeypatch.setattr(virt_install, "connect", refuse)
    monkeypatch.setattr(virt_install, "tear_down", lambda home, lab, board: removed.append(lab))
    with pytest.raises(LabError, match="libvirt does not answer"):
        by_virt_install(load_topology(EMBEDDED), Home(tmp_path), {}, SilentBoard(), lab="bench", mode="tcg")
    assert removed == ["bench"]


def document(name: str) -> str:
    domain = ET.Element("domain", type="qemu")
    ET.SubElement(domain, "name").text = name
    ET.SubElement(domain, "memory", unit="MiB").text = "32"
    ET.SubElement(ET.SubElement(domain, "os"), "type", arch="x86_64", machine="pc").text = "hvm"
    return ET.tostring(domain, encoding="unicode")


def undefined(domain: Any) -> None:
    import libvirt

    try:
        domain.undefine()
    except libvirt.libvirtError:
        return
