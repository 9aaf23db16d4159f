"""Health of a machine: a pure function over what is known, worked out whenever somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.states import State

NS = 10**9
HEALTHY, WARNING, CRITICAL = "healthy", "warning", "critical"
_ORDER = (HEALTHY, WARNING, CRITICAL)
MISSED_INTERVALS = 5
"""So many intervals of the policy without a new recovery point are no delay any more, but a failure."""
LOG_OVERFLOW = "log-overflow"
"""The cause in an agent's ``resynchronisation-required`` when changes had no room (domain 2.4)."""
REPLICATING = (State.INITIAL_REPLICATION, State.PROTECTED, State.REPROTECTING, State.PROTECTED_REVERSE)
WITH_POINTS = (State.PROTECTED, State.PROTECTED_REVERSE)
FAILED = (
    State.ENABLING_FAILED,
    State.FAILOVER_FAILED,
    State.CHANGE_RECOVERY_POINT_FAILED,
    State.REPROTECT_FAILED,
    State.FAILBACK_FAILED,
    State.DISABLING_FAILED,
)


@dataclass(frozen=True)
class Facts:
    """What health depends on; times in seconds.

    ``silent_s`` is how long each component was not heard of, None for never; ``interval_s`` how often the policy
    wants a recovery point; ``rpo_s`` the age of the newest one, None when there is none.
    """

    state: State
    attributes: Mapping[str, Any]
    silent_s: Mapping[str, float | None]
    rpo_s: float | None
    rpo_threshold_s: float
    interval_s: float
    silence_limit_s: float


@dataclass(frozen=True)
class Cause:
    """Something that is wrong. ``code`` names it for programs and stays the same while it lasts."""

    code: str
    level: str
    message: str


@dataclass(frozen=True)
class Health:
    """What is wrong with a machine, if anything; ``status`` is the level of the worst cause (domain 2.2)."""

    causes: tuple[Cause, ...]

    @property
    def status(self) -> str:
        """``healthy``, ``warning`` or ``critical``."""
        return max((cause.level for cause in self.causes), key=_ORDER.index, default=HEALTHY)

    def to_json(self) -> dict[str, Any]:
        """Return what operators see."""
        return {
            "status": self.status,
            "causes": [cause.message for cause in self.causes],
            "codes": [cause.code for cause in self.causes],
        }


def rpo_seconds(now_ns: int, newest_end_ns: int | None) -> float | None:
    """Return the age of the newest recovery point, never negative: clocks of machines differ."""
    return None if newest_end_ns is None else max(0.0, (now_ns - newest_end_ns) / NS)


def silence_s(now_ns: int, last_seen_ns: int | None, started_ns: int) -> float | None:
    """Return for how long a component was not heard, counted from the start of the server; None: it never was."""
    return None if last_seen_ns is None else max(0.0, (now_ns - max(last_seen_ns, started_ns)) / NS)


def health_of(facts: Facts) -> Health:
    """Return what is wrong; there are no causes in a state that does not replicate and has not failed."""
    return Health(tuple(_causes(facts)))


def _causes(facts: Facts) -> Iterable[Cause]:
    if facts.state in FAILED or "last_error" in facts.attributes:
        level = CRITICAL if facts.state in FAILED else WARNING
        yield Cause("operation-failed", level, f"the last operation has failed: {_error(facts.attributes)}")
    if facts.state in REPLICATING:
        yield from _silent(facts)
        yield from _resynchronising(facts.attributes.get("resynchronising"))
        for server, problem in sorted((facts.attributes.get("broken_links") or {}).items()):
            yield Cause(f"link-down:{server}", CRITICAL, f"no data reaches the {server}: {problem}")
    if facts.state in WITH_POINTS:
        yield from _late(facts)
        if problem := facts.attributes.get("application_problem"):
            yield Cause("applications-not-quiet", WARNING, f"no application-consistent recovery point: {problem}")
        if problem := facts.attributes.get("retention_problem"):
            yield Cause("retention-shortened", WARNING, f"recovery points went before their time: {problem}")
        if problem := facts.attributes.get("group_problem"):
            yield Cause("group-not-consistent", WARNING, f"the last round gave no shared recovery point: {problem}")


def _silent(facts: Facts) -> Iterable[Cause]:
    for component, seconds in sorted(facts.silent_s.items()):
        if seconds is None:
            yield Cause(f"component-silent:{component}", CRITICAL, f"{component} was never heard of")
        elif seconds > facts.silence_limit_s:
            message = f"{component} was not heard of for {seconds:.0f} s"
            yield Cause(f"component-silent:{component}", CRITICAL, message)


def _resynchronising(noted: Mapping[str, Any] | None) -> Iterable[Cause]:
    if not noted:
        return
    reason = noted.get("reason") or "no reason given"
    if noted.get("running"):
        yield Cause("resynchronisation-running", WARNING, f"resynchronisation is running: {reason}")
    else:
        yield Cause("resynchronisation-required", WARNING, f"resynchronisation is required: {reason}")
    if noted.get("cause") == LOG_OVERFLOW:
        yield Cause(LOG_OVERFLOW, CRITICAL, f"changes were lost because there was no room for them: {reason}")


def _late(facts: Facts) -> Iterable[Cause]:
    if facts.rpo_s is None:
        yield Cause("no-recovery-point", CRITICAL, "there is no recovery point")
        return
    age = f"the newest recovery point is {facts.rpo_s:.0f} s old"
    if facts.rpo_s > facts.rpo_threshold_s:
        yield Cause("rpo-over-threshold", WARNING, f"{age}, more than {facts.rpo_threshold_s:.0f} s")
    if facts.rpo_s > max(facts.rpo_threshold_s, MISSED_INTERVALS * facts.interval_s):
        message = f"{age}, although one is due every {facts.interval_s:.0f} s"
        yield Cause("recovery-points-missing", CRITICAL, message)


def _error(attributes: Mapping[str, Any]) -> str:
    error = attributes.get("last_error") or {}
    return f"{error.get('operation')}: {error.get('message')}"
