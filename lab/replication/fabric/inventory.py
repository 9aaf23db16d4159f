"""The fabric's work on a hypervisor: blocking, and idempotent, so that a job can be started again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.hypervisors.model import DiskAttachment, DiskId, PowerState
from lab.hypervisors.protocols import Conflict, Hypervisor, NotFound
from lab.replication.fabric import rules
from lab.replication.fabric.config import FabricConfig
from lab.waiting import Deadline


class Inventory:
    """Disks and machines of one site, as far as the rules allow."""

    def __init__(self, config: FabricConfig, hypervisor: Hypervisor) -> None:
        self._config = config
        self._hypervisor = hypervisor

    def create_disk(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Make a disk; one with this name and size is returned as it is. Raises BadAsk, NotAllowed, Conflict."""
        rules.only(value, rules.DISK_KEYS)
        disk, size = rules.made_disk(value.get("name")), rules.disk_size(self._config, value.get("size"))
        try:
            found = self._hypervisor.disk(disk)
        except NotFound:
            found = self._hypervisor.create_disk(disk, size)
        if found.size_bytes != size:
            raise Conflict(f"disk {disk.name} exists with {found.size_bytes} bytes, not {size}")
        return {"name": disk.name, "size": size}

    def clone_disk(self, source: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """Copy a replica disk as it is now. Raises BadAsk, NotAllowed, NotFound, Conflict."""
        rules.only(value, {"name"})
        clone = self._hypervisor.clone_disk(rules.made_disk(source), rules.made_disk(value.get("name")))
        return {"name": clone.id.name, "size": clone.size_bytes}

    def attach_disk(self, name: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """Plug a disk in and return its serial. Raises BadAsk, NotAllowed, NotFound, Conflict."""
        rules.only(value, {"machine", "serial"})
        machine = rules.attach_target(self._config, value.get("machine"))
        disk = rules.any_disk(name)
        attachment = DiskAttachment(disk, rules.serial_for(disk, value.get("serial")))
        if self._hypervisor.disk(disk).attached_to == machine:
            self._require_same(machine, attachment)
        else:
            self._hypervisor.attach_disk(machine, attachment)
        return {"serial": attachment.serial}

    def detach_disk(self, name: str) -> dict[str, Any]:
        """Unplug a disk, if it is plugged in anywhere. Raises BadAsk, NotAllowed, NotFound, DeadlineExceeded."""
        disk = rules.any_disk(name)
        machine = self._hypervisor.disk(disk).attached_to
        if machine is not None:
            rules.attach_target(self._config, machine)
            self._hypervisor.detach_disk(machine, disk, Deadline.after(self._config.detach_s))
        return {}

    def grow_disk(self, name: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """Make a disk larger where it is. Raises BadAsk, NotAllowed, NotFound, Conflict when it is larger already."""
        rules.only(value, {"size"})
        disk, size = rules.any_disk(name), rules.disk_size(self._config, value.get("size"))
        machine = self._hypervisor.disk(disk).attached_to
        if machine is None:
            # A disk in no machine is only a replica's business if its name says so.
            disk = rules.made_disk(name)
        else:
            rules.attach_target(self._config, machine)
        return {"name": disk.name, "size": self._hypervisor.grow_disk(disk, size).size_bytes}

    def delete_disk(self, name: str) -> dict[str, Any]:
        """Remove a replica's disk. Raises BadAsk, NotAllowed, NotFound, Conflict."""
        self._hypervisor.delete_disk(rules.made_disk(name))
        return {}

    def create_machine(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Make a machine, powered off. Raises BadAsk, NotAllowed, NotFound, Conflict."""
        machine = self._hypervisor.define(rules.machine_spec(self._config, value))
        return self.machine(machine.name)

    def machine(self, name: str) -> dict[str, Any]:
        """Return ``{state, disks}``. Raises BadAsk, NotAllowed, NotFound."""
        machine = self._hypervisor.machine(rules.visible_machine(self._config, name))
        disks = [
            {
                "name": item.disk.name,
                "disk": item.disk.name,
                "size": self._size(item.disk),
                "serial": item.serial,
            }
            for item in machine.disks
        ]
        return {"state": machine.power.value, "disks": disks}

    def switch(self, name: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """Switch a machine on or off, or shut it down. Raises BadAsk, NotAllowed, NotFound, DeadlineExceeded."""
        rules.only(value, {"action"})
        machine = rules.power_target(self._config, name)
        action = value.get("action")
        if action == "on":
            self._hypervisor.power_on(machine)
        elif action == "off":
            self._hypervisor.power_off(machine)
        elif action == "shutdown":
            self._hypervisor.shut_down(machine, Deadline.after(self._config.shutdown_s))
        else:
            raise rules.BadAsk(f"action: on, off or shutdown is expected, not {action!r}")
        return {"state": self._hypervisor.power(machine).value}

    def delete_machine(self, name: str) -> dict[str, Any]:
        """Forget a machine that is off; its disks stay. Raises BadAsk, NotAllowed, NotFound, Conflict."""
        machine = rules.made_machine(name)
        if self._hypervisor.power(machine) is not PowerState.OFF:
            raise Conflict(f"machine {machine} is running")
        self._hypervisor.undefine(machine)
        return {}

    def close(self) -> None:
        """Release the hypervisor."""
        self._hypervisor.close()

    def _size(self, disk: DiskId) -> int | None:
        try:
            return self._hypervisor.disk(disk).size_bytes
        except NotFound:
            # A seed image is attached to some machines and is no disk of the lab.
            return None

    def _require_same(self, machine: str, attachment: DiskAttachment) -> None:
        found = self._hypervisor.machine(machine).disks
        if attachment not in found:
            raise Conflict(f"disk {attachment.disk.name} is attached to {machine} with another serial")
