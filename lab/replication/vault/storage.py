"""What the vault needs of a storage account. The only real one is in ``azure_storage.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lab.replication.common.storage_access import StorageAccess

PAGE = 512
"""Page blobs are written in pages of 512 bytes."""
MOST_WRITE = 4 << 20
"""The longest write of pages in one call."""


class StorageError(Exception):
    """The storage cannot be reached or refuses: the same may work later."""


class WentBack(Exception):
    """A blob is not what the storage has acknowledged: it has lost writes, or somebody else writes."""


@dataclass(frozen=True)
class BlobSource:
    """Where the bytes of a snapshot can be read with HTTPS and ranges; the signature is a secret.

    ``size`` is in bytes. ``ca_file`` verifies the storage; None for the authorities of the system.
    """

    url: str
    signature: str = field(repr=False)
    size: int
    ca_file: Path | None = None

    @property
    def secret_url(self) -> str:
        """The address with the signature."""
        return f"{self.url}{'&' if '?' in self.url else '?'}{self.signature}"


class Replicas(Protocol):
    """Page blobs, one for each replicated disk.

    Every write names the ETag that the blob has to have, and returns the new one: so a write onto a blob that has
    lost an earlier one is refused, whenever that happened. All raise StorageError when there is no answer.
    """

    def create(self, name: str, size: int) -> str:
        """Make a blob of ``size`` bytes that reads as zeros; one of that name loses its content and snapshots."""

    def write(self, name: str, offset: int, data: bytes, etag: str) -> str:
        """Write whole pages, at most ``MOST_WRITE`` bytes. Raises WentBack."""

    def clear(self, name: str, offset: int, length: int, etag: str) -> str:
        """Make whole pages zero. Raises WentBack."""

    def etag(self, name: str) -> str | None:
        """Return the present ETag, None when there is no such blob."""

    def snapshot(self, name: str, etag: str, metadata: Mapping[str, str]) -> str:
        """Keep the content as it is and return the snapshot's id; the blob's ETag stays. Raises WentBack."""

    def snapshots(self, name: str) -> frozenset[str]:
        """Return the ids of all snapshots, none when there is no such blob."""

    def restore(self, name: str, snapshot: str) -> str:
        """Give the blob the content of a snapshot of it and return the new ETag. Raises WentBack without it."""

    def read(self, name: str, offset: int, length: int, snapshot: str | None = None) -> bytes:
        """Return content of a blob or a snapshot of it. Raises WentBack when it does not exist."""

    def delete_snapshot(self, name: str, snapshot: str) -> None:
        """Remove a snapshot, if it exists."""

    def delete(self, name: str) -> None:
        """Remove a blob and its snapshots, if it exists."""

    def source(self, name: str, snapshot: str, seconds: float) -> BlobSource:
        """Return how the content of a snapshot can be read for ``seconds``, and nothing else. Raises WentBack."""


class Staging(Protocol):
    """Replication logs: a container for each stream. All raise StorageError when there is no answer."""

    def open_stream(self, stream: str) -> None:
        """Make the container of a stream, if there is none."""

    def access(self, stream: str, seconds: float) -> StorageAccess:
        """Return what a process server uploads logs with for ``seconds``: it can neither list nor delete."""

    def logs(self, stream: str) -> list[int]:
        """Return the numbers of the logs that are there, ascending. Raises WentBack without a container."""

    def fetch(self, stream: str, sequence: int, destination: Path) -> bool:
        """Write a log to a file and return True, or False when it is not there (any more)."""

    def forget(self, stream: str, sequence: int) -> None:
        """Remove a log, if it is there."""

    def mark(self, stream: str, sequence: int) -> None:
        """Say that the documents through ``sequence`` are kept by the vault. Raises WentBack without a container."""

    def close_stream(self, stream: str) -> None:
        """Remove the container and all logs, if there is one."""


class Storage(Replicas, Staging, Protocol):
    """One account with both."""

    def close(self) -> None:
        """Close connections."""
