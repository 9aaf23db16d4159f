"""With a firewall that denies everything but the ports of the specification, replication does not notice.

Three to five minutes. The rules are set between the machines, on the lab's own bridges, and are gone after each test.
"""

from __future__ import annotations

import pytest

from fixtures.equality import point_now
from fixtures.flows import HTTPS, Guard
from fixtures.outages import Outages
from fixtures.stacks import Protected
from fixtures.workloads import Workload
from lab.networks.firewall import Denied, render
from lab.stacks.machines import MachineStatus
from lab.stacks.protocol import Stack
from lab.topology.machines import Role
from lab.waiting import Deadline, wait_until
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_agent, pytest.mark.needs_bridges]

NOTICE_SECONDS = 300.0
RECOVER_SECONDS = 300.0


@pytest.mark.requirement(
    "V2A-LEAST", "V2A-PORT-443-MGMT", "V2A-PORT-9443", "V2A-PORT-443-CS-OUT", "V2A-PORT-443-PS-OUT"
)
def test_replication_needs_no_other_flow(
    stack: Stack,
    protected: list[Protected],
    workloads: dict[str, Workload],
    guard: Guard,
    evidence: EvidenceRecorder,
) -> None:
    flows = guard.flows.all()
    evidence.attach("rules.txt", render(flows))
    with guard.only(flows):
        for role in protected:
            # An order of the configuration server, a cut, its data all the way, and the point that is told of.
            point_now(stack, role)
            written = workloads[role.name].wait_beyond(workloads[role.name].newest().sequence)
            stack.wait_recovery_point(role.name, written.acknowledged_ns, Deadline.after(RECOVER_SECONDS))
        denied = guard.denied()
    evidence.attach("denied.txt", as_lines(denied))
    assert not denied, "something else is needed, or tried"


@pytest.mark.needs_secondary_site
@pytest.mark.requirement("V2S-SCOUT")
def test_no_part_of_azure_takes_part(stack: Stack, protected: list[Protected], guard: Guard) -> None:
    """To a site of one's own nothing of Azure is set up, and all data arrives where only the sites' machines are."""
    assert not stack.setup_steps
    machines = {card.address for each in guard.flows.topology.machines.values() for card in each.interfaces}
    flows = guard.flows.all()
    assert {flow.target for flow in flows} <= machines
    with guard.only(flows):
        for role in protected:
            point_now(stack, role)


@pytest.mark.requirement("V2A-PORT-9443", "LAB-NEGATIVE-CONTROL")
def test_without_the_data_port_no_point_comes_and_afterwards_nothing_is_lost(
    stack: Stack,
    protected: list[Protected],
    workloads: dict[str, Workload],
    guard: Guard,
    *,
    outages: Outages,
    evidence: EvidenceRecorder,
) -> None:
    role, allowed = protected[0], guard.flows
    port = allowed.policy.process_server_port
    shut = set(allowed.data())
    wait_healthy(stack, role)
    allowed_now = [flow for flow in allowed.all() if flow not in shut]
    with outages.during("the data port shut"), guard.only(allowed_now):
        status = wait_until_told(stack, role)
        dropped = guard.tried_by(Role.PROTECTED)
        while_shut = workloads[role.name].wait_beyond(workloads[role.name].newest().sequence)
    evidence.attach("health.txt", "\n".join(status.health.causes))
    evidence.attach("denied.txt", as_lines(dropped))
    assert {item.port for item in dropped} == {port}, "another way was tried"
    stack.wait_recovery_point(role.name, while_shut.acknowledged_ns, Deadline.after(RECOVER_SECONDS))
    wait_healthy(stack, role)


@pytest.mark.requirement("V2A-PORT-443-MGMT", "V2A-CS-COORD", "LAB-NEGATIVE-CONTROL")
def test_without_the_management_port_it_is_said_and_no_other_way_is_tried(
    stack: Stack,
    protected: list[Protected],
    guard: Guard,
    evidence: EvidenceRecorder,
) -> None:
    """Whether data goes on meanwhile the specification does not say: it is noted, not judged."""
    role, allowed = protected[0], guard.flows
    shut = set(allowed.management_of(Role.PROTECTED))
    points = len(stack.recovery_points(role.name))
    wait_healthy(stack, role)
    with guard.only(flow for flow in allowed.all() if flow not in shut):
        status = wait_until_told(stack, role)
        dropped = guard.tried_by(Role.PROTECTED)
        came = len(stack.recovery_points(role.name)) - points
    evidence.attach("health.txt", "\n".join(status.health.causes))
    evidence.attach("denied.txt", as_lines(dropped))
    evidence.attach("data-meanwhile.txt", f"{came} recovery points came while management was shut\n")
    assert {item.port for item in dropped} == {HTTPS}, "another way was tried"
    wait_healthy(stack, role)


def wait_until_told(stack: Stack, role: Protected) -> MachineStatus:
    """Wait until the stack says by itself that something is wrong with a machine, and return what it says."""
    return wait_until(
        lambda: status if (status := stack.machine(role.name)).health.status == "critical" else None,
        Deadline.after(NOTICE_SECONDS),
        f"critical health of {role.name}",
        every=1.0,
    )


def wait_healthy(stack: Stack, role: Protected) -> None:
    """Wait until all is well again."""
    wait_until(
        lambda: stack.machine(role.name).health.status == "healthy",
        Deadline.after(RECOVER_SECONDS),
        f"health of {role.name}",
        every=1.0,
        explain=lambda: "; ".join(stack.machine(role.name).health.causes),
    )


def as_lines(denied: list[Denied]) -> str:
    """Return what was denied, one a line."""
    return "".join(f"{item}\n" for item in denied)
