"""The methods of a stack that is asked for what it does not have: each refuses, and changes nothing.

An adapter of a stack without recovery points, plans or groups takes these instead of writing them once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from lab.stacks.deployment import Component, SetupStep, SiteInventory
from lab.stacks.errors import OperationRefused
from lab.stacks.groups import GroupStatus, SharedPoint
from lab.stacks.jobs import Job
from lab.stacks.machines import Operation, RecoveryPoint
from lab.stacks.plans import PlanRun, PlanRunKind, PlanRunState
from lab.waiting import Deadline


def not_supported(operation: str, reason: str, state: str = "", allowed: Sequence[str] = ()) -> NoReturn:
    """Refuse what a stack cannot do at all. Raises OperationRefused."""
    raise OperationRefused("not-supported", operation, state, allowed, f"{operation} is not supported: {reason}")


class NoGroups:
    """Groups of a stack that replicates each machine by itself."""

    def get(self, name: str) -> GroupStatus:
        """Refuse."""
        not_supported(f"group {name}", "the stack has no groups")

    def set_consistent(self, name: str, *, consistent: bool) -> Mapping[str, str]:  # noqa: ARG002
        """Refuse."""
        not_supported(f"group {name}", "the stack has no groups")

    def start(self, name: str, operation: Operation, arguments: Mapping[str, Any] | None = None) -> Mapping[str, str]:  # noqa: ARG002
        """Refuse."""
        not_supported(f"group {name}", "the stack has no groups")

    def cut_now(self, name: str, deadline: Deadline, *, application: bool = False) -> SharedPoint:  # noqa: ARG002
        """Refuse."""
        not_supported(f"group {name}", "the stack has no groups")

    def wait_shared_point(self, name: str, known: Sequence[str], deadline: Deadline) -> SharedPoint:  # noqa: ARG002
        """Refuse."""
        not_supported(f"group {name}", "the stack has no groups")


class NoPoints:
    """A stack that keeps the newest state of a machine and no other."""

    def cut_now(self, machine: str, deadline: Deadline) -> Job:  # noqa: ARG002
        """Refuse."""
        not_supported("cut", "the stack keeps no recovery points")

    def recovery_points(self, name: str) -> Sequence[RecoveryPoint]:  # noqa: ARG002
        """Refuse: an empty list would say that there could be some."""
        not_supported("recovery-points", "the stack keeps no recovery points")

    def wait_recovery_point(self, name: str, after_ns: int, deadline: Deadline) -> RecoveryPoint:  # noqa: ARG002
        """Refuse."""
        not_supported("recovery-points", "the stack keeps no recovery points")


class NoPlans:
    """A stack without recovery plans."""

    def put_plan(self, name: str, plan: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Refuse."""
        not_supported(f"plan {name}", "the stack has no recovery plans")

    def plan(self, name: str) -> Mapping[str, Any]:
        """Refuse."""
        not_supported(f"plan {name}", "the stack has no recovery plans")

    def delete_plan(self, name: str) -> None:
        """Refuse."""
        not_supported(f"plan {name}", "the stack has no recovery plans")

    def start_plan(self, name: str, kind: PlanRunKind, arguments: Mapping[str, Any] | None = None) -> str:  # noqa: ARG002
        """Refuse."""
        not_supported(f"plan {name}", "the stack has no recovery plans")

    def plan_run(self, name: str, run: str) -> PlanRun:  # noqa: ARG002
        """Refuse."""
        not_supported(f"plan {name}", "the stack has no recovery plans")

    def continue_plan(self, name: str, run: str) -> PlanRun:
        """Refuse."""
        return self.plan_run(name, run)

    def cancel_plan(self, name: str, run: str) -> PlanRun:
        """Refuse."""
        return self.plan_run(name, run)

    def resume_plan(self, name: str, run: str) -> PlanRun:
        """Refuse."""
        return self.plan_run(name, run)

    def wait_plan(self, name: str, run: str, *states: PlanRunState, deadline: Deadline) -> PlanRun:  # noqa: ARG002
        """Refuse."""
        return self.plan_run(name, run)


class NoServers:
    """A stack without servers: nothing registers, nothing is discovered, no policies, nothing to set up by steps."""

    setup_steps: Sequence[SetupStep] = ()

    def steps_done(self) -> Mapping[str, Sequence[str]]:
        """Return none."""
        return {}

    def do_step(self, step: SetupStep) -> None:
        """Refuse."""
        not_supported(f"step {step.kind}", "there is nothing to set up")

    def set_up(self) -> None:
        """Do nothing: there are no steps."""

    def components(self) -> Sequence[Component]:
        """Return none."""
        return ()

    def inventory(self) -> Mapping[str, SiteInventory]:
        """Return none."""
        return {}

    def policy(self, name: str) -> Mapping[str, Any]:
        """Refuse."""
        not_supported(f"policy {name}", "the stack has no policies")

    def put_policy(self, name: str, policy: Mapping[str, Any]) -> Mapping[str, str]:  # noqa: ARG002
        """Refuse."""
        not_supported(f"policy {name}", "the stack has no policies")
