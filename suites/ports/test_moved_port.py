"""The data port comes from the policy and can be moved without installing anything again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.stacks import Protected
from lab.measure.ports import open_ports
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from lab.waiting import Deadline, wait_until

pytestmark = pytest.mark.needs_agent

MOVED = 9555
CHANGE_SECONDS = 180.0


@pytest.fixture
def policy_name(topology: Topology, primary_role: Protected, stack: Stack) -> Iterator[str]:
    """The policy's name; its ports are as before afterwards."""
    name = topology.stack.protect[primary_role.name].policy
    before = dict(stack.policy(name))
    yield name
    if dict(stack.policy(name)) != before:
        change(stack, name, before)


def change(stack: Stack, name: str, policy: dict[str, object]) -> None:
    """Change a policy and wait until every machine under it was told."""
    keys = ("recovery_point_interval_s", "retention_s", "rpo_threshold_s", "process_server_port", "master_target_port")
    for job in stack.put_policy(name, {key: policy[key] for key in keys}).values():
        stack.wait_job(job, Deadline.after(CHANGE_SECONDS))


@pytest.mark.requirement("V2A-PORT-9443-CONF", "V2A-POLICY-APPLIES")
def test_the_data_port_moves_and_replication_goes_on(stack: Stack, policy_name: str, primary_role: Protected) -> None:
    ssh = primary_role.process_server.ssh
    old = int(stack.policy(policy_name)["process_server_port"])
    change(stack, policy_name, {**stack.policy(policy_name), "process_server_port": MOVED})
    wait_until(
        lambda: MOVED in open_ports(ssh) and old not in open_ports(ssh),
        Deadline.after(CHANGE_SECONDS),
        f"move of the data port from {old} to {MOVED}",
        explain=lambda: str(sorted(open_ports(ssh))),
    )
    job = stack.cut_now(primary_role.name, Deadline.after(CHANGE_SECONDS))
    point = stack.wait_recovery_point(primary_role.name, job.started_ns, Deadline.after(CHANGE_SECONDS))
    assert point.stream == stack.machine(primary_role.name).attributes["stream"], "the same replication goes on"
