"""Machines that a fabric makes of copies of disks, and how one of any kind is stopped."""

from __future__ import annotations

from collections.abc import Sequence

from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.fabric_client import FabricClient
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.sessions import TargetDisk
from lab.replication.configuration_server.settings import Card, ProtectedDisk


async def create_machine(
    fabric: FabricClient,
    machine: Machine,
    name: str,
    disks: Sequence[TargetDisk],
    cards: Sequence[Card],
) -> None:
    """Make a machine on copies of its disks, with an empty change-log disk, and switch it on."""
    serials = {disk.index: disk.serial for disk in machine.settings.disks}
    attachments = [{"disk": disk.disk, "serial": serials[disk.index]} for disk in disks]
    log = machine.settings.change_log
    if log is not None:
        await fabric.create_disk(change_log_disk(name), log.size)
        attachments.append({"disk": change_log_disk(name), "serial": log.serial})
    settings = machine.settings
    await fabric.create_machine(
        name, cpus=settings.cpus, memory_mib=settings.memory_mib, disks=attachments, cards=cards
    )
    await fabric.power(name, "on")


async def empty_disks(
    fabric: FabricClient, target: str, disks: Sequence[ProtectedDisk], names: Sequence[str]
) -> list[TargetDisk]:
    """Make empty disks of these names and plug them into a master target."""
    made = []
    for disk, name in zip(disks, names, strict=True):
        # Copies skip empty blocks, so an old disk of that name would show through.
        await fabric.detach_disk(name)
        await fabric.delete_disk(name)
        await fabric.create_disk(name, disk.size)
        serial = await fabric.attach_disk(name, target)
        made.append(TargetDisk(disk.index, disk.name, disk.size, name, serial))
    return made


async def remove_machine(fabric: FabricClient, machine: Machine, name: str) -> None:
    """Cut the power of a created machine and remove it with all its disks, as far as they exist."""
    await fabric.power(name, "off", may_be_missing=True)
    await fabric.delete_machine(name)
    for disk in machine.settings.disks:
        copy = copied_disk(name, disk)
        await fabric.detach_disk(copy)
        await fabric.delete_disk(copy)
    await fabric.delete_disk(change_log_disk(name))


def change_log_disk(machine: str) -> str:
    """Return the name of the change-log disk of a created machine; the suffix shows the fabric that it was made."""
    stem, _, suffix = machine.rpartition("-")
    return f"{stem}-change-log-{suffix}-copy"


def copied_disk(machine: str, disk: ProtectedDisk) -> str:
    """Return the name of a disk of a created machine."""
    stem, _, suffix = machine.rpartition("-")
    return f"{stem}-{disk.name}-{suffix}-copy"


async def stop_machine(fabric: FabricClient, name: str) -> None:
    """Shut a machine down, or cut its power if it does not react; return when it is off.

    Raises:
        JobError: it cannot be confirmed that it is off.
    """
    try:
        await fabric.power(name, "shutdown")
    except JobError:
        await fabric.power(name, "off")
    await require_off(fabric, name)


async def require_off(fabric: FabricClient, name: str) -> None:
    """Make sure that a machine is off.

    Raises:
        JobError: it is not, or nobody can tell.
    """
    found = await fabric.machine(name)
    state = found["state"] if found else "missing"
    if state != "off":
        raise JobError("machine-not-off", f"{name} has to be off, but it is {state}")
