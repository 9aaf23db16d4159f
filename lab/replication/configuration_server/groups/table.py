"""Groups as they are stored."""

from __future__ import annotations

import json

from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.errors import Unknown
from lab.replication.configuration_server.groups.document import Group, parse_group


class GroupTable:
    """Reads and writes groups."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Group]:
        """Return all groups, by name."""
        rows = self._database.rows("SELECT * FROM replication_groups ORDER BY name")
        return [parse_group(row["name"], json.loads(row["document"])) for row in rows]

    def get(self, name: str) -> Group:
        """Return a group. Raises Unknown."""
        for group in self.all():
            if group.name == name:
                return group
        raise Unknown(f"no group {name!r}; PUT /v1/groups/{name} makes one")

    def of(self, machine: str) -> Group | None:
        """Return the group that a machine is in."""
        return next((group for group in self.all() if machine in group.names), None)

    def put(self, group: Group) -> None:
        """Store a group."""
        self._database.write(
            "INSERT INTO replication_groups (name, document) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET document = excluded.document",
            group.name,
            json.dumps(group.to_json()),
        )
