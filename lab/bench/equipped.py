"""A topology with what the rows beside peers need: the image with the peers' tools, and disks for a mirror. Pure.

Every protected machine has a disk as large as all its protected ones together, and its master target has the equal of
that disk: what a peer copies is as much as what the stack copies, and it is written to the same kind of place. Their
purpose is one that the stack neither protects nor uses. A master target is as large as ten minutes of churn ask for.
"""

from __future__ import annotations

from collections.abc import Iterable

from lab.errors import BadInput
from lab.topology.images import RecipeImage
from lab.topology.machines import Disk, Machine, Purpose
from lab.topology.model import Topology

RECIPE = IMAGE = "debian-12-bench"
DATA_BYTES = 512 << 20
"""Of the data disk that is filled: more than what is on the system disk, so that its content tells."""
METADATA_BYTES = 16 << 20
RETENTION_BYTES = 6 << 30
"""Of a master target's disk for recovery points: two machines that write 5 MB/s leave 4.2 GB to undo in ten minutes."""
MASTER_TARGET_MEMORY = 1 << 30
"""Bytes: what is overwritten is read first, and should be found in memory."""


def equipped(topology: Topology) -> Topology:
    """Return the topology of the rows beside peers. Raises BadInput when no machine is protected by an agent."""
    names = list(topology.stack.protect)
    if not names:
        raise BadInput(f"{topology.source}: no machine is protected by an agent in it")
    # Of the others the change log stays as tight as it was: what churn has to hold out.
    first = names[0]
    machines = {**topology.machines, first: _with_data(topology.machines[first])}
    for name in names:
        disks = _mirror(name, sum(disk.size for disk in protected_disks(machines[name])))
        for one in (name, topology.master_target_of(name)):
            machines[one] = _with(machines[one], disks)
    for name in {topology.master_target_of(name) for name in names}:
        machines[name] = _roomy(machines[name])
    return changed(topology, images={**topology.images, IMAGE: RecipeImage(recipe=RECIPE)}, machines=machines)


def changed(topology: Topology, **parts: object) -> Topology:
    """Return the topology with other parts, checked as a whole. Raises pydantic.ValidationError."""
    values = {field.alias or key: getattr(topology, key) for key, field in Topology.model_fields.items()}
    return Topology.model_validate({**values, **parts}, context=topology.source)


def protected_disks(machine: Machine) -> list[Disk]:
    """Return the disks that are replicated."""
    return [disk for disk in machine.disks if disk.purpose in {Purpose.SYSTEM, Purpose.DATA}]


def data_disk(topology: Topology, machine: str) -> Disk:
    """Return the disk that is filled. Raises BadInput when none has a place in the file system."""
    for disk in topology.machines[machine].disks:
        if disk.purpose is Purpose.DATA and disk.mount:
            return disk
    raise BadInput(f"{topology.source}: {machine} has no data disk with a mount to fill")


def mirror_disk(name: str) -> str:
    """Return the name of the disk for copies of a machine, on it and on its master target."""
    return f"mirror-{name}"


def metadata_disk(name: str) -> str:
    """Return the name of the disk for DRBD's metadata."""
    return f"meta-{name}"


def _with_data(machine: Machine) -> Machine:
    return _at_least(machine, Purpose.DATA, DATA_BYTES)


def _roomy(machine: Machine) -> Machine:
    memory = max(machine.memory, MASTER_TARGET_MEMORY)
    return _at_least(machine, Purpose.RETENTION, RETENTION_BYTES).model_copy(update={"memory": memory})


def _at_least(machine: Machine, purpose: Purpose, size: int) -> Machine:
    disks = [
        disk.model_copy(update={"size": max(disk.size, size)}) if disk.purpose is purpose else disk
        for disk in machine.disks
    ]
    return machine.model_copy(update={"disks": tuple(disks)})


def _mirror(name: str, size: int) -> list[Disk]:
    sizes = {mirror_disk(name): size, metadata_disk(name): METADATA_BYTES}
    documents = [{"name": disk, "size": f"{size} B", "purpose": Purpose.CACHE} for disk, size in sizes.items()]
    return [Disk.model_validate(document) for document in documents]


def _with(machine: Machine, disks: Iterable[Disk]) -> Machine:
    return machine.model_copy(update={"image": IMAGE, "disks": (*machine.disks, *disks)})
