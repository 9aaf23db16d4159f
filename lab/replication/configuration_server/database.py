"""The SQLite file and its transactions. One process writes, from one thread; readers may look with sqlite3."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS certificates (serial TEXT PRIMARY KEY, holder TEXT NOT NULL, issued_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS components (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, addresses TEXT NOT NULL, version TEXT,
  registered_ns INTEGER NOT NULL, last_seen_ns INTEGER);
CREATE TABLE IF NOT EXISTS systems (component TEXT PRIMARY KEY, facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS policies (name TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS machines (
  name TEXT PRIMARY KEY, state TEXT NOT NULL, settings TEXT NOT NULL, attributes TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS streams (
  id TEXT PRIMARY KEY, machine TEXT NOT NULL REFERENCES machines (name), direction TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'closed')), session TEXT NOT NULL, created_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS recovery_points (
  stream TEXT NOT NULL REFERENCES streams (id), id TEXT NOT NULL, sequence INTEGER, begin_ns INTEGER NOT NULL,
  end_ns INTEGER NOT NULL, published_ns INTEGER NOT NULL, data TEXT NOT NULL, PRIMARY KEY (stream, id));
CREATE TABLE IF NOT EXISTS jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, machine TEXT NOT NULL, operation TEXT NOT NULL, arguments TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'interrupted')),
  error_type TEXT, error_message TEXT, created_ns INTEGER NOT NULL, ended_ns INTEGER, failed_state TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS one_job_at_a_time ON jobs (machine) WHERE state = 'running';
CREATE TABLE IF NOT EXISTS steps (
  job INTEGER NOT NULL REFERENCES jobs (id), position INTEGER NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
  started_ns INTEGER NOT NULL, ended_ns INTEGER, detail TEXT, PRIMARY KEY (job, position));
CREATE TABLE IF NOT EXISTS commands (
  id TEXT PRIMARY KEY, number INTEGER NOT NULL, component TEXT NOT NULL, name TEXT NOT NULL, arguments TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('queued', 'delivered', 'done')), result TEXT, created_ns INTEGER NOT NULL,
  delivered_ns INTEGER, done_ns INTEGER);
CREATE INDEX IF NOT EXISTS waiting_commands ON commands (component, number) WHERE state <> 'done';
CREATE TABLE IF NOT EXISTS events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, time_ns INTEGER NOT NULL, kind TEXT NOT NULL, machine TEXT, stream TEXT,
  component TEXT, data TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS alerts (
  machine TEXT NOT NULL, code TEXT NOT NULL, level TEXT NOT NULL, message TEXT NOT NULL, raised_ns INTEGER NOT NULL,
  PRIMARY KEY (machine, code));
CREATE TABLE IF NOT EXISTS replication_groups (name TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS plans (name TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS plan_runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, plan TEXT NOT NULL, kind TEXT NOT NULL, arguments TEXT NOT NULL,
  state TEXT NOT NULL, started_ns INTEGER NOT NULL, ended_ns INTEGER);
CREATE UNIQUE INDEX IF NOT EXISTS one_run_at_a_time ON plan_runs (plan)
  WHERE state IN ('running', 'waiting-for-manual-action');
CREATE TABLE IF NOT EXISTS plan_steps (
  run INTEGER NOT NULL REFERENCES plan_runs (id), position INTEGER NOT NULL, stage INTEGER NOT NULL,
  "group" INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, timeout_s INTEGER NOT NULL,
  job TEXT, started_ns INTEGER, ended_ns INTEGER, detail TEXT, PRIMARY KEY (run, position));
CREATE TABLE IF NOT EXISTS vault_setup (step TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL,
  made_ns INTEGER NOT NULL, PRIMARY KEY (step, name));
CREATE TABLE IF NOT EXISTS host_setup (step TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL,
  made_ns INTEGER NOT NULL, PRIMARY KEY (step, name));
CREATE TABLE IF NOT EXISTS vault_cursor (one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL);
"""


class Database:
    """A connection on which every change is inside a transaction."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._connection.row_factory = sqlite3.Row
        self._depth = 0
        self._afterwards: list[Callable[[], object]] = []
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(SCHEMA)
        path.chmod(0o600)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside happen, or none; an inner transaction is part of the outer one."""
        if self._depth:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            self._afterwards.clear()
            raise
        else:
            self._connection.execute("COMMIT")
        finally:
            self._depth -= 1
        actions, self._afterwards = self._afterwards, []
        for action in actions:
            action()

    def afterwards(self, action: Callable[[], object]) -> None:
        """Call ``action`` once everything is committed, and never if it is not; at once outside of a transaction."""
        if self._depth:
            self._afterwards.append(action)
        else:
            action()

    def write(self, statement: str, *values: object) -> int:
        """Execute a statement that changes something; return the id of a row that was inserted."""
        with self.transaction():
            return self._connection.execute(statement, values).lastrowid or 0

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        return self._connection.execute(query, values).fetchall()

    def row(self, query: str, *values: object) -> sqlite3.Row | None:
        """Return the first row of a query, if there is one."""
        row: sqlite3.Row | None = self._connection.execute(query, values).fetchone()
        return row

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
