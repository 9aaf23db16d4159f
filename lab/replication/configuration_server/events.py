"""The list of events: what happened, in order, for operators that wait for news."""

from __future__ import annotations

import json
import time
from typing import Any

from lab.replication.common.signals import Signal
from lab.replication.configuration_server.database import Database

PAGE = 500


class EventLog:
    """Events with increasing numbers; none is ever changed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.news = Signal()

    def add(
        self,
        kind: str,
        data: dict[str, Any],
        *,
        machine: str | None = None,
        stream: str | None = None,
        component: str | None = None,
    ) -> int:
        """Append an event and wake whoever waits; inside a transaction it exists only if that commits."""
        number = self._database.write(
            "INSERT INTO events (time_ns, kind, machine, stream, component, data) VALUES (?, ?, ?, ?, ?, ?)",
            time.time_ns(),
            kind,
            machine,
            stream,
            component,
            json.dumps(data),
        )
        self.news.notify()
        return number

    def after(self, number: int) -> list[dict[str, Any]]:
        """Return the events after ``number``, oldest first, at most a page of them."""
        rows = self._database.rows("SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?", number, PAGE)
        return [{**dict(row), "data": json.loads(row["data"])} for row in rows]
