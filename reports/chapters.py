"""The chapters of a certificate beyond the matrix, from events. Pure.

What is read of each kind of event (``data``):
- ``ports``: machine, expected, observed
- ``proof``: test, sound, rules, checks, epoch, cut, windows, clock_error_ns, label_error_ns
- ``timeline``: what, steps (name, state, started_ns, ended_ns), answered_s
- ``stack``: lacks (ability to reason)
- ``left-out``: tests (nodeid, reason, requirements)
- ``sensitivity``: the document of ``lab.defects.matrix``: clean, defects, proven
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lab.ledger import Event, EventKind
from reports.model import (
    LeftOut,
    PortRow,
    Proof,
    SeededDefect,
    Sensitivity,
    TestResult,
    Timeline,
    TimelineStep,
)

NS = 1e9
Proven = Mapping[str, Sequence[str]]


def ports(events: Iterable[Event]) -> tuple[PortRow, ...]:
    """Return the rows of the port matrix, in the order in which they were looked at."""
    return tuple(
        PortRow(str(data["machine"]), _numbers(data["expected"]), _numbers(data["observed"]), event.who)
        for event in _of(events, EventKind.PORTS)
        for data in (event.data,)
    )


def proofs(events: Iterable[Event], tests: Iterable[TestResult]) -> tuple[Proof, ...]:
    """Return what the oracle judged, with what became of the test that asked."""
    outcomes = {test.nodeid: test.outcome for test in tests}
    return tuple(
        Proof(
            test=str(event.data["test"]),
            outcome=outcomes.get(str(event.data["test"]), "not recorded"),
            sound=bool(event.data["sound"]),
            rules=tuple(event.data["rules"]),
            checks=tuple(event.data["checks"]),
            epoch=int(event.data["epoch"]),
            cut=_numbers(event.data["cut"]),
            windows=tuple(dict(window) for window in event.data["windows"]),
            clock_error_ns=int(event.data["clock_error_ns"]),
            label_error_ns=event.data["label_error_ns"],
        )
        for event in _of(events, EventKind.PROOF)
    )


def timelines(events: Iterable[Event]) -> tuple[Timeline, ...]:
    """Return the failovers and failbacks whose steps were recorded."""
    found = []
    for event in _of(events, EventKind.TIMELINE):
        steps = event.data["steps"]
        begin = min((step["started_ns"] for step in steps), default=0)
        listed = tuple(_step(step, begin) for step in steps)
        found.append(Timeline(str(event.data["what"]), listed, event.data.get("answered_s")))
    return tuple(found)


def lacks(events: Iterable[Event]) -> tuple[tuple[str, str], ...]:
    """Return what the stack says that it cannot do, and why."""
    said = (event.data.get("lacks", {}) for event in _of(events, EventKind.STACK))
    return tuple(dict.fromkeys((str(what), str(why)) for each in said for what, why in each.items()))


def left_out(events: Iterable[Event]) -> tuple[LeftOut, ...]:
    """Return the tests that were left out, with the reasons."""
    return tuple(
        LeftOut(str(test["nodeid"]), str(test["reason"]), tuple(test["requirements"]))
        for event in _of(events, EventKind.LEFT_OUT)
        for test in event.data["tests"]
    )


def sensitivity(events: Iterable[Event]) -> Sensitivity | None:
    """Return what seeded defects showed, if this build's result was known when the run began."""
    for event in _of(events, EventKind.SENSITIVITY):
        clean = event.data["clean"]
        defects = tuple(_defect(item) for item in event.data["defects"])
        return Sensitivity(defects, int(clean["runs"]), len(clean["false_alarms"]), str(event.data["how"]))
    return None


def proven(events: Iterable[Event]) -> Proven | None:
    """Return, by rule, the defects that its tests noticed; None when no result is known."""
    for event in _of(events, EventKind.SENSITIVITY):
        found: Proven = event.data["proven"]
        return found
    return None


def why_unproven(events: Iterable[Event]) -> Mapping[str, str]:
    """Return why rules are unproven, by id; results of before this was said have nothing."""
    for event in _of(events, EventKind.SENSITIVITY):
        found: Mapping[str, str] = event.data.get("why_unproven", {})
        return found
    return {}


def _of(events: Iterable[Event], kind: EventKind) -> Iterator[Event]:
    return (event for event in events if event.kind is kind)


def _step(step: Mapping[str, Any], begin: int) -> TimelineStep:
    ended = step["ended_ns"]
    until = None if ended is None else (ended - begin) / NS
    return TimelineStep(str(step["name"]), str(step["state"]), (step["started_ns"] - begin) / NS, until)


def _defect(item: Mapping[str, Any]) -> SeededDefect:
    noticed = bool(item["caught"]) if item["ran"] else None
    return SeededDefect(
        str(item["name"]), str(item["part"]), tuple(item["requirements"]), noticed, bool(item["equivalent"])
    )


def _numbers(values: Iterable[Any]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
