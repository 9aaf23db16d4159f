"""From what the host tells of machines, drives and cards to what the lab sees. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.hypervisors.hyperv.naming import MANAGEMENT, MANAGEMENT_WITH_HOST, Names, Tag, tag_of
from lab.hypervisors.hyperv.script import Cmdlet, Enum, Pipeline, Queries
from lab.hypervisors.model import DiskAttachment, DiskId, Endpoint, Machine, Nic, PowerState

SSH_PORT = 22
MEBIBYTE = 1 << 20
_POWER = {
    "Off": PowerState.OFF,
    "OffCritical": PowerState.OFF,
    "Paused": PowerState.PAUSED,
    "PausedCritical": PowerState.PAUSED,
    "Saved": PowerState.PAUSED,
    "SavedCritical": PowerState.PAUSED,
    "FastSaved": PowerState.PAUSED,
}
"""All other states are those of a machine that has power, or is about to."""
PLACE = ("ControllerType", "ControllerNumber", "ControllerLocation")


@dataclass(frozen=True)
class Drive:
    """A hard disk in a machine: its file, which may be a layer of a checkpoint, and its place."""

    disk: DiskId
    path: str
    place: tuple[str, int, int]


@dataclass(frozen=True)
class Found:
    """A machine of the lab, as it was read."""

    name: str
    full_name: str
    power: PowerState
    cpus: int
    memory_mib: int
    has_checkpoints: bool
    tag: Tag
    drives: tuple[Drive, ...]
    cards: tuple[Mapping[str, Any], ...]
    names: Names

    @property
    def machine(self) -> Machine:
        """What the lab sees."""
        prefix = self.names.switch("")
        nics = (
            Nic(str(card["SwitchName"]).removeprefix(prefix), _colons(str(card["MacAddress"])))
            for card in self.cards
            if str(card["SwitchName"]).startswith(prefix)
        )
        return Machine(self.name, self.power, self.cpus, self.memory_mib, self.attachments, tuple(nics))

    @property
    def attachments(self) -> tuple[DiskAttachment, ...]:
        """Its disks, in the order of their places."""
        return tuple(DiskAttachment(drive.disk, self.tag.serials.get(drive.disk.name, "")) for drive in self.drives)

    @property
    def management(self) -> Mapping[str, Any] | None:
        """Its management card."""
        return next((card for card in self.cards if card["SwitchName"] in {MANAGEMENT, MANAGEMENT_WITH_HOST}), None)

    def endpoint(self) -> Endpoint | None:
        """Where SSH answers; None as long as the host knows no address of the management card."""
        if self.tag.ssh:
            host, _, port = self.tag.ssh.rpartition(":")
            return Endpoint(host, int(port))
        addresses = list(self.management["IPAddresses"] or ()) if self.management is not None else []
        plain = [address for address in addresses if ":" not in address] or addresses
        return Endpoint(str(plain[0]), SSH_PORT) if plain else None

    def drive_of(self, disk: DiskId) -> Drive | None:
        """Return the drive that has a disk."""
        return next((drive for drive in self.drives if drive.disk == disk), None)

    def free_location(self) -> int:
        """Return the first free place of the SCSI controller, where a running machine takes disks."""
        taken = {drive.place[2] for drive in self.drives if drive.place[0] == "SCSI"}
        return next(number for number in range(len(taken) + 1) if number not in taken)


def inventory(names: Names) -> Queries:
    """Return the queries whose answers ``found_of`` reads."""
    machines = Cmdlet("Get-VM", {"Name": f"{names.lab}.*"})
    about = ("Name", Enum("State"), "Notes", "ProcessorCount", "MemoryStartup", "ParentSnapshotName")
    number, location = "ControllerNumber", "ControllerLocation"
    return {
        "machines": [Pipeline(machines, select=about)],
        "drives": [
            Pipeline(
                machines,
                Cmdlet("Get-VMHardDiskDrive", {}),
                select=("VMName", "Path", Enum("ControllerType"), number, location),
            )
        ],
        "cards": [
            Pipeline(
                machines,
                Cmdlet("Get-VMNetworkAdapter", {}),
                select=("VMName", "MacAddress", "SwitchName", "IPAddresses"),
            )
        ],
    }


def found_of(rows: Mapping[str, Sequence[Mapping[str, Any]]], names: Names) -> list[Found]:
    """Return the machines that carry the lab's tag, by name."""
    found = []
    for row in rows["machines"]:
        tag = tag_of(str(row["Notes"] or ""))
        if tag is None or tag.lab != names.lab:
            continue
        full = str(row["Name"])
        drives = [_drive(item, names) for item in rows["drives"] if item["VMName"] == full]
        found.append(
            Found(
                name=tag.machine,
                full_name=full,
                power=_POWER.get(str(row["State"]), PowerState.ON),
                cpus=int(row["ProcessorCount"]),
                memory_mib=int(row["MemoryStartup"]) // MEBIBYTE,
                has_checkpoints=bool(row["ParentSnapshotName"]),
                tag=tag,
                drives=tuple(sorted((item for item in drives if item is not None), key=lambda item: item.place)),
                cards=tuple(item for item in rows["cards"] if item["VMName"] == full),
                names=names,
            )
        )
    return sorted(found, key=lambda item: item.name)


def _drive(row: Mapping[str, Any], names: Names) -> Drive | None:
    disk = names.disk_of(str(row["Path"]))
    kind, number, location = (row[name] for name in PLACE)
    return Drive(disk, str(row["Path"]), (str(kind), int(number), int(location))) if disk is not None else None


def _colons(mac: str) -> str:
    return ":".join(mac[at : at + 2] for at in range(0, 12, 2)).lower()
