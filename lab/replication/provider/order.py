"""What a provider is told about a machine that it replicates, and what it must remember of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lab.replication.common.config import Endpoint
from lab.replication.common.control import CommandFailed
from lab.replication.common.durable import JSON
from lab.replication.common.storage_access import StorageAccess
from lab.replication.common.tls import CERTIFICATE
from lab.replication.mobility.session import CHECKSUM, COPY, STEADY

FREQUENCIES_S = (30, 300, 900)
"""How often changes may be sent (domain 2.1): 30 seconds, 5 or 15 minutes."""
MODES = (COPY, CHECKSUM, STEADY)

Destination = Endpoint | StorageAccess


@dataclass(frozen=True)
class HostOrder:
    """The arguments of ``start-replication``.

    ``machine`` is the machine's name on this host, ``serials`` the serial numbers of its disks by index; intervals in
    seconds; ``start_at_ns`` is when the initial replication may begin (0: at once). ``destination`` is the receiver
    of another host or a container of Azure storage; that holds a secret. ``authentication`` is how this host proves to
    a receiver who it is.
    """

    stream: str
    machine: str
    serials: Mapping[int, str]
    interval_s: int
    mode: str
    destination: Destination
    application_interval_s: float | None = None
    start_at_ns: int = 0
    authentication: str = CERTIFICATE

    @classmethod
    def from_json(cls, value: JSON) -> HostOrder:
        """Read the arguments.

        Raises:
            CommandFailed: the copy frequency is none of those that exist, or one is wanted for several machines.
            ValueError: the mode is not known, or not one destination is given.
        """
        interval = float(value["interval_s"])
        if interval not in FREQUENCIES_S:
            known = ", ".join(str(each) for each in FREQUENCIES_S)
            raise CommandFailed("copy-frequency", f"interval_s: one of {known} is expected, not {interval:g}")
        if value.get("group"):
            raise CommandFailed("not-supported", "machines that are replicated from their host share no points")
        if value["mode"] not in MODES:
            raise ValueError(f"unknown mode {value['mode']!r}")
        application = value.get("application_interval_s")
        return cls(
            stream=str(value["stream"]),
            machine=str(value["machine"]),
            serials={int(disk["index"]): str(disk["serial"]) for disk in value["disks"]},
            interval_s=int(interval),
            mode=str(value["mode"]),
            destination=read_destination(value),
            application_interval_s=float(application) if application else None,
            start_at_ns=int(value.get("start_at_ns") or 0),
            authentication=str(value.get("authentication", CERTIFICATE)),
        )

    def to_json(self) -> JSON:
        """Return what ``from_json`` reads; it may hold a secret."""
        key = "storage" if isinstance(self.destination, StorageAccess) else "receiver"
        return {
            "stream": self.stream,
            "machine": self.machine,
            "disks": [{"index": index, "serial": serial} for index, serial in sorted(self.serials.items())],
            "interval_s": self.interval_s,
            "mode": self.mode,
            key: self.destination.to_json(),
            "application_interval_s": self.application_interval_s,
            "start_at_ns": self.start_at_ns,
            "authentication": self.authentication,
        }


def read_destination(value: JSON) -> Destination:
    """Read ``receiver`` or ``storage``. Raises ValueError unless there is exactly one."""
    if ("receiver" in value) == ("storage" in value):
        raise ValueError("one of receiver and storage is expected")
    if "storage" in value:
        return StorageAccess.from_json(value["storage"])
    return Endpoint.from_json(value["receiver"])


@dataclass(frozen=True)
class HostSession:
    """The state of one replication; ``phase`` is what has to be done, ``completed`` whether the first copy ever was.

    ``given_up`` is the reason of a failure that trying again does not cure.
    """

    order: HostOrder
    phase: str
    next_sequence: int = 1
    completed: bool = False
    given_up: str = ""

    def to_json(self) -> JSON:
        """Return what ``from_json`` reads."""
        return {**vars(self), "order": self.order.to_json()}

    @classmethod
    def from_json(cls, value: JSON) -> HostSession:
        """Read a stored session."""
        return cls(**{**value, "order": HostOrder.from_json(value["order"])})
