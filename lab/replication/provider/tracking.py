"""What the capture of a machine needs from its hypervisor: named moments over all disks, and what changed since one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from lab.replication.changeset import Buffer
from lab.replication.mobility.capture import CapturedDisk
from lab.replication.provider.nbd_client import Area


class TrackingLost(Exception):
    """The hypervisor does not know (any more) what changed since a moment: only comparing everything helps."""


class MachineMissing(Exception):
    """The hypervisor has no such machine (any more), or not with these disks."""


class MachineOff(Exception):
    """It can only be done while the machine runs."""


class NotQuiet(Exception):
    """Nobody inside the machine can quiet its file systems and applications; the message says why."""


class Frozen(Protocol):
    """All disks of a machine at one moment, until it is closed; disks are given by index.

    ``checkpoint`` is the name that the moment has from now on; None: the machine is off, and no new one was made.
    """

    @property
    def checkpoint(self) -> str | None:
        """The name of the moment."""

    @property
    def stamp(self) -> str:
        """Equal stamps of a machine that is off mean that nothing was written in between."""

    def changed(self, disk: int) -> Iterator[Area]:
        """Yield what changed since the moment that ``freeze`` was told, in order. Raises TrackingLost."""

    def data(self, disk: int) -> Iterator[Area]:
        """Yield what is not known to be zero, in order."""

    def read_each(self, disk: int, places: Iterable[tuple[int, int]]) -> Iterator[tuple[int, Buffer]]:
        """Yield exactly the bytes of the moment at ``(offset, length)``, in this order."""

    def still_valid(self) -> bool:
        """Say whether what was read is of one moment: a machine that was off may have been started meanwhile."""

    def close(self) -> None:
        """Let go of the moment; its name stays."""


class TrackedMachine(Protocol):
    """A machine of this host. Calls come one at a time, and raise MachineMissing when there is none."""

    def disks(self) -> Sequence[CapturedDisk]:
        """Return its disks, by index."""

    def freeze(self, since: str | None, checkpoint: str) -> Frozen:
        """Name this moment and freeze all disks in it.

        Args:
            since: the name of an earlier moment from which changes are wanted, or None.
            checkpoint: the new name.

        Raises:
            TrackingLost: since then not every change is known.
            MachineOff: it is off, and ``since`` is None.
        """

    def release(self) -> None:
        """Let go of a moment that an earlier run has left frozen."""

    def checkpoints(self) -> Sequence[str]:
        """Return the names that are known, oldest first."""

    def forget(self, checkpoint: str) -> None:
        """Forget a name; changes since older ones stay known."""

    def quiet(self) -> AbstractContextManager[None]:
        """Keep file systems clean and applications quiet inside the block. Raises NotQuiet."""
