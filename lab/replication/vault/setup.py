"""The order in which a deployment is set up, and what is refused before its turn (seed L60: V2A-SETUP-SEQ). Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any


class Step(StrEnum):
    """A step of the set-up; each needs all before it. ``mobility`` is done by the configuration server."""

    VAULT = "vault"
    GOAL = "goal"
    CONFIGURATION_SERVER = "configuration-server"
    SERVERS = "servers"
    POLICY = "policy"
    MOBILITY = "mobility"
    ENABLE = "enable"
    TEST_FAILOVER = "test-failover"


HYPER_V = "hyper-v"
WITH_AGENT = ("vmware", "physical")
SOURCES = (*WITH_AGENT, HYPER_V)
"""What can be replicated: over a configuration server (seed L38, L40), or from Hyper-V hosts by themselves (L39)."""
WITHOUT_SERVER = (Step.CONFIGURATION_SERVER, Step.MOBILITY)
"""Steps that do not exist for Hyper-V hosts (seed L96-101); what is added as ``servers`` are sites and clouds there."""


class StepTooEarly(Exception):
    """A step was asked for before those that it needs; nothing has changed.

    Args:
        step: what was asked for.
        missing: the steps that have to come first, in their order.
    """

    def __init__(self, step: Step, missing: Collection[Step]) -> None:
        self.step = step
        self.missing = tuple(missing)
        super().__init__(f"{step} comes after {', '.join(self.missing)} (seed L60)")


def require_before(step: Step, done: Collection[str], *, known_here: Collection[Step] = tuple(Step)) -> None:
    """Refuse a step that is too early.

    Args:
        step: what is asked for.
        done: the steps that were done; as a mapping to their documents it also says what the goal is.
        known_here: the steps about which the caller knows; the others are somebody else's to check.

    Raises:
        StepTooEarly: an earlier one was not done.
    """
    earlier = [each for each in Step if list(Step).index(each) < list(Step).index(step)]
    absent = WITHOUT_SERVER if _from_hosts(done) else ()
    missing = [each for each in earlier if each in known_here and each not in done and each not in absent]
    if missing:
        raise StepTooEarly(step, missing)


def _from_hosts(done: Collection[str]) -> bool:
    if not isinstance(done, Mapping):
        return False
    goals: Mapping[str, Any] = done.get(Step.GOAL) or {}
    return any(goal.get("source") == HYPER_V for goal in goals.values())
