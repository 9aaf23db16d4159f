"""A machine's configuration as the text of a .vmx file, and back. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pyVmomi import vim

from lab.emulators.esxi.devices import default_devices, of_kind

_LINE = re.compile(r'^\s*([\w.:-]+)\s*=\s*"(.*)"\s*$')
_FIELDS = {
    "displayName": "name",
    "guestOS": "guestId",
    "annotation": "annotation",
    "uuid.bios": "uuid",
    "vc.uuid": "instanceUuid",
}
_OWN = re.compile(
    r"(scsi\d+(:\d+)?|ethernet\d+|serial\d+|sata\d+(:\d+)?)\.(present|fileName|deviceType|networkName"
    r"|address|addressType|virtualDev|fileType|key|controllerKey|unit)$"
)
_CARDS = {"vmxnet3": vim.vm.device.VirtualVmxnet3, "e1000": vim.vm.device.VirtualE1000}
_CONTROLLERS = {
    "pvscsi": vim.vm.device.ParaVirtualSCSIController,
    "lsilogic": vim.vm.device.VirtualLsiLogicController,
}
Entries = dict[str, str]


def to_text(config: Any) -> str:
    """Return the file's text."""
    lines = ['.encoding = "UTF-8"']
    lines += [f'{key} = "{_escape(value)}"' for key, value in sorted(to_entries(config).items())]
    return "\n".join(lines) + "\n"


def from_text(text: str) -> Any:
    """Return the configuration that a file describes. Unknown keys become extraConfig."""
    found = (_LINE.match(line) for line in text.split("\n"))
    return from_entries({match[1]: _unescape(match[2]) for match in found if match and match[1] != ".encoding"})


def to_entries(config: Any) -> Entries:
    """Return keys and values."""
    entries = {
        "config.version": "8",
        "virtualHW.version": "19",
        "memsize": str(config.hardware.memoryMB),
        "numvcpus": str(config.hardware.numCPU),
        "ctkEnabled": "TRUE" if config.changeTrackingEnabled else "FALSE",
    }
    for key, field in _FIELDS.items():
        entries[key] = str(getattr(config, field) or "")
    entries.update({option.key: str(option.value) for option in config.extraConfig})
    devices = config.hardware.device
    for controller in of_kind(devices, vim.vm.device.VirtualSCSIController):
        name = f"scsi{controller.busNumber}"
        kind = next((kind for kind, of in _CONTROLLERS.items() if isinstance(controller, of)), "lsilogic")
        entries.update({f"{name}.present": "TRUE", f"{name}.virtualDev": kind, f"{name}.key": str(controller.key)})
    for disk in of_kind(devices, vim.vm.device.VirtualDisk):
        name = f"scsi{_bus(devices, disk.controllerKey)}:{disk.unitNumber}"
        entries.update({f"{name}.present": "TRUE", f"{name}.fileName": disk.backing.fileName})
        entries.update({f"{name}.deviceType": "scsi-hardDisk", f"{name}.key": str(disk.key)})
    for number, card in enumerate(of_kind(devices, vim.vm.device.VirtualEthernetCard)):
        entries.update(_card_entries(f"ethernet{number}", card))
    for number, port in enumerate(of_kind(devices, vim.vm.device.VirtualSerialPort)):
        name = f"serial{number}"
        entries.update({f"{name}.present": "TRUE", f"{name}.fileType": "file", f"{name}.key": str(port.key)})
        entries[f"{name}.fileName"] = port.backing.fileName
    for number, drive in enumerate(of_kind(devices, vim.vm.device.VirtualCdrom)):
        name = f"sata0:{number}"
        entries.update({f"{name}.present": "TRUE", f"{name}.deviceType": "cdrom-image"})
        entries.update({f"{name}.fileName": drive.backing.fileName, f"{name}.key": str(drive.key)})
        entries.update({f"{name}.controllerKey": str(drive.controllerKey), f"{name}.unit": str(drive.unitNumber)})
    return entries


def from_entries(entries: Mapping[str, str]) -> Any:
    """Return the configuration of keys and values."""
    known = {*_FIELDS, "config.version", "virtualHW.version", "memsize", "numvcpus", "ctkEnabled"}
    extra = [
        vim.option.OptionValue(key=key, value=value)
        for key, value in entries.items()
        if key not in known and not _OWN.match(key)
    ]
    return vim.vm.ConfigInfo(
        **{field: entries.get(key, "") for key, field in _FIELDS.items()},
        changeTrackingEnabled=entries.get("ctkEnabled") == "TRUE",
        extraConfig=extra,
        hardware=vim.vm.VirtualHardware(
            memoryMB=int(entries.get("memsize", "4")),
            numCPU=int(entries.get("numvcpus", "1")),
            device=[*default_devices(), *_devices(entries)],
        ),
    )


def _devices(entries: Mapping[str, str]) -> list[Any]:
    found: list[Any] = []
    for key, value in sorted(entries.items()):
        if value != "TRUE" or not key.endswith(".present"):
            continue
        name = key.removesuffix(".present")
        fields = {key.removeprefix(f"{name}."): text for key, text in entries.items() if key.startswith(f"{name}.")}
        if re.fullmatch(r"scsi\d+", name):
            kind = _CONTROLLERS.get(fields.get("virtualDev", ""), vim.vm.device.VirtualLsiLogicController)
            found.append(kind(key=int(fields.get("key", "1000")), busNumber=int(name[4:]), sharedBus="noSharing"))
        elif name.startswith(("scsi", "sata", "ethernet", "serial")):
            found.append(_device(name, fields))
    return found


def _device(name: str, fields: Mapping[str, str]) -> Any:
    key = int(fields.get("key", "0"))
    file = fields.get("fileName", "")
    if name.startswith("ethernet"):
        kind = _CARDS.get(fields.get("virtualDev", ""), vim.vm.device.VirtualE1000)
        backing = vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(deviceName=fields.get("networkName", ""))
        return kind(key=key, backing=backing, macAddress=fields.get("address"), addressType="manual")
    if name.startswith("serial"):
        return vim.vm.device.VirtualSerialPort(
            key=key, controllerKey=400, backing=vim.vm.device.VirtualSerialPort.FileBackingInfo(fileName=file)
        )
    if name.startswith("sata"):
        backing = vim.vm.device.VirtualCdrom.IsoBackingInfo(fileName=file)
        return vim.vm.device.VirtualCdrom(
            key=key,
            controllerKey=int(fields.get("controllerKey", "200")),
            unitNumber=int(fields.get("unit", "0")),
            backing=backing,
        )
    bus, _, unit = name.removeprefix("scsi").partition(":")
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(fileName=file, diskMode="persistent")
    return vim.vm.device.VirtualDisk(key=key, controllerKey=1000 + int(bus), unitNumber=int(unit), backing=backing)


def _card_entries(name: str, card: Any) -> Entries:
    kind = next((kind for kind, of in _CARDS.items() if isinstance(card, of)), "e1000")
    return {
        f"{name}.present": "TRUE",
        f"{name}.networkName": card.backing.deviceName,
        f"{name}.address": card.macAddress,
        f"{name}.addressType": "static",
        f"{name}.virtualDev": kind,
        f"{name}.key": str(card.key),
    }


def _bus(devices: Any, key: int) -> int:
    return next((int(item.busNumber) for item in devices if item.key == key), 0)


def _escape(value: str) -> str:
    return re.sub(r'["|\n\r]', lambda match: f"|{ord(match[0]):02X}", value)


def _unescape(value: str) -> str:
    return re.sub(r"\|([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), value)
