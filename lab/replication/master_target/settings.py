"""What ``open-stream`` tells the master target about a stream."""

from __future__ import annotations

from dataclasses import dataclass

from lab.replication.common.durable import JSON
from lab.replication.common.tls import CERTIFICATE
from lab.replication.retention import Retention


@dataclass(frozen=True)
class ReplicaDisk:
    """A disk of the stream and the serial number of the device that is its replica; ``size`` in bytes."""

    index: int
    name: str
    serial: str
    size: int


@dataclass(frozen=True)
class StreamSettings:
    """The arguments of ``open-stream``, without ``fresh``; ``authentication`` is how its sender shows who it is."""

    stream: str
    machine: str
    data_port: int
    disks: tuple[ReplicaDisk, ...]
    retention: Retention
    process_server: str | None
    authentication: str = CERTIFICATE

    @property
    def serials(self) -> dict[int, str]:
        """Serial numbers by disk index."""
        return {disk.index: disk.serial for disk in self.disks}

    @property
    def sizes(self) -> dict[int, int]:
        """Sizes by disk index."""
        return {disk.index: disk.size for disk in self.disks}

    @property
    def wanted(self) -> dict[int, tuple[str, int]]:
        """Serial number and size by disk index."""
        return {disk.index: (disk.serial, disk.size) for disk in self.disks}

    @classmethod
    def from_json(cls, value: JSON) -> StreamSettings:
        """Read the arguments of the command; ``process_server`` (a name) is optional and narrows who may send."""
        return cls(
            stream=str(value["stream"]),
            machine=str(value["machine"]),
            data_port=int(value["data_port"]),
            disks=tuple(
                ReplicaDisk(int(d["index"]), str(d["name"]), str(d["serial"]), int(d["size"])) for d in value["disks"]
            ),
            retention=Retention.from_json(value),
            process_server=value.get("process_server"),
            authentication=str(value.get("authentication", CERTIFICATE)),
        )

    def to_json(self) -> JSON:
        """Return what ``from_json`` reads."""
        return {
            "stream": self.stream,
            "machine": self.machine,
            "data_port": self.data_port,
            "disks": [vars(disk) for disk in self.disks],
            **self.retention.to_json(),
            "process_server": self.process_server,
            "authentication": self.authentication,
        }
