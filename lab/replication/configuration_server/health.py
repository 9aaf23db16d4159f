"""Health of a machine: a pure function over what is known, worked out whenever somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.states import State

NS = 10**9
HEALTHY, WARNING, CRITICAL = "healthy", "warning", "critical"
_ORDER = (HEALTHY, WARNING, CRITICAL)
REPLICATING = (State.INITIAL_REPLICATION, State.PROTECTED, State.REPROTECTING, State.PROTECTED_REVERSE)
WITH_POINTS = (State.PROTECTED, State.PROTECTED_REVERSE)
FAILED = (
    State.ENABLING_FAILED,
    State.FAILOVER_FAILED,
    State.REPROTECT_FAILED,
    State.FAILBACK_FAILED,
    State.DISABLING_FAILED,
)


@dataclass(frozen=True)
class Facts:
    """What health depends on; ``silent_s`` is how long each component was not heard of, None for never."""

    state: State
    attributes: Mapping[str, Any]
    silent_s: Mapping[str, float | None]
    rpo_s: float | None
    rpo_threshold_s: float
    silence_limit_s: float


def rpo_seconds(now_ns: int, newest_end_ns: int | None) -> float | None:
    """Return the age of the newest recovery point, never negative: clocks of machines differ."""
    return None if newest_end_ns is None else max(0.0, (now_ns - newest_end_ns) / NS)


def health_of(facts: Facts) -> dict[str, Any]:
    """Return ``{status, causes}``; the status is that of the worst cause."""
    causes = list(_causes(facts))
    worst = max((level for level, _ in causes), key=_ORDER.index, default=HEALTHY)
    return {"status": worst, "causes": [text for _, text in causes]}


def _causes(facts: Facts) -> Iterable[tuple[str, str]]:
    if facts.state in FAILED:
        yield CRITICAL, f"the last operation has failed: {_error(facts.attributes)}"
    elif "last_error" in facts.attributes:
        yield WARNING, f"the last operation has failed: {_error(facts.attributes)}"
    if facts.state in REPLICATING:
        yield from _silent(facts)
        if facts.attributes.get("resynchronising"):
            yield WARNING, "resynchronisation is running"
        for server, problem in sorted((facts.attributes.get("broken_links") or {}).items()):
            yield CRITICAL, f"no data reaches the {server}: {problem}"
    if facts.state in WITH_POINTS:
        yield from _late(facts)


def _silent(facts: Facts) -> Iterable[tuple[str, str]]:
    for component, seconds in sorted(facts.silent_s.items()):
        if seconds is None:
            yield CRITICAL, f"{component} was never heard of"
        elif seconds > facts.silence_limit_s:
            yield CRITICAL, f"{component} was not heard of for {seconds:.0f} s"


def _late(facts: Facts) -> Iterable[tuple[str, str]]:
    if facts.rpo_s is None:
        yield CRITICAL, "there is no recovery point"
    elif facts.rpo_s > facts.rpo_threshold_s:
        yield WARNING, f"the newest recovery point is {facts.rpo_s:.0f} s old, more than {facts.rpo_threshold_s:.0f} s"


def _error(attributes: Mapping[str, Any]) -> str:
    error = attributes.get("last_error") or {}
    return f"{error.get('operation')}: {error.get('message')}"
