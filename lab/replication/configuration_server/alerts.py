"""Alerts: a cause of bad health is announced once when it begins, and once when it is over (domain 2.1, 2.5).

There is no hysteresis: a cause that is gone at the next look is cleared, and one that is back is raised again. What
stands is in the database, so a restart of the server neither repeats nor forgets an alert.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from lab.replication.common.signals import Signal
from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.events import EventLog
from lab.replication.configuration_server.health import Cause
from lab.replication.configuration_server.machines import Machine, MachineTable
from lab.replication.configuration_server.views import Views

log = logging.getLogger(__name__)

NS = 10**9


@dataclass(frozen=True)
class News:
    """What has changed between two looks: causes that are new, and codes of those that are gone."""

    raised: tuple[Cause, ...]
    cleared: tuple[str, ...]


def news(standing: Collection[str], causes: Iterable[Cause]) -> News:
    """Compare the codes of the alerts that stand with the causes of now; each code counts once."""
    present = {cause.code: cause for cause in causes}
    raised = tuple(cause for code, cause in present.items() if code not in standing)
    return News(raised, tuple(sorted(code for code in standing if code not in present)))


class AlertTable:
    """The alerts that stand."""

    def __init__(self, database: Database, events: EventLog) -> None:
        self._database = database
        self._events = events

    def standing(self, machine: str) -> dict[str, dict[str, Any]]:
        """Return the alerts of a machine that were raised and not cleared, by code."""
        rows = self._database.rows("SELECT * FROM alerts WHERE machine = ? ORDER BY raised_ns, code", machine)
        return {row["code"]: dict(row) for row in rows}

    def all_standing(self) -> list[dict[str, Any]]:
        """Return the alerts of all machines that were raised and not cleared, newest first."""
        return [dict(row) for row in self._database.rows("SELECT * FROM alerts ORDER BY raised_ns DESC, machine, code")]

    def update(self, machine: str, causes: Iterable[Cause]) -> None:
        """Raise and clear; one transaction, so an alert and its event exist together or not at all."""
        standing = self.standing(machine)
        found = news(standing, causes)
        if not (found.raised or found.cleared):
            return
        with self._database.transaction():
            for cause in found.raised:
                self._raise(machine, cause)
            for code in found.cleared:
                self._clear(machine, standing[code])

    def _raise(self, machine: str, cause: Cause) -> None:
        self._database.write(
            "INSERT INTO alerts (machine, code, level, message, raised_ns) VALUES (?, ?, ?, ?, ?)",
            machine,
            cause.code,
            cause.level,
            cause.message,
            time.time_ns(),
        )
        data = {"code": cause.code, "level": cause.level, "message": cause.message}
        self._events.add("alert", data, machine=machine)

    def _clear(self, machine: str, alert: dict[str, Any]) -> None:
        self._database.write("DELETE FROM alerts WHERE machine = ? AND code = ?", machine, alert["code"])
        seconds = (time.time_ns() - alert["raised_ns"]) / NS
        data = {"code": alert["code"], "level": alert["level"], "message": alert["message"], "seconds": seconds}
        self._events.add("alert-cleared", data, machine=machine)


class Watch:
    """Looks at the health of every machine each ``period_s`` seconds, until it is stopped.

    ``also`` is called with each machine at each look.
    """

    def __init__(
        self,
        machines: MachineTable,
        views: Views,
        alerts: AlertTable,
        period_s: float,
        also: Callable[[Machine], None] = lambda _: None,
    ) -> None:
        self._machines = machines
        self._views = views
        self._alerts = alerts
        self._period_s = period_s
        self._also = also
        self._stopped = False
        self._wake = Signal()

    async def run(self) -> None:
        """Look until ``stop``; a look that fails is logged, and the next one comes."""
        while not self._stopped:
            try:
                self.look()
            except Exception:  # nobody would notice that alerts have ended with one bad look
                log.exception("health could not be looked at")
            await self._wake.wait(self._period_s)

    def look(self) -> None:
        """Raise and clear the alerts of all machines."""
        for machine in self._machines.all():
            self._alerts.update(machine.name, self._views.health(machine).causes)
            self._also(machine)

    def stop(self) -> None:
        """End ``run``."""
        self._stopped = True
        self._wake.notify()
