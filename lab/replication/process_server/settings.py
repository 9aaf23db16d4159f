"""What ``open-stream`` tells the process server about a stream."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lab.replication.common.config import Endpoint
from lab.replication.common.durable import JSON
from lab.replication.common.storage_access import StorageAccess

Target = Endpoint | StorageAccess


@dataclass(frozen=True)
class StreamSettings:
    """The arguments of ``open-stream``: whose stream it is, the policy's port, where its data goes."""

    stream: str
    machine: str
    data_port: int
    target: Target

    @classmethod
    def from_json(cls, value: JSON) -> StreamSettings:
        """Read the arguments of the command: ``master_target`` or ``storage`` says where the data goes.

        Raises:
            ValueError: it is both, or neither.
        """
        if ("master_target" in value) == ("storage" in value):
            raise ValueError("open-stream: one of master_target and storage is expected")
        return cls(str(value["stream"]), str(value["machine"]), int(value["data_port"]), _target(value))

    def to_json(self) -> JSON:
        """Return what ``from_json`` reads."""
        key = "storage" if isinstance(self.target, StorageAccess) else "master_target"
        return {
            "stream": self.stream,
            "machine": self.machine,
            "data_port": self.data_port,
            key: self.target.to_json(),
        }

    def renewal_of(self, earlier: StreamSettings) -> StorageAccess | None:
        """Return the new access when nothing but the signature is new since ``earlier``."""
        new, old = self.target, earlier.target
        if not (isinstance(new, StorageAccess) and isinstance(old, StorageAccess)):
            return None
        same = replace(new, signature=old.signature, expires_ns=old.expires_ns)
        return new if replace(self, target=same) == earlier else None


def _target(value: JSON) -> Target:
    if "storage" in value:
        return StorageAccess.from_json(value["storage"])
    return Endpoint.from_json(value["master_target"])
