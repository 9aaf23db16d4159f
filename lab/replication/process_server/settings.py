"""What ``open-stream`` tells the process server about a stream."""

from __future__ import annotations

from dataclasses import dataclass

from lab.replication.common.config import Endpoint
from lab.replication.common.durable import JSON


@dataclass(frozen=True)
class StreamSettings:
    """The arguments of ``open-stream``: whose stream it is, the policy's port, where its data goes."""

    stream: str
    machine: str
    data_port: int
    master_target: Endpoint

    @classmethod
    def from_json(cls, value: JSON) -> StreamSettings:
        """Read the arguments of the command."""
        target = Endpoint.from_json(value["master_target"])
        return cls(str(value["stream"]), str(value["machine"]), int(value["data_port"]), target)

    def to_json(self) -> JSON:
        """Return what ``from_json`` reads."""
        return {
            "stream": self.stream,
            "machine": self.machine,
            "data_port": self.data_port,
            "master_target": self.master_target.to_json(),
        }
