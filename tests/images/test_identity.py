import io
import shutil
import subprocess
import tarfile
from configparser import ConfigParser
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import paramiko
import pytest

# PyYAML itself, as cloud-init uses it: it reads YAML 1.1, in which more things are numbers than in 1.2.
from invoke.vendor import yaml

from lab.errors import LabError
from lab.images.identity import (
    Filesystem,
    Identity,
    NetworkCard,
    Route,
    filesystem_uuid,
    identity_files,
    networkd_file,
    new_ssh_key,
)
from lab.images.seed import write_seed

GENISOIMAGE = pytest.mark.skipif(shutil.which("genisoimage") is None, reason="genisoimage is not installed")


def networkd(card: NetworkCard) -> ConfigParser:
    """Parse a file with at most one route; option names keep their case."""
    parser = ConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(networkd_file(card))
    return parser


def test_a_card_has_its_address_and_routes(identity: Identity) -> None:
    text = identity_files(identity)["etc/systemd/network/10-primary.network"][0]
    parsed = networkd(identity.cards[1])
    assert text == networkd_file(identity.cards[1])
    assert parsed["Match"]["MACAddress"] == "52:54:00:00:00:02"
    assert parsed["Network"]["Address"] == "10.10.0.11/24"
    assert "DHCP" not in parsed["Network"]
    assert dict(parsed["Route"]) == {"Destination": "10.30.0.0/24", "Gateway": "10.10.0.21"}


def test_every_route_has_a_section_of_its_own(identity: Identity) -> None:
    via = IPv4Address("10.10.0.21")
    routes = tuple(Route(IPv4Network(f"10.{number}.0.0/24"), via) for number in (30, 40))
    card = NetworkCard("primary", "52:54:00:00:00:02", IPv4Interface("10.10.0.11/24"), routes)
    assert networkd_file(card).count("[Route]") == 2


def test_the_management_network_is_never_the_way_out(identity: Identity) -> None:
    parsed = networkd(identity.cards[0])
    assert parsed["Network"]["DHCP"] == "ipv4"
    told = dict(parsed["DHCPv4"])
    assert told.pop("ClientIdentifier") == "mac", "a hypervisor host knows its machines by their cards"
    assert told == {"UseGateway": "no", "UseRoutes": "no", "UseDNS": "no", "UseNTP": "no"}
    assert "Route" not in parsed


def test_private_files_are_private(identity: Identity) -> None:
    files = identity_files(identity)
    modes = {name: mode for name, (_, mode) in files.items()}
    assert modes["etc/ssh/ssh_host_ed25519_key"] == 0o600
    assert modes["root/.ssh/authorized_keys"] == 0o600
    private = identity.host_key.private.strip()
    assert [name for name, (text, _) in files.items() if private in text] == ["etc/ssh/ssh_host_ed25519_key"]


def test_a_private_key_is_never_in_a_repr(identity: Identity) -> None:
    secret = identity.host_key.private.splitlines()[1]
    assert secret not in repr(identity.host_key)
    assert secret not in repr(identity)
    assert identity.host_key.public in repr(identity)


def test_keys_are_pairs_that_openssh_reads() -> None:
    key, other = new_ssh_key("a comment"), new_ssh_key("a comment")
    loaded = paramiko.Ed25519Key.from_private_key(io.StringIO(key.private))
    kind, encoded, comment = key.public.split(" ", 2)
    assert (kind, encoded, comment) == ("ssh-ed25519", loaded.get_base64(), "a comment")
    assert other.public != key.public


def test_the_small_files_say_what_the_machine_is(identity: Identity) -> None:
    files = {name: text for name, (text, _) in identity_files(identity).items()}
    assert files["etc/hostname"] == "app1\n"
    assert files["etc/hosts"].splitlines() == ["127.0.0.1 localhost", "10.10.0.11 app1", "10.10.0.21 ps1"]
    assert files["root/.ssh/authorized_keys"].splitlines() == list(identity.authorized_keys)
    assert files["etc/sysctl.d/60-lab.conf"] == "net.ipv4.ip_forward=0\n"
    router = identity_files(replace(identity, forwards_packets=True))
    assert router["etc/sysctl.d/60-lab.conf"][0] == "net.ipv4.ip_forward=1\n"
    uuid = filesystem_uuid("lab1", "app1", identity.filesystems[0])
    assert files["etc/lab-disks"] == f"data {uuid} ext4 /data\n"


def test_a_filesystem_keeps_its_uuid_and_shares_it_with_no_other() -> None:
    data = Filesystem("data", "ext4", "/data")
    made = [
        filesystem_uuid("lab1", "app1", data),
        filesystem_uuid("lab2", "app1", data),
        filesystem_uuid("lab1", "app2", data),
        filesystem_uuid("lab1", "app1", replace(data, serial="more")),
    ]
    assert len(set(made)) == 4
    assert filesystem_uuid("lab1", "app1", replace(data, mount="/elsewhere")) == made[0]


@pytest.fixture
def seed(identity: Identity, tmp_path: Path) -> Path:
    path = tmp_path / "seed.iso"
    write_seed(identity, path)
    return path


def content(seed: Path, name: str) -> bytes:
    """Read a file of the seed disk by its long name (Rock Ridge), with isoinfo or xorriso."""
    if shutil.which("isoinfo"):
        return subprocess.run(
            ["isoinfo", "-i", str(seed), "-R", "-x", f"/{name}"], check=True, capture_output=True
        ).stdout
    if shutil.which("xorriso") is None:
        pytest.skip("neither isoinfo nor xorriso is installed")
    target = seed.with_name(name)
    command = ["xorriso", "-osirrox", "on", "-indev", str(seed), "-extract", f"/{name}", str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return target.read_bytes()


def document(seed: Path, name: str) -> Any:
    return yaml.safe_load(content(seed, name))


@GENISOIMAGE
def test_the_seed_is_a_disk_that_cloud_init_looks_for(seed: Path) -> None:
    volume = seed.read_bytes()[16 * 2048 :][:2048]
    assert volume[1:6] == b"CD001"
    assert volume[40:72].rstrip() == b"cidata"
    assert content(seed, "user-data").startswith(b"#cloud-config\n")


@GENISOIMAGE
def test_the_archive_on_the_seed_holds_the_identity(seed: Path, identity: Identity) -> None:
    with tarfile.open(fileobj=io.BytesIO(content(seed, "identity.tar"))) as archive:
        found = {
            entry.name: (archive.extractfile(entry).read().decode(), entry.mode)  # type: ignore[union-attr]
            for entry in archive.getmembers()
        }
    assert found == identity_files(identity)


@GENISOIMAGE
def test_cloud_init_gets_the_same_identity(seed: Path, identity: Identity) -> None:
    assert document(seed, "meta-data") == {"instance-id": "lab1-app1", "local-hostname": "app1"}
    user = document(seed, "user-data")
    assert user["ssh_keys"]["ed25519_private"] == identity.host_key.private
    assert user["users"] == [{"name": "root", "ssh_authorized_keys": list(identity.authorized_keys)}]
    files = identity_files(identity)
    for file in user["write_files"]:
        assert (file["content"], int(file["permissions"], 8)) == files[file["path"].removeprefix("/")]


@GENISOIMAGE
def test_cloud_init_has_the_disks_mounted_by_our_own_script(seed: Path) -> None:
    """Before anybody can log in, and at every later start: the unit stays on a replica, which has no seed."""
    commands = document(seed, "user-data")["bootcmd"]
    assert ["tar", "-C", "/", "--no-same-owner", "-xf", "/run/lab-seed/disks.tar"] in commands
    assert commands[-1] == ["systemctl", "enable", "--now", "lab-disks.service"]
    with tarfile.open(fileobj=io.BytesIO(content(seed, "disks.tar"))) as archive:
        modes = {entry.name: entry.mode for entry in archive.getmembers()}
        unit = archive.extractfile("etc/systemd/system/lab-disks.service").read().decode()  # type: ignore[union-attr]
    assert modes["usr/local/sbin/lab-identity"] == 0o755
    assert set(modes) == {"etc/lab-disks", "usr/local/sbin/lab-identity", "etc/systemd/system/lab-disks.service"}
    assert "ExecStart=/usr/local/sbin/lab-identity disks\n" in unit


@GENISOIMAGE
def test_cloud_init_gets_the_same_network(seed: Path, identity: Identity) -> None:
    """The MAC address of the management card has decimal digits only: a trap in YAML 1.1."""
    network = document(seed, "network-config")
    management, primary = network["ethernets"]["management"], network["ethernets"]["primary"]
    assert network["version"] == 2
    assert {name: card["match"]["macaddress"] for name, card in network["ethernets"].items()} == {
        card.network: card.mac for card in identity.cards
    }
    assert management["dhcp4"] is True
    assert management["dhcp4-overrides"]["use-routes"] is False
    assert primary["addresses"] == ["10.10.0.11/24"]
    assert primary["routes"] == [{"to": "10.30.0.0/24", "via": "10.10.0.21"}]
    assert "routes" not in management


@GENISOIMAGE
def test_a_seed_that_cannot_be_written_is_an_error(identity: Identity, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="the seed disk of app1 was not written"):
        write_seed(identity, tmp_path / "missing" / "seed.iso")


def test_a_missing_tool_is_named(identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LabError, match="genisoimage is missing"):
        write_seed(identity, tmp_path / "seed.iso")
