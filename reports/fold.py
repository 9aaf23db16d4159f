"""From events to a certificate. Pure: the same ledger and catalogue always give the same certificate.

What the fold reads of each kind of event (``data``):
- ``run-started``: run, harness, scenario, topology, topology_digest, stack, stand_ins
- ``environment``: anything; later events add to earlier ones
- ``test``: nodeid, outcome, duration, requirements, evidence, message
- ``measurement``: name, value, unit, n, context (text or mapping), samples (optional)
- ``run-ended``: exit_code
- ``phase``: see ``reports.profile``
- ``ports``, ``proof``, ``timeline``, ``sensitivity``, ``stack``, ``left-out``: see ``reports.chapters``
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lab.ledger import Event, EventKind
from lab.requirements import Catalogue, Requirement
from lab.topology.scenario import Scenario
from reports import chapters
from reports.chapters import Proven
from reports.model import (
    Certificate,
    Evidence,
    Measurement,
    RequirementResult,
    ScenarioResult,
    Status,
    TestResult,
    Verdict,
)
from reports.profile import profile

LIMITS = (
    "Experiments show the presence of errors, not their absence: a pass says that these tests found none.",
    "The result holds for the topology, versions and environment named here, and for no others.",
    "Stand-ins took the place of real things as listed; what they cannot show is not shown.",
    "A rule without a test that ran is 'not run', whatever else passed.",
    "This is a lab certificate by recovery-lab. It is no vendor's mark and no vendor has reviewed it.",
    "Run again after any change of product, configuration, host or operating system.",
)


def fold(events: Sequence[Event], catalogue: Catalogue, problems: Iterable[str] = ()) -> Certificate:
    """Return the certificate of a run; ``problems`` (of files around the ledger) keep it from passing."""
    started = _data(events, EventKind.RUN_STARTED)
    tests = tuple(_test(event.data) for event in events if event.kind is EventKind.TEST)
    scenario = _scenario(started)
    reasons = (*_failures(tests), *_gaps(events, tests, scenario), *problems)
    verdict = _verdict(tests, reasons)
    sensitivity = chapters.sensitivity(events)
    known = _requirements(catalogue, scenario, tests, chapters.proven(events))
    why = chapters.why_unproven(events)
    requirements = tuple(replace(item, why_unproven=why.get(item.id, "")) for item in known)
    return Certificate(
        verdict=verdict,
        reasons=reasons,
        scenarios={scenario.value: _scenario_result(verdict, requirements)} if scenario else {},
        requirements=requirements,
        tests=tests,
        stand_ins=tuple(started.get("stand_ins", ())),
        measurements=tuple(_measurement(event.data) for event in events if event.kind is EventKind.MEASUREMENT),
        environment=_data(events, EventKind.ENVIRONMENT),
        topology_digest=str(started.get("topology_digest", "")),
        run=_run(events, started, tests),
        decisions=catalogue.decisions,
        evidence=tuple(item for test in tests for item in test.evidence),
        limits=LIMITS,
        ports=chapters.ports(events),
        proofs=chapters.proofs(events, tests),
        timelines=chapters.timelines(events),
        sensitivity=sensitivity,
        profile=profile(events),
        lacks=chapters.lacks(events),
        left_out=chapters.left_out(events),
    )


def _data(events: Iterable[Event], kind: EventKind) -> dict[str, Any]:
    return {key: value for event in events if event.kind is kind for key, value in event.data.items()}


def _scenario(started: Mapping[str, Any]) -> Scenario | None:
    name = started.get("scenario")
    return Scenario(name) if name in set(Scenario) else None


def _test(data: Mapping[str, Any]) -> TestResult:
    nodeid = str(data["nodeid"])
    return TestResult(
        nodeid=nodeid,
        outcome=str(data["outcome"]),
        duration=float(data.get("duration", 0.0)),
        requirements=tuple(data.get("requirements", ())),
        evidence=tuple(Evidence(**item, test=nodeid) for item in data.get("evidence", ())),
        message=str(data.get("message", "")),
    )


def _measurement(data: Mapping[str, Any]) -> Measurement:
    context = data.get("context", "")
    if isinstance(context, Mapping):
        context = ", ".join(f"{key} {value}" for key, value in context.items())
    samples = tuple((float(at), float(value)) for at, value in data.get("samples", ()))
    return Measurement(
        str(data["name"]), float(data["value"]), str(data["unit"]), int(data.get("n", 1)), str(context), samples
    )


def _failures(tests: Iterable[TestResult]) -> list[str]:
    return [f"{test.nodeid}: {test.outcome}" for test in tests if test.bad]


def _gaps(events: Sequence[Event], tests: Sequence[TestResult], scenario: Scenario | None) -> list[str]:
    gaps = []
    if scenario is None:
        gaps.append("the ledger does not say which scenario ran")
    if not any(test.outcome == "passed" for test in tests):
        gaps.append("no test passed")
    if not events or events[-1].kind is not EventKind.RUN_ENDED:
        gaps.append("the run did not come to its end")
    exit_codes = [event.data.get("exit_code") for event in events if event.kind is EventKind.RUN_ENDED]
    if any(code != 0 for code in exit_codes) and not any(test.bad for test in tests):
        gaps.append(f"pytest ended with exit code {next(code for code in exit_codes if code != 0)}")
    return gaps


def _verdict(tests: Iterable[TestResult], reasons: Sequence[str]) -> Verdict:
    if any(test.bad for test in tests):
        return Verdict.FAIL
    return Verdict.INCOMPLETE if reasons else Verdict.PASS


def _requirements(
    catalogue: Catalogue, scenario: Scenario | None, tests: Sequence[TestResult], proven: Proven | None
) -> Iterable[RequirementResult]:
    """Give the rules of the scenario, and no others: what a run of another one shows of them is nothing."""
    for subject in catalogue.subjects:
        for item in subject.requirements:
            if scenario is None or scenario in item.scenarios:
                result = _requirement(item, subject.subject, scenario, tests)
                yield result if proven is None else replace(result, proven_by=tuple(proven.get(item.id, ())))


def _requirement(
    item: Requirement, subject: str, scenario: Scenario | None, tests: Sequence[TestResult]
) -> RequirementResult:
    mine = [test for test in tests if item.id in test.requirements]
    return RequirementResult(
        id=item.id,
        subject=subject,
        level=item.level.value,
        rule=item.rule,
        source=item.source_for(scenario) if scenario else item.source,
        lines=item.source,
        adopted=scenario in item.adopted_by,
        status=_status(mine),
        tests=tuple(dict.fromkeys(test.nodeid for test in mine)),
        evidence=tuple(dict.fromkeys(item.sha256 for test in mine for item in test.evidence)),
        not_tested=item.not_tested,
    )


def _status(tests: Sequence[TestResult]) -> Status:
    if any(test.bad for test in tests):
        return Status.FAIL
    return Status.PASS if any(test.outcome == "passed" for test in tests) else Status.NOT_RUN


def _scenario_result(verdict: Verdict, requirements: Iterable[RequirementResult]) -> ScenarioResult:
    statuses = [item.status for item in requirements]
    return ScenarioResult(
        verdict=verdict,
        requirements=len(statuses),
        passed=statuses.count(Status.PASS),
        failed=statuses.count(Status.FAIL),
        not_run=statuses.count(Status.NOT_RUN),
    )


_ABOUT = ("run", "harness", "scenario", "topology", "stack", "build", "description")


def _run(events: Sequence[Event], started: Mapping[str, Any], tests: Sequence[TestResult]) -> dict[str, Any]:
    outcomes = [test.outcome for test in tests]
    about = {key: started.get(key, "") for key in _ABOUT}
    return {
        **about,
        "policies": started.get("policies", {}),
        "started": events[0].at if events else "",
        "ended": events[-1].at if events and events[-1].kind is EventKind.RUN_ENDED else "",
        "events": len(events),
        "tests": {name: outcomes.count(name) for name in ("passed", "failed", "error", "skipped")},
    }
