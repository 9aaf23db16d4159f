"""What really happens when a machine is switched or a disk is frozen: the Protocol below the emulated inventory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.waiting import Deadline


class BackendError(Exception):
    """QEMU or the file system refused; the message quotes it."""


class NoSuchBitmap(BackendError):
    """Nothing is known about changes since that moment: a foreign change id, or one that a crash made worthless."""


@dataclass(frozen=True)
class Extent:
    """A range of bytes."""

    start: int
    length: int


@dataclass(frozen=True)
class SwitchLink:
    """A card on a switch of the lab."""

    network: str


@dataclass(frozen=True)
class UserLink:
    """A management card: ``port`` of this host's loopback leads to the guest's SSH server."""

    port: int
    restricted: bool


Link = SwitchLink | UserLink | None
"""None: a card without a cable."""


@dataclass(frozen=True)
class DiskPlug:
    """A disk in a machine: its topmost layer."""

    key: int
    descriptor: Path
    serial: str


@dataclass(frozen=True)
class ImagePlug:
    """A read-only image in a drive of a machine."""

    file: Path
    serial: str


@dataclass(frozen=True)
class CardPlug:
    """A network card in a machine."""

    key: int
    mac: str
    link: Link


@dataclass(frozen=True)
class Hardware:
    """A machine that is to be started. The first disk is booted; ``images`` are read-only."""

    identity: str
    cpus: int
    memory_mib: int
    disks: tuple[DiskPlug, ...]
    cards: tuple[CardPlug, ...]
    images: tuple[ImagePlug, ...]
    console: Path | None


@dataclass(frozen=True)
class Freeze:
    """One disk of a snapshot: ``layer`` is written no more, ``overlay`` takes the writes from now on."""

    layer: Path
    overlay: Path
    bitmap: str | None
    """Remembers what is changed in ``layer`` from now on (by merges), under this name."""


Ended = Callable[[str], None]


class Backend(Protocol):
    """Machines and disks below a datastore's folder. Calls about one machine do not overlap."""

    def open(self, ended: Ended) -> None:
        """Clear away what a crash left behind; ``ended`` is told each machine that switches itself off."""

    def create_disk(self, descriptor: Path, size_bytes: int) -> None:
        """Make a disk that reads as zeros."""

    def copy_disk(self, source: Path, target: Path) -> None:
        """Copy what a frozen or unused layer shows to a new disk."""

    def grow_disk(self, identity: str | None, descriptor: Path, size_bytes: int) -> None:
        """Make a disk without overlays larger, in the machine that has it or in none; bitmaps stay exact."""

    def delete_disk(self, descriptor: Path) -> None:
        """Remove the files of a layer."""

    def start(self, hardware: Hardware) -> None:
        """Switch on. Raises BackendError."""

    def stop(self, identity: str) -> None:
        """Cut the power."""

    def reset(self, identity: str) -> None:
        """Press the reset button."""

    def press_power_button(self, identity: str) -> None:
        """Ask the guest to shut down."""

    def plug_disk(self, identity: str, disk: DiskPlug) -> None:
        """Plug a disk into a running machine."""

    def unplug_disk(self, identity: str, disk: DiskPlug, deadline: Deadline) -> None:
        """Unplug a disk from a running machine. Raises BackendError when the guest holds on to it."""

    def plug_card(self, identity: str, card: CardPlug) -> None:
        """Plug a card into a running machine."""

    def unplug_card(self, identity: str, card: CardPlug, deadline: Deadline) -> None:
        """Unplug a card from a running machine. Raises BackendError when the guest holds on to it."""

    def freeze(self, identity: str, disks: Sequence[Freeze]) -> None:
        """Freeze the topmost layers of some disks in one moment."""

    def merge(self, identity: str, lower: Path, upper: Path, top: Path) -> None:
        """Move what ``upper`` holds into ``lower``, its parent; ``top`` is the topmost layer of that disk."""

    def switch_to(self, identity: str, key: int, overlay: Path) -> None:
        """Make ``overlay`` (whose descriptor names its parent) the topmost layer of a stopped machine's disk."""

    def dirty(self, identity: str, layer: Path, bitmap: str) -> list[Extent]:
        """Return what was changed in a layer since a bitmap was made. Raises NoSuchBitmap."""

    def allocated(self, layer: Path) -> list[Extent]:
        """Return where a layer holds data of its own."""

    def close(self) -> None:
        """Cut the power of every machine and release everything."""
