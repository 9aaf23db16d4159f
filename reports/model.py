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
    """One line of the matrix: a rule of the scenario of the run.

    ``lines`` of the specification; ``adopted``: it has the rule for other scenarios only; ``source`` says both.
    ``not_tested``: why no test carries it.
    """

    id: str
    subject: str
    level: str
    rule: str
    source: str
    lines: str
    adopted: bool
    status: Status
    tests: tuple[str, ...]
    evidence: tuple[str, ...]
    proven_by: tuple[str, ...] | None = None
    """Seeded defects that tests of this rule have noticed; None: no result for this build of the stack is known."""
    not_tested: str = ""

    @property
    def unproven(self) -> bool:
        """Whether no test of this rule was ever seen to fail because something was wrong."""
        return self.proven_by is not None and not self.proven_by


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
class PortRow:
    """TCP ports of one machine. What is observed and not expected is a finding, and the other way round."""

    machine: str
    expected: tuple[int, ...]
    observed: tuple[int, ...]
    test: str

    @property
    def agrees(self) -> bool:
        """Whether exactly the expected ports are open."""
        return set(self.expected) == set(self.observed)


@dataclass(frozen=True)
class Proof:
    """A copy that the oracle judged. ``outcome`` is that of the test that asked: unsound and passed is a control.

    ``cut``: the newest complete step of each lane; windows in ns by each machine's writer clock.
    """

    test: str
    outcome: str
    sound: bool
    rules: tuple[str, ...]
    checks: tuple[str, ...]
    epoch: int
    cut: tuple[int, ...]
    windows: tuple[dict[str, Any], ...]
    clock_error_ns: int
    label_error_ns: int | None

    @property
    def control(self) -> bool:
        """Whether it was meant to be found unsound, and was."""
        return not self.sound and self.outcome == "passed"


@dataclass(frozen=True)
class TimelineStep:
    """A step of a job; seconds from the first one."""

    name: str
    state: str
    began_s: float
    ended_s: float | None


@dataclass(frozen=True)
class Timeline:
    """The steps of one failover or failback, and how long it took until the application answered."""

    what: str
    steps: tuple[TimelineStep, ...]
    answered_s: float | None


@dataclass(frozen=True)
class SeededDefect:
    """A defect that was seeded into this build of the stack. ``noticed``: None when it was not tried."""

    name: str
    part: str
    requirements: tuple[str, ...]
    noticed: bool | None
    equivalent: bool


@dataclass(frozen=True)
class Sensitivity:
    """What ``lab sensitivity`` found for this build of the stack."""

    defects: tuple[SeededDefect, ...]
    clean_runs: int
    false_alarms: int
    how: str
    """What had to notice the defects."""

    @property
    def tried(self) -> tuple[SeededDefect, ...]:
        """The defects that were tried."""
        return tuple(item for item in self.defects if item.noticed is not None)


@dataclass(frozen=True)
class ProfileSpan:
    """Something that took time: a phase (depth 0), a subject of the suites (1), a test (2). Seconds from the start."""

    depth: int
    name: str
    began_s: float
    seconds: float


@dataclass(frozen=True)
class Profile:
    """Where the time of a run went. ``harness_cpu_s``: what the lab and its tests computed, machines left out."""

    seconds: float
    spans: tuple[ProfileSpan, ...]
    harness_cpu_s: float | None

    def of_depth(self, depth: int) -> tuple[ProfileSpan, ...]:
        """Return the spans of one depth, the longest first."""
        return tuple(sorted((span for span in self.spans if span.depth == depth), key=lambda span: -span.seconds))

    @property
    def harness_share(self) -> float | None:
        """The part of the time in which the harness computed, had it never done so while machines worked: at most."""
        if self.harness_cpu_s is None or self.seconds <= 0:
            return None
        return min(1.0, self.harness_cpu_s / self.seconds)


@dataclass(frozen=True)
class LeftOut:
    """A test that the topology, or the stack that it names, cannot serve, and the rules that it would have shown.

    Without ``nodeid``: rules of which no test can say anything, because of what the stack is.
    """

    nodeid: str
    reason: str
    requirements: tuple[str, ...]


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
    ports: tuple[PortRow, ...] = ()
    proofs: tuple[Proof, ...] = ()
    timelines: tuple[Timeline, ...] = ()
    sensitivity: Sensitivity | None = None
    profile: Profile | None = None
    lacks: tuple[tuple[str, str], ...] = ()
    """What the stack says that it cannot do, and why."""
    left_out: tuple[LeftOut, ...] = ()
