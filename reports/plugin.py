"""Pytest plugin: every test becomes an event of the run's ledger, with the requirements that it proves.

``--run-dir DIR`` switches recording on. Markers with ids that are not in the catalogue are usage errors, recording or
not. Only the controller writes test events, so the plugin works with pytest-xdist.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pytest

from lab.errors import BadInput
from lab.ledger import EventKind, Ledger
from lab.requirements import Catalogue, load_catalogue
from lab.runs import LEDGER_FILE
from reports.evidence import EvidenceRecorder

_RUN_DIR = pytest.StashKey[Path | None]()
NOT_CARRIED = pytest.StashKey[frozenset[str]]()
"""Rules that a test names and does not prove, because of what the stack under test is."""
_LONGEST_MESSAGE = 4000


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--run-dir``."""
    group = parser.getgroup("recovery lab")
    group.addoption("--run-dir", type=Path, default=None, metavar="DIR", help="record the run in DIR/ledger.jsonl")


def pytest_configure(config: pytest.Config) -> None:
    """Start recording if there is a folder for it."""
    config.addinivalue_line("markers", "requirement(*ids): the requirement ids that this test proves")
    run_dir = config.getoption("--run-dir")
    config.stash[_RUN_DIR] = run_dir
    is_worker = hasattr(config, "workerinput")
    if run_dir is not None and not is_worker:
        config.pluginmanager.register(TestRecorder(Ledger(run_dir / LEDGER_FILE)), "recovery-lab-recorder")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse markers with unknown ids, all of them in one message."""
    if not any(item.get_closest_marker("requirement") for item in items):
        return
    try:
        catalogue = load_catalogue()
    except BadInput as error:
        raise pytest.UsageError(str(error)) from error
    complaints = [line for item in items for line in _complaints(item, catalogue)]
    if complaints:
        raise pytest.UsageError("\n".join(dict.fromkeys(complaints)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Send the requirement ids along with the report: it may travel from a worker to the controller."""
    report = yield
    ids = requirement_ids(item)
    report.user_properties.append(("requirements", ids))
    # JUnit shows properties one by one; the list above is for the ledger.
    report.user_properties += [("requirement", name) for name in ids]
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let people filter Allure's report by requirement."""
    if item.config.getoption("allure_report_dir", None):
        import allure

        for name in requirement_ids(item):
            allure.dynamic.tag(name)  # type: ignore[no-untyped-call]  # it has no types
            allure.dynamic.label("requirement", name)  # type: ignore[no-untyped-call]


@pytest.fixture
def evidence(request: pytest.FixtureRequest, tmp_path: Path) -> EvidenceRecorder:
    """Keeps what a test saw: ``evidence.attach("flows.json", text_bytes_or_path)``."""
    run_dir = request.config.stash[_RUN_DIR] or tmp_path
    return EvidenceRecorder(run_dir, request.node.user_properties)


@pytest.fixture
def record_measurement(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Record a number: ``record_measurement("rpo", 3.2, "s", n=5, context="orders")``; no effect without a run."""
    run_dir = request.config.stash[_RUN_DIR]

    def record(name: str, value: float, unit: str, *, n: int = 1, context: Any = "", samples: Any = ()) -> None:
        if run_dir is None:
            return
        data = {"name": name, "value": value, "unit": unit, "n": n, "context": context, "samples": samples}
        Ledger(run_dir / LEDGER_FILE).record(EventKind.MEASUREMENT, request.node.nodeid, f"{name} measured", data)

    return record


@pytest.fixture
def record_ports(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Record which TCP ports a machine listens on beside those that it should: ``record_ports("mt1", {22}, {22})``."""
    run_dir = request.config.stash[_RUN_DIR]

    def record(machine: str, expected: Iterable[int], observed: Iterable[int]) -> None:
        data = {"machine": machine, "expected": sorted(expected), "observed": sorted(observed)}
        if run_dir is not None:
            Ledger(run_dir / LEDGER_FILE).record(EventKind.PORTS, request.node.nodeid, f"ports of {machine}", data)

    return record


@pytest.fixture
def record_timeline(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Record the steps of a job, (name, state, began, ended) in ns, and after how long the application answered."""
    run_dir = request.config.stash[_RUN_DIR]

    def record(what: str, steps: Iterable[tuple[str, str, int, int | None]], answered_s: float | None = None) -> None:
        keys = ("name", "state", "started_ns", "ended_ns")
        listed = [dict(zip(keys, step, strict=True)) for step in steps]
        data = {"what": what, "steps": listed, "answered_s": answered_s}
        if run_dir is not None:
            Ledger(run_dir / LEDGER_FILE).record(EventKind.TIMELINE, request.node.nodeid, f"steps of {what}", data)

    return record


def requirement_ids(item: pytest.Item) -> list[str]:
    """Return the ids that a test carries, those left out that the stack under test cannot keep."""
    beyond = item.stash.get(NOT_CARRIED, frozenset())
    return [name for name in marked_ids(item) if name not in beyond]


def marked_ids(item: pytest.Item) -> list[str]:
    """Return the ids of all ``requirement`` markers of a test, of its class and of its module."""
    return list(dict.fromkeys(str(name) for mark in item.iter_markers("requirement") for name in mark.args))


def _complaints(item: pytest.Item, catalogue: Catalogue) -> list[str]:
    found = (catalogue.complaint_about(name) for name in marked_ids(item))
    return [f"{item.nodeid}: {complaint}" for complaint in found if complaint]


class TestRecorder:
    """Joins set-up, call and teardown of a test into one event."""

    __test__ = False

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._phases: dict[str, list[pytest.TestReport]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect a phase; the teardown is always the last."""
        self._phases[report.nodeid].append(report)
        if report.when == "teardown":
            self._record(report.nodeid, self._phases.pop(report.nodeid))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be collected is an error of the run."""
        if report.failed:
            data = {"nodeid": report.nodeid or "collection", "outcome": "error", "message": _tail(report.longreprtext)}
            self._ledger.record(EventKind.TEST, "pytest", f"{report.nodeid}: error", data)

    def pytest_sessionfinish(self) -> None:
        """A test that never came to its teardown (a crashed worker) is an error."""
        for nodeid, phases in self._phases.items():
            self._record(nodeid, phases, outcome="error")
        self._phases.clear()

    def _record(self, nodeid: str, phases: list[pytest.TestReport], outcome: str | None = None) -> None:
        properties = phases[-1].user_properties
        result = outcome or outcome_of(phases)
        data = {
            "nodeid": nodeid,
            "outcome": result,
            "duration": round(sum(phase.duration for phase in phases), 6),
            "requirements": next((value for name, value in properties if name == "requirements"), []),
            "evidence": [value for name, value in properties if name == "evidence"],
            "message": _tail("\n".join(phase.longreprtext for phase in phases if not phase.passed)),
        }
        self._ledger.record(EventKind.TEST, "pytest", f"{nodeid}: {result}", data)


def outcome_of(phases: list[pytest.TestReport]) -> str:
    """Return passed, failed (the test), error (around the test) or skipped (also: failed as expected)."""
    if any(phase.failed for phase in phases if phase.when == "call"):
        return "failed"
    if any(phase.failed for phase in phases):
        return "error"
    return "skipped" if any(phase.skipped for phase in phases) else "passed"


def _tail(text: object) -> str:
    return str(text)[-_LONGEST_MESSAGE:]
