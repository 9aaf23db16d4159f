"""Allure's history goes on from run to run, as its own reports would have left it."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from reports.allure_history import EMPTY, KEPT, TESTS_FILE, TREND_FILE, carry_history, extended

STATUS = st.sampled_from(["failed", "broken", "skipped", "passed", "strange"])


def result(name: str, status: str, start: int = 10, stop: int = 30) -> dict[str, object]:
    return {"historyId": name, "uuid": f"{name}-{start}", "status": status, "start": start, "stop": stop}


def run(parent: Path, name: str, *results: dict[str, object]) -> tuple[Path, int]:
    folder = parent / name / "allure-results"
    folder.mkdir(parents=True)
    order = carry_history(parent / name, "embedded")
    for number, content in enumerate(results):
        (folder / f"{number}-result.json").write_text(json.dumps(content))
    return folder / "history", order


def test_each_run_finds_those_before_it_newest_first(tmp_path: Path) -> None:
    _, first = run(tmp_path, "20260101T000000-embedded", result("a", "passed"), result("b", "failed"))
    run(tmp_path, "20260101T120000-group", result("a", "broken"))
    _, second = run(
        tmp_path, "20260102T000000-embedded", result("a", "failed") | {"statusDetails": {"message": "x\ny"}}
    )
    history, third = run(tmp_path, "20260103T000000-embedded")
    tests = json.loads((history / TESTS_FILE).read_text())
    assert (first, second, third) == (1, 2, 3)
    assert [item["status"] for item in tests["a"]["items"]] == ["failed", "passed"]
    assert tests["a"]["items"][0]["statusDetails"] == "x"
    assert tests["a"]["statistic"] | {} == {
        "failed": 1, "broken": 0, "skipped": 0, "passed": 1, "unknown": 0, "total": 2,
    }  # fmt: skip
    assert [item["status"] for item in tests["b"]["items"]] == ["failed"], "it did not run again, and is remembered"
    trend = json.loads((history / TREND_FILE).read_text())
    assert [(item["buildOrder"], item["reportName"], item["data"]["total"]) for item in trend] == [
        (2, "20260102T000000-embedded", 1),
        (1, "20260101T000000-embedded", 2),
    ]


def test_damaged_results_begin_a_new_history(tmp_path: Path) -> None:
    run(tmp_path, "20260101T000000-embedded", result("a", "passed"))
    (tmp_path / "20260101T000000-embedded/allure-results/0-result.json").write_text("{")
    history, order = run(tmp_path, "20260102T000000-embedded")
    assert order == 1
    assert json.loads((history / TREND_FILE).read_text()) == []


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), STATUS), max_size=4), max_size=2 * KEPT))
def test_no_history_grows_without_end_and_none_loses_count(runs: list[list[tuple[str, str]]]) -> None:
    history = EMPTY
    for number, tests in enumerate(runs):
        history = extended(history, [result(name, status, number) for name, status in tests], f"run {number}")
    assert len(history.trend) == len(history.durations) == min(len(runs), KEPT)
    assert history.next_order == len(runs) + 1
    for item in history.trend:
        assert sum(item["data"].values()) == 2 * item["data"]["total"]
    for test in history.tests.values():
        assert test["statistic"]["total"] == len(test["items"]) <= KEPT
