"""What components report, and what that changes. A report about somebody else's stream changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lab.replication.common.signals import Signal
from lab.replication.configuration_server.ca import MOBILITY, PROVIDER
from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.errors import BadRequest, Forbidden
from lab.replication.configuration_server.events import EventLog
from lab.replication.configuration_server.groups.table import GroupTable
from lab.replication.configuration_server.machines import MachineTable
from lab.replication.configuration_server.parsing import Reader
from lab.replication.configuration_server.sessions import Point, Session, SessionTable
from lab.replication.configuration_server.settings_document import MOST_BYTES, MOST_DISKS
from lab.replication.configuration_server.states import State, settled
from lab.replication.retention import CRASH_CONSISTENT
from lab.replication.retention import KINDS as POINT_KINDS

MOST_NS = 1 << 62
DISKS_GROWN = "disks-grown"
MACHINE_REPORTS = (
    "progress",
    "initial-replication-complete",
    "resynchronisation-required",
    "resynchronisation-complete",
    DISKS_GROWN,
)
LINKS = ("process_server", "master_target", "storage", "recovery_host", "replication")
OK = "ok"
MASTER_TARGET_REPORTS = ("recovery-point", "recovery-points-removed")
VAULT_REPORTS = (*MASTER_TARGET_REPORTS, "resynchronisation-required")
KINDS = (*MASTER_TARGET_REPORTS, "health", "group-round", *MACHINE_REPORTS)


@dataclass(frozen=True)
class Reports:
    """Takes events of components."""

    database: Database
    machines: MachineTable
    sessions: SessionTable
    events: EventLog
    points_news: Signal
    groups: GroupTable

    def take(self, kind: str, name: str, value: object) -> None:
        """Take an event of component ``kind`` ``name``.

        Raises:
            BadRequest: it is malformed.
            Forbidden: it is about a stream of others.
        """
        reader = Reader.of(value, "event")
        reader.only("kind", "machine", "stream", "data")
        what = reader.text("kind")
        if what not in KINDS:
            raise BadRequest(f"event.kind: one of {', '.join(KINDS)} is expected, not {what!r}")
        data = reader.inner("data") if reader.has("data") else Reader({}, "event.data")
        session = self._session(reader, kind, name, what)
        machine = session.machine if session else (reader.text("machine") if reader.has("machine") else None)
        with self.database.transaction():
            if session is not None and session.open:
                self._apply(what, session, data)
            self.events.add(
                what,
                dict(data.value),
                machine=machine,
                stream=session.stream if session else None,
                component=f"{kind}-{name}",
            )

    def take_from_vault(self, value: object) -> None:
        """Take an event that was fetched from the vault.

        Raises:
            BadRequest: it is malformed.
            Forbidden: it is about a stream that does not go to Azure.
        """
        reader = Reader.of(value, "event")
        what, data = reader.text("kind"), reader.inner("data")
        session = self.sessions.find(reader.text("stream"))
        if session is None or not session.azure:
            raise Forbidden("no such stream goes to Azure")
        if what not in VAULT_REPORTS:
            raise BadRequest(f"event.kind: one of {', '.join(VAULT_REPORTS)} is expected, not {what!r}")
        with self.database.transaction():
            if session.open:
                self._apply(what, session, data)
            place = {"machine": session.machine, "stream": session.stream}
            self.events.add(what, dict(data.value), **place, component="vault")

    def settle(self, name: str) -> None:
        """Move a machine on when its copy is complete and a recovery point exists."""
        machine = self.machines.find(name)
        if machine is None or self._busy(name):
            return
        stream = machine.attributes.get("stream")
        copied = stream is not None and machine.attributes.get("copied_stream") == stream
        state = settled(
            machine.state, copied=copied, has_point=bool(self.sessions.points(stream)), family=machine.family
        )
        if state is not machine.state:
            self.machines.set_state(name, state)
            self.events.add("state", {"from": machine.state.value, "to": state.value}, machine=name)

    def _busy(self, name: str) -> bool:
        # A reprotection job and the copy that it starts are the same state: the job has to end first.
        running = self.database.row("SELECT 1 FROM jobs WHERE machine = ? AND state = 'running'", name)
        return running is not None and self.machines.get(name).state is State.REPROTECTING

    def _session(self, reader: Reader, kind: str, name: str, what: str) -> Session | None:
        if not reader.has("stream"):
            if what != "health":
                raise BadRequest("event: 'stream' is missing")
            return None
        session = self.sessions.find(reader.text("stream"))
        if session is None:
            raise Forbidden("no such stream")
        owners = {
            "mobility": session.machine,
            "process-server": session.process_server.name if session.process_server else None,
            "master-target": session.master_target.name if session.master_target else None,
            PROVIDER: _provider_of(session, what),
        }
        others = (what in MASTER_TARGET_REPORTS and kind not in ("master-target", PROVIDER)) or (
            what == DISKS_GROWN and kind != MOBILITY
        )
        if owners.get(kind) != name or others:
            raise Forbidden(f"{kind} {name} may not report {what} for stream {session.stream}")
        return session

    def _apply(self, what: str, session: Session, data: Reader) -> None:
        if what == "recovery-point":
            self._add_point(session, data)
        elif what == "recovery-points-removed":
            # The master target owns the data and applies the policy; this list follows it.
            self.sessions.forget_points(session.stream, data.texts("recovery_points"))
            # One that the policy lets go is past the window: the window is whole again.
            shortage = data.text("reason") if data.has("reason") else None
            self.machines.remember(session.machine, retention_problem=shortage)
        elif what == "initial-replication-complete":
            self.machines.remember(session.machine, copied_stream=session.stream, progress=None)
        elif what == "resynchronisation-required":
            self._note_resynchronisation(session.machine, data)
        elif what == "resynchronisation-complete":
            self.machines.remember(session.machine, resynchronising=None, progress=None)
        elif what == DISKS_GROWN:
            self._note_growth(session, data)
        elif what == "progress":
            self._note_progress(session.machine, data)
        elif what == "health":
            self._note_links(session.machine, data)
        elif what == "group-round":
            self._note_round(session.machine, data)
        self.settle(session.machine)

    def _note_round(self, coordinator: str, data: Reader) -> None:
        """Every member of a group suffers when a round gives no shared point."""
        group = self.groups.of(coordinator)
        problems = [] if data.has("shared") else data.texts("problems")
        for name in group.names if group else ():
            if self.machines.find(name) is not None:
                self.machines.remember(name, group_problem="; ".join(problems) or None)

    def _note_resynchronisation(self, name: str, data: Reader) -> None:
        noted = {key: data.text(key) for key in ("reason", "cause") if data.has(key)}
        self.machines.remember(name, resynchronising=noted or {"reason": "reported by the agent"})

    def _note_growth(self, session: Session, data: Reader) -> None:
        """Remember what the replica disks have to become; a job grows them."""
        known = {disk.index: disk.size for disk in session.disks}
        noted = {}
        for disk in data.objects("disks"):
            index = disk.integer("index", 0, MOST_DISKS - 1)
            if index not in known:
                raise BadRequest(f"event.data.disks: stream {session.stream} has no disk {index}")
            noted[str(index)] = disk.integer("size", known[index], MOST_BYTES)
        self.machines.remember(session.machine, grown_disks=noted or None)

    def _note_progress(self, name: str, data: Reader) -> None:
        """Progress during a resynchronisation says that it is not only required but running."""
        required = self.machines.get(name).attributes.get("resynchronising")
        running = {**required, "running": True} if required else None
        self.machines.remember(name, progress=dict(data.value), resynchronising=running)

    def _note_links(self, name: str, data: Reader) -> None:
        """Agents report about the process server, process servers about the master target: a problem, or "ok".

        Agents also report whether applications keep quiet for a recovery point.
        """
        broken = dict(self.machines.get(name).attributes.get("broken_links") or {})
        for key in LINKS:
            if not data.has(key):
                continue
            broken.pop(key.replace("_", "-"), None)
            if data.value[key] != OK:
                broken[key.replace("_", "-")] = str(data.value[key])
        self.machines.remember(name, broken_links=broken or None)
        if data.has("applications"):
            problem = data.text("applications")
            self.machines.remember(name, application_problem=None if problem == OK else problem)

    def _add_point(self, session: Session, data: Reader) -> None:
        cut = data.inner("cut")
        point = Point(
            id=data.text("recovery_point"),
            stream=session.stream,
            sequence=data.integer("sequence", 0, MOST_NS) if data.has("sequence") else None,
            begin_ns=cut.integer("begin_ns", 0, MOST_NS),
            end_ns=cut.integer("end_ns", 0, MOST_NS),
            published_ns=time.time_ns(),
            data={"time": cut.value.get("time"), **_consistency(data)},
        )
        self.sessions.add_point(point)
        self.points_news.notify()


def _provider_of(session: Session, what: str) -> str | None:
    """Return which host may report something: who keeps the replica of its points, who captures of all else."""
    server = session.receiver if what in MASTER_TARGET_REPORTS else session.source
    return server.name if server is not None else None


def _consistency(data: Reader) -> dict[str, str | None]:
    kind = data.text("kind") if data.has("kind") else CRASH_CONSISTENT
    if kind not in POINT_KINDS:
        raise BadRequest(f"event.data.kind: one of {', '.join(POINT_KINDS)} is expected, not {kind!r}")
    return {"kind": kind, "shared": data.text("shared") if data.has("shared") else None}
