"""A run as the history keeps it, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Measured:
    """A number of a run."""

    name: str
    context: str
    value: float
    unit: str


@dataclass(frozen=True)
class RunRecord:
    """One run: results by requirement, outcomes by test (with seconds), measurements."""

    run: str
    topology: str
    scenario: str
    stack: str
    build: str
    started: str
    ended: str
    verdict: str
    results: Mapping[str, str] = field(default_factory=dict)
    tests: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    measurements: tuple[Measured, ...] = ()

    @classmethod
    def of_certificate(cls, certificate: Mapping[str, Any]) -> RunRecord:
        """Read the content of ``certificate.json``. Raises KeyError, TypeError, ValueError when it is none."""
        run = certificate["run"]
        return cls(
            run=str(run["run"]),
            topology=str(run["topology"]),
            scenario=str(run["scenario"]),
            stack=str(run["stack"]),
            build=str(run.get("build", "")),
            started=str(run["started"]),
            ended=str(run["ended"]),
            verdict=str(certificate["verdict"]),
            results={item["id"]: item["status"] for item in certificate["requirements"] if counted(item)},
            tests={item["nodeid"]: (item["outcome"], float(item["duration"])) for item in certificate["tests"]},
            measurements=tuple(
                Measured(item["name"], item["context"], float(item["value"]), item["unit"])
                for item in certificate["measurements"]
            ),
        )


def counted(requirement: Mapping[str, Any]) -> bool:
    """Whether a rule belongs to the scenario; older certificates also show what tests touched beyond it."""
    return bool(requirement.get("in_scope", True))
