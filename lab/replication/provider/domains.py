"""Documents of the machines that a provider makes of replica disks, with the tag by which it knows them again. Pure."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.replication.common.control import CommandFailed
from lab.replication.common.durable import JSON

TAG = "urn:recovery-provider:1"
ET.register_namespace("recovery", TAG)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}\Z")


@dataclass(frozen=True)
class GuestDisk:
    """A disk of a machine that is made here; the guest knows it by ``serial``."""

    path: Path
    serial: str


@dataclass(frozen=True)
class GuestCard:
    """A network card on a bridge of this host."""

    bridge: str
    mac: str


@dataclass(frozen=True)
class Guest:
    """A machine that is made here; ``of`` is the machine that it is a copy of, ``purpose`` why it exists."""

    name: str
    of: str
    purpose: str
    cpus: int
    memory_mib: int
    disks: tuple[GuestDisk, ...]
    cards: tuple[GuestCard, ...]

    def __post_init__(self) -> None:
        """Refuse a name that could lead out of a folder. Raises CommandFailed."""
        if not NAME.match(self.name):
            raise CommandFailed("bad-name", f"{self.name!r} is no name of a machine")


def cards_of(value: Sequence[JSON], bridges: Mapping[str, str]) -> tuple[GuestCard, ...]:
    """Read network cards ``{network, mac}``; ``bridges`` says which bridge of this host a network is.

    Raises:
        CommandFailed: a network is none of this host's.
    """
    for card in value:
        if card["network"] not in bridges:
            known = ", ".join(sorted(bridges)) or "none"
            raise CommandFailed("unknown-network", f"no network {card['network']!r} on this host; known are {known}")
    return tuple(GuestCard(bridges[card["network"]], str(card["mac"])) for card in value)


def guest_xml(guest: Guest, domain_type: str, console: Path) -> str:
    """Return the document of a machine; ``domain_type`` is "kvm" or "qemu" (no acceleration)."""
    domain = ET.Element("domain", type=domain_type)
    ET.SubElement(domain, "name").text = guest.name
    metadata = ET.SubElement(domain, "metadata")
    ET.SubElement(metadata, f"{{{TAG}}}machine", {"of": guest.of, "purpose": guest.purpose})
    ET.SubElement(domain, "memory", unit="MiB").text = str(guest.memory_mib)
    ET.SubElement(domain, "vcpu").text = str(guest.cpus)
    ET.SubElement(ET.SubElement(domain, "os"), "type", arch="x86_64", machine="pc").text = "hvm"
    ET.SubElement(ET.SubElement(domain, "features"), "acpi")
    ET.SubElement(domain, "cpu", mode="host-passthrough" if domain_type == "kvm" else "maximum")
    ET.SubElement(domain, "on_poweroff").text = "destroy"
    ET.SubElement(domain, "on_reboot").text = "restart"
    devices = ET.SubElement(domain, "devices")
    for position, disk in enumerate(guest.disks):
        _disk(devices, disk, position)
    for card in guest.cards:
        interface = ET.SubElement(devices, "interface", type="bridge")
        ET.SubElement(interface, "mac", address=card.mac)
        ET.SubElement(interface, "source", bridge=card.bridge)
        ET.SubElement(interface, "model", type="virtio")
    serial = ET.SubElement(devices, "serial", type="file")
    ET.SubElement(serial, "source", path=str(console), append="on")
    ET.SubElement(devices, "memballoon", model="none")
    agent = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(agent, "target", type="virtio", name="org.qemu.guest_agent.0")
    return ET.tostring(domain, encoding="unicode")


def _disk(devices: ET.Element, disk: GuestDisk, position: int) -> None:
    element = ET.SubElement(devices, "disk", type="file", device="disk")
    ET.SubElement(element, "driver", name="qemu", type="qcow2", discard="unmap")
    ET.SubElement(element, "source", file=str(disk.path))
    ET.SubElement(element, "target", dev=f"vd{LETTERS[position]}", bus="virtio")
    if position == 0:
        ET.SubElement(element, "boot", order="1")
    ET.SubElement(element, "serial").text = disk.serial
