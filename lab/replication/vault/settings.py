"""What a stream of replication logs is for: whose it is, and how the blobs of its disks are called."""

from __future__ import annotations

from dataclasses import dataclass

from lab.replication.common.durable import JSON
from lab.replication.retention import Retention


@dataclass(frozen=True)
class ReplicaBlob:
    """A disk of the stream and its page blob; ``size`` in bytes, ``serial`` is how the guest knows it."""

    index: int
    name: str
    size: int
    serial: str
    blob: str


@dataclass(frozen=True)
class StreamSettings:
    """One replication session as the vault knows it."""

    stream: str
    machine: str
    disks: tuple[ReplicaBlob, ...]
    retention: Retention

    @property
    def blobs(self) -> dict[int, str]:
        """Names of blobs by disk index."""
        return {disk.index: disk.blob for disk in self.disks}

    @classmethod
    def from_json(cls, value: JSON) -> StreamSettings:
        """Read ``{stream, machine, disks: [{index, name, size, serial}], retention_s, pruning?}``."""
        stream = str(value["stream"])
        disks = tuple(
            ReplicaBlob(
                int(disk["index"]),
                str(disk["name"]),
                int(disk["size"]),
                str(disk["serial"]),
                # The stream is in the name: a new session never meets blobs of an old one.
                f"{stream}-{int(disk['index'])}",
            )
            for disk in value["disks"]
        )
        return cls(stream, str(value["machine"]), disks, Retention.from_json(value))

    def to_json(self) -> JSON:
        """Return what ``from_json`` reads."""
        return {
            "stream": self.stream,
            "machine": self.machine,
            "disks": [
                {"index": disk.index, "name": disk.name, "size": disk.size, "serial": disk.serial}
                for disk in self.disks
            ],
            **self.retention.to_json(),
        }
