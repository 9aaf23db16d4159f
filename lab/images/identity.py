"""What makes one machine different from another: names, keys, addresses, filesystems. Handed over on a seed disk.

The disk is a NoCloud seed (label ``cidata``), so an image with cloud-init understands it too; our own recipes read
``identity.tar`` from it, which costs a slow machine far less.
"""

from __future__ import annotations

import ipaddress
import uuid
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_NAMESPACE = uuid.UUID("5a0c2b0e-6f53-4d6c-9b0a-0d7f3f7b8a11")


@dataclass(frozen=True)
class Route:
    """A static route."""

    to: ipaddress.IPv4Network
    via: ipaddress.IPv4Address


@dataclass(frozen=True)
class NetworkCard:
    """A card with its address; ``address`` None means the management card (DHCP from the hypervisor)."""

    network: str
    mac: str
    address: ipaddress.IPv4Interface | None
    routes: tuple[Route, ...] = ()
    bridge: str | None = None
    """The bridge that the card is on; that has the address then."""


@dataclass(frozen=True)
class Bridge:
    """A bridge for the machines of a hypervisor host; ``leases``: addresses that it hands out, by MAC address."""

    name: str
    address: ipaddress.IPv4Interface | None
    leases: tuple[tuple[str, ipaddress.IPv4Address], ...] = ()


@dataclass(frozen=True)
class Filesystem:
    """A disk, found by its serial, that holds a file system at ``mount``."""

    serial: str
    kind: str
    mount: str


@dataclass(frozen=True)
class SshKey:
    """An Ed25519 key pair in OpenSSH's formats."""

    private: str = field(repr=False)
    public: str


@dataclass(frozen=True)
class Identity:
    """Everything about one machine that its image does not know."""

    lab: str
    machine: str
    host_key: SshKey
    authorized_keys: tuple[str, ...]
    cards: tuple[NetworkCard, ...]
    filesystems: tuple[Filesystem, ...]
    hosts: tuple[tuple[str, str], ...]
    forwards_packets: bool
    bridges: tuple[Bridge, ...] = ()


def new_ssh_key(comment: str) -> SshKey:
    """Make a key pair."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return SshKey(private.decode(), f"{public.decode()} {comment}")


def filesystem_uuid(lab: str, machine: str, filesystem: Filesystem) -> str:
    """Return the UUID that the file system of this disk gets, so that it is found again below any mapping."""
    return str(uuid.uuid5(_NAMESPACE, f"{lab}/{machine}/{filesystem.serial}"))


def identity_files(identity: Identity) -> dict[str, tuple[str, int]]:
    """Return path to (text, mode) of every file that the identity puts into the machine."""
    hosts = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in identity.hosts)]
    disks = [
        f"{item.serial} {filesystem_uuid(identity.lab, identity.machine, item)} {item.kind} {item.mount}"
        for item in identity.filesystems
    ]
    files = {
        "etc/hostname": (f"{identity.machine}\n", 0o644),
        "etc/hosts": ("\n".join(hosts) + "\n", 0o644),
        "etc/lab-disks": ("\n".join([*disks, ""]), 0o644),
        "etc/ssh/ssh_host_ed25519_key": (identity.host_key.private, 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": (f"{identity.host_key.public}\n", 0o644),
        "root/.ssh/authorized_keys": ("\n".join([*identity.authorized_keys, ""]), 0o600),
        "etc/sysctl.d/60-lab.conf": (f"net.ipv4.ip_forward={int(identity.forwards_packets)}\n", 0o644),
    }
    for card in identity.cards:
        files[f"etc/systemd/network/10-{card.network}.network"] = (networkd_file(card), 0o644)
    for bridge in identity.bridges:
        files[f"etc/systemd/network/10-{bridge.name}.netdev"] = (f"[NetDev]\nName={bridge.name}\nKind=bridge\n", 0o644)
        files[f"etc/systemd/network/20-{bridge.name}.network"] = (bridge_file(bridge), 0o644)
    if identity.bridges:
        # Cards of inner machines are libvirt's, and no fallback of the image's may ask for an address there.
        files["etc/systemd/network/20-inner.network"] = ("[Match]\nName=vnet*\n[Link]\nUnmanaged=yes\n", 0o644)
    return files


def bridge_file(bridge: Bridge) -> str:
    """Return the systemd-networkd configuration of a bridge."""
    lines = ["[Match]", f"Name={bridge.name}", "[Network]", "LinkLocalAddressing=no", "IPv6AcceptRA=no"]
    lines.append("ConfigureWithoutCarrier=yes")
    if bridge.address is not None:
        lines.append(f"Address={bridge.address}")
    if bridge.leases:
        lines += ["DHCPServer=yes", "[DHCPServer]", "EmitDNS=no", "EmitNTP=no", "EmitRouter=no", "EmitTimezone=no"]
    for mac, address in bridge.leases:
        lines += ["[DHCPServerStaticLease]", f"MACAddress={mac}", f"Address={address}"]
    return "\n".join([*lines, ""])


def networkd_file(card: NetworkCard) -> str:
    """Return the systemd-networkd configuration of a card."""
    lines = ["[Match]", f"MACAddress={card.mac}", "[Network]", "LinkLocalAddressing=no", "IPv6AcceptRA=no"]
    if card.bridge is not None:
        return "\n".join([*lines, f"Bridge={card.bridge}", ""])
    lines.append("DHCP=ipv4" if card.address is None else f"Address={card.address}")
    if card.address is None:
        # The way out of a machine is never the management network.
        lines += ["[DHCPv4]", "UseGateway=no", "UseRoutes=no", "UseDNS=no", "UseNTP=no"]
        # A hypervisor host knows its machines by their cards.
        lines.append("ClientIdentifier=mac")
    for route in card.routes:
        lines += ["[Route]", f"Destination={route.to}", f"Gateway={route.via}"]
    return "\n".join([*lines, ""])
