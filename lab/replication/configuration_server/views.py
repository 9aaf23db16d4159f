"""What operators see of a machine: stored facts and what follows from them at this moment."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.components import Registry
from lab.replication.configuration_server.errors import Unknown
from lab.replication.configuration_server.health import Facts, Health, health_of, rpo_seconds, silence_s
from lab.replication.configuration_server.jobs import JobRunner
from lab.replication.configuration_server.machines import Machine, MachineTable
from lab.replication.configuration_server.sessions import Session, SessionTable

NO_LIMIT = float("inf")


@dataclass(frozen=True)
class Views:
    """Reads, never writes. ``started_ns``: before this nobody could be heard."""

    registry: Registry
    machines: MachineTable
    sessions: SessionTable
    jobs: JobRunner
    silence_limit_s: float
    started_ns: int

    def machine(self, machine: Machine) -> dict[str, Any]:
        """Return everything about a machine."""
        session = self.sessions.find(machine.attributes.get("stream"))
        points = self.sessions.points(session.stream) if session else []
        rpo = rpo_seconds(time.time_ns(), points[-1].end_ns if points else None)
        job = self.jobs.running(machine.name)
        allowed = machine.allowed
        return {
            "name": machine.name,
            "state": machine.state.value,
            "allowed": [] if job else list(allowed),
            "job": job,
            "direction": session.direction if session else None,
            "rpo_seconds": rpo,
            "recovery_points": len(points),
            "newest_recovery_point": points[-1].to_json() if points else None,
            "health": health_of(self._facts(machine, session, rpo)).to_json(),
            "settings": machine.document,
            "attributes": machine.attributes,
            "test_machine": machine.attributes.get("test_machine"),
            "test_failover": machine.attributes.get("test_failover"),
            "resynchronising": bool(machine.attributes.get("resynchronising")),
        }

    def health(self, machine: Machine) -> Health:
        """Return what is wrong with a machine now."""
        session = self.sessions.find(machine.attributes.get("stream"))
        newest = self.sessions.newest(session.stream) if session else None
        rpo = rpo_seconds(time.time_ns(), newest.end_ns if newest else None)
        return health_of(self._facts(machine, session, rpo))

    def _facts(self, machine: Machine, session: Session | None, rpo: float | None) -> Facts:
        try:
            policy = self.machines.policy(machine.settings.policy)
            threshold, interval = float(policy.rpo_threshold_s), float(policy.recovery_point_interval_s)
        except Unknown:
            threshold = interval = NO_LIMIT
        return Facts(
            state=machine.state,
            attributes=machine.attributes,
            silent_s=self._silent(machine, session) if session else {},
            rpo_s=rpo,
            rpo_threshold_s=threshold,
            interval_s=interval,
            silence_limit_s=self.silence_limit_s,
        )

    def _silent(self, machine: Machine, session: Session) -> dict[str, float | None]:
        servers = {
            "process-server": session.process_server,
            "master-target": session.master_target,
            "provider": session.receiver,
        }
        agent = f"provider-{session.source.name}" if session.source is not None else machine.agent
        names = [agent, *(f"{kind}-{server.name}" for kind, server in servers.items() if server is not None)]
        return {name: self._silence(name) for name in names}

    def _silence(self, component: str) -> float | None:
        found = self.registry.find(component)
        return silence_s(time.time_ns(), found.last_seen_ns if found else None, self.started_ns)
