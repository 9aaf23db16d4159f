"""What a certificate says, as values. ``certificate.json`` is exactly this."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """``incomplete``: nothing failed, but the run does not show enough to pass."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    INCOMPLETE = "incomplete"


class Status(StrEnum):
    """What the run showed about one requirement."""

    PASS = "pass"  # noqa: S105 - a status
    FAIL = "fail"
    NOT_RUN = "not-run"


@dataclass(frozen=True)
class Evidence:
    """A file that a test left; ``path`` is relative to the run."""

    name: str
    path: str
    sha256: str
    size: int
    test: str


@dataclass(frozen=True)
class TestResult:
    """One test; ``outcome`` is passed, failed, error or skipped; ``duration`` in seconds."""

    nodeid: str
    outcome: str
    duration: float
    requirements: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    message: str

    @property
    def ran(self) -> bool:
        """Whether the test showed anything."""
        return self.outcome != "skipped"

    @property
    def bad(self) -> bool:
        """Whether it counts against its requirements."""
        return self.outcome in {"failed", "error"}


@dataclass(frozen=True)
class RequirementResult:
    """One line of the matrix. ``in_scope``: the rule belongs to the scenario of the run.

    ``lines`` of the specification; ``adopted``: it has the rule for other scenarios only; ``source`` says both.
    """

    id: str
    subject: str
    level: str
    rule: str
    source: str
    lines: str
    adopted: bool
    status: Status
    in_scope: bool
    tests: tuple[str, ...]
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class ScenarioResult:
    """How many rules of a scenario were shown."""

    verdict: Verdict
    requirements: int
    passed: int
    failed: int
    not_run: int


@dataclass(frozen=True)
class Measurement:
    """A number with its unit, of ``n`` samples, taken in ``context``; ``samples`` are (seconds, value)."""

    name: str
    value: float
    unit: str
    n: int
    context: str
    samples: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Certificate:
    """Everything that ``certificate.json`` and ``certificate.html`` say."""

    verdict: Verdict
    reasons: tuple[str, ...]
    scenarios: dict[str, ScenarioResult]
    requirements: tuple[RequirementResult, ...]
    tests: tuple[TestResult, ...]
    stand_ins: tuple[dict[str, Any], ...]
    measurements: tuple[Measurement, ...]
    environment: dict[str, Any]
    topology_digest: str
    run: dict[str, Any]
    decisions: dict[str, str]
    evidence: tuple[Evidence, ...]
    limits: tuple[str, ...]
