"""The tables, as the newest migration leaves them. A test compares both."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, UniqueConstraint

METADATA = MetaData()

RUNS = Table(
    "runs",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("run", String(200), nullable=False),
    Column("topology", String(200), nullable=False),
    Column("scenario", String(20), nullable=False),
    Column("stack", String(100), nullable=False),
    Column("build", String(64), nullable=False),
    Column("started", String(40), nullable=False),
    Column("ended", String(40), nullable=False),
    Column("verdict", String(20), nullable=False),
    UniqueConstraint("run", "started", name="one_row_for_each_run"),
)
"""``build`` is the SHA-256 of the stack's sources; times are UTC, ISO 8601."""

RESULTS = Table(
    "results",
    METADATA,
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("requirement", String(60), primary_key=True),
    Column("status", String(20), nullable=False),
)

TESTS = Table(
    "tests",
    METADATA,
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("nodeid", String(500), primary_key=True),
    Column("outcome", String(20), nullable=False),
    Column("seconds", Float, nullable=False),
)

MEASUREMENTS = Table(
    "measurements",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("context", String(500), nullable=False),
    Column("value", Float, nullable=False),
    Column("unit", String(20), nullable=False),
    Index("measurements_by_run", "run_id"),
)
