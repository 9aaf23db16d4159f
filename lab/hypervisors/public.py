"""Public addresses of machines in a cloud, on hosts whose switches are in a network namespace of the lab."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.hypervisors.protocols import HypervisorError
from lab.networks.bridge import BridgeSwitches
from lab.networks.naming import tag_of
from lab.networks.protocol import NetworkError
from lab.networks.public import NamespaceAddresses, PublicAddress


class PublicAddresses(Protocol):
    """Gives machines public addresses. Every call is idempotent."""

    def assign(self, machine: str, wanted: PublicAddress) -> None:
        """Have a public address lead to a machine, instead of one that it had before. Raises HypervisorError."""

    def release(self, machine: str) -> None:
        """Take the public address of a machine away, if it has one. Raises HypervisorError."""


@dataclass(frozen=True)
class BridgedAddresses:
    """Those of one lab on a libvirt host that runs as root."""

    addresses: NamespaceAddresses

    def assign(self, machine: str, wanted: PublicAddress) -> None:
        """Have it translated in the namespace."""
        with _translated(machine):
            self.addresses.assign(machine, wanted)

    def release(self, machine: str) -> None:
        """End that."""
        with _translated(machine):
            self.addresses.release(machine)


def public_addresses(uri: str, lab: str, store: Path) -> PublicAddresses | None:
    """Return how machines of a libvirt host get public addresses, None when nothing there can translate them."""
    if not uri.endswith("/system"):
        return None
    return BridgedAddresses(NamespaceAddresses(BridgeSwitches(tag_of(lab, store))))


@contextmanager
def _translated(machine: str) -> Iterator[None]:
    try:
        yield
    except NetworkError as error:
        raise HypervisorError(f"public address of {machine}: {error}") from error


__all__ = ["BridgedAddresses", "PublicAddress", "PublicAddresses", "public_addresses"]
