"""The catalogue beside the tests that carry its rules and what the last run showed. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lab.requirements import Catalogue, Level, Requirement
from lab.topology.scenario import Scenario


@dataclass(frozen=True)
class Covered:
    """One rule. ``tests`` are node ids; ``last`` is its status in the last run, None when it was not in one.

    ``not_tested``: why there are none.
    """

    id: str
    subject: str
    level: Level
    rule: str
    source: str
    scenarios: tuple[Scenario, ...]
    adopted_by: tuple[Scenario, ...]
    tests: tuple[str, ...]
    last: str | None
    not_tested: str = ""

    @property
    def hole(self) -> bool:
        """Whether no test carries the rule: no run can show it."""
        return not self.tests

    def to_json(self) -> dict[str, Any]:
        """Return the row for programs."""
        return {**asdict(self), "hole": self.hole}


def coverage(
    catalogue: Catalogue,
    carriers: Mapping[str, Sequence[str]],
    certificate: Mapping[str, Any] | None,
    scenario: Scenario | None = None,
) -> list[Covered]:
    """Return every rule, or those of a scenario, in the order of the catalogue.

    Args:
        catalogue: the rules.
        carriers: requirement id to node ids.
        certificate: the content of the last ``certificate.json``, if there is one.
        scenario: only what this one needs.
    """
    last = {item["id"]: item["status"] for item in (certificate or {}).get("requirements", ())}
    return [
        _covered(subject.subject, item, carriers.get(item.id, ()), last.get(item.id), scenario)
        for subject in catalogue.subjects
        for item in subject.requirements
        if scenario is None or scenario in item.scenarios
    ]


def _covered(
    subject: str, item: Requirement, tests: Sequence[str], last: str | None, scenario: Scenario | None
) -> Covered:
    return Covered(
        id=item.id,
        subject=subject,
        level=item.level,
        rule=item.rule,
        source=item.source_for(scenario) if scenario else item.source,
        scenarios=item.scenarios,
        adopted_by=item.adopted_by,
        tests=tuple(tests),
        last=last,
        not_tested=item.not_tested,
    )
