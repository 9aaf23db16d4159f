"""The steps of a job: each has a name, two times, and how it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.errors import JobError

log = logging.getLogger(__name__)


class Steps:
    """The steps of one running job."""

    def __init__(self, database: Database, job: int) -> None:
        self._database = database
        self._job = job
        self._position = 0

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """Record that a step begins and how it ends."""
        position = self._begin(name)
        try:
            yield
        except Exception as error:
            self._end(position, "failed", str(error))
            raise
        self._end(position, "done", None)

    async def attempt(self, name: str, action: Awaitable[object]) -> bool:
        """Do something that may fail without failing the job; the step says how it went."""
        position = self._begin(name)
        try:
            await action
        except JobError as error:
            log.warning("job %d: %s failed, going on: %s", self._job, name, error)
            self._end(position, "failed", str(error))
            return False
        self._end(position, "done", None)
        return True

    def _begin(self, name: str) -> int:
        self._position += 1
        self._database.write(
            "INSERT INTO steps (job, position, name, state, started_ns) VALUES (?, ?, ?, 'running', ?)",
            self._job,
            self._position,
            name,
            time.time_ns(),
        )
        return self._position

    def _end(self, position: int, state: str, detail: str | None) -> None:
        self._database.write(
            "UPDATE steps SET state = ?, ended_ns = ?, detail = ? WHERE job = ? AND position = ?",
            state,
            time.time_ns(),
            detail,
            self._job,
            position,
        )
