"""Read machines back from domain documents."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import libvirt

from lab.hypervisors.libvirt.session import Session, translated
from lab.hypervisors.libvirt.xml import TAG
from lab.hypervisors.model import DiskAttachment, DiskId, Machine, Nic, PowerState

_POWER = {libvirt.VIR_DOMAIN_RUNNING: PowerState.ON, libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED}


def machine_of(domain: Any, session: Session) -> Machine:
    """Return the machine behind a domain."""
    document = session.document(domain)
    with translated(f"state of {domain.name()}"):
        state = domain.state()[0]
        memory_mib, cpus = domain.info()[1] // 1024, domain.info()[3]
    return Machine(
        name=session.name_of(domain),
        power=_POWER.get(state, PowerState.OFF if not domain.isActive() else PowerState.ON),
        cpus=cpus,
        memory_mib=memory_mib,
        disks=_attachments(document),
        nics=tuple(
            Nic(element.get("network", ""), element.get("mac", "")) for element in document.iter(f"{{{TAG}}}nic")
        ),
    )


def disk_targets(document: ET.Element) -> dict[str, str]:
    """Return file path to target name (vda, vdb, ...) of every disk."""
    return {
        source.get("file", ""): target.get("dev", "")
        for disk in document.iter("disk")
        if (source := disk.find("source")) is not None and (target := disk.find("target")) is not None
    }


def ssh_port_of(document: ET.Element) -> int | None:
    """Return the forwarded SSH port, or None without a management card."""
    element = next(document.iter(f"{{{TAG}}}ssh"), None)
    return int(element.get("port", "0")) if element is not None else None


def forwards_of(document: ET.Element) -> dict[int, int]:
    """Return the other ports of a machine that are forwarded: its port to that of 127.0.0.1."""
    found = document.iter(f"{{{TAG}}}forward")
    return {int(element.get("inside", "0")): int(element.get("port", "0")) for element in found}


def _attachments(document: ET.Element) -> tuple[DiskAttachment, ...]:
    found = []
    for disk in document.iter("disk"):
        source, serial = disk.find("source"), disk.findtext("serial") or ""
        if source is None or disk.find("readonly") is not None:
            continue
        name = source.get("file", "").rsplit("/", 1)[-1].removesuffix(".img")
        found.append(DiskAttachment(DiskId(name), serial))
    return tuple(found)
