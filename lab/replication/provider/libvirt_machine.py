"""Machines of a libvirt host as the capture sees them: checkpoints, pull-mode backups over NBD, the guest agent.

Measured in decision 0014: a backup and a checkpoint that begin in one call are one moment of all disks; QEMU keeps
what was there for as long as the backup is open, in scratch files; bitmaps survive an orderly end of QEMU only.
"""

from __future__ import annotations

import logging
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import libvirt

from lab.replication.master_target.devices import BadDevice
from lab.replication.mobility.capture import CapturedDisk
from lab.replication.provider.frozen import LiveMoment, OfflineMoment
from lab.replication.provider.tracking import Frozen, MachineMissing, MachineOff, NotQuiet, TrackingLost
from lab.waiting import Deadline, wait_until

log = logging.getLogger(__name__)

QEMU_USER = "libvirt-qemu"
RELEASE_S = 60.0
LOST = (libvirt.VIR_ERR_CHECKPOINT_INCONSISTENT, libvirt.VIR_ERR_NO_DOMAIN_CHECKPOINT)
Connect = Callable[[], Any]


class LibvirtMachine:
    """One domain; ``serials`` says which of its disks count, by index; ``folder`` is for sockets and scratch files."""

    def __init__(self, connect: Connect, name: str, serials: Mapping[int, str], folder: Path) -> None:
        self._connect = connect
        self._name = name
        self._serials = serials
        self._folder = folder

    def disks(self) -> Sequence[CapturedDisk]:
        """Return the disks, by index. Raises MachineMissing."""
        domain = self._domain()
        found = {disk.findtext("serial"): disk for disk in _document(domain).iterfind("devices/disk")}
        missing = [serial for serial in self._serials.values() if serial not in found]
        if missing:
            raise MachineMissing(f"{self._name} has no disk with serial {', '.join(missing)}")
        return [self._described(domain, index, found[serial]) for index, serial in sorted(self._serials.items())]

    def freeze(self, since: str | None, checkpoint: str) -> Frozen:
        """Name this moment and freeze all disks in it. Raises TrackingLost, MachineOff, MachineMissing."""
        domain, disks = self._domain(), self.disks()
        if domain.isActive():
            return self._freeze_running(domain, disks, since, checkpoint)
        if since is None:
            raise MachineOff(f"{self._name} is off")
        return self._freeze_off(disks, since)

    def release(self) -> None:
        """Let go of a moment that is frozen: its backup ends. Raises MachineMissing."""
        domain = self._domain()
        if domain.isActive() and self._holds_backup(domain):
            domain.abortJob()
            deadline = Deadline.after(RELEASE_S)
            wait_until(
                lambda: not self._holds_backup(domain), deadline, f"end of the backup of {self._name}", every=0.01
            )
        shutil.rmtree(self._scratch, ignore_errors=True)

    def checkpoints(self) -> Sequence[str]:
        """Return the checkpoints, oldest first. Raises MachineMissing."""
        found = self._domain().listAllCheckpoints(libvirt.VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL)
        return [checkpoint.getName() for checkpoint in found]

    def forget(self, checkpoint: str) -> None:
        """Forget a checkpoint and its bitmaps. Raises MachineMissing."""
        domain = self._domain()
        known = domain.checkpointLookupByName(checkpoint)
        try:
            known.delete(0)
        except libvirt.libvirtError as error:
            # libvirt deletes bitmaps of running machines only, and none that is gone already.
            log.info("%s: checkpoint %s: %s", self._name, checkpoint, error.get_error_message())
            known.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
            if not domain.isActive():
                for disk in self.disks():
                    OfflineMoment.remove_bitmap(disk, checkpoint)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Have the guest agent freeze all file systems. Raises NotQuiet."""
        domain = self._domain()
        try:
            domain.fsFreeze()
        except libvirt.libvirtError as error:
            # A part of them may be frozen.
            with suppress(libvirt.libvirtError):
                domain.fsThaw()
            raise NotQuiet(f"guest agent of {self._name}: {error.get_error_message()}") from error
        try:
            yield
        finally:
            try:
                domain.fsThaw()
            except libvirt.libvirtError:
                log.exception("%s: the guest agent did not thaw", self._name)

    @property
    def _scratch(self) -> Path:
        return self._folder / self._name

    def _domain(self) -> Any:
        try:
            return self._connect().lookupByName(self._name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                raise MachineMissing(f"this host has no machine {self._name}") from error
            raise ConnectionError(f"libvirt: {error.get_error_message()}") from error

    def _described(self, domain: Any, index: int, disk: ET.Element) -> CapturedDisk:
        source = disk.find("source")
        path = source.get("file") if source is not None else None
        driver = disk.find("driver")
        if path is None or driver is None or driver.get("type") != "qcow2":
            raise MachineMissing(f"{self._name}: disk {index} is no qcow2 file, which alone can track changes")
        target = disk.find("target")
        name = target.get("dev", "") if target is not None else ""
        return CapturedDisk(index, name, Path(path), int(domain.blockInfo(path)[0]))

    def _freeze_running(
        self, domain: Any, disks: Sequence[CapturedDisk], since: str | None, checkpoint: str
    ) -> LiveMoment:
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        # QEMU's user has to pass, whatever the umask of who started this.
        self._folder.chmod(0o711)
        self._scratch.mkdir(mode=0o700)
        # QEMU makes the socket and the scratch files itself; root may look into its folder anyway.
        with suppress(LookupError, PermissionError):
            shutil.chown(self._scratch, QEMU_USER)
        others = [name for name in _targets(domain) if name not in {disk.name for disk in disks}]
        backup = backup_xml(disks, others, since, self._scratch)
        try:
            domain.backupBegin(backup, checkpoint_xml(disks, others, checkpoint))
        except libvirt.libvirtError as error:
            if error.get_error_code() in LOST:
                raise TrackingLost(f"{self._name}: {error.get_error_message()}") from error
            if not domain.isActive():
                raise MachineOff(f"{self._name} is off") from error
            raise
        try:
            return LiveMoment(checkpoint, disks, since, socket_in(self._scratch), self.release)
        except BadDevice as error:
            self.release()
            raise TrackingLost(str(error)) from error

    def _freeze_off(self, disks: Sequence[CapturedDisk], since: str) -> OfflineMoment:
        names = list(self.checkpoints())
        if since not in names:
            raise TrackingLost(f"{self._name} has no checkpoint {since}")
        return OfflineMoment(disks, names[names.index(since) :], lambda: not self._domain().isActive())

    def _holds_backup(self, domain: Any) -> bool:
        try:
            document = domain.backupGetXMLDesc()
        except libvirt.libvirtError:
            return False
        return str(self._scratch) in document


def _document(domain: Any) -> ET.Element:
    return ET.fromstring(domain.XMLDesc(0))  # noqa: S314 - libvirt's own document


def _targets(domain: Any) -> list[str]:
    return [target.get("dev", "") for target in _document(domain).iterfind("devices/disk/target")]


def socket_in(folder: Path) -> Path:
    """Return the NBD socket of a backup whose files are in ``folder``."""
    return folder / "nbd.sock"


def export_name(index: int) -> str:
    """Return the name under which a backup serves a disk."""
    return f"disk{index}"


def backup_xml(disks: Sequence[CapturedDisk], others: Sequence[str], since: str | None, folder: Path) -> str:
    """Return the document of a pull-mode backup of ``disks``, not of ``others``, with changes since a checkpoint."""
    backup = ET.Element("domainbackup", mode="pull")
    if since is not None:
        ET.SubElement(backup, "incremental").text = since
    ET.SubElement(backup, "server", transport="unix", socket=str(socket_in(folder)))
    listed = ET.SubElement(backup, "disks")
    for disk in disks:
        element = ET.SubElement(
            listed, "disk", name=disk.name, backup="yes", type="file", exportname=export_name(disk.index)
        )
        ET.SubElement(element, "scratch", file=str(folder / f"{disk.name}.scratch"))
    for name in others:
        ET.SubElement(listed, "disk", name=name, backup="no")
    return ET.tostring(backup, encoding="unicode")


def checkpoint_xml(disks: Sequence[CapturedDisk], others: Sequence[str], name: str) -> str:
    """Return the document of a checkpoint of ``disks`` and not of ``others``."""
    checkpoint = ET.Element("domaincheckpoint")
    ET.SubElement(checkpoint, "name").text = name
    listed = ET.SubElement(checkpoint, "disks")
    for disk in disks:
        ET.SubElement(listed, "disk", name=disk.name, checkpoint="bitmap")
    for other in others:
        ET.SubElement(listed, "disk", name=other, checkpoint="no")
    return ET.tostring(checkpoint, encoding="unicode")
