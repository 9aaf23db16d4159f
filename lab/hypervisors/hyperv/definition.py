"""The cmdlets that make a machine of a specification, and those that plug disks. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lab.hypervisors.hyperv.describe import MEBIBYTE
from lab.hypervisors.hyperv.naming import MANAGEMENT, MANAGEMENT_WITH_HOST, Names, Tag
from lab.hypervisors.hyperv.script import Cmdlet, Given, Pipeline, Switch
from lab.hypervisors.model import DiskAttachment, MachineSpec

GENERATION = 1
"""With a BIOS, which the lab's images need. Only its IDE controllers boot."""


def new_machine(spec: MachineSpec, names: Names) -> list[Pipeline]:
    """Return how an empty machine is made: tagged at once, without the card that New-VM gives every machine."""
    name = names.machine(spec.name)
    tag = Tag(names.lab, spec.name, {item.disk.name: item.serial for item in spec.disks})
    made = Cmdlet(
        "New-VM",
        {
            "Name": name,
            "Generation": GENERATION,
            "MemoryStartupBytes": spec.memory_mib * MEBIBYTE,
            "NoVHD": Switch.ON,
            "Path": f"{names.folder}\\machines",
        },
    )
    settings: Given = {
        "Notes": tag.notes(),
        "ProcessorCount": spec.cpus,
        "StaticMemory": Switch.ON,
        "CheckpointType": "Production",
        "AutomaticCheckpointsEnabled": False,
        "AutomaticStartAction": "Nothing",
        "AutomaticStopAction": "TurnOff",
    }
    return [
        Pipeline(made, Cmdlet("Set-VM", settings)),
        Pipeline(Cmdlet("Remove-VMNetworkAdapter", {"VMName": name})),
        Pipeline(Cmdlet("Set-VMComPort", {"VMName": name, "Number": 1, "Path": names.pipe(spec.name)})),
    ]


def parts(spec: MachineSpec, names: Names) -> Iterator[Cmdlet]:
    """Yield what goes into a new machine, a cmdlet for each part."""
    name = names.machine(spec.name)
    for position, attachment in enumerate(spec.disks):
        yield _disk(name, names, attachment, "SCSI" if position else "IDE", max(0, position - 1))
    if spec.seed is not None:
        place: Given = {"ControllerNumber": 0, "ControllerLocation": 1}
        yield Cmdlet("Add-VMDvdDrive", {"VMName": name, "Path": names.seed(spec.name), **place})
    if spec.management is not None:
        switch = MANAGEMENT_WITH_HOST if spec.management.host_access else MANAGEMENT
        yield _card(name, "management", switch, spec.management.mac)
    for nic in spec.nics:
        yield _card(name, nic.network, names.switch(nic.network), nic.mac)


def attach(full_name: str, names: Names, attachment: DiskAttachment, location: int) -> Cmdlet:
    """Return how a disk is plugged into a machine, running or not."""
    return _disk(full_name, names, attachment, "SCSI", location)


def _disk(name: str, names: Names, attachment: DiskAttachment, controller: str, location: int) -> Cmdlet:
    place: Given = {"ControllerType": controller, "ControllerNumber": 0, "ControllerLocation": location}
    return Cmdlet("Add-VMHardDiskDrive", {"VMName": name, **place, "Path": names.disk(attachment.disk)})


def _card(machine: str, name: str, switch: str, mac: str) -> Cmdlet:
    given = {"VMName": machine, "Name": name, "SwitchName": switch, "StaticMacAddress": mac.replace(":", "").upper()}
    return Cmdlet("Add-VMNetworkAdapter", given)
