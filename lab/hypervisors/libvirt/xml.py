"""Domain, disk and pool documents for libvirt. Pure functions from values to XML."""

from __future__ import annotations

import string
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from lab.hypervisors.model import MachineSpec, Nic
from lab.hypervisors.translated import LEFT_OUT, TRANSLATION_CACHE_MIB, possible_processors
from lab.networks.protocol import BridgeWiring, StreamWiring, TapWiring, Wiring

TAG = "urn:recovery-lab:1"
QCOW2 = "qcow2"
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
MEMORY_ID = "lab-memory"
"""Whoever goes on from a saved machine has its memory under the same id."""
MANAGEMENT_SLOT = 0x1E
"""PCI slots are handed out by libvirt from 1 upwards; what we add on the command line sits at the other end."""

ET.register_namespace("lab", TAG)
ET.register_namespace("qemu", QEMU)


@dataclass(frozen=True)
class DiskFile:
    """Where the content of a disk is, in which format ("raw" or "qcow2")."""

    path: Path
    format: str
    serial: str
    read_only: bool = False
    flushed: bool = False
    """Whether what the machine flushes is to be flushed from the host's memory too (decision 0025)."""


@dataclass(frozen=True)
class Placement:
    """What the driver decided about a machine: files, wiring, the SSH port."""

    lab: str
    domain_type: str
    """"kvm" or "qemu" (no acceleration)."""
    disks: tuple[DiskFile, ...]
    wiring: tuple[Wiring, ...]
    ssh_port: int | None
    console: Path
    forwards: tuple[tuple[int, int], ...] = ()
    """More (port of the machine, port of 127.0.0.1)."""


def domain_name(lab: str, machine: str) -> str:
    """Return the libvirt name of a machine, unique between labs."""
    return f"{lab}.{machine}"


def domain_xml(spec: MachineSpec, placement: Placement) -> str:
    """Return the document that defines a machine."""
    domain = ET.Element("domain", type=placement.domain_type)
    _child(domain, "name", domain_name(placement.lab, spec.name))
    _metadata(domain, spec, placement)
    _child(domain, "memory", str(spec.memory_mib), unit="MiB")
    translated = placement.domain_type == "qemu"
    _child(domain, "vcpu", str(possible_processors(spec.cpus) if translated else spec.cpus), current=str(spec.cpus))
    system = _child(domain, "os")
    _child(system, "type", "hvm", arch="x86_64", machine="pc")
    if any(nic.boots for nic in spec.nics):
        # Why nothing is booted over a network, only the firmware says.
        _child(system, "bios", useserial="yes")
    features = _child(domain, "features")
    _child(features, "acpi")
    if translated:
        _child(_child(features, "tcg"), "tb-cache", str(TRANSLATION_CACHE_MIB), unit="MiB")
    processor = _child(domain, "cpu", mode="maximum" if translated else "host-passthrough")
    for feature in LEFT_OUT if translated else ():
        _child(processor, "feature", name=feature, policy="disable")
    _child(domain, "on_poweroff", "destroy")
    _child(domain, "on_reboot", "restart")
    _child(domain, "on_crash", "destroy")
    _devices(domain, spec, placement)
    _command_line(domain, spec, placement)
    capabilities = ET.SubElement(domain, f"{{{QEMU}}}capabilities")
    # With it libvirt asks QEMU for each of 200 properties of the processor, one by one, at every start.
    ET.SubElement(capabilities, f"{{{QEMU}}}del", {"capability": "cpu-unavailable-features"})
    return ET.tostring(domain, encoding="unicode")


def disk_element(file: DiskFile, target: str, *, boot: bool = False) -> ET.Element:
    """Return one virtio disk."""
    disk = ET.Element("disk", type="file", device="disk")
    flushing = {} if file.flushed else {"cache": "unsafe"}
    _child(disk, "driver", name="qemu", type=file.format, discard="unmap", **flushing)
    _child(disk, "source", file=str(file.path))
    _child(disk, "target", dev=target, bus="virtio")
    if file.read_only:
        _child(disk, "readonly")
    if boot:
        _child(disk, "boot", order="1")
    _child(disk, "serial", file.serial)
    return disk


def going_on_document(document: ET.Element, memory: Path) -> str:
    """Return the document with which a defined machine starts once from saved memory, waiting for its devices' state.

    ``memory`` is mapped and never written: what the machine writes is its own (copy on write).
    """
    size = document.findtext("memory") or "0"
    line = document.find(f"{{{QEMU}}}commandline")
    if line is None:
        line = ET.SubElement(document, f"{{{QEMU}}}commandline")
    _append(line, *_memory(f"memory-backend-file,mem-path={_escaped(memory)},share=off", f"{size}K"))
    _append(line, "-incoming", "defer")
    return ET.tostring(document, encoding="unicode")


def free_target(used: set[str]) -> str:
    """Return the first free vdX name. Raises ValueError when all 26 are taken."""
    for letter in string.ascii_lowercase:
        if f"vd{letter}" not in used:
            return f"vd{letter}"
    raise ValueError("a machine can have 26 disks at most")


def pool_xml(name: str, folder: Path) -> str:
    """Return the document of the folder that holds a lab's disks."""
    pool = ET.Element("pool", type="dir")
    _child(pool, "name", name)
    target = _child(pool, "target")
    _child(target, "path", str(folder))
    _child(_child(target, "permissions"), "mode", "0711")
    return ET.tostring(pool, encoding="unicode")


def volume_xml(
    name: str, size_bytes: int, *, kind: str = "raw", backing: Path | None = None, backing_format: str = "raw"
) -> str:
    """Return the document of a sparse disk, or of a qcow2 overlay when it has a backing image."""
    volume = ET.Element("volume")
    _child(volume, "name", name)
    _child(volume, "capacity", str(size_bytes), unit="bytes")
    if backing is None and kind == "raw":
        _child(volume, "allocation", "0", unit="bytes")
    target = _child(volume, "target")
    _child(target, "format", type=kind if backing is None else QCOW2)
    if backing is not None or kind == QCOW2:
        # libvirt makes version 2 unless it is told, and that cannot keep the bitmap of a checkpoint.
        _child(target, "compat", "1.1")
    if backing is not None:
        store = _child(volume, "backingStore")
        _child(store, "path", str(backing))
        _child(store, "format", type=backing_format)
    return ET.tostring(volume, encoding="unicode")


def _child(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _metadata(domain: ET.Element, spec: MachineSpec, placement: Placement) -> None:
    metadata = _child(domain, "metadata")
    owner = ET.SubElement(metadata, f"{{{TAG}}}machine", {"lab": placement.lab, "name": spec.name})
    for nic in spec.nics:
        ET.SubElement(owner, f"{{{TAG}}}nic", {"network": nic.network, "mac": nic.mac})
    if placement.ssh_port is not None:
        ET.SubElement(owner, f"{{{TAG}}}ssh", {"port": str(placement.ssh_port)})
    for inside, port in placement.forwards:
        ET.SubElement(owner, f"{{{TAG}}}forward", {"inside": str(inside), "port": str(port)})


def _devices(domain: ET.Element, spec: MachineSpec, placement: Placement) -> None:
    devices = _child(domain, "devices")
    used: set[str] = set()
    for position, file in enumerate(placement.disks):
        target = free_target(used)
        used.add(target)
        devices.append(disk_element(file, target, boot=position == 0))
    for nic, wiring in zip(spec.nics, placement.wiring, strict=True):
        if isinstance(wiring, TapWiring):
            _interface(devices, nic, "ethernet", "target", dev=wiring.device)
        elif isinstance(wiring, BridgeWiring):
            _interface(devices, nic, "bridge", "source", bridge=wiring.bridge)
    serial = _child(devices, "serial", type="file")
    _child(serial, "source", path=str(placement.console), append="on")
    _child(serial, "target", port="0")
    _child(devices, "controller", type="usb", model="none")
    _child(devices, "memballoon", model="none")
    entropy = _child(devices, "rng", model="virtio")
    _child(entropy, "backend", "/dev/urandom", model="random")


def _interface(devices: ET.Element, nic: Nic, kind: str, end: str, **what: str) -> None:
    interface = _child(devices, "interface", type=kind)
    _child(interface, "mac", address=nic.mac)
    _child(interface, end, **what)
    _child(interface, "model", type="virtio")
    if not nic.boots:
        _child(interface, "rom", enabled="no")


def _command_line(domain: ET.Element, spec: MachineSpec, placement: Placement) -> None:
    arguments: list[str] = []
    slot = MANAGEMENT_SLOT
    if spec.management is not None and placement.ssh_port is not None:
        restrict = "off" if spec.management.host_access else "on"
        forwards = ",".join(
            f"hostfwd=tcp:127.0.0.1:{port}-:{inside}"
            for inside, port in ((22, placement.ssh_port), *placement.forwards)
        )
        arguments += ["-netdev", f"user,id=management,restrict={restrict},{forwards}"]
        arguments += ["-device", _network_device("management", spec.management.mac, slot)]
    for position, (nic, wiring) in enumerate(zip(spec.nics, placement.wiring, strict=True)):
        if isinstance(wiring, StreamWiring):
            slot -= 1
            name = f"hub{position}"
            arguments += ["-netdev", f"stream,id={name},server=off,addr.type=unix,addr.path={wiring.socket}"]
            arguments += ["-device", _network_device(name, nic.mac, slot)]
    if spec.saveable:
        arguments += _memory("memory-backend-memfd,share=on", f"{spec.memory_mib}M")
    if arguments:
        _append(ET.SubElement(domain, f"{{{QEMU}}}commandline"), *arguments)


def _memory(backend: str, size: str) -> list[str]:
    """Return arguments that put a machine's memory where we say; libvirt's own choice stays unused."""
    return ["-object", f"{backend},id={MEMORY_ID},size={size}", "-machine", f"memory-backend={MEMORY_ID}"]


def _append(line: ET.Element, *arguments: str) -> None:
    for argument in arguments:
        ET.SubElement(line, f"{{{QEMU}}}arg", {"value": argument})


def _escaped(path: Path) -> str:
    """Return a path as QEMU's options take it."""
    return str(path).replace(",", ",,")


def _network_device(netdev: str, mac: str, slot: int) -> str:
    return f"virtio-net-pci,netdev={netdev},mac={mac},addr={slot:#x},romfile="
