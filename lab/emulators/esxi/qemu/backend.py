"""The backend over QEMU: a process for each machine that is on, and one for work on the disks of one that is off."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lab.emulators.esxi import disk_files
from lab.emulators.esxi.backend import (
    BackendError,
    CardPlug,
    DiskPlug,
    Ended,
    Extent,
    Freeze,
    Hardware,
    SwitchLink,
)
from lab.emulators.esxi.qemu import blocks, tools
from lab.emulators.esxi.qemu.arguments import (
    block_nodes,
    card_device,
    device_id,
    disk_device,
    machine_arguments,
    netdev,
    netdev_id,
    node_name,
)
from lab.emulators.esxi.qemu.process import Qemu, Spawner
from lab.networks.protocol import NetworkError, Switches, Wiring
from lab.waiting import Deadline, DeadlineExceeded, wait_until


class QemuBackend:
    """Implements ``backend.Backend``. ``acceleration`` is "kvm" or "tcg"; without ``switches`` cards have no cable."""

    def __init__(self, home: Path, acceleration: str, switches: Switches | None = None) -> None:
        self._spawner = Spawner(home.resolve())
        self._acceleration = acceleration
        self._switches = switches
        self._making_switch = threading.Lock()
        self._running: dict[str, Qemu] = {}
        self._lock = threading.Lock()
        self._ended: Ended = lambda _identity: None

    def open(self, ended: Ended) -> None:
        """End what a crash left behind. Raises BackendError."""
        self._ended = ended
        self._spawner.prepare()

    def create_disk(self, descriptor: Path, size_bytes: int) -> None:
        """Make a sparse disk."""
        disk_files.create_flat(descriptor, size_bytes)

    def copy_disk(self, source: Path, target: Path) -> None:
        """Copy with qemu-img, without the holes."""
        layers = disk_files.chain(source)
        for layer in layers:
            tools.make_tracking(layer)
        made = disk_files.create_flat(target, layers[0].size_bytes)
        tools.copy(layers, made.data)

    def grow_disk(self, identity: str | None, descriptor: Path, size_bytes: int) -> None:
        """Have a running QEMU grow the disk, so that the guest sees it; of others grow the files."""
        layer = disk_files.read_layer(descriptor)
        with self._lock:
            qemu = self._running.get(identity) if identity is not None else None
        if qemu is not None:
            qemu.execute("block_resize", **{"node-name": node_name(descriptor), "size": size_bytes})
        elif layer.tracking is not None and layer.tracking.exists():
            tools.grow(layer, size_bytes)
        disk_files.grow_flat(descriptor, size_bytes)

    def delete_disk(self, descriptor: Path) -> None:
        """Remove the files."""
        disk_files.delete_layer(descriptor)

    def start(self, hardware: Hardware) -> None:
        """Start QEMU with disks and cards, then plug the cards into their switches."""
        hardware = replace(hardware, cards=tuple(self._cabled(card) for card in hardware.cards))
        layers = [disk_files.chain(disk.descriptor) for disk in hardware.disks]
        for chain in layers:
            tools.make_tracking(chain[0])
        ends = [end for card in hardware.cards if (end := netdev(card, self._wire(hardware.identity, card)))]
        arguments = machine_arguments(hardware, layers, ends, self._acceleration)
        identity = hardware.identity
        qemu = self._spawner.start(identity, arguments, lambda gone: self._gone(identity, gone))
        with self._lock:
            self._running[identity] = qemu
        if qemu.process.poll() is not None:
            self._gone(identity, qemu)
        for card in hardware.cards:
            self._connect(identity, card)

    def stop(self, identity: str) -> None:
        """Quit QEMU."""
        with self._lock:
            qemu = self._running.pop(identity, None)
        if qemu is not None:
            qemu.quit()

    def reset(self, identity: str) -> None:
        """Reset."""
        self._machine(identity).execute("system_reset")

    def press_power_button(self, identity: str) -> None:
        """Press the ACPI button."""
        self._machine(identity).execute("system_powerdown")

    def plug_disk(self, identity: str, disk: DiskPlug) -> None:
        """Add nodes and a device."""
        qemu = self._machine(identity)
        tools.make_tracking(disk_files.chain(disk.descriptor)[0])
        blocks.open_disk(qemu, disk.descriptor)
        try:
            qemu.execute("device_add", **disk_device(disk))
        except BackendError:
            blocks.close_disk(qemu, disk.descriptor)
            raise

    def unplug_disk(self, identity: str, disk: DiskPlug, deadline: Deadline) -> None:
        """Ask the guest to let go, wait, remove the nodes. Raises BackendError."""
        qemu = self._machine(identity)
        _unplug(qemu, disk.key, deadline)
        blocks.close_disk(qemu, disk.descriptor)

    def plug_card(self, identity: str, card: CardPlug) -> None:
        """Add the network end and the card."""
        qemu, card = self._machine(identity), self._cabled(card)
        end = netdev(card, self._wire(identity, card))
        if end is not None:
            qemu.execute("netdev_add", **end)
        qemu.execute("device_add", **card_device(card))
        self._connect(identity, card)

    def unplug_card(self, identity: str, card: CardPlug, deadline: Deadline) -> None:
        """Ask the guest to let go, wait, remove the network end. Raises BackendError."""
        qemu = self._machine(identity)
        _unplug(qemu, card.key, deadline)
        if self._cabled(card).link is not None:
            qemu.execute("netdev_del", id=netdev_id(card.key))

    def freeze(self, identity: str, disks: Sequence[Freeze]) -> None:
        """Freeze in one transaction."""
        with self._blocks(identity, [item.layer for item in disks]) as qemu:
            blocks.freeze(qemu, disks)

    def merge(self, identity: str, lower: Path, upper: Path, top: Path) -> None:
        """Commit; the files of the upper layer are the caller's to remove."""
        with self._blocks(identity, [top]) as qemu:
            blocks.merge(qemu, lower, upper, top)

    def switch_to(self, identity: str, key: int, overlay: Path) -> None:  # noqa: ARG002 - nothing runs
        """Make the data of an overlay whose descriptor is there."""
        tools.make_overlay(disk_files.read_layer(overlay))

    def dirty(self, identity: str, layer: Path, bitmap: str) -> list[Extent]:
        """Ask QEMU. Raises NoSuchBitmap."""
        with self._blocks(identity, [layer]) as qemu:
            return blocks.dirty(qemu, layer, bitmap)

    def allocated(self, layer: Path) -> list[Extent]:
        """Ask the file system about a flat file, qemu-img about an overlay."""
        read = disk_files.read_layer(layer)
        return tools.own_extents(read) if read.parent is not None else disk_files.data_extents(read.data)

    def close(self) -> None:
        """Quit every QEMU."""
        for identity in list(self._running):
            self.stop(identity)
        self._spawner.close()

    def _machine(self, identity: str) -> Qemu:
        with self._lock:
            qemu = self._running.get(identity)
        if qemu is None:
            raise BackendError("the machine does not run")
        return qemu

    @contextmanager
    def _blocks(self, identity: str, tops: Sequence[Path]) -> Iterator[Qemu]:
        """Yield the machine's QEMU, or one that only has the given disks open."""
        with self._lock:
            running = self._running.get(identity)
        if running is not None:
            yield running
            return
        words = ["-machine", "none", "-nodefaults", "-display", "none"]
        for top in tops:
            layers = disk_files.chain(top)
            tools.make_tracking(layers[0])
            for node in block_nodes(layers):
                words += ["-blockdev", json.dumps(node)]
        qemu = self._spawner.start(f"{identity}-disks-{threading.get_ident()}", words, lambda _gone: None)
        try:
            yield qemu
        finally:
            qemu.quit()

    def _cabled(self, card: CardPlug) -> CardPlug:
        """Return the card, without its cable when that would lead to a switch and there are none."""
        return replace(card, link=None) if self._switches is None and isinstance(card.link, SwitchLink) else card

    def _wire(self, identity: str, card: CardPlug) -> Wiring | None:
        if not isinstance(card.link, SwitchLink) or self._switches is None:
            return None
        try:
            with self._making_switch:  # machines that start together would each make what they did not find
                self._switches.ensure(card.link.network)
            return self._switches.wire(card.link.network, f"{identity}-{card.key}")
        except NetworkError as error:
            raise BackendError(str(error)) from error

    def _connect(self, identity: str, card: CardPlug) -> None:
        if not isinstance(card.link, SwitchLink) or self._switches is None:
            return
        try:
            self._switches.plug(card.link.network, f"{identity}-{card.key}")
        except NetworkError as error:
            raise BackendError(str(error)) from error

    def _gone(self, identity: str, qemu: Qemu) -> None:
        """A guest that switched itself off is told of; one that was switched off is not in the list any more."""
        with self._lock:
            known = self._running.get(identity) is qemu
            if known:
                del self._running[identity]
        if known:
            self._ended(identity)


def _unplug(qemu: Qemu, key: int, deadline: Deadline) -> None:
    qemu.execute("device_del", id=device_id(key))

    def gone() -> bool:
        try:
            qemu.execute("qom-list", path=f"/machine/peripheral/{device_id(key)}")
        except BackendError:
            return True
        return False

    try:
        wait_until(gone, deadline, f"release of {device_id(key)} by the guest", every=0.05)
    except DeadlineExceeded as error:
        raise BackendError(str(error)) from error


__all__ = ["QemuBackend"]
