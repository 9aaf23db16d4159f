"""Several hosts of one lab as one driver, such as ESXi beside libvirt. Each call goes where its object is.

A host may be off, as in an outage that a suite makes: what is on the others is found all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lab.hypervisors.model import Disk, DiskAttachment, DiskId, Endpoint, Machine, MachineSpec, PowerState
from lab.hypervisors.protocols import Conflict, Hypervisor, NotFound, Unreachable
from lab.waiting import Deadline

Driver = TypeVar("Driver")
Item = TypeVar("Item")


@dataclass(frozen=True)
class RoutedHypervisor:
    """Implements ``protocols.Hypervisor``.

    Args:
        drivers: of each host, by its name; the first takes what nobody says a place for.
        place_of: the host for a machine, or for the disk of that name, that is to be made; None: any.

    A method raises Unreachable when the object is on no host that answers and there is one that does not.
    """

    drivers: Mapping[str, Hypervisor]
    place_of: Callable[[str], str | None]

    def define(self, spec: MachineSpec) -> Machine:
        """Make a machine at its place. Raises Conflict if any host that answers has one of that name."""
        with suppress(NotFound, Unreachable):
            self._with_machine(spec.name)
            raise Conflict(f"machine {spec.name}: exists already")
        return self._place(spec.name).define(spec)

    def machine(self, name: str) -> Machine:
        """Return the machine. Raises NotFound."""
        return self._with_machine(name).machine(name)

    def machines(self) -> Sequence[Machine]:
        """Return the machines of all hosts that answer, by name."""
        return sorted(self._of_each(lambda driver: driver.machines()), key=lambda item: item.name)

    def undefine(self, name: str) -> None:
        """Forget a powered-off machine. Raises NotFound, Conflict."""
        self._with_machine(name).undefine(name)

    def power(self, name: str) -> PowerState:
        """Return the present state. Raises NotFound."""
        return self._with_machine(name).power(name)

    def power_on(self, name: str) -> None:
        """Switch on. Raises NotFound."""
        self._with_machine(name).power_on(name)

    def power_off(self, name: str) -> None:
        """Cut the power. Raises NotFound."""
        self._with_machine(name).power_off(name)

    def shut_down(self, name: str, deadline: Deadline) -> None:
        """Ask the system to shut down. Raises NotFound, DeadlineExceeded."""
        self._with_machine(name).shut_down(name, deadline)

    def create_disk(self, disk: DiskId, size_bytes: int) -> Disk:
        """Make an empty disk at its place. Raises Conflict."""
        self._refuse_present(disk)
        return self._place(disk.name).create_disk(disk, size_bytes)

    def import_disk(self, disk: DiskId, image: Path, size_bytes: int) -> Disk:
        """Make a disk of an image at its place. Raises Conflict."""
        self._refuse_present(disk)
        return self._place(disk.name).import_disk(disk, image, size_bytes)

    def clone_disk(self, source: DiskId, disk: DiskId) -> Disk:
        """Copy a disk, on the host where it is. Raises NotFound, Conflict."""
        driver = self._with_disk(source)
        self._refuse_present(disk)
        return driver.clone_disk(source, disk)

    def grow_disk(self, disk: DiskId, size_bytes: int) -> Disk:
        """Make a disk larger. Raises NotFound, Conflict."""
        return self._with_disk(disk).grow_disk(disk, size_bytes)

    def disk(self, disk: DiskId) -> Disk:
        """Return the disk. Raises NotFound."""
        return self._with_disk(disk).disk(disk)

    def disks(self) -> Sequence[Disk]:
        """Return the disks of all hosts that answer, by name."""
        return sorted(self._of_each(lambda driver: driver.disks()), key=lambda item: item.id.name)

    def attach_disk(self, machine: str, attachment: DiskAttachment) -> None:
        """Plug a disk in. Raises NotFound, Conflict, also for a disk on another host than the machine."""
        driver = self._with_machine(machine)
        if self._with_disk(attachment.disk) is not driver:
            raise Conflict(f"disk {attachment.disk.name}: is on another host than {machine}")
        driver.attach_disk(machine, attachment)

    def detach_disk(self, machine: str, disk: DiskId, deadline: Deadline) -> None:
        """Unplug a disk. Raises NotFound, Conflict, DeadlineExceeded."""
        self._with_machine(machine).detach_disk(machine, disk, deadline)

    def delete_disk(self, disk: DiskId) -> None:
        """Remove a disk. Raises NotFound, Conflict."""
        self._with_disk(disk).delete_disk(disk)

    def endpoint(self, name: str) -> Endpoint:
        """Return where SSH answers. Raises NotFound, Conflict."""
        return self._with_machine(name).endpoint(name)

    def console_log(self, name: str) -> Path:
        """Return the record of the serial console; of a host that is silent, the copy from before. Raises NotFound."""
        with suppress(Unreachable):
            return self._with_machine(name).console_log(name)
        return self._first(f"console of {name}", lambda driver: driver.console_log(name))[1]

    def close(self) -> None:
        """Release all connections."""
        for driver in self._all:
            driver.close()

    @property
    def _all(self) -> tuple[Hypervisor, ...]:
        return tuple(self.drivers.values())

    def _place(self, name: str) -> Hypervisor:
        place = self.place_of(name)
        return self._all[0] if place is None else self.drivers[place]

    def _with_machine(self, name: str) -> Hypervisor:
        return self._first(f"machine {name}", lambda driver: driver.power(name))[0]

    def _with_disk(self, disk: DiskId) -> Hypervisor:
        return self._first(f"disk {disk.name}", lambda driver: driver.disk(disk))[0]

    def _first(self, what: str, ask: Callable[[Hypervisor], Item]) -> tuple[Hypervisor, Item]:
        """Return the first host that has an answer, and the answer. Raises NotFound, Unreachable."""
        silent: list[Unreachable] = []
        for driver in self._all:
            try:
                return driver, ask(driver)
            except NotFound:
                continue
            except Unreachable as error:
                silent.append(error)
        if silent:
            raise Unreachable(f"{what}: is on no host that answers, and {silent[0]}") from silent[0]
        raise NotFound(f"{what}: does not exist")

    def _of_each(self, ask: Callable[[Hypervisor], Sequence[Item]]) -> Iterator[Item]:
        for driver in self._all:
            with suppress(Unreachable):
                yield from ask(driver)

    def _refuse_present(self, disk: DiskId) -> None:
        with suppress(NotFound, Unreachable):
            self._with_disk(disk)
            raise Conflict(f"disk {disk.name}: exists already")


def driver_of_kind(hypervisor: object, kind: type[Driver]) -> Driver | None:
    """Return the driver of a kind, alone or among others, or None."""
    drivers = hypervisor.drivers.values() if isinstance(hypervisor, RoutedHypervisor) else (hypervisor,)
    return next((driver for driver in drivers if isinstance(driver, kind)), None)
