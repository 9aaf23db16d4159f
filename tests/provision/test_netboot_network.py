"""The lab's own DHCP, TFTP and HTTP on a network of a namespace: who gets an answer, which, and what is left."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bare_labs import board, left_over, need_libvirt

from lab.images import netboot as files
from lab.networks.bridge import BridgeSwitches, run_ip
from lab.provision import processes
from lab.provision.down import tear_down
from lab.provision.home import Home
from lab.provision.netboot import LOADER, LOADERS, OverNetwork, serving_netboot
from lab.topology.load import load_topology

TOPOLOGY = Path(__file__).parents[2] / "topologies" / "physical-pxe.yaml"
BUSYBOX = shutil.which("busybox")
CARD = "card"
IPXE = ["-x", f"0x4d:{b'iPXE'.hex()}"]
"""iPXE says so in its user class."""
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
    pytest.mark.skipif(BUSYBOX is None, reason="busybox is not installed: make bootstrap"),
    pytest.mark.skipif(not (LOADERS / LOADER).exists(), reason="ipxe is not installed: make bootstrap"),
    pytest.mark.skipif(
        shutil.which("dnsmasq", path="/usr/sbin:/usr/bin") is None, reason="dnsmasq is not installed: make bootstrap"
    ),
]


@dataclass(frozen=True)
class Wire:
    """A network with a boot server, and a card on it."""

    way: OverNetwork
    namespace: str
    folder: Path

    def ask(self, mac: str, *options: str) -> dict[str, str]:
        """Ask for an address as a machine with this card would; nothing when nobody answers."""
        run_ip("-n", self.namespace, "link", "set", CARD, "down")
        run_ip("-n", self.namespace, "link", "set", CARD, "address", mac, "up")
        say = self.folder / "say"
        say.write_text('#!/bin/sh\n[ "$1" = bound ] && exec env\ntrue\n')
        say.chmod(0o755)
        asked = ["udhcpc", "-f", "-n", "-q", "-t", "4", "-T", "2", "-i", CARD, "-s", str(say), *options]
        lines = self.run(*asked).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = ["ip", "netns", "exec", self.namespace, str(BUSYBOX), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=self.folder)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    folder = Home(tmp_path).lab(f"wire-{os.getpid()}")
    folder.make()
    switches = BridgeSwitches(folder.tag)
    try:
        with serving_netboot(load_topology(TOPOLOGY), folder) as ways:
            run_ip("-n", switches.namespace, "link", "add", "plug", "type", "veth", "peer", "name", CARD)
            run_ip("-n", switches.namespace, "link", "set", "plug", "master", switches._bridge("provisioning"), "up")
            yield Wire(ways["app1"], switches.namespace, tmp_path)
        assert [process.name for process in processes.recorded(folder) if process.alive] == []
        assert not (folder.path / "netboot").exists()
    finally:
        switches.remove_all()


def test_the_machine_gets_its_own_address_and_files_and_a_stranger_nothing(wire: Wire) -> None:
    mac = wire.way.client.mac
    plain = wire.ask(mac)
    assert (plain["ip"], plain["boot_file"]) == ("10.40.0.11", LOADER)
    assert not {"router", "dns"} & plain.keys(), "there is no way out"
    script = f"http://10.40.0.254/{wire.way.client.secret}/{files.BOOT_SCRIPT}"
    assert wire.ask(mac, *IPXE)["boot_file"] == script
    assert wire.ask("52:54:00:00:00:99", *IPXE) == {}
    assert "52:54:00:00:00:99 no address available" in wire.way.last_words()


@pytest.mark.qemu
def test_what_a_killed_lab_left_is_reaped(tmp_path: Path) -> None:
    need_libvirt()
    home = Home(tmp_path)
    folder = home.lab(f"killed-{os.getpid()}")
    folder.make()
    code = (
        "import pathlib, sys, time\n"
        "from lab.provision.home import Home\nfrom lab.provision.netboot import serving_netboot\n"
        "from lab.topology.load import load_topology\n"
        f"folder = Home(pathlib.Path({str(tmp_path)!r})).lab({folder.name!r})\n"
        f"with serving_netboot(load_topology(pathlib.Path({str(TOPOLOGY)!r})), folder):\n"
        "    print('up', flush=True)\n    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as lab:
        assert lab.stdout is not None
        assert lab.stdout.readline() == "up\n"
        lab.kill()
    left = {f"process {process.name}" for process in processes.recorded(folder) if process.alive}
    assert left == {"process netboot-dhcp-provisioning", "process netboot-http-provisioning"}
    switches = BridgeSwitches(folder.tag)
    removed = tear_down(home, folder.name, board())
    assert {*left, f"network namespace {switches.namespace}"} <= set(removed)
    assert (left_over(folder), folder.path.exists()) == ([], False)


def test_a_card_without_ipxe_gets_it_and_nothing_else_by_tftp(wire: Wire) -> None:
    assert wire.run("tftp", "-g", "-r", LOADER, "-l", "loader", "10.40.0.254").returncode == 0
    assert (wire.folder / "loader").read_bytes() == (LOADERS / LOADER).read_bytes()
    for outside in ("../../../etc/passwd", "/etc/passwd"):
        assert wire.run("tftp", "-g", "-r", outside, "-l", "other", "10.40.0.254").returncode != 0
    answer = wire.run("wget", "-q", "-O", "-", f"http://10.40.0.254/other/{files.BOOT_SCRIPT}")
    assert (answer.returncode, answer.stdout) == (1, "")
