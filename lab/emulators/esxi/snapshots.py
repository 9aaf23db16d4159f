"""The snapshots of one machine, and what changed between two moments (facts/vsphere.md 3.4)."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from lab.emulators.esxi import changed, disk_files, hardware
from lab.emulators.esxi.backend import Freeze
from lab.emulators.esxi.changes import fill_backing
from lab.emulators.esxi.datastore import disk_faults
from lab.emulators.esxi.registry import Call, Managed, mutation

if TYPE_CHECKING:
    from lab.emulators.esxi.machine import VirtualMachine


class Snapshot(Managed):
    """One frozen moment: the configuration, and of each disk the layer that is written no more."""

    kind = vim.vm.Snapshot

    def __init__(self, tree: SnapshotTree, name: str, description: str, config: Any) -> None:
        self.tree = tree
        self.name, self.description = name, description
        self.config = config
        self.vm = tree.machine.ref
        self.created = datetime.now(UTC)
        self.parent: Snapshot | None = tree.current
        self.frozen: dict[int, Path] = {}
        super().__init__(tree.machine.registry, f"{tree.machine.identity}-snapshot-{tree.machine.registry.number()}")

    @property
    def children(self) -> list[Snapshot]:
        """Snapshots that were taken on top of this one."""
        return [other for other in self.tree.snapshots if other.parent is self]

    @property
    def child_snapshot(self) -> list[Any]:
        """References of those."""
        return [child.ref for child in self.children]

    @mutation
    def remove_snapshot(self, call: Call) -> None:
        """Remove it, with those on top when asked; what was written since stays."""
        with self.tree.machine.lock:
            self.tree.remove(self, below=bool(call.given.removeChildren))

    @mutation
    def revert_to_snapshot(self, call: Call) -> None:  # noqa: ARG002 - the protocol's signature
        """Bring the machine back to this moment; it is off afterwards."""
        with self.tree.machine.lock:
            self.tree.revert(self)

    @mutation
    def rename_snapshot(self, call: Call) -> None:
        """Change name and description."""
        with self.registry.changing():
            self.name = call.given.name or self.name
            self.description = self.description if call.given.description is None else call.given.description

    def as_tree(self) -> Any:
        """Return the node of the tree, with its children."""
        return vim.vm.SnapshotTree(
            snapshot=self.ref,
            vm=self.vm,
            name=self.name,
            description=self.description,
            createTime=self.created,
            state="poweredOff",
            quiesced=False,
            childSnapshotList=[child.as_tree() for child in self.children],
        )


class SnapshotTree:
    """All snapshots of one machine."""

    def __init__(self, machine: VirtualMachine) -> None:
        self.machine = machine
        self.snapshots: list[Snapshot] = []
        self.current: Snapshot | None = None
        self._number = 0

    def info(self) -> Any:
        """Return the tree as a property, None when empty."""
        roots = [item for item in self.snapshots if item.parent is None]
        if not roots:
            return None
        current = self.current.ref if self.current is not None else None
        return vim.vm.SnapshotInfo(currentSnapshot=current, rootSnapshotList=[item.as_tree() for item in roots])

    def roots(self) -> list[Any]:
        """Return references of the roots."""
        return [item.ref for item in self.snapshots if item.parent is None]

    def create(self, name: str, description: str, *, memory: bool, quiesce: bool) -> Any:
        """Freeze every disk in one moment. Raises NotSupported, ApplicationQuiesceFault."""
        machine = self.machine
        if memory and machine.power_state == vim.VirtualMachine.PowerState.poweredOn:
            raise vmodl.fault.NotSupported(msg="the emulator does not keep the memory of a running machine")
        if quiesce:
            raise vim.fault.ApplicationQuiesceFault(msg="there are no tools in the guest that could quiesce it")
        number = self._next_number()
        disks = hardware.disks(machine.config)
        tracked = bool(machine.config.changeTrackingEnabled)
        freezes = [self._freeze(disk, number if tracked else None) for disk in disks]
        with disk_faults(name):
            machine.site.backend.freeze(machine.identity, freezes)
        snapshot = Snapshot(self, name, description, copy.deepcopy(machine.config))
        with machine.registry.changing():
            for disk, frozen, freeze in zip(disks, hardware.disks(snapshot.config), freezes, strict=True):
                snapshot.frozen[disk.key] = freeze.layer
                if tracked:
                    frozen.backing.changeId = changed.change_id(disk.backing.uuid, number)
                fill_backing(machine, disk, freeze.overlay)
            self.snapshots.append(snapshot)
            self.current = snapshot
            machine.save()
        return snapshot.ref

    def remove(self, snapshot: Snapshot, *, below: bool) -> None:
        """Remove a snapshot: each frozen layer takes in what was written on top of it."""
        if below:
            for child in snapshot.children:
                self.remove(child, below=True)
        self._unlink(snapshot)
        for layer in snapshot.frozen.values():
            self._release(layer)
        snapshot.remove()
        self.machine.save()

    def remove_all(self) -> None:
        """Remove every snapshot, the oldest first."""
        for snapshot in list(self.snapshots):
            self.remove(snapshot, below=False)

    def revert(self, snapshot: Snapshot) -> None:
        """Go back. The snapshot holds no memory, so the machine is off afterwards, as on a real host."""
        machine = self.machine
        if machine.power_state == vim.VirtualMachine.PowerState.poweredOn:
            machine.cut_power()
        before = {layer.descriptor for _, layer in self._known_layers()}
        config = copy.deepcopy(snapshot.config)
        for disk in hardware.disks(config):
            frozen = disk_files.read_layer(snapshot.frozen[disk.key])
            overlay = disk_files.next_overlay(frozen.descriptor)
            disk_files.write_descriptor(overlay, frozen.size_bytes, frozen.descriptor, frozen.uuid)
            with disk_faults(overlay.name):
                machine.site.backend.switch_to(machine.identity, disk.key, overlay)
            fill_backing(machine, disk, overlay)
        with machine.registry.changing():
            machine.config = config
            self.current = snapshot
            machine.save()
        for descriptor in before - {layer.descriptor for _, layer in self._known_layers()}:
            if descriptor not in {item.descriptor for item in self._kept_bases()}:
                machine.site.backend.delete_disk(descriptor)

    def changed_areas(self, reference: Any, key: int, start: int, since: str) -> Any:
        """Return a DiskChangeInfo. Raises NotFound, FileFault, InvalidArgument."""
        machine = self.machine
        config = machine.config
        if reference is not None:
            found = machine.registry.find(reference)
            if not isinstance(found, Snapshot) or found.tree is not self:
                raise vmodl.fault.InvalidArgument(invalidProperty="snapshot", msg="not a snapshot of this machine")
            config = found.config
        disk = next((item for item in hardware.disks(config) if item.key == key), None)
        if disk is None:
            raise vmodl.fault.InvalidArgument(invalidProperty="deviceKey", msg=f"there is no disk {key}")
        return changed.areas(machine, disk, start, since)

    def layers(self) -> set[Path]:
        """Return the descriptors of every layer that a snapshot needs."""
        return {layer.descriptor for _, layer in self._known_layers()}

    def forget(self) -> None:
        """Take every snapshot out of the registry."""
        for snapshot in self.snapshots:
            snapshot.remove()

    def _freeze(self, disk: Any, number: int | None) -> Freeze:
        layer = self.machine.site.folder.existing(disk.backing.fileName)
        bitmap = changed.bitmap_name(number) if number is not None else None
        return Freeze(layer, disk_files.next_overlay(layer), bitmap)

    def _next_number(self) -> int:
        """Return a number larger than any before, also before a restart of the emulator."""
        self._number = max(self._number + 1, time.time_ns() // 1_000_000)
        return self._number

    def _unlink(self, snapshot: Snapshot) -> None:
        with self.machine.registry.changing():
            for child in snapshot.children:
                child.parent = snapshot.parent
            self.snapshots.remove(snapshot)
            if self.current is snapshot:
                self.current = snapshot.parent

    def _known_layers(self) -> Iterator[tuple[Any, disk_files.Layer]]:
        """Yield (disk, layer) of the present disks and of all snapshots."""
        for config in (self.machine.config, *(snapshot.config for snapshot in self.snapshots)):
            for disk in hardware.disks(config):
                for layer in self.machine.layers(disk):
                    yield disk, layer

    def _kept_bases(self) -> list[disk_files.Layer]:
        """Disks that are no overlays stay, whoever uses them."""
        return [layer for _, layer in self._known_layers() if layer.parent is None]

    def _release(self, layer: Path) -> None:
        """Merge what is on top of a layer that no snapshot holds any more, or drop it when nothing is."""
        known = list(self._known_layers())
        if any(layer in snapshot.frozen.values() for snapshot in self.snapshots):
            return
        uppers = {item.descriptor for _, item in known if item.parent == layer}
        if not uppers and layer not in {item.descriptor for _, item in known}:
            if layer.exists() and disk_files.read_layer(layer).parent is not None:
                self.machine.site.backend.delete_disk(layer)
        elif len(uppers) == 1:
            self._merge(layer, uppers.pop(), known)

    def _merge(self, lower: Path, upper: Path, known: list[tuple[Any, disk_files.Layer]]) -> None:
        machine, folder = self.machine, self.machine.site.folder
        users = [disk for disk, item in known if item.descriptor == upper]
        top = folder.existing(users[0].backing.fileName)
        with disk_faults(folder.path(upper)):
            machine.site.backend.merge(machine.identity, lower, upper, top)
            for above in {item.descriptor for _, item in known if item.parent == upper}:
                read = disk_files.read_layer(above)
                disk_files.write_descriptor(above, read.size_bytes, lower, read.uuid)
            machine.site.backend.delete_disk(upper)
        with machine.registry.changing():
            for snapshot in self.snapshots:
                snapshot.frozen = {key: lower if at == upper else at for key, at in snapshot.frozen.items()}
            for disk in users:
                named = folder.file(disk.backing.fileName)
                change = disk.backing.changeId
                fill_backing(machine, disk, lower if named == upper else named)
                disk.backing.changeId = change
