"""Runs go into a database and come out as trends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine
from typer.testing import CliRunner

from lab.cli import application
from lab.errors import BadInput, LabError
from lab.history.model import Measured, RunRecord
from lab.history.schema import METADATA
from lab.history.store import URL_VARIABLE, History, history_url, migrate
from lab.history.trends import as_json, series, trends
from reports.history import render_history


def a_run(number: int, status: str = "pass", rpo: float = 10.0, build: str = "b1") -> RunRecord:
    return RunRecord(
        run=f"run-{number:03}",
        topology="embedded",
        scenario="P2S",
        stack="reference",
        build=build,
        started=f"2026-11-{1 + number // 24:02}T{number % 24:02}:00:00",
        ended="",
        verdict=status,
        results={"LAB-RPO": status, "V2S-DELTA": "not-run"},
        tests={"suites/a.py::test": ("passed" if status == "pass" else "failed", 1.5)},
        measurements=(Measured("rpo", f"{number} acknowledged writes lost", rpo, "s"),),
    )


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'folder' / 'history.sqlite'}"


def test_what_goes_in_comes_out_and_only_once(url: str) -> None:
    with History.opened(url) as history:
        assert history.add(a_run(2))
        assert history.add(a_run(1))
        assert not history.add(a_run(1))
    with History.opened(url) as history:
        assert history.runs() == [a_run(1), a_run(2)]
        assert history.runs("another") == []


def test_tests_whose_long_names_end_alike_are_kept_apart(url: str) -> None:
    names = [f"suites/{letter}.py::test[{'x' * 600}]" for letter in "ab"]
    with History.opened(url) as history:
        assert history.add(replace(a_run(1), tests=dict.fromkeys(names, ("passed", 1.0))))
        assert len(history.runs()[0].tests) == 2


def test_a_run_that_the_database_refuses_is_no_run_that_is_there(url: str) -> None:
    with History.opened(url) as history, pytest.raises(LabError, match="run run-001 does not go into the history"):
        history.add(replace(a_run(1), verdict=None))  # type: ignore[arg-type]


def test_migrations_make_the_tables_that_the_code_knows() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        migrate(connection)
        migrate(connection)
        assert not compare_metadata(MigrationContext.configure(connection), METADATA)
    engine.dispose()


def test_a_rule_that_broke_is_named_with_the_run_since_when() -> None:
    statuses = ["pass", "fail", "pass", "pass", "fail", "fail"]
    [trend] = trends([a_run(number, status) for number, status in enumerate(statuses)])
    assert (trend.requirement, trend.runs, trend.passed, trend.first_bad) == ("LAB-RPO", 6, 3, "run-004")
    assert trend.flake_rate == pytest.approx(3 / 5)
    assert trend.low < 0.5 < trend.high
    [steady] = trends([a_run(number) for number in range(4)])
    assert (steady.first_bad, steady.flake_rate, steady.high) == (None, 0.0, 1.0)


def test_builds_have_trends_of_their_own() -> None:
    assert len(trends([a_run(1), a_run(2, build="b2")])) == 2


def test_a_change_of_a_number_is_found_and_none_is_made_up() -> None:
    before = [a_run(number, rpo=10 + number % 3) for number in range(20)]
    [same] = series([*before, *(a_run(20 + number, rpo=10 + number % 3) for number in range(5))])
    assert not same.changed
    [worse] = series([*before, *(a_run(20 + number, rpo=14 + number) for number in range(5))])
    assert worse.changed
    assert worse.before == 11
    [few] = series(before[:8])
    assert few.p is None


def test_it_is_shown_as_json_and_as_a_page() -> None:
    runs = [a_run(number, "fail" if number > 6 else "pass", rpo=number + 1) for number in range(9)]
    document = json.loads(json.dumps(as_json(runs)))
    assert document["trends"][0]["first_bad"] == "run-007"
    page = render_history(runs)
    assert "run-007" in page
    assert "<svg" in page
    assert "Mann-Whitney" in page
    assert "<script" not in page
    assert render_history([]).count("None yet.") == 1


def test_a_certificate_becomes_a_record() -> None:
    certificate = {
        "run": {"run": "r", "topology": "t", "scenario": "P2S", "stack": "s", "started": "a", "ended": "b"},
        "verdict": "pass",
        "requirements": [
            {"id": "LAB-RPO", "status": "pass"},
            {"id": "OF-OLD", "status": "pass", "in_scope": True},
            {"id": "OF-ANOTHER-SCENARIO", "status": "pass", "in_scope": False},
        ],
        "tests": [{"nodeid": "n", "outcome": "passed", "duration": 1}],
        "measurements": [{"name": "rpo", "context": "c", "value": 1, "unit": "s"}],
    }
    record = RunRecord.of_certificate(certificate)
    assert (record.build, record.results, record.tests["n"]) == (
        "",
        {"LAB-RPO": "pass", "OF-OLD": "pass"},
        ("passed", 1.0),
    )
    with pytest.raises(KeyError):
        RunRecord.of_certificate({"verdict": "pass"})


def test_a_wrong_url_is_one_message_without_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert history_url(tmp_path).startswith("sqlite:///")
    monkeypatch.setenv(URL_VARIABLE, "nodatabase://user:secret@host/name")
    with pytest.raises(BadInput) as refused, History.opened(history_url(tmp_path)):
        pass
    assert "secret" not in str(refused.value)
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(LabError), History.opened(f"sqlite:///{tmp_path / 'text'}") as history:
        history.add(replace(a_run(1)))


def test_the_command_takes_runs_in_and_shows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    monkeypatch.setenv("RECOVERY_LAB_HOME", str(tmp_path / "home"))
    run = {"run": "r1", "topology": "embedded", "scenario": "P2S", "stack": "reference", "started": "a", "ended": "b"}
    failed = [{"id": "LAB-RPO", "status": "fail"}]
    document = {"run": run, "verdict": "fail", "requirements": failed, "tests": [], "measurements": []}
    (tmp_path / "certificate.json").write_text(json.dumps(document))
    page = tmp_path / "history.html"
    runner = CliRunner()
    shown = runner.invoke(application(), ["history", "--add", str(tmp_path), "--html", str(page)])
    assert shown.exit_code == 0, shown.output
    assert "LAB-RPO" in shown.output
    assert "r1" in page.read_text()
    again = runner.invoke(application(), ["history", "--add", str(tmp_path), "--json"])
    assert [item["run"] for item in json.loads(again.output)["runs"]] == ["r1"]
    wrong = runner.invoke(application(), ["history", "--add", str(tmp_path / "home")])
    assert isinstance(wrong.exception, BadInput)
