"""The machine that is a hypervisor host, seen from outside: how it is reached, where it keeps things, what it carries.

Every address, port and path of this module is inside of the host, where nobody else can collide with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Protocol

from lab.hypervisors.model import Endpoint
from lab.networks.naming import device_name
from lab.networks.protocol import BridgeWiring

ROOT = Path("/var/lib/recovery-lab")
DISKS, CONSOLES, SEEDS = ROOT / "disks", ROOT / "consoles", ROOT / "seeds"
BY_SERIAL = "/dev/disk/by-id/virtio-{serial}"
MANAGEMENT = IPv4Interface("192.168.126.1/24")
"""The host's own address on the bridge over which it reaches its machines."""
FIRST_ADDRESS, FIRST_PORT, MOST = 11, 2211, 200
SSH = 22


class Shell(Protocol):
    """Commands and files of the host. Every call raises LabError when the host does not answer."""

    def check(self, *argv: str, stdin: str | None = None) -> str:
        """Run a program and return what it printed."""

    def put(self, content: bytes, path: str, *, mode: int = 0o644) -> None:
        """Write a file."""

    def get(self, path: str) -> bytes:
        """Read a file."""


@dataclass(frozen=True)
class Inner:
    """A machine that runs inside of some host: its number among them says its address and its port on every host.

    A replica has the management card of the machine that it is a copy of, and so its address and its port.
    """

    name: str
    number: int

    @property
    def address(self) -> IPv4Address:
        """Its address on the management bridge."""
        return MANAGEMENT.network.network_address + FIRST_ADDRESS + self.number

    @property
    def port(self) -> int:
        """The port of its host that leads to its SSH server."""
        return FIRST_PORT + self.number


@dataclass(frozen=True)
class Access:
    """How a host is reached, and what it is told: all from files and values that the lab has made."""

    name: str
    endpoint: Endpoint
    key: Path
    known_hosts: Path
    management: str
    """The network of the lab that is the management network."""
    inner: tuple[Inner, ...]
    ports: Mapping[str, Endpoint] = field(default_factory=dict)
    """Inner machine to where its SSH server is reached from this host."""


@dataclass(frozen=True)
class HostBridges:
    """The bridges of a host; they are made by its own identity, and stay."""

    def ensure(self, network: str) -> None:
        """Do nothing."""

    def wire(self, network: str, machine: str) -> BridgeWiring:  # noqa: ARG002 - all machines go on one bridge
        """Return the bridge of a network."""
        return BridgeWiring(bridge_name(network))

    def plug(self, network: str, machine: str) -> None:
        """Do nothing: libvirt has done it."""

    def remove_all(self) -> None:
        """Do nothing: they go with the host."""

    def leftovers(self) -> list[str]:
        """Return nothing: what is inside of a machine goes with it."""
        return []


@dataclass(frozen=True)
class HostFolders:
    """The file system of the host."""

    shell: Shell

    def make_folder(self, path: Path) -> None:
        """Make a folder that QEMU's user can pass."""
        self.shell.check("install", "-d", "-m", "711", str(path))

    def remove_folder(self, path: Path) -> None:
        """Remove a folder."""
        self.shell.check("rm", "-rf", "--", str(path))


def bridge_name(network: str) -> str:
    """Return the bridge that a network is on a hypervisor host."""
    return device_name("br", network)


def forwarding(inner: tuple[Inner, ...], bridge: str) -> str:
    """Return the nftables rules that lead ports of a host to the SSH servers of its machines, and nothing else."""
    ways = "".join(f"    tcp dport {each.port} dnat to {each.address}:{SSH}\n" for each in inner)
    return (
        "table ip recovery_lab\ndelete table ip recovery_lab\ntable ip recovery_lab {\n"
        f"  chain ways {{\n    type nat hook prerouting priority dstnat;\n{ways}  }}\n"
        f'  chain back {{\n    type nat hook postrouting priority srcnat;\n    oifname "{bridge}" masquerade\n  }}\n'
        "  chain between {\n    type filter hook forward priority filter; policy drop;\n"
        "    ct status dnat accept\n    ct state established accept\n  }\n}\n"
    )
