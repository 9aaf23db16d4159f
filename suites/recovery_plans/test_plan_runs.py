"""A test failover of a whole plan: groups in order, a pause for a person, scripts, and nothing left at the end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from fixtures.inventory import objects
from fixtures.needs import consistent_group, pausing_plan
from fixtures.stacks import Protected
from fixtures.workloads import Workload
from lab.provision.lab import Lab
from lab.stacks.errors import OperationRefused
from lab.stacks.plans import PlanRun, PlanRunKind, PlanRunState
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from lab.topology.stack import RecoveryPlan
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_plan

RUN_SECONDS = 1500.0
CLEAN_UP_SECONDS = 600.0
POINT_SECONDS = 300.0


@dataclass(frozen=True)
class Planned:
    """The plan under test and the protected machines in it, in the order of their groups."""

    name: str
    plan: RecoveryPlan
    roles: list[Protected]

    @property
    def first(self) -> list[Protected]:
        """The machines of the first group."""
        return [role for role in self.roles if role.name in self.plan.groups[0].machines]

    @property
    def later(self) -> list[Protected]:
        """The machines of all other groups."""
        return [role for role in self.roles if role.name not in self.plan.groups[0].machines]


@dataclass(frozen=True)
class Paused:
    """What was seen while the run waited for a person: machines with a test copy, and a second run's refusal."""

    run: PlanRun
    with_copy: frozenset[str]
    refusal: str


@dataclass(frozen=True)
class PlanTest:
    """A test run that has come to its end; its machines are up. ``booted_at``: seconds of this host's clock."""

    planned: Planned
    paused: Paused
    run: PlanRun
    booted_at: dict[str, float]
    objects_before: frozenset[str]


@pytest.fixture(scope="module")
def planned(topology: Topology, protected: list[Protected]) -> Planned:
    """The first plan of the topology that pauses between two groups."""
    name = pausing_plan(topology)
    assert name is not None
    plan = topology.stack.plans[name]
    order = [machine for group in plan.groups for machine in group.machines]
    roles = {role.name: role for role in protected}
    return Planned(name, plan, [roles[machine] for machine in order])


@pytest.fixture(scope="module")
def plan_test(stack: Stack, lab: Lab, planned: Planned, workloads: dict[str, Workload]) -> Iterator[PlanTest]:
    """The plan's test run: every pause is looked at and continued; all copies have booted."""
    wait_for_points(stack, lab.topology, planned, workloads)
    before = objects(lab)
    deadline = Deadline.after(RUN_SECONDS)
    number = stack.start_plan(planned.name, PlanRunKind.TEST, {"recovery_point": "latest-processed"})
    try:
        run = stack.wait_plan(planned.name, number, PlanRunState.WAITING, deadline=deadline)
        paused = look_at(stack, planned, run)
        while run.state is PlanRunState.WAITING:
            stack.continue_plan(planned.name, number)
            ends = (PlanRunState.WAITING, PlanRunState.SUCCEEDED)
            run = stack.wait_plan(planned.name, number, *ends, deadline=deadline)
        booted = {role.name: booted_at(role, deadline) for role in planned.roles}
        yield PlanTest(planned, paused, run, booted, before)
    finally:
        clean_up(stack, lab, planned, number)


def wait_for_points(stack: Stack, topology: Topology, planned: Planned, workloads: dict[str, Workload]) -> None:
    """Wait until every machine has a point with records in it, and a group one that all its members share."""
    group = consistent_group(topology)
    known = [point.id for point in stack.groups.get(group).shared_points] if group else []
    for role in planned.roles:
        if role.name in workloads:
            last = workloads[role.name].wait_beyond(0)
            stack.wait_recovery_point(role.name, last.acknowledged_ns, Deadline.after(POINT_SECONDS))
    if group:
        stack.groups.wait_shared_point(group, known, Deadline.after(POINT_SECONDS))


def look_at(stack: Stack, planned: Planned, run: PlanRun) -> Paused:
    """Note what there is while a run waits, and try to begin a second one."""
    with_copy = frozenset(role.name for role in planned.roles if stack.machine(role.name).test_machine)
    with pytest.raises(OperationRefused) as refused:
        stack.start_plan(planned.name, PlanRunKind.TEST)
    return Paused(run, with_copy, refused.value.reason)


def booted_at(role: Protected, deadline: Deadline) -> float:
    """Return when a test copy booted, on this host's monotonic clock: clocks of guests are not compared."""
    role.test_machine.wait_ready(deadline)
    uptime = float(role.test_machine.ssh.check("cat", "/proc/uptime").split()[0])
    return time.monotonic() - uptime


def clean_up(stack: Stack, lab: Lab, planned: Planned, number: str) -> None:
    """Remove all test copies, whatever the run has come to."""
    run = stack.plan_run(planned.name, number)
    if "cancel" in run.allowed:
        stack.cancel_plan(planned.name, number)
        stack.wait_plan(planned.name, number, *PlanRunState, deadline=Deadline.after(CLEAN_UP_SECONDS))
    if any(stack.machine(role.name).test_machine for role in planned.roles):
        cleaning = stack.start_plan(planned.name, PlanRunKind.CLEANUP_TEST)
        deadline = Deadline.after(CLEAN_UP_SECONDS)
        stack.wait_plan(planned.name, cleaning, PlanRunState.SUCCEEDED, deadline=deadline)
    for role in planned.roles:
        lab.forget(f"{role.name}-test")


@pytest.mark.requirement("V2A-FO-RP")
def test_groups_start_one_after_the_other(plan_test: PlanTest, evidence: EvidenceRecorder) -> None:
    steps = [plan_test.run.machine(role.name) for role in plan_test.planned.roles]
    lines = [f"{step.group} {step.name} {step.state} {step.started_ns} {step.ended_ns}" for step in steps]
    evidence.attach("steps.txt", "\n".join(lines))
    assert all(step.state == "done" for step in steps), lines
    for earlier, later in itertools.product(steps, steps):
        if earlier.group < later.group:
            assert (earlier.ended_ns or 0) <= (later.started_ns or 0)
    booted = plan_test.booted_at
    first = max(booted[role.name] for role in plan_test.planned.first)
    later_machines = min(booted[role.name] for role in plan_test.planned.later)
    assert first < later_machines, f"machines booted at {booted}"


@pytest.mark.requirement("V2A-FO-RP", "LAB-REFUSAL")
def test_the_run_waits_for_a_person_before_it_goes_on(plan_test: PlanTest) -> None:
    paused = plan_test.paused
    waiting = [step for step in paused.run.steps if step.state == "waiting"]
    assert [step.kind for step in waiting] == ["manual"]
    assert paused.with_copy == {role.name for role in plan_test.planned.first}
    assert all(paused.run.machine(role.name).state == "pending" for role in plan_test.planned.later)
    assert paused.refusal == "run-active"


@pytest.mark.requirement("V2A-FO-RP")
def test_scripts_run_and_are_told_what_for(plan_test: PlanTest, topology: Topology) -> None:
    planned = plan_test.planned
    for step in plan_test.run.steps:
        if step.kind != "script":
            continue
        assert step.state == "done", step
        if "RECOVERY_MACHINES" in topology.stack.scripts[step.name]:
            assert ",".join(planned.plan.groups[step.group - 1].machines) in (step.detail or "")


@pytest.mark.requirement("LAB-WRITE-ORDER")
def test_every_copy_holds_its_data_in_order(
    plan_test: PlanTest, workloads: dict[str, Workload], evidence: EvidenceRecorder
) -> None:
    for role in plan_test.planned.roles:
        if role.name not in workloads:
            continue
        workload = workloads[role.name]
        verdict = workload.judge(workload.scan(role.test_machine.ssh))
        evidence.attach(f"{role.name}-verdict.json", verdict.as_json())
        assert min(verdict.frontier) > 0, f"the records of {role.name} are not in its copy at all"
        assert verdict.sound, verdict.findings


@pytest.mark.needs_group
@pytest.mark.requirement("V2A-MVM-CRASH", "V2A-FO-RP")
def test_members_of_a_group_get_one_instant(plan_test: PlanTest, stack: Stack, topology: Topology) -> None:
    group = consistent_group(topology)
    assert group is not None
    members = [role.name for role in plan_test.planned.roles if role.name in topology.stack.groups[group].members]
    chosen = {name: stack.machine(name).attributes["test_recovery_point"] for name in members}
    instants = [{name: point.members[name] for name in members} for point in stack.groups.get(group).shared_points]
    assert chosen in instants, f"{chosen} is no shared point of {group}"


@pytest.mark.requirement("LAB-TFO-ISOLATION")
def test_replication_of_all_machines_goes_on_meanwhile(
    plan_test: PlanTest, stack: Stack, workloads: dict[str, Workload]
) -> None:
    for role in plan_test.planned.roles:
        if role.name in workloads:
            last = workloads[role.name].wait_beyond(0)
            stack.wait_recovery_point(role.name, last.acknowledged_ns, Deadline.after(POINT_SECONDS))


@pytest.mark.requirement("LAB-RTO")
def test_the_time_of_the_whole_plan_is_measured(plan_test: PlanTest, record_measurement: Callable[..., None]) -> None:
    assert plan_test.run.seconds is not None
    context = f"test run of a plan with {len(plan_test.planned.roles)} machines, manual actions answered at once"
    record_measurement("plan-rto", plan_test.run.seconds, "s", context=context)
    assert plan_test.run.seconds < RUN_SECONDS


@pytest.mark.requirement("V2A-PFO-REFUSED", "LAB-REFUSAL")
def test_a_planned_run_is_refused(planned: Planned, stack: Stack) -> None:
    with pytest.raises(OperationRefused) as refused:
        stack.start_plan(planned.name, PlanRunKind.PLANNED)
    assert refused.value.reason == "not-supported"


@pytest.mark.requirement("LAB-TFO-ISOLATION", "V2A-TFO-GATE")
def test_clean_up_leaves_nothing(plan_test: PlanTest, stack: Stack, lab: Lab) -> None:
    planned = plan_test.planned
    cleaning = stack.start_plan(planned.name, PlanRunKind.CLEANUP_TEST)
    deadline = Deadline.after(CLEAN_UP_SECONDS)
    run = stack.wait_plan(planned.name, cleaning, PlanRunState.SUCCEEDED, deadline=deadline)
    for role in planned.roles:
        lab.forget(f"{role.name}-test")
    assert all(step.state == "done" for step in run.steps)
    assert objects(lab) == plan_test.objects_before
    statuses = [stack.machine(role.name) for role in planned.roles]
    assert [status.test_failover for status in statuses] == ["performed"] * len(statuses)
