"""Snapshots, what changed between two of them, and reading it (facts/vsphere.md 5, "CBT and data path")."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from lab.hypervisors.esxi.describe import base_file
from lab.hypervisors.esxi.errors import error_of
from lab.hypervisors.esxi.site import Site
from lab.hypervisors.model import Area, DiskId, SnapshotId
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound, TrackingLost


@dataclass(frozen=True)
class SnapshotAbility:
    """Implements ``protocols.Snapshots``."""

    site: Site

    def track_changes(self, machine: str) -> None:
        """Switch change tracking on. Raises NotFound."""
        found = self.site.find(machine)
        spec = vim.vm.ConfigSpec(changeTrackingEnabled=True)
        self.site.run(f"change tracking of {machine}", lambda: found.ref.ReconfigVM_Task(spec))

    def create_snapshot(self, machine: str, name: str) -> SnapshotId:
        """Freeze the disks, without memory and without quiescing. Raises NotFound."""
        found = self.site.find(machine)
        made = self.site.run(
            f"snapshot {name} of {machine}",
            lambda: found.ref.CreateSnapshot_Task(name, "", False, False),
        )
        return SnapshotId(str(made._moId), name)  # noqa: SLF001 - pyVmomi has no other name for it

    def snapshots(self, machine: str) -> Sequence[SnapshotId]:
        """Return the snapshots, the oldest first. Raises NotFound."""
        info = self.site.find(machine).values.get("snapshot")
        nodes = sorted(_nodes(info.rootSnapshotList if info is not None else []), key=lambda node: node.createTime)
        return [SnapshotId(str(node.snapshot._moId), str(node.name)) for node in nodes]  # noqa: SLF001

    def change_id(self, snapshot: SnapshotId, disk: DiskId) -> str:
        """Return the change id, which is the snapshot's, not the machine's. Raises NotFound, Conflict."""
        found = getattr(self._device(snapshot, disk).backing, "changeId", None)
        if not found:
            raise Conflict(f"disk {disk.name}: changes were not tracked when snapshot {snapshot.name} was made")
        return str(found)

    def changed_areas(self, machine: str, snapshot: SnapshotId, disk: DiskId, since: str = "*") -> Sequence[Area]:
        """Return every changed area: the host answers in pieces. Raises NotFound, TrackingLost."""
        found, device = self.site.find(machine), self._device(snapshot, disk)
        reference, what = self._ref(snapshot), f"changes of disk {disk.name} since {since}"
        areas: list[Area] = []
        position = 0
        while position < device.capacityInBytes:
            ask = functools.partial(found.ref.QueryChangedDiskAreas, reference, device.key, position, since)
            try:
                answer = self.site.session.idempotent(what, ask)
            except HypervisorError as error:
                if isinstance(error.__cause__, vim.fault.FileFault):
                    raise TrackingLost(str(error_of(what, error.__cause__))) from error
                raise
            areas += [Area(int(each.start), int(each.length)) for each in answer.changedArea]
            end = answer.startOffset + answer.length
            if end <= position:
                raise TrackingLost(f"{what}: the host's answer makes no progress at byte {position}")
            position = end
        return areas

    def read_area(self, snapshot: SnapshotId, disk: DiskId, area: Area) -> bytes:
        """Read from the frozen flat file. Raises Conflict when the snapshot lies on another one's overlay."""
        backing = self._device(snapshot, disk).backing
        if getattr(backing, "parent", None) is not None:
            raise Conflict(
                f"disk {disk.name}: snapshot {snapshot.name} lies on top of another one; remove that one first"
            )
        return self.site.files.read(self.site.names.flat_file(disk), area.start, area.length)

    def frozen_file(self, snapshot: SnapshotId, disk: DiskId) -> str:
        """Return the datastore path of the layer that a snapshot froze. Raises NotFound."""
        return str(self._device(snapshot, disk).backing.fileName)

    def revert(self, machine: str, snapshot: SnapshotId) -> None:
        """Bring the machine back; it is off afterwards. Raises NotFound."""
        self._device_owner(snapshot)
        reference = self._ref(snapshot)
        self.site.run(f"revert of {machine} to {snapshot.name}", reference.RevertToSnapshot_Task)

    def remove_snapshot(self, snapshot: SnapshotId) -> None:
        """Remove it alone. Raises NotFound."""
        self._device_owner(snapshot)
        reference = self._ref(snapshot)
        self.site.run(
            f"removal of snapshot {snapshot.name}",
            lambda: reference.RemoveSnapshot_Task(False),
        )

    def _ref(self, snapshot: SnapshotId) -> Any:
        return vim.vm.Snapshot(snapshot.key, self.site.session.stub)

    def _device_owner(self, snapshot: SnapshotId) -> None:
        """Raise NotFound unless the snapshot is of a machine of this lab."""
        known = {each.key for found in self.site.found() for each in _ids(found.values.get("snapshot"))}
        if snapshot.key not in known:
            raise NotFound(f"snapshot {snapshot.name}: does not exist")

    def _device(self, snapshot: SnapshotId, disk: DiskId) -> Any:
        self._device_owner(snapshot)
        values = self.site.session.read_one(self._ref(snapshot), "config.hardware.device")
        for device in values.get("config.hardware.device") or []:
            is_disk = isinstance(device, vim.vm.device.VirtualDisk)
            if is_disk and self.site.names.disk_of(base_file(device.backing)) == disk:
                return device
        raise NotFound(f"disk {disk.name}: is not in snapshot {snapshot.name}")


def _nodes(trees: Sequence[Any]) -> Iterator[Any]:
    for node in trees:
        yield node
        yield from _nodes(node.childSnapshotList or [])


def _ids(info: Any) -> list[SnapshotId]:
    nodes = _nodes(info.rootSnapshotList if info is not None else [])
    return [SnapshotId(str(node.snapshot._moId), str(node.name)) for node in nodes]  # noqa: SLF001
