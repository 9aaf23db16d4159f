"""A virtual machine of the emulated host, as its owner configured it. Passive."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Any

from lab.hypervisors.hyperv.naming import MANAGEMENT, MANAGEMENT_WITH_HOST, TAG, base_disk

IDE_PLACES, SCSI_PLACES = 2, 64


@dataclass(frozen=True)
class Drive:
    """A hard disk or DVD drive at its place; ``path`` is None for an empty DVD drive."""

    kind: str
    """"HardDiskDrive" or "DvdDrive"."""
    controller: str
    number: int
    location: int
    path: str | None

    @property
    def place(self) -> tuple[str, int, int]:
        """Where it is; IDE comes before SCSI."""
        return self.controller, self.number, self.location


@dataclass
class Adapter:
    """A network card; ``mac`` has twelve hexadecimal digits."""

    id: str
    name: str
    mac: str
    dynamic: bool
    switch: str | None


@dataclass(frozen=True)
class Layer:
    """A disk of a checkpoint: the place it has in the machine, and the file that was frozen."""

    place: tuple[str, int, int]
    path: str


@dataclass(frozen=True)
class Checkpoint:
    """A frozen moment of a machine."""

    id: uuid.UUID
    name: str
    created: dt.datetime
    parent: uuid.UUID | None
    layers: tuple[Layer, ...]


@dataclass
class VirtualMachine:
    """Everything that is configured. ``machine`` is its name in the backend, ``defined`` whether that is up to date."""

    id: uuid.UUID
    name: str
    machine: str
    generation: int
    memory: int
    created: dt.datetime
    path: str
    processors: int = 1
    notes: str = ""
    checkpoint_type: str = "Production"
    automatic_stop: str = "Save"
    automatic_start: str = "StartIfRunning"
    automatic_checkpoints: bool = False
    drives: list[Drive] = field(default_factory=list)
    adapters: list[Adapter] = field(default_factory=list)
    ports: dict[int, str] = field(default_factory=lambda: {1: "", 2: ""})
    checkpoints: list[Checkpoint] = field(default_factory=list)
    parent: uuid.UUID | None = None
    """The checkpoint that the machine's present state comes from."""
    started: dt.datetime | None = None
    defined: bool = False

    @property
    def hard_disks(self) -> list[Drive]:
        """Its hard disks, the one that is booted first."""
        return sorted((item for item in self.drives if item.kind == "HardDiskDrive"), key=lambda item: item.place)

    @property
    def management(self) -> Adapter | None:
        """The card over which the lab reaches the machine."""
        return next((item for item in self.adapters if item.switch in {MANAGEMENT, MANAGEMENT_WITH_HOST}), None)

    def serial_of(self, path: str) -> str:
        """Return the serial number that the lab wants the guest to see; only an emulated host shows it."""
        disk = base_disk(PureWindowsPath(path).stem)
        return str(self._tag.get("serials", {}).get(disk, disk))[:20]

    @property
    def _tag(self) -> dict[str, Any]:
        try:
            found = json.loads(self.notes)
        except ValueError:
            return {}
        tag = found.get(TAG) if isinstance(found, dict) else None
        return tag if isinstance(tag, dict) else {}

    def free_place(self, kind: str) -> tuple[str, int, int] | None:
        """Return the first free place for a drive, None when all are taken."""
        taken = {item.place for item in self.drives}
        ide = [("IDE", number, location) for number in range(IDE_PLACES) for location in range(IDE_PLACES)]
        scsi = [("SCSI", 0, location) for location in range(SCSI_PLACES)]
        if kind == "DvdDrive" and self.generation == 1:
            ide.reverse()
        places = ide if self.generation == 1 else scsi
        return next((place for place in places if place not in taken), None)
