"""The history in a real PostgreSQL, reached over its socket: one schema, whoever opens it first."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from lab.errors import LabError
from lab.history.model import Measured, RunRecord
from lab.history.schema import METADATA
from lab.history.store import DRIVER, History, migrate

PASSWORD = "not-to-be-shown"
SECONDS = 60
RECORD = RunRecord(
    run="20261129T000000-embedded",
    topology="embedded",
    scenario="P2S",
    stack="reference",
    build="b" * 64,
    started="2026-11-29T00:00:00.000000Z",
    ended="2026-11-29T00:15:00.000000Z",
    verdict="pass",
    results={"LAB-RPO": "pass", "V2S-DELTA": "not-run"},
    tests={"suites/a.py::test[ä]": ("passed", 1.5)},
    measurements=(Measured("rpo", "2 acknowledged writes lost", 4.25, "s"), Measured("rpo", "none", 0.0, "s")),
)


def programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A cluster of its own for these tests, without a port; the part of a URL that leads to it."""
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip("no PostgreSQL server is installed here: apt-get install postgresql")
    # A server refuses root, and its user may not enter pytest's folders.
    owner = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="recovery-lab-postgresql-"))
    if owner:
        shutil.chown(folder, "postgres", "postgres")
    control = [bin_folder / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-t", str(SECONDS), "-w"]

    def run(*words: str | Path) -> None:
        subprocess.run(words, check=True, capture_output=True, timeout=2 * SECONDS, cwd="/", **owner)  # type: ignore[call-overload]

    secret = folder / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    try:
        with_password = ("-A", "scram-sha-256", "-U", "lab", f"--pwfile={secret}")
        run(bin_folder / "initdb", "-D", folder / "data", "-E", "UTF8", "--no-sync", *with_password)
        run(*control, "-o", f"-k {folder} -c listen_addresses='' -c fsync=off", "start")
        try:
            yield f"lab:{PASSWORD}@/{{database}}?host={folder}"
        finally:
            run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    """An empty database for one test."""
    name = str(request.node.name)[:60]
    engine = create_engine(f"{DRIVER}://{server.format(database='postgres')}", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"postgresql://{server.format(database=name)}"


def test_what_goes_in_comes_out_and_only_once(url: str) -> None:
    later = replace(RECORD, run="20261130T000000-group", topology="group", started="2026-11-30T00:00:00.000000Z")
    with History.opened(url) as history:
        assert history.add(later)
        assert history.add(RECORD)
        assert not history.add(RECORD)
    with History.opened(url) as history:
        assert history.runs() == [RECORD, later]
        assert history.runs("group") == [later]


def test_migrations_make_the_tables_that_the_code_knows(url: str) -> None:
    engine = create_engine(url.replace("postgresql", DRIVER, 1))
    with engine.begin() as connection:
        migrate(connection)
        migrate(connection)
        assert not compare_metadata(MigrationContext.configure(connection), METADATA)
    engine.dispose()


def test_many_labs_open_a_new_database_at_once(url: str) -> None:
    """Without a turn for each, all but one end with a table that exists already."""

    def add(number: int) -> bool:
        with History.opened(url) as history:
            return history.add(replace(RECORD, run=f"run-{number}"))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(add, range(8)))
    with History.opened(url) as history:
        assert len(history.runs()) == 8


def test_a_run_that_does_not_fit_leaves_nothing_behind(url: str) -> None:
    too_long = replace(RECORD, measurements=(Measured("n" * 101, "", 1.0, "s"),))
    with pytest.raises(LabError, match="too long"), History.opened(url) as history:
        history.add(too_long)
    with History.opened(url) as history:
        assert history.runs() == []


def test_a_refused_login_is_one_message_without_the_password(url: str) -> None:
    wrong = url.replace(PASSWORD, f"{PASSWORD}-wrong")
    with pytest.raises(LabError) as refused, History.opened(wrong):
        pass
    assert "password authentication failed" in str(refused.value)
    assert PASSWORD not in str(refused.value)
