"""Replication sessions: a stream with its servers and disks, and the recovery points that it has (seed L142)."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any

from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.settings import Server
from lab.replication.retention import APPLICATION_CONSISTENT

FORWARD = "forward"
REVERSE = "reverse"


@dataclass(frozen=True)
class TargetDisk:
    """A disk that a master target writes: its name on the fabric, its serial in the master target."""

    index: int
    name: str
    size: int
    disk: str
    serial: str


@dataclass(frozen=True)
class Session:
    """One stream: one machine in one direction, with the servers and disks it had from the start.

    ``azure``: the data goes to a vault; then there is neither a master target nor a fabric. ``source`` is the host
    that captures the machine, which is called ``guest`` there; ``receiver`` the host that keeps the replica.
    """

    stream: str
    machine: str
    direction: str
    process_server: Server | None
    master_target: Server | None
    fabric: str
    disks: tuple[TargetDisk, ...] = ()
    open: bool = True
    azure: bool = False
    source: Server | None = None
    guest: str = ""
    receiver: Server | None = None

    @property
    def at_process_server(self) -> Server:
        """The process server.

        Raises:
            JobError: the machine is replicated from its host, and there is none.
        """
        if self.process_server is None:
            raise JobError("no-process-server", f"stream {self.stream} comes from a host")
        return self.process_server

    @property
    def at_source(self) -> Server:
        """The host that captures the machine.

        Raises:
            JobError: its mobility service does.
        """
        if self.source is None:
            raise JobError("no-host", f"stream {self.stream} does not come from a host")
        return self.source

    @property
    def at_receiver(self) -> Server:
        """The host that keeps the replica.

        Raises:
            JobError: there is none.
        """
        if self.receiver is None:
            raise JobError("no-recovery-host", f"stream {self.stream} does not go to a host")
        return self.receiver

    @property
    def at_master_target(self) -> Server:
        """The master target.

        Raises:
            JobError: the data goes to Azure.
        """
        if self.master_target is None:
            raise JobError("no-master-target", f"stream {self.stream} goes to Azure")
        return self.master_target

    def with_disks(self, disks: Sequence[TargetDisk]) -> Session:
        """Return the session with the disks that were found for it."""
        return replace(self, disks=tuple(disks))


@dataclass(frozen=True)
class Point:
    """A recovery point, as its master target announced it.

    ``data`` has ``time`` (the cut as text), ``kind`` (``crash-consistent`` or ``application-consistent``) and
    ``shared``: the id under which all members of a replication group have a point of this instant.
    """

    id: str
    stream: str
    sequence: int | None
    begin_ns: int
    end_ns: int
    published_ns: int
    data: dict[str, Any]

    @property
    def application_consistent(self) -> bool:
        """Whether the applications were quiesced for it."""
        return self.data.get("kind") == APPLICATION_CONSISTENT

    @property
    def shared(self) -> str | None:
        """The id that it shares with the other members of its group."""
        value: str | None = self.data.get("shared")
        return value

    def to_json(self) -> dict[str, Any]:
        """Return what operators see."""
        return {**self.data, **{key: value for key, value in asdict(self).items() if key != "data"}}


def new_stream_id() -> str:
    """Return an id that no session before had: the fence against data of an older one."""
    return f"s-{uuid.uuid4().hex[:16]}"


class SessionTable:
    """Reads and writes sessions and their recovery points."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, session: Session) -> None:
        """Store a new session."""
        self._database.write(
            "INSERT INTO streams (id, machine, direction, state, session, created_ns) VALUES (?, ?, ?, 'open', ?, ?)",
            session.stream,
            session.machine,
            session.direction,
            json.dumps(asdict(session)),
            time.time_ns(),
        )

    def update(self, session: Session) -> None:
        """Store the disks of a session."""
        self._database.write("UPDATE streams SET session = ? WHERE id = ?", json.dumps(asdict(session)), session.stream)

    def together(self) -> AbstractContextManager[None]:
        """Return a transaction: what is changed inside happens as one, or not at all."""
        return self._database.transaction()

    def find(self, stream: str | None) -> Session | None:
        """Return a session, open or closed."""
        row = self._database.row("SELECT * FROM streams WHERE id = ?", stream)
        return None if row is None else _session(row)

    def open_of(self, machine: str) -> list[Session]:
        """Return the sessions of a machine that were not closed, newest first."""
        rows = self._database.rows(
            "SELECT * FROM streams WHERE machine = ? AND state = 'open' ORDER BY rowid DESC", machine
        )
        return [_session(row) for row in rows]

    def close(self, stream: str) -> None:
        """Close a session; its recovery points are gone."""
        with self._database.transaction():
            self.forget_points(stream)
            self._database.write("UPDATE streams SET state = 'closed' WHERE id = ?", stream)

    def add_point(self, point: Point) -> bool:
        """Store a recovery point; return whether it is new."""
        before = self.point(point.stream, point.id)
        self._database.write(
            "INSERT OR IGNORE INTO recovery_points (stream, id, sequence, begin_ns, end_ns, published_ns, data) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            point.stream,
            point.id,
            point.sequence,
            point.begin_ns,
            point.end_ns,
            point.published_ns,
            json.dumps(point.data),
        )
        return before is None

    def forget_points(self, stream: str, ids: Sequence[str] | None = None) -> None:
        """Remove recovery points: those of ``ids``, or all."""
        with self._database.transaction():
            if ids is None:
                self._database.write("DELETE FROM recovery_points WHERE stream = ?", stream)
            for point in ids or ():
                self._database.write("DELETE FROM recovery_points WHERE stream = ? AND id = ?", stream, point)

    def points(self, stream: str | None) -> list[Point]:
        """Return the recovery points of a stream, oldest first: by number, because clocks of machines can go back."""
        rows = self._database.rows(
            "SELECT * FROM recovery_points WHERE stream = ? ORDER BY sequence, end_ns, rowid", stream
        )
        return [_point(row) for row in rows]

    def newest(self, stream: str | None) -> Point | None:
        """Return the last of ``points`` without reading the others: health is looked at all the time."""
        row = self._database.row(
            "SELECT * FROM recovery_points WHERE stream = ? ORDER BY sequence DESC, end_ns DESC, rowid DESC LIMIT 1",
            stream,
        )
        return None if row is None else _point(row)

    def point(self, stream: str, point: str) -> Point | None:
        """Return one recovery point."""
        row = self._database.row("SELECT * FROM recovery_points WHERE stream = ? AND id = ?", stream, point)
        return None if row is None else _point(row)


def _session(row: Any) -> Session:
    value = json.loads(row["session"])
    return Session(
        stream=row["id"],
        machine=row["machine"],
        direction=row["direction"],
        process_server=_server(value["process_server"]),
        master_target=_server(value["master_target"]),
        fabric=value["fabric"],
        disks=tuple(TargetDisk(**disk) for disk in value["disks"]),
        open=row["state"] == "open",
        azure=bool(value.get("azure", False)),
        source=_server(value.get("source")),
        guest=str(value.get("guest", "")),
        receiver=_server(value.get("receiver")),
    )


def _server(value: Any) -> Server | None:
    return Server(**value) if value else None


def _point(row: Any) -> Point:
    return Point(**{**dict(row), "data": json.loads(row["data"])})
