"""From properties of a virtual machine to what the lab sees. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from lab.hypervisors.esxi.naming import LAB_KEY, MACHINE_KEY, SSH_KEY, Names, serial_key
from lab.hypervisors.esxi.session import Read
from lab.hypervisors.model import DiskAttachment, DiskId, Endpoint, Machine, Nic, PowerState

SSH_PORT = 22
PATHS = (
    "name",
    "runtime.powerState",
    "config.hardware",
    "config.extraConfig",
    "config.files.vmPathName",
    "guest.net",
    "snapshot",
)
_POWER = {
    "poweredOn": PowerState.ON,
    "poweredOff": PowerState.OFF,
    "suspended": PowerState.PAUSED,
}


@dataclass(frozen=True)
class Found:
    """A virtual machine of the lab, as it was read."""

    ref: Any
    name: str
    """The lab's name of it."""
    values: Mapping[str, Any]
    names: Names

    @property
    def power(self) -> PowerState:
        """Its power."""
        return _POWER[str(self.values["runtime.powerState"])]

    @property
    def options(self) -> dict[str, str]:
        """Its extraConfig."""
        return options_of(self.values)

    @property
    def devices(self) -> list[Any]:
        """Its devices."""
        hardware = self.values.get("config.hardware")
        return list(hardware.device) if hardware is not None else []

    @property
    def disks(self) -> list[tuple[DiskId, Any]]:
        """The lab's disks in it with their devices, in the order of controller and unit."""
        found = [device for device in self.devices if isinstance(device, vim.vm.device.VirtualDisk)]
        found.sort(key=lambda device: (device.controllerKey, device.unitNumber))
        named = [(self.names.disk_of(base_file(device.backing)), device) for device in found]
        return [(disk, device) for disk, device in named if disk is not None]

    def device_of(self, disk: DiskId) -> Any:
        """The device of a disk, or None."""
        return next((device for found, device in self.disks if found == disk), None)

    @property
    def machine(self) -> Machine:
        """What the lab sees."""
        hardware, options = self.values["config.hardware"], self.options
        attachments = [
            DiskAttachment(disk, options.get(serial_key(device.controllerKey, device.unitNumber), ""))
            for disk, device in self.disks
        ]
        return Machine(
            self.name, self.power, hardware.numCPU, hardware.memoryMB, tuple(attachments), tuple(self._nics())
        )

    def endpoint(self, management: frozenset[str]) -> Endpoint | None:
        """Where SSH answers, None without a management card or without an address of it so far."""
        published = self.options.get(SSH_KEY)
        if published:
            host, _, port = published.rpartition(":")
            return Endpoint(host, int(port))
        macs = {card.macAddress for card in self._cards() if card.backing.deviceName in management}
        for net in self.values.get("guest.net") or []:
            if net.macAddress in macs and net.ipAddress:
                return Endpoint(net.ipAddress[0], SSH_PORT)
        return None

    def managed(self, management: frozenset[str]) -> bool:
        """Whether it has a management card."""
        return any(card.backing.deviceName in management for card in self._cards())

    def _cards(self) -> list[Any]:
        found = [device for device in self.devices if isinstance(device, vim.vm.device.VirtualEthernetCard)]
        return [card for card in found if getattr(card.backing, "deviceName", None)]

    def _nics(self) -> list[Nic]:
        prefix = self.names.network("")
        return [
            Nic(card.backing.deviceName.removeprefix(prefix), card.macAddress.lower())
            for card in self._cards()
            if card.backing.deviceName.startswith(prefix)
        ]


def found_of(read: Read, names: Names) -> Found | None:
    """Return a machine of the lab, or None for one that does not carry its tag."""
    options = options_of(read.values)
    if options.get(LAB_KEY) != names.lab or not options.get(MACHINE_KEY):
        return None
    return Found(read.ref, options[MACHINE_KEY], read.values, names)


def options_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return extraConfig as a dictionary."""
    return {option.key: str(option.value) for option in values.get("config.extraConfig") or []}


def base_file(backing: Any) -> str:
    """Return the path of the lowest layer of a disk."""
    while getattr(backing, "parent", None) is not None:
        backing = backing.parent
    return str(getattr(backing, "fileName", ""))
