"""The registry of components: who they are, where they are, when they were last heard of."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.ca import Holder
from lab.replication.configuration_server.database import Database
from lab.replication.support.facts import SystemFacts

HEARTBEAT_NS = 5 * 10**9
"""A component that polls often is not written down each time."""


@dataclass(frozen=True)
class Component:
    """A registered component."""

    id: str
    kind: str
    name: str
    addresses: tuple[str, ...]
    version: str | None
    last_seen_ns: int | None

    def to_json(self) -> dict[str, Any]:
        """Return what operators see."""
        return {
            "id": self.id,
            "kind": self.kind,
            "name": self.name,
            "addresses": list(self.addresses),
            "version": self.version,
            "last_seen_ns": self.last_seen_ns,
        }


class Registry:
    """Components and the certificates that were issued."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, holder: Holder, serial: str, version: str | None) -> None:
        """Write down a component and its certificate; one that registers again replaces itself."""
        with self._database.transaction():
            self.record_certificate(holder, serial)
            self._database.write(
                "INSERT INTO components (id, kind, name, addresses, version, registered_ns) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET addresses = excluded.addresses, version = excluded.version, "
                "registered_ns = excluded.registered_ns",
                holder.component_id,
                holder.kind,
                holder.name,
                json.dumps(holder.addresses),
                version,
                time.time_ns(),
            )

    def record_certificate(self, holder: Holder, serial: str) -> None:
        """Write down that a certificate was issued."""
        self._database.write(
            "INSERT INTO certificates (serial, holder, issued_ns) VALUES (?, ?, ?)",
            serial,
            holder.component_id,
            time.time_ns(),
        )

    def seen(self, component_id: str) -> None:
        """Write down that a component called, unless that was written a moment ago."""
        now = time.time_ns()
        known = self.find(component_id)
        if known is not None and now - (known.last_seen_ns or 0) > HEARTBEAT_NS:
            self._database.write("UPDATE components SET last_seen_ns = ? WHERE id = ?", now, component_id)

    def note_system(self, component_id: str, facts: SystemFacts) -> None:
        """Write down what a component has said of its machine."""
        self._database.write(
            "INSERT INTO systems (component, facts) VALUES (?, ?) "
            "ON CONFLICT (component) DO UPDATE SET facts = excluded.facts",
            component_id,
            json.dumps(facts.to_json()),
        )

    def system(self, component_id: str) -> SystemFacts | None:
        """Return what a component has said of its machine, None when it has said nothing."""
        row = self._database.row("SELECT facts FROM systems WHERE component = ?", component_id)
        return None if row is None else SystemFacts.from_json(json.loads(row["facts"]))

    def find(self, component_id: str) -> Component | None:
        """Return a component, if it is registered."""
        row = self._database.row("SELECT * FROM components WHERE id = ?", component_id)
        return None if row is None else _component(row)

    def all(self) -> list[Component]:
        """Return all components, by id."""
        return [_component(row) for row in self._database.rows("SELECT * FROM components ORDER BY id")]


def _component(row: Any) -> Component:
    return Component(
        row["id"],
        row["kind"],
        row["name"],
        tuple(json.loads(row["addresses"])),
        row["version"],
        row["last_seen_ns"],
    )
