"""Members of a group share instants: proved on copies of all of them, and disproved with the option off."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from fixtures.databases import Database, Recovered
from fixtures.groups import GroupUnderTest, failed_over_copies, judge_together, switch
from fixtures.services import stopped
from fixtures.workloads import Workload
from lab.measure.peers import call
from lab.measure.percentiles import p99
from lab.measure.ports import open_ports
from lab.oracle.findings import Rule, Verdict
from lab.oracle.trials.resolution import lane_times, resolution
from lab.stacks.errors import OperationRefused
from lab.stacks.groups import SharedPoint
from lab.stacks.machines import Operation
from lab.stacks.protocol import Stack
from lab.waiting import Deadline
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.needs_group

PORT = 20004
POINT_SECONDS = 300.0
TRIALS = 1000
PACE_STEPS = 1000
"""Twenty seconds at the pace of the topologies, so at least one shared point comes meanwhile."""
PACE_SECONDS = 300.0
IDENTITY = "/etc/recovery/mobility"
SERVICE = "recovery-mobility"


@dataclass(frozen=True)
class Copied:
    """What copies of all members at one shared point showed, and what the databases had accepted before."""

    point: SharedPoint
    verdict: Verdict
    accepted: Mapping[str, int]
    recovered: Mapping[str, Recovered]


@pytest.mark.requirement("V2A-PORT-20004", "V2A-LEAST")
def test_members_listen_on_the_group_port(group: GroupUnderTest, evidence: EvidenceRecorder) -> None:
    for caller, callee, address in group.pairs():
        answer = call(caller.machine.ssh, address, PORT, identity=IDENTITY, ca=f"{IDENTITY}/ca.pem")
        evidence.attach(f"{caller.name}-{callee.name}.txt", f"{answer}\n")
        assert answer.tcp, f"{caller.name} does not reach {callee.name} at {address}:{PORT}"
        assert open_ports(callee.machine.ssh) == {22, PORT}


@pytest.mark.requirement("V2A-PORT-20004", "LAB-MUTUAL-TLS")
def test_the_group_port_gives_nothing_to_strangers(group: GroupUnderTest) -> None:
    for caller, callee, address in group.pairs():
        for plain in (True, False):
            answer = call(caller.machine.ssh, address, PORT, plain=plain)
            assert answer.tcp, f"{callee.name} is not reachable, so this proves nothing"
            assert answer.refused, f"{callee.name} answered {answer.http} without a certificate"


@pytest.mark.requirement("V2A-MVM-SAMEWORK")
def test_the_option_is_advised_for_one_workload_and_its_cost_is_measured(
    group: GroupUnderTest,
    stack: Stack,
    workloads: dict[str, Workload],
    record_measurement: Callable[..., None],
) -> None:
    """Members wait for each other, whatever they run: that is why it is for machines that belong together."""
    writers = [workloads[role.name] for role in group.roles]
    assert any(text.startswith("same-workload:") for text in stack.groups.get(group.name).advisories)
    with_option = steps_per_second(writers)
    switch(group, stack, consistent=False)
    try:
        assert not stack.groups.get(group.name).advisories
        without = steps_per_second(writers)
    finally:
        switch(group, stack, consistent=True)
    context = f"{with_option:.1f} dependent steps a second with the option on, {without:.1f} with it off"
    record_measurement("group-overhead", 100 * (1 - with_option / without), "%", context=context)


def steps_per_second(writers: list[Workload]) -> float:
    """Return how fast the slowest writer gets through PACE_STEPS."""
    begun = time.monotonic()
    first = [writer.newest().sequence for writer in writers]
    for writer, sequence in zip(writers, first, strict=True):
        writer.wait_beyond(sequence + PACE_STEPS, PACE_SECONDS)
    return PACE_STEPS / (time.monotonic() - begun)


@pytest.mark.requirement("V2A-PORT-20004-OFF", "LAB-NEGATIVE-CONTROL")
def test_with_the_option_off_nothing_is_shared_and_the_oracle_says_so(
    group: GroupUnderTest, stack: Stack, workloads: dict[str, Workload], evidence: EvidenceRecorder
) -> None:
    switch(group, stack, consistent=False)
    try:
        for role in group.roles:
            assert PORT not in open_ports(role.machine.ssh), f"{role.name} listens with the option off"
        with pytest.raises(OperationRefused):
            stack.groups.start(group.name, Operation.FAILOVER)
        points = {role.name: group.own_point(stack, role) for role in group.roles}
        jobs = {
            name: stack.start(name, Operation.TEST_FAILOVER, {"recovery_point": point.id})
            for name, point in points.items()
        }
        with failed_over_copies(group, stack, jobs):
            verdict = judge_together(group, workloads)
    finally:
        switch(group, stack, consistent=True)
    evidence.attach("verdict.json", verdict.as_json())
    assert verdict.rules & {Rule.INSTANT, Rule.CAUSAL}, "the workload would not notice members of different instants"


@pytest.mark.requirement("V2A-POLICY-APPLIES", "V2A-MVM-CRASH")
def test_shared_points_come_at_the_interval(
    group: GroupUnderTest, stack: Stack, workloads: dict[str, Workload], record_measurement: Callable[..., None]
) -> None:
    assert workloads
    known = [point.id for point in stack.groups.get(group.name).shared_points]
    seen = 0
    while seen < 2:
        point = stack.groups.wait_shared_point(group.name, known, Deadline.after(POINT_SECONDS))
        assert set(point.members) == {role.name for role in group.roles}
        known.append(point.id)
        seen += 1
    stalls = [
        part["stall_ns"] / 1e6
        for event in stack.events(0)
        if event.kind == "group-round" and event.data.get("shared")
        for part in event.data["parts"].values()
    ]
    bound = stack.groups.get(group.name).stall_bound_ms
    record_measurement("group-stall-median", statistics.median(stalls), "ms", context=f"{len(stalls)} holds")
    record_measurement("group-stall-p99", p99(stalls), "ms", context=f"{len(stalls)} holds")
    record_measurement("group-stall-max", max(stalls), "ms", context=f"of {len(stalls)} holds, bound {bound} ms")
    assert max(stalls) <= bound


@pytest.fixture(scope="module")
def crash_copy(
    group: GroupUnderTest, stack: Stack, workloads: dict[str, Workload], databases: dict[str, Database]
) -> Copied:
    """Copies of all members at a shared crash-consistent point."""
    return copied(group, stack, workloads, databases, application=False)


@pytest.fixture(scope="module")
def application_copy(
    group: GroupUnderTest, stack: Stack, workloads: dict[str, Workload], databases: dict[str, Database]
) -> Copied:
    """Copies of all members at a shared application-consistent point."""
    return copied(group, stack, workloads, databases, application=True)


def copied(
    group: GroupUnderTest,
    stack: Stack,
    workloads: dict[str, Workload],
    databases: dict[str, Database],
    *,
    application: bool,
) -> Copied:
    """Note what was accepted, make a shared point, and look at copies of all members at it."""
    for role in group.roles:
        workloads[role.name].wait_beyond(workloads[role.name].newest().sequence)
    with ExitStack() as held:
        if not application:
            for database in databases.values():
                held.enter_context(database.in_memory())
        accepted = {name: database.accepted() for name, database in databases.items()}
        point = stack.groups.cut_now(group.name, Deadline.after(POINT_SECONDS), application=application)
    jobs = stack.groups.start(group.name, Operation.TEST_FAILOVER, {"recovery_point": point.id})
    with failed_over_copies(group, stack, jobs):
        verdict = judge_together(group, workloads)
        recovered = {name: database.recovered() for name, database in databases.items()}
    return Copied(point, verdict, accepted, recovered)


@pytest.mark.requirement("V2A-MVM-CRASH", "LAB-WRITE-ORDER", "LAB-POINT-IN-TIME")
def test_a_shared_point_is_one_instant_of_all_members(crash_copy: Copied, evidence: EvidenceRecorder) -> None:
    evidence.attach("point.txt", f"{crash_copy.point}\n")
    evidence.attach("verdict.json", crash_copy.verdict.as_json())
    assert not crash_copy.point.application_consistent
    assert min(crash_copy.verdict.frontier) > 0
    assert crash_copy.verdict.sound, crash_copy.verdict.findings


@pytest.mark.requirement("LAB-POINT-IN-TIME", "LAB-NEGATIVE-CONTROL")
def test_the_resolution_of_the_oracle_is_stated(
    group: GroupUnderTest,
    crash_copy: Copied,
    workloads: dict[str, Workload],
    record_measurement: Callable[..., None],
) -> None:
    assert crash_copy.verdict.sound
    history = group.history(workloads)
    found = resolution(history.group, lane_times(history.events(), 1), history.clocks(), TRIALS)
    assert found.found_ns is not None, "no skew at all is found in 99 % of the trials"
    context = f"smallest skew found in 99 % of {found.trials} trials on this run's history"
    record_measurement("oracle-resolution", found.found_ns / 1e6, "ms", context=context)
    record_measurement("oracle-clock-error", found.clock_error_ns / 1e6, "ms", context="median, between machines")


@pytest.mark.requirement("V2A-MVM-APP", "LAB-POINT-IN-TIME")
def test_an_application_consistent_point_has_all_that_was_accepted(
    application_copy: Copied, evidence: EvidenceRecorder
) -> None:
    if not application_copy.recovered:
        pytest.fail("no member has a database: this topology cannot prove anything about applications")
    evidence.attach("databases.txt", f"{application_copy.accepted}\n{application_copy.recovered}\n")
    evidence.attach("verdict.json", application_copy.verdict.as_json())
    assert application_copy.point.application_consistent
    assert application_copy.verdict.sound, application_copy.verdict.findings
    for name, found in application_copy.recovered.items():
        assert found.newest >= application_copy.accepted[name], f"{name} lacks rows that were accepted"
        assert not found.redone, f"the database of {name} had to repeat its log"


@pytest.mark.requirement("V2A-MVM-APP", "LAB-NEGATIVE-CONTROL")
def test_a_crash_consistent_point_lacks_what_was_only_in_memory(crash_copy: Copied, evidence: EvidenceRecorder) -> None:
    evidence.attach("databases.txt", f"{crash_copy.accepted}\n{crash_copy.recovered}\n")
    for name, found in crash_copy.recovered.items():
        assert found.redone, f"the database of {name} was quiet, so the test of application consistency proves nothing"
        assert found.newest < crash_copy.accepted[name], f"all rows of {name} were on the disk already"


@pytest.fixture
def silent_member(group: GroupUnderTest) -> Iterator[str]:
    """A member whose agent is stopped inside the test."""
    role = group.roles[-1]
    with stopped(role.machine.ssh, SERVICE):
        yield role.name


@pytest.mark.requirement("V2A-MVM-CRASH", "LAB-RECOVERY")
def test_a_silent_member_stalls_nobody_and_health_says_why(
    group: GroupUnderTest, stack: Stack, workloads: dict[str, Workload], silent_member: str
) -> None:
    coordinator = group.roles[0]
    began = workloads[coordinator.name].newest()
    status = stack.wait_status(
        coordinator.name,
        lambda found: any(silent_member in cause and "shared" in cause for cause in found.health.causes),
        f"health of {coordinator.name} that names {silent_member}",
        Deadline.after(POINT_SECONDS),
    )
    assert status.health.status != "healthy"
    known = {point.id for point in stack.groups.get(group.name).shared_points}
    own = stack.wait_recovery_point(coordinator.name, began.acknowledged_ns, Deadline.after(POINT_SECONDS))
    assert own.begin_ns > began.acknowledged_ns, "the coordinator goes on with points of its own"
    assert {point.id for point in stack.groups.get(group.name).shared_points} <= known
    workloads[coordinator.name].wait_beyond(workloads[coordinator.name].newest().sequence)


@pytest.mark.requirement("V2A-MVM-CRASH", "LAB-RECOVERY")
def test_the_group_shares_points_again_when_all_are_back(group: GroupUnderTest, stack: Stack) -> None:
    known = [point.id for point in stack.groups.get(group.name).shared_points]
    assert stack.groups.wait_shared_point(group.name, known, Deadline.after(POINT_SECONDS))
