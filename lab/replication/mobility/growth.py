"""Disks that have outgrown their replicas (domain 2.4: a resize makes a resynchronisation necessary)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lab.replication.common.durable import JSON

DISK_RESIZED = "disk-resized"
"""The cause that the agent reports."""


@dataclass(frozen=True)
class Grown:
    """New sizes in bytes, and those of the replicas, by disk."""

    sizes: Mapping[int, int]
    replicas: Mapping[int, int]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.sizes)

    def __str__(self) -> str:
        """Return them for messages."""
        return "; ".join(f"disk {index} has grown from {self.replicas[index]} to {size} bytes" for index, size in self)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield index and new size, by index."""
        return iter(sorted(self.sizes.items()))

    def to_json(self) -> JSON:
        """Return what the configuration server is told."""
        return {"disks": [{"index": index, "size": size} for index, size in self]}


class Growth:
    """Compares disks with replicas whose sizes (bytes by index) an order has named; others are not looked at."""

    def __init__(self, replicas: Mapping[int, int]) -> None:
        self._replicas = replicas
        self._known: dict[int, int] = {}

    @property
    def pending(self) -> bool:
        """Whether a disk is larger than its replica."""
        return bool(self._known)

    def news(self, present: Mapping[int, int]) -> Grown:
        """Return all disks that are larger than their replicas, if that has changed since the last look."""
        larger = {index: size for index, size in present.items() if size > self._replicas.get(index, size)}
        changed = larger != self._known
        self._known = larger
        return Grown(larger if changed else {}, self._replicas)
