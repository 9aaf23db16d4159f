"""Runs with their results, tests and measurements."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run", sa.String(200), nullable=False),
        sa.Column("topology", sa.String(200), nullable=False),
        sa.Column("scenario", sa.String(20), nullable=False),
        sa.Column("stack", sa.String(100), nullable=False),
        sa.Column("build", sa.String(64), nullable=False),
        sa.Column("started", sa.String(40), nullable=False),
        sa.Column("ended", sa.String(40), nullable=False),
        sa.Column("verdict", sa.String(20), nullable=False),
        sa.UniqueConstraint("run", "started", name="one_row_for_each_run"),
    )
    op.create_table(
        "results",
        sa.Column("run_id", sa.Integer, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("requirement", sa.String(60), primary_key=True),
        sa.Column("status", sa.String(20), nullable=False),
    )
    op.create_table(
        "tests",
        sa.Column("run_id", sa.Integer, sa.ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("nodeid", sa.String(500), primary_key=True),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
    )
    op.create_table(
        "measurements",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.Integer, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("context", sa.String(500), nullable=False),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("unit", sa.String(20), nullable=False),
    )
    op.create_index("measurements_by_run", "measurements", ["run_id"])


def downgrade() -> None:
    """Remove the tables."""
    for table in ("measurements", "tests", "results", "runs"):
        op.drop_table(table)
