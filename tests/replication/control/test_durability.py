"""The configuration server is killed (SIGKILL) right after each transaction that it commits, and started again.

Every time: the database is whole, nothing is said to be running, every machine is in a state that has a way on, and
the same operation, asked for again, gets to its end. Afterwards no machine or disk is there that should not be.
"""

from __future__ import annotations

import sqlite3

import pytest
from control_stand_ins import MIB, SETTINGS, soon
from killing import LEAKS, dead, killed_at_every_commit, mortal, operation, rows
from mortal_server import MortalWorld
from test_groups import GROUP, MEMBERS
from test_move_target import prepare as prepare_second_target

from lab.hypervisors.model import DiskId
from lab.replication.common.control import ControlUnavailable
from lab.replication.configuration_server.states import State
from lab.stacks.errors import StackError
from lab.stacks.machines import MachineState
from lab.stacks.plans import PlanRunKind, PlanRunState
from lab.waiting import Deadline

pytestmark = LEAKS


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = MortalWorld(tmp_path)
    with mortal(world, monkeypatch):
        world.protected()
        yield world


def objects(host) -> tuple[set[str], set[str]]:
    return {machine.name for machine in host.machines()}, {disk.id.name for disk in host.disks()}


PUSHED = {"address": "10.10.0.11", "user": "installer"}
CASES = {
    # operation: what comes before, where it leads, machines and number of disks at the recovery site afterwards
    "test-failover": ((), State.PROTECTED, {"mt1", "app1-test"}, 5),
    "cleanup-test-failover": (("test-failover",), State.PROTECTED, {"mt1"}, 2),
    "resynchronise": ((), State.PROTECTED, {"mt1"}, 2),
    "move": ((), State.PROTECTED, {"mt1"}, 2),
    "move-target": ((), State.PROTECTED, {"mt1", "mt2"}, 2),
    "disable": ((), State.UNPROTECTED, {"mt1"}, 0),
    "push-install": (("disable",), State.UNPROTECTED, {"mt1"}, 0),
    "enable": (("disable",), State.INITIAL_REPLICATION, {"mt1"}, 2),
    "failover": ((), State.COMMIT_PENDING, {"mt1", "app1-replica"}, 5),
    "change-recovery-point": (("failover",), State.COMMIT_PENDING, {"mt1", "app1-replica"}, 5),
    "commit": (("failover",), State.FAILED_OVER, {"mt1", "app1-replica"}, 3),
    "reprotect": (("failover", "commit"), State.REPROTECTING, {"mt1", "app1-replica"}, 3),
    "failback": (("failover", "commit", "reprotect"), State.FAILBACK_COMMIT_PENDING, {"mt1", "app1-replica"}, 3),
    "commit-failback": (("failover", "commit", "reprotect", "failback"), State.FAILED_BACK, {"mt1"}, 0),
}


def prepared(world, operations) -> str:
    """Do what comes before; return a point that is not the newest."""
    older = world.point(world.master_target, 2)
    world.point(world.master_target, 3)
    for name in operations:
        world.do(name)
        if name == "reprotect":
            world.finish_copy(world.failback_target)
            world.wait(State.PROTECTED_REVERSE)
    return older


@pytest.mark.parametrize("name", CASES)
def test_an_operation_is_done_in_the_end_wherever_it_was_cut_off(world, name):
    before, reached, machines, disks = CASES[name]
    operated = "move" if name == "move-target" else name
    original = sorted((item.disk.name, item.serial) for item in world.hosts["primary"].machine("app1").disks)
    older = prepared(world, before)
    arguments = {
        "change-recovery-point": {"recovery_point": older},
        "failover": {"shutdown_source": True},
        "move": {"process_server": {"name": "ps2", "address": "10.10.0.22"}},
        "move-target": {"master_target": {"name": "mt2", "address": "10.30.0.32"}},
    }
    if name == "move-target":
        prepare_second_target(world)
    if name == "push-install":
        world.stack.put_machine("app1", {**SETTINGS, "push_install": PUSHED})
    new_server = world.add("process-server", "ps2")
    new_server.answers["drain"] = world.process_server.answers["drain"]
    kills = killed_at_every_commit(world, operation(world, operated, {reached}, **arguments.get(name, {})))
    assert kills > 4
    found = objects(world.hosts["recovery"])
    assert (found[0], len(found[1])) == (machines, disks)
    status = world.stack.machine("app1")
    if name == "change-recovery-point":
        assert status.attributes["recovery_point"] == older
    if name == "cleanup-test-failover":
        assert status.test_failover == "performed"
    if name == "move":
        assert world.agent.last("start-replication")["process_server"]["name"] == "ps2"
        assert world.process_server.names()[-1] == "close-stream"
        assert "moving_from" not in status.attributes
    if name == "move-target":
        attached = {item.disk.name for item in world.hosts["recovery"].machine("mt2").disks}
        assert attached == {"app1-system-replica", "app1-data-replica"}
        assert world.process_server.last("open-stream")["master_target"]["name"] == "mt2"
        assert world.master_target.names()[-1] == "close-stream"
        assert not {"moving_target_from", "left_master_target"} & set(status.attributes)
    if name == "push-install":
        assert PUSHED.items() <= world.process_server.last("push-install").items()
    if name == "commit":
        assert not world.stack.recovery_points("app1")
    if name in ("failback", "commit-failback"):
        attached = [(item.disk.name, item.serial) for item in world.hosts["primary"].machine("app1").disks]
        assert sorted(attached) == original


def test_a_run_of_a_plan(world):
    world.protect_too("app2")
    world.stack.put_plan(
        "shop", {"groups": [{"machines": ["app1"], "after": [{"manual": "look"}]}, {"machines": ["app2"]}]}
    )
    ends = (PlanRunState.WAITING, PlanRunState.SUCCEEDED)

    def attempt() -> bool:
        known = rows(world, "SELECT * FROM plan_runs ORDER BY id DESC LIMIT 1")
        number = str(known[0]["id"]) if known else world.stack.start_plan("shop", PlanRunKind.UNPLANNED)
        run = world.stack.plan_run("shop", number)
        if "resume" in run.allowed:
            run = world.stack.resume_plan("shop", number)
        while run.state is not PlanRunState.SUCCEEDED:
            run = world.stack.wait_plan("shop", number, *ends, deadline=Deadline.after(10))
            if run.state is PlanRunState.WAITING:
                run = world.stack.continue_plan("shop", number)
        return True

    assert killed_at_every_commit(world, attempt) > 20
    run = world.stack.plan_run("shop", "1")
    assert [step.state for step in run.steps] == ["done", "done", "done"]
    for name in ("app1", "app2"):
        assert world.stack.machine(name).state == State.COMMIT_PENDING
    assert len(rows(world, "SELECT id FROM plan_runs")) == 1


def test_a_failover_of_a_group(world):
    world.protect_too("app2")
    world.do("disable")
    world.stack.run("app2", "disable", soon())
    world.stack.groups.put("shop", GROUP)
    names = [member["name"] for member in MEMBERS]
    for name in names:
        world.stack.run(name, "enable", soon())
        world.finish_copy(world.master_target, name)
        world.stack.wait_state(name, MachineState.PROTECTED, deadline=soon())
        world.point(world.master_target, 2, machine=name, shared="shop-1")

    def attempt() -> bool:
        if any(world.stack.machine(name).state is not MachineState.COMMIT_PENDING for name in names):
            for job in world.stack.groups.start("shop", "failover").values():
                world.stack.wait_job(job, soon())
        return True

    assert killed_at_every_commit(world, attempt) > 10
    for name in names:
        status = world.stack.machine(name)
        assert status.state is MachineState.COMMIT_PENDING
        assert status.attributes["recovery_point"] == f"{world.stream(name)}-2"


def test_a_new_policy_and_what_it_starts(world):
    policy = {**world.stack.policy("standard"), "retention_s": 7000}

    def attempt() -> bool:
        jobs = rows(world, "SELECT * FROM jobs WHERE operation = 'apply-policy' ORDER BY id DESC LIMIT 1")
        stored = world.stack.policy("standard")["retention_s"] == 7000
        assert stored == bool(jobs), "a policy is stored with the jobs that tell of it, or not at all"
        if jobs and jobs[0]["state"] == "succeeded":
            return True
        job = world.stack.put_policy("standard", policy)["app1"]
        world.stack.wait_job(job, soon())
        return True

    killed_at_every_commit(world, attempt)
    assert world.master_target.last("open-stream")["retention_s"] == 7000


def test_growing_replica_disks(world):
    """Nobody asks for this job again: the server has to remember by itself that it is wanted."""
    larger = 512 * MIB

    def jobs() -> list[sqlite3.Row]:
        return rows(world, "SELECT * FROM jobs WHERE operation = 'grow-disks' ORDER BY id DESC")

    def attempt() -> bool:
        if not jobs() and "grown_disks" not in world.stack.machine("app1").attributes:
            try:
                data = {"disks": [{"index": 1, "size": larger}]}
                world.agent.client.event("disks-grown", data, machine="app1", stream=world.stream())
            except ControlUnavailable as error:
                raise StackError(str(error)) from error
        done = lambda _: dead(world) or (jobs() and jobs()[0]["state"] == "succeeded")  # noqa: E731
        world.stack.wait_status("app1", done, "grown disks", soon())
        return not dead(world)

    assert killed_at_every_commit(world, attempt) > 4
    assert world.hosts["recovery"].disk(DiskId("app1-data-replica")).size_bytes == larger
    assert world.master_target.last("open-stream")["disks"][1]["size"] == larger
    assert world.agent.last("start-replication")["disks"][1]["size"] == larger
    assert "grown_disks" not in world.stack.machine("app1").attributes
