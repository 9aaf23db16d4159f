"""Rows that come from the certificate of the last run."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab.bench.last_run import rows_of_run


def run(folder: Path, *measurements: dict[str, Any], verdict: str = "pass") -> Path:
    text = json.dumps({"verdict": verdict, "measurements": measurements})
    (folder / "certificate.json").write_text(text, encoding="utf-8")
    return folder


def measurement(name: str, value: float, context: str = "") -> dict[str, Any]:
    return {"name": name, "value": value, "unit": "s", "n": 1, "context": context, "samples": []}


def test_time_and_memory_of_a_run(tmp_path: Path) -> None:
    folder = run(tmp_path, measurement("run-seconds", 500), measurement("peak-memory-mib", 7000))
    found, left_out = rows_of_run(folder)
    assert [(row.name, row.ours, row.goal, row.met) for row in found] == [
        ("run-time", 500, 600, True),
        ("peak-memory", 7000, 6144, False),
    ]
    assert left_out is None


def test_a_run_that_built_images_may_take_longer(tmp_path: Path) -> None:
    found, left_out = rows_of_run(run(tmp_path, measurement("run-seconds", 900, "images built")))
    assert [(row.goal, row.met) for row in found] == [(1200, True)]
    assert left_out is not None
    assert left_out.startswith("peak-memory: left out")


@pytest.mark.parametrize("verdict", ["fail", "incomplete"])
def test_a_run_that_did_not_pass_gives_no_rows(tmp_path: Path, verdict: str) -> None:
    found, left_out = rows_of_run(run(tmp_path, measurement("run-seconds", 5), verdict=verdict))
    assert found == []
    assert verdict in (left_out or "")


def test_no_run(tmp_path: Path) -> None:
    found, left_out = rows_of_run(tmp_path / "latest")
    assert found == []
    assert "no certificate" in (left_out or "")


def test_a_broken_certificate(tmp_path: Path) -> None:
    (tmp_path / "certificate.json").write_text("{", encoding="utf-8")
    assert rows_of_run(tmp_path)[0] == []
