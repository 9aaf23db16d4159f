"""Run by alembic: migrates over the connection that ``store`` has opened."""

from __future__ import annotations

from alembic import context

from lab.history.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
