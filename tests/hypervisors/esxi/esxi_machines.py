"""The machine that tests of the ESXi driver make."""

from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Nic

MIB = 1 << 20
SYSTEM = DiskId("m1-system")


def spec(name: str = "m1", *disks: DiskId, nics: tuple[Nic, ...] = ()) -> MachineSpec:
    return MachineSpec(name, 1, 64, tuple(DiskAttachment(disk, disk.name) for disk in disks), nics, None)
