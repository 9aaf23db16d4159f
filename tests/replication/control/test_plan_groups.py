"""Plans with members of replication groups: one instant for all of them, whenever their turn comes."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress

import pytest
from control_stand_ins import soon

from lab.replication.configuration_server.database import Database
from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState
from lab.stacks.plans import PlanRunKind, PlanRunState

MEMBERS = [
    {"name": "app1", "address": "10.10.0.11", "replica_address": "10.20.0.11"},
    {"name": "app2", "address": "10.10.0.12", "replica_address": "10.20.0.12"},
]
PLAN = {"groups": [{"machines": ["app1"], "after": [{"manual": "look"}]}, {"machines": ["app2"]}]}


@pytest.fixture
def shop(world):
    """Two machines in a consistent group, and a plan that pauses between them."""
    world.add_components()
    world.configure()
    world.agents["app2"] = world.add("mobility", "app2")
    world.stack.protect("app2")
    world.stack.groups.put("shop", {"members": MEMBERS, "consistent": True, "stall_bound_ms": 500})
    for name in ("app1", "app2"):
        world.stack.run(name, "enable", soon())
        world.finish_copy(world.master_target, name)
        world.stack.wait_state(name, MachineState.PROTECTED, deadline=soon())
    world.stack.put_plan("shop", PLAN)
    return world


def share(world, number: int, name: str, **more) -> dict[str, str]:
    return {
        member: world.point(world.master_target, number, machine=member, shared=name, **more)
        for member in ("app1", "app2")
    }


def chosen(world) -> dict[str, str]:
    return {name: world.stack.machine(name).attributes["test_recovery_point"] for name in ("app1", "app2")}


@pytest.mark.requirement("V2A-MVM-CRASH", "V2A-FO-RP")
def test_all_members_get_the_instant_that_was_the_newest_when_the_run_began(shop):
    first = share(shop, 2, "shop-1")
    run = shop.stack.start_plan("shop", PlanRunKind.TEST)
    shop.stack.wait_plan("shop", run, PlanRunState.WAITING, deadline=soon())
    share(shop, 3, "shop-2")
    shop.stack.continue_plan("shop", run)
    shop.stack.wait_plan("shop", run, PlanRunState.SUCCEEDED, deadline=soon())
    assert chosen(shop) == first


@pytest.mark.requirement("V2A-MVM-APP")
def test_an_application_consistent_instant_can_be_asked_for(shop):
    quiet = share(shop, 2, "shop-1", kind="application-consistent")
    share(shop, 3, "shop-2")
    wanted = {"recovery_point": "latest-shared-application-consistent"}
    run = shop.stack.start_plan("shop", PlanRunKind.TEST, wanted)
    shop.stack.wait_plan("shop", run, PlanRunState.WAITING, deadline=soon())
    shop.stack.continue_plan("shop", run)
    shop.stack.wait_plan("shop", run, PlanRunState.SUCCEEDED, deadline=soon())
    assert chosen(shop) == quiet


def test_without_a_common_instant_nothing_begins(shop):
    shop.point(shop.master_target, 2, machine="app1", shared="shop-1")
    with pytest.raises(OperationRefused) as refused:
        shop.stack.start_plan("shop", PlanRunKind.UNPLANNED)
    assert refused.value.reason == "not-ready"
    share(shop, 3, "shop-2")
    with pytest.raises(OperationRefused):
        shop.stack.start_plan("shop", PlanRunKind.UNPLANNED, {"recovery_point": "latest-application-consistent"})
    with pytest.raises(OperationRefused):
        shop.stack.start_plan("shop", PlanRunKind.UNPLANNED, {"recovery_point": {"time_ns": 5}})
    assert not [event for event in shop.stack.events(0) if event.kind == "plan-run"]


def test_a_plan_with_some_members_only_cannot_fail_them_over(shop):
    share(shop, 2, "shop-1")
    shop.stack.put_plan("half", {"groups": [{"machines": ["app2"]}]})
    with pytest.raises(OperationRefused) as refused:
        shop.stack.start_plan("half", PlanRunKind.UNPLANNED)
    assert refused.value.reason == "group-member"
    run = shop.stack.start_plan("half", PlanRunKind.TEST)
    shop.stack.wait_plan("half", run, PlanRunState.SUCCEEDED, deadline=soon())


def test_operations_of_a_group_begin_together_or_not_at_all(shop):
    share(shop, 2, "shop-1")
    shop.stack.run("app2", "test-failover", soon())
    jobs = jobs_of(shop)
    with pytest.raises(OperationRefused):
        shop.stack.groups.start("shop", "test-failover")
    assert jobs_of(shop) == jobs
    assert shop.stack.machine("app1").test_machine is None


def jobs_of(world) -> int:
    with closing(sqlite3.connect(world.config.database)) as connection:
        return connection.execute("SELECT count(*) FROM jobs").fetchone()[0]


def test_what_is_to_follow_a_transaction_follows_it_or_never_happens(tmp_path):
    database, done = Database(tmp_path / "x.db"), []
    with database.transaction():
        with database.transaction():
            database.afterwards(lambda: done.append("inner"))
        assert done == []
    assert done == ["inner"]
    with suppress(KeyError), database.transaction():
        database.afterwards(lambda: done.append("never"))
        raise KeyError
    database.afterwards(lambda: done.append("at once"))
    with database.transaction():
        pass
    assert done == ["inner", "at once"]
    database.close()
