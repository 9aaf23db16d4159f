"""The database of runs: SQLite in the lab's home, or whatever a URL names. Migrated when it is opened."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
from sqlalchemy import Connection, Engine, Table, create_engine, event, insert, make_url, select, text
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from lab.errors import BadInput, LabError
from lab.history.model import Measured, RunRecord
from lab.history.schema import MEASUREMENTS, RESULTS, RUNS, TESTS

URL_VARIABLE = "RECOVERY_LAB_HISTORY"
"""Environment variable with a database URL, for example of PostgreSQL: it may hold a password, so it is no option."""
MIGRATIONS = Path(__file__).parent / "migrations"
POSTGRESQL = ("postgresql", "postgres")
DRIVER = "postgresql+psycopg"
"""A URL that names no driver gets this one: SQLAlchemy's own choice is another package."""
NAME_LETTERS = 500
_TURN = 0x7265636F766572
"""PostgreSQL's advisory lock of whoever migrates: the name of the project, in ASCII."""


def history_url(home: Path) -> str:
    """Return the URL of the environment, or that of a file in the lab's home."""
    return os.environ.get(URL_VARIABLE) or f"sqlite:///{home / 'history.sqlite'}"


class History:
    """Reads and writes runs. Use it in a ``with`` statement."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    @contextmanager
    def opened(cls, url: str) -> Iterator[History]:
        """Open a database and bring its schema up to date.

        Raises:
            BadInput: the URL names no database that can be opened.
            LabError: the schema cannot be brought up to date.
        """
        engine = _engine(url)
        try:
            with engine.begin() as connection:
                migrate(connection)
            yield cls(engine)
        except SQLAlchemyError as error:
            # The whole text may have the password of the URL.
            raise LabError(f"the history at {engine.url.render_as_string(hide_password=True)}: {_why(error)}") from None
        finally:
            engine.dispose()

    def add(self, record: RunRecord) -> bool:
        """Keep a run; return False when it is there already. Raises LabError: the database takes it not."""
        try:
            with self._engine.begin() as connection:
                _insert(connection, record)
        except IntegrityError as error:
            with self._engine.connect() as connection:
                same = select(RUNS.c.id).where(RUNS.c.run == record.run, RUNS.c.started == record.started)
                if connection.execute(same).first() is None:
                    raise LabError(f"run {record.run} does not go into the history: {_why(error)}") from None
            return False
        return True

    def runs(self, topology: str | None = None) -> list[RunRecord]:
        """Return the runs, of all topologies or of one, oldest first."""
        with self._engine.connect() as connection:
            wanted = select(RUNS).order_by(RUNS.c.started, RUNS.c.id)
            if topology is not None:
                wanted = wanted.where(RUNS.c.topology == topology)
            rows = connection.execute(wanted).mappings().all()
            ids = [row["id"] for row in rows]
            results, tests, numbers = (_by_run(connection, table, ids) for table in (RESULTS, TESTS, MEASUREMENTS))
        return [_record(row, results[row["id"]], tests[row["id"]], numbers[row["id"]]) for row in rows]


def migrate(connection: Connection) -> None:
    """Bring the schema up to date. Two at once take turns: the second finds it done."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": _TURN})
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        engine = create_engine(parsed.set(drivername=DRIVER) if parsed.drivername in POSTGRESQL else parsed)
    except ModuleNotFoundError as error:
        hint = "pip install 'recovery-lab[postgresql]'" if error.name == "psycopg" else None
        raise BadInput(f"{URL_VARIABLE}: the Python package {error.name} is not installed", hint=hint) from None
    except (ArgumentError, NoSuchModuleError) as error:
        raise BadInput(f"{URL_VARIABLE}: not a database URL that can be used here: {type(error).__name__}") from None
    if engine.dialect.name == "sqlite":
        if engine.url.database:
            Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = ON"))
    return engine


def _insert(connection: Connection, record: RunRecord) -> None:
    names = ("run", "topology", "scenario", "stack", "build", "started", "ended", "verdict")
    values = {name: getattr(record, name) for name in names}
    key = connection.execute(insert(RUNS).values(values)).inserted_primary_key
    number = key[0] if key else 0
    rows: list[tuple[Table, list[dict[str, Any]]]] = [
        (RESULTS, [{"requirement": name, "status": status} for name, status in record.results.items()]),
        (
            TESTS,
            [{"nodeid": _short(name), "outcome": how, "seconds": took} for name, (how, took) in record.tests.items()],
        ),
        (MEASUREMENTS, [{**vars(item), "context": item.context[:500]} for item in record.measurements]),
    ]
    for table, found in rows:
        if found:
            connection.execute(insert(table), [{"run_id": number, **row} for row in found])


def _short(name: str) -> str:
    """Return a name that fits its column, and is still another one than that of any other test."""
    if len(name) <= NAME_LETTERS:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{digest}{name[-(NAME_LETTERS - len(digest)) :]}"


def _by_run(connection: Connection, table: Table, ids: Sequence[int]) -> defaultdict[int, list[Any]]:
    found: defaultdict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(select(table).where(table.c.run_id.in_(ids))).mappings():
        found[row["run_id"]].append(row)
    return found


def _record(row: Any, results: Sequence[Any], tests: Sequence[Any], numbers: Sequence[Any]) -> RunRecord:
    names = ("run", "topology", "scenario", "stack", "build", "started", "ended", "verdict")
    return RunRecord(
        **{name: row[name] for name in names},
        results={item["requirement"]: item["status"] for item in results},
        tests={item["nodeid"]: (item["outcome"], item["seconds"]) for item in tests},
        measurements=tuple(
            Measured(item["name"], item["context"], item["value"], item["unit"])
            for item in sorted(numbers, key=lambda item: item["id"])
        ),
    )


def _why(error: SQLAlchemyError) -> str:
    """Return the database's own words, without statements and parameters."""
    return str(getattr(error, "orig", None) or type(error).__name__)
