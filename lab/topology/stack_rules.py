"""What must be true of policies and recovery plans (domain 2.1, 2.3). Pure: a topology in, findings out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from lab.topology.findings import Finding, Location, dangling, named_twice
from lab.topology.machines import Role
from lab.topology.model import Topology
from lab.topology.stack import PlanGroup, Policy, RecoveryPlan

MOST_MACHINES = 100


def stack_findings(topology: Topology) -> Iterator[Finding]:
    """Yield what is wrong with the policies and plans of the stack under test."""
    for name, policy in topology.stack.policies.items():
        yield from _policy(policy, ("stack", "policies", name))
    targets = topology.machines_with(Role.MASTER_TARGET)
    for name in topology.stack.master_targets:
        yield from dangling("master target", name, targets, ("stack", "master_targets", name))
    for name, plan in topology.stack.plans.items():
        yield from _plan(topology, plan, ("stack", "plans", name))


def _policy(policy: Policy, here: Location) -> Iterator[Finding]:
    interval, application = policy.recovery_point_interval, policy.application_consistent_interval
    if 0 < policy.retention < interval:
        yield Finding((*here, "retention"), "retention is shorter than the recovery point interval")
    if policy.rpo_threshold < interval:
        yield Finding((*here, "rpo_threshold"), "the threshold is shorter than the recovery point interval")
    if application is not None and application >= policy.retention:
        message = "the application-consistent interval has to be less than retention"
        yield Finding((*here, "application_consistent_interval"), message)
    if application is not None and application < interval:
        message = "the application-consistent interval is shorter than the recovery point interval"
        yield Finding((*here, "application_consistent_interval"), message)
    if policy.process_server_port == policy.master_target_port:
        yield Finding((*here, "master_target_port"), "the two data ports have to differ")
    for before, step in itertools.pairwise(policy.pruning or ()):
        if step.after <= before.after or step.one_per == before.one_per or step.one_per % before.one_per:
            message = "each step has to begin later than the one before, with a multiple of its period"
            yield Finding((*here, "pruning"), message)


def _plan(topology: Topology, plan: RecoveryPlan, here: Location) -> Iterator[Finding]:
    machines = [name for group in plan.groups for name in group.machines]
    yield from named_twice("machine", machines, (*here, "groups"))
    if len(machines) > MOST_MACHINES:
        yield Finding((*here, "groups"), f"a plan has at most {MOST_MACHINES} machines, this one has {len(machines)}")
    for number, group in enumerate(plan.groups):
        yield from _plan_group(topology, group, (*here, "groups", number))


def _plan_group(topology: Topology, group: PlanGroup, here: Location) -> Iterator[Finding]:
    for place, name in enumerate(group.machines):
        yield from dangling("protected machine", name, topology.stack.protected, (*here, "machines", place))
    for key, actions in (("before", group.before), ("after", group.after)):
        for place, action in enumerate(actions):
            if action.script is not None:
                location = (*here, key, place, "script")
                yield from dangling("script", action.script, topology.stack.scripts, location)
