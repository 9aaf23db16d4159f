"""What the agent must remember of its replication: one small durable file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from lab.replication.common.config import Endpoint
from lab.replication.common.durable import JSON, read_json, write_json
from lab.replication.mobility.group.order import GroupOrder

COPY = "copy"
CHECKSUM = "checksum"
STEADY = "steady"


@dataclass(frozen=True)
class Order:
    """The arguments of ``start-replication``; ``disks`` are indices, None means all; intervals in seconds.

    ``sizes``: how large the replicas of the disks are, in bytes by index, as far as the order says it.
    """

    stream: str
    process_server: Endpoint
    interval_s: float
    mode: str
    disks: tuple[int, ...] | None = None
    replica_networks: tuple[JSON, ...] = field(default=())
    application_interval_s: float | None = None
    group: GroupOrder | None = None
    sizes: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: JSON) -> Order:
        """Read the arguments; a disk may be given as its index or as an object with an ``index``.

        Raises:
            ValueError: the mode is not known.
        """
        if value["mode"] not in (COPY, CHECKSUM):
            raise ValueError(f"unknown mode {value['mode']!r}")
        disks = value.get("disks")
        indices = None if not disks else tuple(int(d["index"] if isinstance(d, dict) else d) for d in disks)
        sized = [disk for disk in disks or () if isinstance(disk, dict) and disk.get("size")]
        return cls(
            stream=str(value["stream"]),
            process_server=Endpoint.from_json(value["process_server"]),
            interval_s=float(value["interval_s"]),
            mode=str(value["mode"]),
            disks=indices,
            replica_networks=tuple(value.get("replica_networks") or ()),
            application_interval_s=float(quiet) if (quiet := value.get("application_interval_s")) else None,
            group=GroupOrder.from_json(group) if (group := value.get("group")) else None,
            sizes={int(disk["index"]): int(disk["size"]) for disk in sized},
        )

    def to_json(self) -> JSON:
        """Return what ``from_json`` reads."""
        return {
            "stream": self.stream,
            "process_server": self.process_server.to_json(),
            "interval_s": self.interval_s,
            "mode": self.mode,
            "disks": None if self.disks is None else [self._disk(index) for index in self.disks],
            "replica_networks": list(self.replica_networks),
            "application_interval_s": self.application_interval_s,
            "group": self.group.to_json() if self.group else None,
        }

    def _disk(self, index: int) -> JSON | int:
        return {"index": index, "size": self.sizes[index]} if index in self.sizes else index


@dataclass(frozen=True)
class Session:
    """The state of one replication.

    ``phase`` is what has to be done: ``copy``, ``checksum`` or ``steady``. ``completed`` is set once the initial
    replication was complete; ``generation`` is the capture's when the last copy began.

    ``stopped`` says that the agent was told to stop: a machine that starts again without that has lost its power.
    """

    order: Order
    phase: str
    next_sequence: int = 1
    completed: bool = False
    generation: str = ""
    boot_id: str = ""
    stopped: bool = False

    def to_json(self) -> JSON:
        """Return what ``load_session`` reads."""
        return {**vars(self), "order": self.order.to_json()}


class Storable(Protocol):
    """A dataclass that can be stored."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def to_json(self) -> JSON:
        """Return it as a JSON object."""


S = TypeVar("S", bound=Storable)


class SessionFile(Generic[S]):
    """The session that survives restarts; every ``update`` is durable."""

    def __init__(self, path: Path, session: S) -> None:
        self._path = path
        self.value = session
        write_json(path, session.to_json())

    def update(self, **changes: Any) -> None:
        """Change some fields."""
        changed = replace(self.value, **changes)
        write_json(self._path, changed.to_json())
        self.value = changed

    def delete(self) -> None:
        """Forget the session."""
        self._path.unlink(missing_ok=True)


def load_session(path: Path) -> Session | None:
    """Return the session that ``path`` holds, if there is one."""
    stored = read_json(path)
    if stored is None:
        return None
    return Session(**{**stored, "order": Order.from_json(stored["order"])})
