"""Booting over a network: who is answered and with what. The machine itself: test_netboot_machine."""

import shutil
import subprocess
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from lab.provision.netboot import Client, clients_on, configuration
from lab.topology.load import load_topology

PXE = Path(__file__).parents[2] / "topologies" / "physical-pxe.yaml"
DNSMASQ = shutil.which("dnsmasq", path="/usr/sbin:/usr/bin:/sbin")
SERVER = IPv4Interface("10.40.0.254/24")


def test_only_these_machines_are_answered_and_each_gets_its_own_files() -> None:
    clients = (
        Client("app1", "52:54:00:00:00:01", IPv4Address("10.40.0.11"), "secret-a"),
        Client("app2", "52:54:00:00:00:02", IPv4Address("10.40.0.12"), "secret-b"),
    )
    lines = configuration(SERVER, clients).splitlines()
    assert "dhcp-range=10.40.0.0,static,255.255.255.0" in lines
    assert "port=0" in lines, "no DNS"
    assert {"dhcp-option=3", "dhcp-option=6"} <= set(lines), "no router and no name server"
    assert "pid-file=" in lines, "nothing outside of the lab's folder"
    assert [line for line in lines if line.startswith("dhcp-host=")] == [
        "dhcp-host=52:54:00:00:00:01,set:app1,10.40.0.11",
        "dhcp-host=52:54:00:00:00:02,set:app2,10.40.0.12",
    ]
    assert "dhcp-boot=tag:ipxe,tag:app2,http://10.40.0.254/secret-b/boot.ipxe" in lines
    assert "dhcp-boot=tag:!ipxe,undionly.kpxe,,10.40.0.254" in lines


def test_a_machine_is_known_by_its_card_and_its_files_cannot_be_guessed() -> None:
    topology = load_topology(PXE)
    (client,) = clients_on(topology, "provisioning")
    assert (client.name, str(client.address)) == ("app1", "10.40.0.11")
    assert len(client.secret) >= 32
    assert clients_on(topology, "primary") == ()
    assert clients_on(topology, "provisioning")[0].secret != client.secret


@pytest.mark.skipif(DNSMASQ is None, reason="dnsmasq is not installed: make bootstrap")
def test_dnsmasq_understands_its_configuration(tmp_path: Path) -> None:
    file = tmp_path / "dnsmasq.conf"
    for text, understood in (
        (configuration(SERVER, clients_on(load_topology(PXE), "provisioning")), True),
        ("x=", False),
    ):
        file.write_text(text)
        done = subprocess.run(
            [str(DNSMASQ), "--test", f"--conf-file={file}"], capture_output=True, text=True, check=False
        )
        assert (done.returncode == 0) is understood, done.stderr
