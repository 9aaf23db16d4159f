"""What the libvirt driver needs from a switch: wiring before a machine starts, a plug after it did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class NetworkError(Exception):
    """A switch could not be made, changed or removed; the message quotes the tool that refused."""


@dataclass(frozen=True)
class TapWiring:
    """QEMU gets a tap device of this name, which is moved to the switch after the start."""

    device: str


@dataclass(frozen=True)
class StreamWiring:
    """QEMU connects to this unix socket, where the switch listens."""

    socket: Path


@dataclass(frozen=True)
class BridgeWiring:
    """libvirt puts the card on this bridge of its host."""

    bridge: str


Wiring = TapWiring | StreamWiring | BridgeWiring


class Switches(Protocol):
    """The switches of one lab on one host. Every call is idempotent."""

    def ensure(self, network: str) -> None:
        """Make the switch of a network. Raises NetworkError."""

    def wire(self, network: str, machine: str) -> Wiring:
        """Reserve a port for a machine and say how QEMU connects to it. Raises NetworkError."""

    def plug(self, network: str, machine: str) -> None:
        """Finish the connection of a machine that has just started. Raises NetworkError."""

    def remove_all(self) -> None:
        """Remove every switch of the lab with its processes, namespaces and sockets."""

    def leftovers(self) -> list[str]:
        """Name what of this lab still exists, for ``status`` and the reaper."""
