"""What Allure's report shows of earlier runs: Allure reads it from ``history`` beside the results (its 2.x format).

Usually it is copied from the report that was made of the run before. Runs keep no report, so it is made from the
results of the run before and from the history that lies beside those.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.runs import ALLURE_FOLDER

FOLDER = "history"
TESTS_FILE, TREND_FILE, DURATION_FILE = "history.json", "history-trend.json", "duration-trend.json"
KEPT = 20
"""Runs, as Allure keeps them."""
STATUSES = ("failed", "broken", "skipped", "passed", "unknown")
JSON = dict[str, Any]


@dataclass(frozen=True)
class AllureHistory:
    """Earlier runs, the newest first: for each test (Allure's ``historyId``), and as two trends."""

    tests: Mapping[str, JSON]
    trend: Sequence[JSON]
    durations: Sequence[JSON]

    @property
    def next_order(self) -> int:
        """The number of the run that comes after them."""
        return 1 + max((int(item["buildOrder"]) for item in self.trend), default=0)


EMPTY = AllureHistory({}, (), ())


def carry_history(run_dir: Path, topology: str) -> int:
    """Write the history of the runs of a topology before this one into its Allure results; return this run's number.

    Results that cannot be read are no history: the trend begins anew, and no run fails for it.
    """
    before = _run_before(run_dir, topology)
    known = _after(before) if before is not None else EMPTY
    folder = run_dir / ALLURE_FOLDER / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in ((TESTS_FILE, known.tests), (TREND_FILE, known.trend), (DURATION_FILE, known.durations)):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return known.next_order


def extended(history: AllureHistory, results: Iterable[JSON], run: str) -> AllureHistory:
    """Return a history with one more run, the newest. Pure.

    Args:
        history: the runs before it.
        results: of its tests, as Allure's result files have them; of a test that ran twice the last counts.
        run: its name.
    """
    last: dict[str, JSON] = {}
    for result in sorted(results, key=lambda found: found["stop"]):
        last[result["historyId"]] = result
    statistic = _statistic(result["status"] for result in last.values())
    order = history.next_order
    duration = max((found["stop"] for found in last.values()), default=0) - min(
        (found["start"] for found in last.values()), default=0
    )
    fresh = {name: _test(history.tests.get(name), result) for name, result in last.items()}
    return AllureHistory(
        {**history.tests, **fresh},
        [{"buildOrder": order, "reportName": run, "data": statistic}, *history.trend][:KEPT],
        [{"buildOrder": order, "data": {"duration": duration}}, *history.durations][:KEPT],
    )


def _test(known: JSON | None, result: JSON) -> JSON:
    began, ended = result["start"], result["stop"]
    item = {
        "uid": result["uuid"],
        "status": _known(result["status"]),
        "time": {"start": began, "stop": ended, "duration": ended - began},
    }
    message = result.get("statusDetails", {}).get("message")
    if message:
        item["statusDetails"] = str(message).splitlines()[0]
    items = [item, *(known["items"] if known else ())][:KEPT]
    return {"statistic": _statistic(found["status"] for found in items), "items": items}


def _statistic(statuses: Iterable[str]) -> dict[str, int]:
    listed = [_known(status) for status in statuses]
    return {**{name: listed.count(name) for name in STATUSES}, "total": len(listed)}


def _known(status: str) -> str:
    return status if status in STATUSES else "unknown"


def _run_before(run_dir: Path, topology: str) -> Path | None:
    """Return the newest earlier run of a topology: the names of their folders sort by time."""
    mine = run_dir.resolve()
    others = mine.parent.glob(f"*T*-{topology}")
    return max((path for path in others if path.name < mine.name and (path / ALLURE_FOLDER).is_dir()), default=None)


def _after(run_dir: Path) -> AllureHistory:
    """Return what is known after a run. What cannot be read is left out."""
    results = run_dir / ALLURE_FOLDER
    tests, trend, durations = (_read(results / FOLDER / name) for name in (TESTS_FILE, TREND_FILE, DURATION_FILE))
    known = AllureHistory(tests or {}, trend or (), durations or ())
    try:
        found = [json.loads(path.read_text(encoding="utf-8")) for path in results.glob("*-result.json")]
        return extended(known, found, run_dir.name) if found else known
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return EMPTY


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
