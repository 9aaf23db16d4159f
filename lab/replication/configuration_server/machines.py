"""Machines and policies as they are stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.errors import Unknown
from lab.replication.configuration_server.policies import Policy, parse_policy
from lab.replication.configuration_server.settings import Settings
from lab.replication.configuration_server.settings_document import parse_settings
from lab.replication.configuration_server.states import (
    Family,
    Operation,
    State,
    Transition,
    allowed_operations,
    transition_for,
)


@dataclass(frozen=True)
class Home:
    """A machine at a place: the name by which the fabric there knows it."""

    fabric: str
    name: str


@dataclass(frozen=True)
class Machine:
    """A machine, its settings and what is remembered about it.

    ``attributes`` hold: ``stream`` (the present one), ``copied_stream`` (the one whose copy is complete), ``drained``
    (the one that was fenced by a failover), ``resynchronising``, ``progress``, ``broken_links``, ``last_error``,
    ``test_machine``, ``test_failover`` (its result), ``test_recovery_point``, ``replica_machine``, ``recovery_point``
    (chosen by failover), ``failed_over_untested``, ``original_disks``, ``rolled_back_to``, ``mobility_version``,
    ``moving_from`` and ``moving_target_from`` (servers that an unfinished move leaves), ``left_master_target``,
    ``grown_disks`` (new sizes by index, until the replica disks have them), ``home`` (fabric and name of the machine
    that a failback has made in the place of the original), ``returning`` (the same of the one that it is about to run),
    ``reverse_stream`` (of a planned failover, until its commit), ``source_off_ns`` (when the source of a planned
    failover was found to be off).
    """

    name: str
    state: State
    settings: Settings
    document: Mapping[str, Any]
    attributes: Mapping[str, Any]

    @property
    def has_test_machine(self) -> bool:
        """Whether there is a test machine that was not cleaned up."""
        return self.attributes.get("test_machine") is not None

    @property
    def replica_name(self) -> str:
        """The name of the machine that failover creates."""
        return f"{self.name}-replica"

    @property
    def test_name(self) -> str:
        """The name of the machine that a test failover creates."""
        return f"{self.name}-test"

    @property
    def returned_name(self) -> str:
        """The name of the machine that a failback creates when this one does not come back as itself."""
        return f"{self.name}-failback"

    @property
    def home(self) -> Home:
        """Where the machine is when it is not failed over."""
        made = self.attributes.get("home")
        return Home(**made) if made else Home(self.settings.primary_fabric, self.name)

    @property
    def returns_as(self) -> Home:
        """What a failback makes run again: the machine that there is, or a new one at another place (seed L90).

        It is settled when replication turns round: settings that change afterwards count the next time.
        """
        settled = self.attributes.get("returning")
        if settled:
            return Home(**settled)
        fabric = self.settings.failback_fabric
        new = bool(self.settings.failback_nics) and self.home.fabric != fabric
        return Home(fabric, self.returned_name if new else self.home.name)

    @property
    def switched_by_owner(self) -> bool:
        """Whether no fabric can switch the machine that is at home; a failback makes one that a fabric can."""
        return self.settings.switched_by_owner and "home" not in self.attributes

    @property
    def agent(self) -> str:
        """The component id of who captures it: its mobility service (also of the replica), or its host's provider."""
        host = self.settings.host
        return f"mobility-{self.name}" if host is None else f"provider-{host.source.name}"

    @property
    def family(self) -> Family:
        """How it is replicated."""
        if self.settings.host is None:
            return Family.GUEST
        return Family.HOST_TO_AZURE if self.settings.azure is not None else Family.HOST_TO_SITE

    @property
    def allowed(self) -> tuple[Operation, ...]:
        """What can be done with it in its state."""
        return allowed_operations(self.state, test_machine=self.has_test_machine, family=self.family)

    def transition(self, operation: Operation) -> Transition | None:
        """Return where an operation leads now, None when it is illegal."""
        return transition_for(self.state, operation, test_machine=self.has_test_machine, family=self.family)


class MachineTable:
    """Reads and writes machines and policies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, name: str) -> Machine | None:
        """Return a machine, if there is one."""
        row = self._database.row("SELECT * FROM machines WHERE name = ?", name)
        return None if row is None else _machine(row)

    def get(self, name: str) -> Machine:
        """Return a machine.

        Raises:
            Unknown: there is none.
        """
        machine = self.find(name)
        if machine is None:
            raise Unknown(f"no machine {name!r}; PUT /v1/machines/{name} makes one")
        return machine

    def all(self) -> list[Machine]:
        """Return all machines, by name."""
        return [_machine(row) for row in self._database.rows("SELECT * FROM machines ORDER BY name")]

    def put(self, name: str, document: Mapping[str, Any]) -> None:
        """Store settings that were checked; a new machine is unprotected."""
        self._database.write(
            "INSERT INTO machines (name, state, settings, attributes) VALUES (?, ?, ?, '{}') "
            "ON CONFLICT (name) DO UPDATE SET settings = excluded.settings",
            name,
            State.UNPROTECTED.value,
            json.dumps(document),
        )

    def set_state(self, name: str, state: State) -> None:
        """Store a state."""
        self._database.write("UPDATE machines SET state = ? WHERE name = ?", state.value, name)

    def remember(self, name: str, **attributes: Any) -> Machine:
        """Change attributes (None forgets one) and return the machine."""
        with self._database.transaction():
            merged = {**self.get(name).attributes, **attributes}
            kept = {key: value for key, value in merged.items() if value is not None}
            self._database.write("UPDATE machines SET attributes = ? WHERE name = ?", json.dumps(kept), name)
        return self.get(name)

    def policy(self, name: str) -> Policy:
        """Return a policy.

        Raises:
            Unknown: there is none.
        """
        row = self._database.row("SELECT document FROM policies WHERE name = ?", name)
        if row is None:
            raise Unknown(f"no policy {name!r}; PUT /v1/policies/{name} makes one")
        return parse_policy(json.loads(row["document"]))

    def policies(self) -> dict[str, Policy]:
        """Return all policies, by name."""
        rows = self._database.rows("SELECT name, document FROM policies ORDER BY name")
        return {row["name"]: parse_policy(json.loads(row["document"])) for row in rows}

    def put_policy(self, name: str, policy: Policy) -> None:
        """Store a policy."""
        self._database.write(
            "INSERT INTO policies (name, document) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET document = excluded.document",
            name,
            json.dumps(asdict(policy)),
        )


def _machine(row: Any) -> Machine:
    document = json.loads(row["settings"])
    return Machine(
        name=row["name"],
        state=State(row["state"]),
        settings=parse_settings(document),
        document=document,
        attributes=json.loads(row["attributes"]),
    )
