"""From a machine's virtual devices to what the backend starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from lab.emulators.esxi import configuration
from lab.emulators.esxi.backend import CardPlug, DiskPlug, Hardware, ImagePlug, UserLink
from lab.emulators.esxi.devices import of_kind

if TYPE_CHECKING:
    from lab.emulators.esxi.machine import VirtualMachine

SSH_KEY = "guestinfo.recovery-lab.ssh"
"""Where the emulator publishes HOST:PORT of the guest's SSH server behind a user-mode network."""


def serial_key(disk: Any) -> str:
    """Return the key in extraConfig that gives a disk its serial. Only this emulator honours it (decision 0010)."""
    return f"recovery-lab.serial.{disk.controllerKey}:{disk.unitNumber}"


def disks(config: Any) -> list[Any]:
    """Return the disks, in the order in which they are booted."""
    return of_kind(config.hardware.device, vim.vm.device.VirtualDisk)


def cards(config: Any) -> list[Any]:
    """Return the network cards."""
    return of_kind(config.hardware.device, vim.vm.device.VirtualEthernetCard)


def hardware_of(machine: VirtualMachine) -> Hardware:
    """Return what is to be started. Raises FileNotFound, FileLocked, InvalidDeviceSpec."""
    config = machine.config
    drives = of_kind(config.hardware.device, vim.vm.device.VirtualCdrom)
    return Hardware(
        identity=machine.identity,
        cpus=config.hardware.numCPU,
        memory_mib=config.hardware.memoryMB,
        disks=tuple(disk_plug(machine, disk) for disk in disks(config)),
        cards=tuple(card_plug(machine, card) for card in cards(config)),
        images=tuple(_image_plug(machine, drive) for drive in drives if _is_image(drive)),
        console=console_of(machine),
    )


def disk_plug(machine: VirtualMachine, disk: Any) -> DiskPlug:
    """Return a disk as the backend plugs it. Raises FileNotFound, FileLocked when another machine writes it."""
    name = disk.backing.fileName
    descriptor = machine.site.folder.existing(name)
    # By identity: while it is changed, a machine is here as its draft.
    others = (other for other in machine.site.machines if other.identity != machine.identity)
    if any(descriptor in other.held_files() for other in others):
        raise vim.fault.FileLocked(file=name, msg=f"Unable to access file {name} since it is locked")
    serial = configuration.option(machine.config, serial_key(disk)) or machine.layers(disk)[0].uuid.replace(" ", "")
    return DiskPlug(disk.key, descriptor, serial[:20])


def card_plug(machine: VirtualMachine, card: Any) -> CardPlug:
    """Return a card as the backend plugs it. Raises InvalidDeviceSpec."""
    return CardPlug(card.key, card.macAddress, machine.site.link(card.backing.deviceName, machine.ssh_port))


def publish_ssh(machine: VirtualMachine) -> None:
    """Give a machine with a management card its port, and take it from one without."""
    links = [machine.site.link(card.backing.deviceName, machine.ssh_port) for card in cards(machine.config)]
    ports = [link.port for link in links if isinstance(link, UserLink)]
    machine.ssh_port = ports[0] if ports else None
    configuration.set_options(machine.config, {SSH_KEY: f"127.0.0.1:{ports[0]}" if ports else ""})


def console_of(machine: VirtualMachine) -> Path | None:
    """Return the file of the serial console. Raises FileNotFound for a missing folder."""
    for port in of_kind(machine.config.hardware.device, vim.vm.device.VirtualSerialPort):
        if isinstance(port.backing, vim.vm.device.VirtualSerialPort.FileBackingInfo):
            file = machine.site.folder.file(port.backing.fileName)
            if not file.parent.is_dir():
                name = port.backing.fileName
                raise vim.fault.FileNotFound(file=name, msg=f"the folder of {name} was not found")
            return file
    return None


def _image_plug(machine: VirtualMachine, drive: Any) -> ImagePlug:
    serial = configuration.option(machine.config, serial_key(drive)) or ""
    return ImagePlug(machine.site.folder.existing(drive.backing.fileName), serial[:20])


def _is_image(drive: Any) -> bool:
    return isinstance(drive.backing, vim.vm.device.VirtualCdrom.IsoBackingInfo)
