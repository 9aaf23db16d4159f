"""Values that every hypervisor driver understands. No driver, no I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

SEED_SERIAL = "lab-seed"
"""Serial by which a guest finds its seed image."""


def image_serial(image: Path) -> str:
    """Return the serial by which a hypervisor host that is a machine finds an image; it depends on the path alone."""
    return f"image-{hashlib.sha256(str(image).encode()).hexdigest()[:12]}"


class PowerState(StrEnum):
    """What a host says about a machine's power."""

    ON = "on"
    OFF = "off"
    PAUSED = "paused"


@dataclass(frozen=True)
class DiskId:
    """A virtual disk on a host; ``name`` is unique within a lab."""

    name: str


@dataclass(frozen=True)
class Disk:
    """A virtual disk as the host sees it. ``attached_to`` is a machine name or None."""

    id: DiskId
    size_bytes: int
    attached_to: str | None


@dataclass(frozen=True)
class DiskAttachment:
    """A disk in a machine. The guest finds it by ``serial`` (at most 20 characters)."""

    disk: DiskId
    serial: str


@dataclass(frozen=True)
class NetworkSource:
    """Bytes that an NBD server on this host serves read-only: the export ``name`` on a unix socket."""

    socket: Path
    name: str


@dataclass(frozen=True)
class Nic:
    """A network card on a lab switch; ``mac`` is lower case with colons. ``boots``: it can boot the machine (PXE)."""

    network: str
    mac: str
    boots: bool = False


@dataclass(frozen=True)
class Management:
    """The management card: SSH from this host only.

    ``host_access``: the machine may reach services on this host's loopback (10.0.2.2); else it reaches nothing.
    ``forwards``: ports of the machine that are reached from this host too, besides that of SSH.
    """

    mac: str
    host_access: bool = False
    forwards: tuple[int, ...] = ()


@dataclass(frozen=True)
class Medium:
    """A raw file of this host that a machine reads as a disk; the guest finds it by ``serial``."""

    path: str
    serial: str


@dataclass(frozen=True)
class MachineSpec:
    """Everything that a host needs to define a machine. The first disk is booted."""

    name: str
    cpus: int
    memory_mib: int
    disks: tuple[DiskAttachment, ...]
    nics: tuple[Nic, ...]
    management: Management | None
    seed: str | None = None
    """Path of a NoCloud seed image, attached read-only, or None."""
    media: tuple[Medium, ...] = ()
    saveable: bool = False
    """Whether its memory can be saved (``protocols.Saving``)."""


@dataclass(frozen=True)
class Endpoint:
    """Where a machine's SSH server is reached from this host."""

    host: str
    port: int


@dataclass(frozen=True)
class Machine:
    """A machine as the host sees it."""

    name: str
    power: PowerState
    cpus: int
    memory_mib: int
    disks: tuple[DiskAttachment, ...]
    nics: tuple[Nic, ...]


@dataclass(frozen=True)
class SnapshotId:
    """A snapshot of a machine; ``key`` is the host's own."""

    key: str
    name: str


@dataclass(frozen=True)
class Area:
    """Bytes ``start`` to ``start + length`` of a disk."""

    start: int
    length: int


class Sighting(StrEnum):
    """What was seen of a machine in the inventory."""

    APPEARED = "appeared"
    CHANGED = "changed"
    GONE = "gone"


@dataclass(frozen=True)
class Seen:
    """A machine of the lab in the inventory. ``display_name`` is the host's, ``name`` the lab's."""

    name: str
    display_name: str
    power: PowerState


@dataclass(frozen=True)
class InventoryEvent:
    """A machine of the lab came, changed or went. ``display_name`` is the host's, ``name`` the lab's."""

    sighting: Sighting
    name: str
    display_name: str
    power: PowerState
