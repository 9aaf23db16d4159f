"""Setting up replication to Azure, in the order of seed L60; what was done is remembered here too."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.errors import BadRequest, JobError, SetupRefused, Unavailable
from lab.replication.configuration_server.events import EventLog
from lab.replication.configuration_server.vault_client import VaultClient
from lab.replication.vault.setup import Step, StepTooEarly, require_before

HERE = tuple(step for step in Step if step is not Step.MOBILITY)
BY_OPERATOR = (Step.VAULT, Step.GOAL, Step.CONFIGURATION_SERVER, Step.SERVERS, Step.POLICY)


@dataclass(frozen=True)
class Deployment:
    """The steps that were done with the vault, by name; without a vault there are none."""

    database: Database
    events: EventLog
    vault: VaultClient | None

    def done(self) -> dict[str, dict[str, Any]]:
        """Return step to name to document."""
        found: dict[str, dict[str, Any]] = {}
        for row in self.database.rows("SELECT * FROM vault_setup ORDER BY made_ns"):
            found.setdefault(row["step"], {})[row["name"]] = json.loads(row["document"])
        return found

    async def set_up(self, wanted: str, name: str, document: Mapping[str, Any]) -> None:
        """Do a step.

        Raises:
            BadRequest: there is no such step, or it is not done with a call of its own.
            SetupRefused: it is too early; nothing has changed.
            Unavailable: there is no vault, or it does not do it.
        """
        if wanted not in BY_OPERATOR:
            raise BadRequest(f"unknown step {wanted!r}; known are {', '.join(BY_OPERATOR)}")
        if self.vault is None:
            raise Unavailable("this configuration server has no vault")
        try:
            require_before(Step(wanted), self.done(), known_here=HERE)
        except StepTooEarly as error:
            raise SetupRefused(error.step, error.missing, str(error)) from error
        try:
            await self.vault.set_up(wanted, name, document)
        except JobError as error:
            raise Unavailable(str(error)) from error
        with self.database.transaction():
            statement = "INSERT OR REPLACE INTO vault_setup (step, name, document, made_ns) VALUES (?, ?, ?, ?)"
            self.database.write(statement, wanted, name, json.dumps(document), time.time_ns())
            self.events.add("setup", {"step": wanted, "name": name})

    def cursor(self) -> int:
        """Return the number of the last event of the vault that was taken in."""
        row = self.database.row("SELECT position FROM vault_cursor")
        return int(row["position"]) if row is not None else 0

    def advance(self, position: int) -> None:
        """Note the number of an event, in the transaction that takes it in."""
        self.database.write("INSERT OR REPLACE INTO vault_cursor (one, position) VALUES (1, ?)", position)
