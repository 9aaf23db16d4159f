"""What a caller may ask of a fabric: pure checks of names, sizes and targets (least privilege)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Management, Nic
from lab.replication.fabric.config import FabricConfig

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,78}[a-z0-9]\Z")
MADE_MACHINE = re.compile(r".+-(replica|test|failback)\Z")
MADE_DISK = re.compile(r".+-(replica|replica-copy|test-copy|failback-copy)\Z")
SERIAL = re.compile(r"[a-z0-9][a-z0-9-]{0,19}\Z")
MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}\Z")
SECTOR = 512
DISK_KEYS = {"name", "size"}
MACHINE_KEYS = {"name", "cpus", "memory_mib", "disks", "nics", "management_mac"}


class BadAsk(ValueError):
    """The request is malformed or too large."""


class NotAllowed(PermissionError):
    """The request is about an object that this fabric does not give away."""


def made_disk(name: object) -> DiskId:
    """Return the id of a disk that may be made and removed: its name says that it belongs to a replica.

    Raises:
        BadAsk: it is not a name.
        NotAllowed: it is the name of something else.
    """
    checked = _name(name)
    if not MADE_DISK.match(checked):
        raise NotAllowed(f"disk {checked} is not a replica's")
    return DiskId(checked)


def any_disk(name: object) -> DiskId:
    """Return the id of a disk that may be moved, if it is where moving is allowed.

    Raises:
        BadAsk: it is not a name.
    """
    return DiskId(_name(name))


def made_machine(name: object) -> str:
    """Return the name of a machine that may be made and removed.

    Raises:
        BadAsk: it is not a name.
        NotAllowed: it is the name of something else.
    """
    checked = _name(name)
    if not MADE_MACHINE.match(checked):
        raise NotAllowed(f"machine {checked} is not a replica")
    return checked


def attach_target(config: FabricConfig, name: object) -> str:
    """Return the name of a machine into which disks may be plugged, and out of which.

    Raises:
        BadAsk: it is not a name.
        NotAllowed: the configuration does not list it.
    """
    checked = _name(name)
    if checked not in config.attach_targets and not MADE_MACHINE.match(checked):
        raise NotAllowed(f"disks of machine {checked} are not this fabric's business")
    return checked


def visible_machine(config: FabricConfig, name: object) -> str:
    """Return the name of a machine whose state may be known.

    Raises:
        BadAsk: it is not a name.
        NotAllowed: the configuration does not list it.
    """
    checked = _name(name)
    if checked not in config.attach_targets | config.power_targets and not MADE_MACHINE.match(checked):
        raise NotAllowed(f"machine {checked} is not this fabric's business")
    return checked


def power_target(config: FabricConfig, name: object) -> str:
    """Return the name of a machine that may be switched.

    Raises:
        BadAsk: it is not a name.
        NotAllowed: the configuration does not list it.
    """
    checked = _name(name)
    if checked not in config.power_targets and not MADE_MACHINE.match(checked):
        raise NotAllowed(f"the power of machine {checked} is not this fabric's business")
    return checked


def disk_size(config: FabricConfig, size: object) -> int:
    """Return a size in bytes within the limits.

    Raises:
        BadAsk: it is not one.
    """
    checked = _integer("size", size, SECTOR, config.limits.disk_bytes)
    if checked % SECTOR:
        raise BadAsk(f"size: a multiple of {SECTOR} is expected, not {checked}")
    return checked


def serial_for(disk: DiskId, wanted: object) -> str:
    """Return the serial by which a guest finds a disk: the wanted one, or one that follows from the name.

    Raises:
        BadAsk: the wanted one is not a serial.
    """
    if wanted is None:
        return f"r-{hashlib.sha256(disk.name.encode()).hexdigest()[:16]}"
    if not isinstance(wanted, str) or not SERIAL.match(wanted):
        raise BadAsk(f"serial: 1 to 20 lower-case letters, digits and hyphens are expected, not {wanted!r}")
    return wanted


def machine_spec(config: FabricConfig, value: Mapping[str, Any]) -> MachineSpec:
    """Return the machine that is asked for; it always gets a management card.

    Raises:
        BadAsk: the request is malformed or too large.
        NotAllowed: the name or a disk is not a replica's.
    """
    only(value, MACHINE_KEYS)
    limits = config.limits
    name = made_machine(value.get("name"))
    disks = _list("disks", value.get("disks"), limits.disks)
    nics = _list("nics", value.get("nics", []), limits.nics)
    if not disks:
        raise BadAsk("disks: a machine needs one")
    return MachineSpec(
        name=name,
        cpus=_integer("cpus", value.get("cpus"), 1, limits.cpus),
        memory_mib=_integer("memory_mib", value.get("memory_mib"), 64, limits.memory_mib),
        disks=tuple(_attachment(item) for item in disks),
        nics=tuple(Nic(_name(item.get("network")), _mac("mac", item.get("mac"))) for item in nics),
        management=Management(_management_mac(name, value.get("management_mac"))),
    )


def only(value: Mapping[str, Any], known: set[str]) -> None:
    """Refuse keys that nobody reads.

    Raises:
        BadAsk: there is one.
    """
    unknown = sorted(set(value) - known)
    if unknown:
        raise BadAsk(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")


def _attachment(item: Mapping[str, Any]) -> DiskAttachment:
    disk = made_disk(item.get("disk"))
    return DiskAttachment(disk, serial_for(disk, item.get("serial")))


def _management_mac(machine: str, wanted: object) -> str:
    if wanted is not None:
        return _mac("management_mac", wanted)
    digest = hashlib.sha256(machine.encode()).digest()
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in digest[:3])


def _name(value: object) -> str:
    if not isinstance(value, str) or not NAME.match(value):
        raise BadAsk(f"a name of lower-case letters, digits and hyphens is expected, not {value!r}")
    return value


def _mac(key: str, value: object) -> str:
    if not isinstance(value, str) or not MAC.match(value):
        raise BadAsk(f"{key}: a MAC address is expected, not {value!r}")
    return value


def _integer(key: str, value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BadAsk(f"{key}: a whole number from {least} to {most} is expected, not {value!r}")
    return value


def _list(key: str, value: object, most: int) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or len(value) > most or not all(isinstance(item, dict) for item in value):
        raise BadAsk(f"{key}: a list of at most {most} objects is expected")
    return value
