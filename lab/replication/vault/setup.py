"""The order in which a deployment is set up, and what is refused before its turn (seed L60: V2A-SETUP-SEQ). Pure."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum


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


SOURCES = ("vmware", "physical")
"""What can be replicated over a configuration server (seed L38, L40)."""


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
        done: the steps that were done.
        known_here: the steps about which the caller knows; the others are somebody else's to check.

    Raises:
        StepTooEarly: an earlier one was not done.
    """
    earlier = [each for each in Step if list(Step).index(each) < list(Step).index(step)]
    missing = [each for each in earlier if each in known_here and each not in done]
    if missing:
        raise StepTooEarly(step, missing)
