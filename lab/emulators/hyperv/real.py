"""The backend over libvirt: every machine is a domain, every virtual hard disk a file of the lab's pool."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libvirt

from lab.emulators.hyperv import images
from lab.emulators.hyperv.backend import BackendError
from lab.hypervisors.libvirt import LibvirtHypervisor
from lab.hypervisors.libvirt.describe import disk_targets
from lab.hypervisors.model import DiskId
from lab.hypervisors.protocols import HypervisorError
from lab.waiting import Deadline, wait_until

JOB_SECONDS = 3600.0


class LibvirtBackend:
    """Implements ``backend.Backend``.

    ``lab`` is whose names are known. With ``lent`` its switches are used, but the objects do not carry its tag, because
    it has machines of its own in the same libvirt.
    """

    def __init__(self, host: LibvirtHypervisor, lab: str, *, lent: bool = False) -> None:
        self.host = host
        self.lab = lab
        self._owns_switches = not lent

    def clear(self) -> None:
        """Remove every object with the tag; switches only when they are not lent."""
        with _said():
            if self._owns_switches:
                self.host.remove_all()
                return
            for machine in self.host.machines():
                self.host.power_off(machine.name)
                self.host.undefine(machine.name)
            self.host.storage.remove()

    def fill(self, disk: DiskId, image: Path) -> None:
        """Write an image into a raw disk."""
        images.copy(image, self.host.storage.path(disk))

    def image_bytes(self, image: Path) -> int:
        """Return the size of the disk that a file holds."""
        return images.size_of(image)

    def flatten(self, source: DiskId, disk: DiskId) -> None:
        """Write a disk with its layers into a raw disk."""
        images.copy(self.host.storage.path(source), self.host.storage.path(disk))

    def overlay(self, disk: DiskId, parent: DiskId) -> None:
        """Make a qcow2 file over the parent's."""
        storage = self.host.storage
        with _said():
            size = self.host.disk(parent).size_bytes
            storage.overlay(disk, storage.path(parent), storage.format(parent), size)

    def freeze(self, machine: str, overlays: Mapping[DiskId, DiskId]) -> None:
        """Switch a running domain to the overlays by one snapshot without metadata."""
        storage = self.host.storage
        domain, targets = self._targets(machine)
        document = ET.Element("domainsnapshot")
        disks = ET.SubElement(document, "disks")
        for path, target in targets.items():
            kept = next((made for disk, made in overlays.items() if str(storage.path(disk)) == path), None)
            entry = ET.SubElement(disks, "disk", name=target, snapshot="no" if kept is None else "external")
            if kept is not None:
                ET.SubElement(entry, "driver", type="qcow2")
                ET.SubElement(entry, "source", file=str(storage.path(kept)))
        flags = (
            libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
            | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
        )
        with _said():
            domain.snapshotCreateXML(ET.tostring(document, encoding="unicode"), flags)

    def merge(self, machine: str | None, lower: DiskId, upper: DiskId, above: DiskId | None) -> None:
        """Commit a layer into its parent: by qemu-img, or by a block job of the domain that runs on it."""
        storage = self.host.storage
        if machine is None:
            images.commit(storage.path(upper))
            if above is not None:
                images.rebase(storage.path(above), storage.path(lower), storage.format(lower))
        else:
            self._commit(machine, lower, upper)
        with _said():
            storage.look_again()
            storage.delete(upper)

    def pause(self, machine: str) -> None:
        """Suspend the domain."""
        with _said():
            self.host.session.find(machine).suspend()

    def resume(self, machine: str) -> None:
        """Resume the domain."""
        with _said():
            self.host.session.find(machine).resume()

    def reset(self, machine: str) -> None:
        """Reset the domain."""
        with _said():
            self.host.session.find(machine).reset(0)

    def close(self) -> None:
        """Close the connection."""
        with _said():
            self.host.close()

    def _commit(self, machine: str, lower: DiskId, upper: DiskId) -> None:
        storage = self.host.storage
        domain, targets = self._targets(machine)
        top = str(storage.path(upper))
        active = targets.get(top)
        target = active or self._target_above(domain, top)
        flags = libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE if active else 0
        with _said():
            domain.blockCommit(target, str(storage.path(lower)), top, 0, flags)
            wait_until(
                lambda: _at_end(domain, target), Deadline.after(JOB_SECONDS), f"merge of {upper.name}", every=0.05
            )
            if active:
                domain.blockJobAbort(target, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)

    def _target_above(self, domain: Any, layer: str) -> str:
        """Return the disk of a domain that has a file as a layer below its topmost one."""
        for disk in self.host.session.document(domain).iter("disk"):
            target = disk.find("target")
            layers = [source.get("file") for store in disk.iter("backingStore") for source in store.findall("source")]
            if target is not None and layer in layers:
                return target.get("dev", "")
        raise BackendError(f"{layer} is in no disk of {domain.name()}")

    def _targets(self, machine: str) -> tuple[Any, dict[str, str]]:
        with _said():
            domain = self.host.session.find(machine)
            return domain, disk_targets(self.host.session.document(domain))


def _at_end(domain: Any, target: str) -> bool:
    """Whether a block job is over, or has written everything and only mirrors what comes."""
    job = domain.blockJobInfo(target, 0)
    if not job:
        return True
    for disk in ET.fromstring(domain.XMLDesc(0)).iter("disk"):  # noqa: S314 - from libvirt
        place, mirror = disk.find("target"), disk.find("mirror")
        if place is not None and place.get("dev") == target:
            return mirror is not None and mirror.get("ready") == "yes"
    return False


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except HypervisorError as error:
        raise BackendError(str(error)) from error
    except libvirt.libvirtError as error:
        raise BackendError(error.get_error_message()) from error
