"""What a hypervisor driver can do: one Protocol for each ability. Callers ask for the narrowest one.

A driver is opened for one lab: it sees, changes and removes only objects that carry the lab's tag.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from lab.hypervisors.model import (
    Area,
    Disk,
    DiskAttachment,
    DiskId,
    Endpoint,
    InventoryEvent,
    Machine,
    MachineSpec,
    NetworkSource,
    PowerState,
    Seen,
    SnapshotId,
)
from lab.waiting import Deadline


class HypervisorError(Exception):
    """The host refused or failed an operation; the message names the object and quotes the host."""


class NotFound(HypervisorError):
    """No such machine or disk in this lab."""


class Unreachable(HypervisorError):
    """The host does not answer: nobody knows whether it has the object."""


class Conflict(HypervisorError):
    """The object exists already, or is in a state that does not allow this."""


class FreeLicence(HypervisorError):
    """The host's licence allows reading only: every change is refused."""


class TrackingLost(HypervisorError):
    """The host does not know what changed since then: everything has to be copied."""


class Machines(Protocol):
    """Define, list and remove machines."""

    def define(self, spec: MachineSpec) -> Machine:
        """Make a machine, powered off. Raises Conflict if the name is taken."""

    def machine(self, name: str) -> Machine:
        """Return the machine. Raises NotFound."""

    def machines(self) -> Sequence[Machine]:
        """Return every machine of this lab, by name."""

    def undefine(self, name: str) -> None:
        """Forget a powered-off machine; its disks stay. Raises NotFound, Conflict."""


class Power(Protocol):
    """Switch machines on and off."""

    def power(self, name: str) -> PowerState:
        """Return the present state, asked of the host. Raises NotFound."""

    def power_on(self, name: str) -> None:
        """Switch on; no effect when on already. Raises NotFound."""

    def power_off(self, name: str) -> None:
        """Cut the power; no effect when off already. Raises NotFound."""

    def shut_down(self, name: str, deadline: Deadline) -> None:
        """Ask the system to shut down and wait for it. Raises NotFound, DeadlineExceeded."""


class Disks(Protocol):
    """Create, clone, attach and remove virtual disks."""

    def create_disk(self, disk: DiskId, size_bytes: int) -> Disk:
        """Make a disk that reads as zeros. Raises Conflict."""

    def import_disk(self, disk: DiskId, image: Path, size_bytes: int) -> Disk:
        """Make a disk with an image's content, at least ``size_bytes`` large. Raises Conflict."""

    def clone_disk(self, source: DiskId, disk: DiskId) -> Disk:
        """Copy a disk as it is now, attached or not. Raises NotFound, Conflict."""

    def grow_disk(self, disk: DiskId, size_bytes: int) -> Disk:
        """Make a disk larger, attached or not; what is added reads as zeros, a running machine sees it at once.

        No effect when it has that size. Raises NotFound, Conflict when it is larger already.
        """

    def disk(self, disk: DiskId) -> Disk:
        """Return the disk. Raises NotFound."""

    def disks(self) -> Sequence[Disk]:
        """Return every disk of this lab, by name."""

    def attach_disk(self, machine: str, attachment: DiskAttachment) -> None:
        """Plug a disk into a machine, running or not. Raises NotFound, Conflict if attached anywhere."""

    def detach_disk(self, machine: str, disk: DiskId, deadline: Deadline) -> None:
        """Unplug; returns once the guest let go. Raises NotFound, Conflict, DeadlineExceeded."""

    def delete_disk(self, disk: DiskId) -> None:
        """Remove a disk. Raises NotFound, Conflict while attached."""


class Reach(Protocol):
    """How to reach a machine and what it prints."""

    def endpoint(self, name: str) -> Endpoint:
        """Return where its SSH server answers. Raises NotFound, Conflict without a management card."""

    def console_log(self, name: str) -> Path:
        """Return the file that records its serial console from power-on. Raises NotFound."""


class Overlays(Protocol):
    """Disks that begin as bytes which are served from elsewhere, without a copy of them."""

    def create_overlay(self, disk: DiskId, source: NetworkSource, size_bytes: int) -> Disk:
        """Make a disk whose content starts as the source's; writes stay on this host.

        The source has to be served whenever the disk is in use. Raises Conflict, HypervisorError when it is not.
        """


class Exporting(Protocol):
    """Writing a disk's content to a file."""

    def export_disk(self, disk: DiskId, target: Path) -> None:
        """Write a disk as it is to a raw, sparse file; of a machine that runs this is no one moment.

        Raises NotFound, HypervisorError.
        """


class Saving(Protocol):
    """Keep machines as they are at one moment, memory included, and let others go on from there.

    From ``save`` to ``resume`` a machine's disks are whole on the host.
    """

    def platform(self) -> Mapping[str, str]:
        """Return what has to be the same for a saved machine to go on, by name. Raises HypervisorError."""

    def pause(self, name: str) -> None:
        """Stop a machine's processors. Raises NotFound, Conflict when it is off."""

    def resume(self, name: str) -> None:
        """Let a paused machine run. Raises NotFound, Conflict when it is off."""

    def save(self, name: str, state: Path, memory: Path, deadline: Deadline) -> None:
        """Write a paused machine to two new files; it stays as it is.

        Raises NotFound, Conflict unless it is paused and ``saveable``, HypervisorError, DeadlineExceeded.
        """

    def save_disk(self, disk: DiskId, target: Path) -> None:
        """Write a saved machine's disk to a new file: its own content, over that of its image if it has one.

        Raises NotFound, HypervisorError.
        """

    def go_on(self, name: str, state: Path, memory: Path, deadline: Deadline) -> None:
        """Start a machine that is off as the saved one was, and leave it paused. Neither file is written.

        Its definition has to be that of the saved one; name, host's devices and ports may differ. Its disks have to be
        what the saved one's were. A later start is an ordinary one.

        Raises NotFound, Conflict unless it is off, HypervisorError, DeadlineExceeded.
        """


class Hypervisor(Machines, Power, Disks, Reach, Protocol):
    """A driver with every ability above."""

    def close(self) -> None:
        """Release the connection; machines keep running."""


class CloudHypervisor(Hypervisor, Overlays, Exporting, Protocol):
    """A driver that can also start machines from bytes that are elsewhere, and give their disks back."""


@runtime_checkable
class SavingHypervisor(Hypervisor, Protocol):
    """A driver that can also save machines."""

    @property
    def saving(self) -> Saving:
        """The ability."""


class Snapshots(Protocol):
    """Freeze a machine's disks, find out what changed between two such moments, and read it."""

    def track_changes(self, machine: str) -> None:
        """Have the host remember changed blocks, from the next snapshot on. Raises NotFound, Conflict."""

    def create_snapshot(self, machine: str, name: str) -> SnapshotId:
        """Freeze every disk of a machine in one moment, without its memory. Raises NotFound, Conflict."""

    def snapshots(self, machine: str) -> Sequence[SnapshotId]:
        """Return a machine's snapshots, the oldest first. Raises NotFound."""

    def change_id(self, snapshot: SnapshotId, disk: DiskId) -> str:
        """Return the name of a snapshot's moment for one disk. Raises NotFound, Conflict without tracking."""

    def changed_areas(self, machine: str, snapshot: SnapshotId, disk: DiskId, since: str = "*") -> Sequence[Area]:
        """Return where a disk in a snapshot differs from the moment ``since`` ("*": where it holds data).

        Raises NotFound, TrackingLost.
        """

    def read_area(self, snapshot: SnapshotId, disk: DiskId, area: Area) -> bytes:
        """Return bytes of a disk as the snapshot froze it. Raises NotFound, Conflict when they cannot be read."""

    def revert(self, machine: str, snapshot: SnapshotId) -> None:
        """Bring a machine back to a snapshot; it is off afterwards. Raises NotFound."""

    def remove_snapshot(self, snapshot: SnapshotId) -> None:
        """Remove a snapshot; what was written since it stays. Raises NotFound."""


class Discovery(Protocol):
    """Follow the inventory."""

    def watch(self, deadline: Deadline) -> Iterator[Sequence[Seen]]:
        """Yield all of the lab's machines, by name, now and after every change, until the deadline."""

    def follow(self, deadline: Deadline) -> Iterator[InventoryEvent]:
        """Yield the lab's machines as they are, then what comes, changes and goes, until the deadline."""


class PortGroups(Protocol):
    """Networks of the lab on a host."""

    def ensure_network(self, network: str) -> None:
        """Make a network unless it is there."""

    def networks(self) -> Sequence[str]:
        """Return the lab's networks, by name."""

    def remove_network(self, network: str) -> None:
        """Remove a network. Raises NotFound, Conflict while a card is on it."""
