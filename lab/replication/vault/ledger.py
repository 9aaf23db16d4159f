"""The vault's own records, in SQLite: what was set up, items, jobs, events. Any thread may call."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS setup (step TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL,
  made_ns INTEGER NOT NULL, PRIMARY KEY (step, name));
CREATE TABLE IF NOT EXISTS items (stream TEXT PRIMARY KEY, machine TEXT NOT NULL, document TEXT NOT NULL,
  made_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS machines (name TEXT PRIMARY KEY, stream TEXT NOT NULL, recovery_point TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, subject TEXT NOT NULL,
  state TEXT NOT NULL, error TEXT, started_ns INTEGER NOT NULL, ended_ns INTEGER);
CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY AUTOINCREMENT, time_ns INTEGER NOT NULL,
  kind TEXT NOT NULL, machine TEXT NOT NULL, stream TEXT NOT NULL, data TEXT NOT NULL);
"""


class Ledger:
    """One file; every call is a transaction of its own. ``announce`` is called after every event, by who added it."""

    def __init__(self, path: Path, announce: Callable[[], None] = lambda: None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._announce = announce
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(SCHEMA)
        path.chmod(0o600)
        self._write("UPDATE jobs SET state = 'interrupted', ended_ns = ? WHERE state = 'running'", time.time_ns())

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def put_setup(self, step: str, name: str, document: Mapping[str, Any]) -> None:
        """Record that a step of the set-up was done for ``name``."""
        statement = "INSERT OR REPLACE INTO setup (step, name, document, made_ns) VALUES (?, ?, ?, ?)"
        self._write(statement, step, name, json.dumps(document), time.time_ns())

    def setup(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return what was set up: step to name to document."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for row in self._rows("SELECT * FROM setup ORDER BY made_ns"):
            found.setdefault(row["step"], {})[row["name"]] = json.loads(row["document"])
        return found

    def put_item(self, stream: str, machine: str, document: Mapping[str, Any]) -> None:
        """Record a protected item: one stream of a machine."""
        statement = "INSERT OR REPLACE INTO items (stream, machine, document, made_ns) VALUES (?, ?, ?, ?)"
        self._write(statement, stream, machine, json.dumps(document), time.time_ns())

    def items(self) -> dict[str, dict[str, Any]]:
        """Return the documents of all items by stream."""
        return {row["stream"]: json.loads(row["document"]) for row in self._rows("SELECT * FROM items")}

    def drop_item(self, stream: str) -> None:
        """Forget an item."""
        self._write("DELETE FROM items WHERE stream = ?", stream)

    def put_machine(self, name: str, stream: str, point: str) -> None:
        """Record that a machine runs on a recovery point."""
        self._write("INSERT OR REPLACE INTO machines VALUES (?, ?, ?)", name, stream, point)

    def drop_machine(self, name: str) -> None:
        """Forget a machine."""
        self._write("DELETE FROM machines WHERE name = ?", name)

    def pinned(self, stream: str) -> frozenset[str]:
        """Return the points of a stream that machines run on."""
        rows = self._rows("SELECT recovery_point FROM machines WHERE stream = ?", stream)
        return frozenset(row["recovery_point"] for row in rows)

    def streams_in_use(self) -> frozenset[str]:
        """Return the streams whose snapshots machines run on."""
        return frozenset(row["stream"] for row in self._rows("SELECT DISTINCT stream FROM machines"))

    @contextmanager
    def job(self, kind: str, subject: str) -> Iterator[None]:
        """Record a job from its beginning to its end, whichever that is."""
        number = self._write(
            "INSERT INTO jobs (kind, subject, state, started_ns) VALUES (?, ?, 'running', ?)",
            kind,
            subject,
            time.time_ns(),
        )
        state, problem = "failed", None
        try:
            yield
            state = "succeeded"
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise
        finally:
            statement = "UPDATE jobs SET state = ?, error = ?, ended_ns = ? WHERE id = ?"
            self._write(statement, state, problem, time.time_ns(), number)

    def jobs(self) -> list[dict[str, Any]]:
        """Return all jobs, oldest first."""
        return [dict(row) for row in self._rows("SELECT * FROM jobs ORDER BY id")]

    def add_event(self, kind: str, machine: str, stream: str, data: Mapping[str, Any]) -> None:
        """Publish an event; when this returns it survives a crash."""
        statement = "INSERT INTO events (time_ns, kind, machine, stream, data) VALUES (?, ?, ?, ?, ?)"
        self._write(statement, time.time_ns(), kind, machine, stream, json.dumps(data))
        self._announce()

    def events(self, after: int, most: int = 200) -> list[dict[str, Any]]:
        """Return the events that follow number ``after``."""
        rows = self._rows("SELECT * FROM events WHERE id > ? ORDER BY id LIMIT ?", after, most)
        return [{**dict(row), "data": json.loads(row["data"])} for row in rows]

    def _write(self, statement: str, *values: object) -> int:
        with self._lock:
            return self._connection.execute(statement, values).lastrowid or 0

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()
