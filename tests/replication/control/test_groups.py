"""Groups at the configuration server: shared points, one for all, refusals without side effects."""

from __future__ import annotations

import pytest
from control_stand_ins import soon
from hypothesis import given
from hypothesis import strategies as st

from lab.replication.configuration_server.groups.shared import choose, shared_points
from lab.replication.configuration_server.sessions import Point
from lab.stacks.errors import InvalidRequest, NotFound, OperationRefused
from lab.stacks.jobs import JobFailed
from lab.stacks.machines import MachineState

ADDRESSES = {"app1": ("10.10.0.11", "10.20.0.11"), "app2": ("10.10.0.12", "10.20.0.12")}
MEMBERS = [{"name": n, "address": a, "replica_address": r} for n, (a, r) in ADDRESSES.items()]
GROUP = {"members": MEMBERS, "consistent": True, "stall_bound_ms": 500}


@pytest.fixture
def shop(world):
    """Two protected machines in a consistent group."""
    world.protected()
    world.protect_too("app2")
    world.do("disable")
    world.stack.run("app2", "disable", soon())
    world.stack.groups.put("shop", GROUP)
    for name in ADDRESSES:
        world.stack.run(name, "enable", soon())
        world.finish_copy(world.master_target, name)
        world.stack.wait_state(name, MachineState.PROTECTED, deadline=soon())
    return world


def share(world, number: int, name: str, *, kind: str = "crash-consistent", members=tuple(ADDRESSES)) -> None:
    for member in members:
        world.point(world.master_target, number, machine=member, shared=name, kind=kind)


def test_members_are_told_of_each_other(shop):
    for agent in (shop.agent, shop.agents["app2"]):
        order = agent.last("start-replication")["group"]
        assert order["coordinator"] == "app1"
        assert order["port"] == 20004
        assert order["stall_bound_s"] == 0.5
        assert order["members"] == [{"name": name, "address": here} for name, (here, _) in ADDRESSES.items()]


def test_the_option_off_tells_nobody_of_anybody(shop):
    for job in shop.stack.groups.set_consistent("shop", consistent=False).values():
        shop.stack.wait_job(job, soon())
    for agent in (shop.agent, shop.agents["app2"]):
        assert agent.last("start-replication")["group"] is None


def test_a_point_is_shared_when_all_have_it(shop):
    share(shop, 2, "shop-1", members=("app1",))
    assert not shop.stack.groups.get("shop").shared_points
    share(shop, 2, "shop-1", members=("app2",))
    [point] = shop.stack.groups.get("shop").shared_points
    assert point.id == "shop-1"
    assert point.members == {name: f"{shop.stream(name)}-2" for name in ADDRESSES}


def test_a_group_fails_over_to_one_instant(shop):
    share(shop, 2, "shop-1")
    for member in ADDRESSES:
        shop.point(shop.master_target, 3, machine=member)  # newer, but nobody shares it
    jobs = shop.stack.groups.start("shop", "failover")
    for name, job in jobs.items():
        shop.stack.wait_job(job, soon())
        status = shop.stack.machine(name)
        assert status.state is MachineState.COMMIT_PENDING
        assert status.attributes["recovery_point"] == f"{shop.stream(name)}-2"


def test_a_failover_that_failed_for_a_member_is_finished_at_the_same_instant(shop):
    share(shop, 2, "shop-1")
    share(shop, 3, "shop-2")
    broken = [True]

    rolls = shop.master_target.answers.get("roll", lambda _: {})

    def roll(arguments):
        if broken[0] and arguments["stream"] == shop.stream("app2"):
            raise OSError("disk is broken")
        return rolls(arguments)

    shop.master_target.answers["roll"] = roll
    jobs = shop.stack.groups.start("shop", "failover", {"recovery_point": "shop-1"})
    shop.stack.wait_job(jobs["app1"], soon())
    with pytest.raises(JobFailed, match="disk is broken"):
        shop.stack.wait_job(jobs["app2"], soon())
    broken[0] = False
    with pytest.raises(OperationRefused) as alone:
        shop.stack.start("app2", "failover")
    assert alone.value.reason == "group-member"
    with pytest.raises(OperationRefused) as another:
        shop.stack.groups.start("shop", "failover", {"recovery_point": "shop-2"})
    assert another.value.reason == "not-ready"
    again = shop.stack.groups.start("shop", "failover")
    assert list(again) == ["app2"]
    shop.stack.wait_job(again["app2"], soon())
    for name in ADDRESSES:
        status = shop.stack.machine(name)
        assert status.state is MachineState.COMMIT_PENDING
        assert status.attributes["recovery_point"] == f"{shop.stream(name)}-2"
    with pytest.raises(OperationRefused):
        shop.stack.groups.start("shop", "failover")


def test_the_application_consistent_point_can_be_chosen(shop):
    share(shop, 2, "shop-1", kind="application-consistent")
    share(shop, 3, "shop-2")
    points = shop.stack.groups.get("shop").shared_points
    assert [point.application_consistent for point in points] == [True, False]
    jobs = shop.stack.groups.start("shop", "test-failover", {"recovery_point": "latest-shared-application-consistent"})
    for job in jobs.values():
        shop.stack.wait_job(job, soon())
    assert shop.stack.machine("app2").test_machine == "app2-test"


@pytest.mark.requirement("V2A-MVM-SAMEWORK")
def test_the_option_is_advised_for_machines_of_one_workload(shop):
    (advisory,) = shop.stack.groups.get("shop").advisories
    assert advisory.startswith("same-workload: ")
    for job in shop.stack.groups.set_consistent("shop", consistent=False).values():
        shop.stack.wait_job(job, soon())
    assert shop.stack.groups.get("shop").advisories == ()


def test_a_member_does_not_fail_over_alone(shop):
    share(shop, 2, "shop-1")
    before = shop.stack.machine("app1")
    with pytest.raises(OperationRefused) as refused:
        shop.do("failover")
    assert refused.value.reason == "group-member"
    after = shop.stack.machine("app1")
    assert (after.state, after.attributes) == (before.state, before.attributes)


def test_without_a_shared_point_nobody_fails_over(shop):
    with pytest.raises(OperationRefused) as refused:
        shop.stack.groups.start("shop", "failover")
    assert refused.value.reason == "not-ready"
    assert {shop.stack.machine(name).state for name in ADDRESSES} == {MachineState.PROTECTED}


def test_one_member_that_cannot_keeps_all_from_starting(shop):
    share(shop, 2, "shop-1")
    shop.stack.run("app2", "test-failover", soon())
    with pytest.raises(OperationRefused):
        shop.stack.groups.start("shop", "test-failover")
    assert shop.stack.machine("app1").test_machine is None


def test_a_cut_of_the_group_is_the_coordinators(shop):
    def cut(_: dict) -> dict:
        share(shop, 2, "shop-1")
        return {"shared": "shop-1", "problems": []}

    shop.agent.answers["cut"] = cut
    assert shop.stack.groups.cut_now("shop", soon()).id == "shop-1"
    assert shop.agent.last("cut")["shared"] is True
    assert not shop.agents["app2"].told("cut")


def test_a_round_without_an_instant_fails_the_cut_and_says_why(shop):
    shop.agent.answers["cut"] = lambda _: {"shared": None, "problems": ["app2: took no part"]}
    with pytest.raises(JobFailed, match="app2: took no part"):
        shop.stack.groups.cut_now("shop", soon())


def test_a_failed_round_shows_in_the_health_of_every_member(shop):
    def report(**data: object) -> None:
        shop.agent.client.event("group-round", data, machine="app1", stream=shop.stream())

    report(shared=None, problems=["app2: no answer within 5.00 s"], parts={})
    for name in ADDRESSES:
        health = shop.stack.machine(name).health
        assert any("app2: no answer" in cause for cause in health.causes), health
    report(shared="shop-2", problems=[], parts={})
    assert not any("shared recovery point" in cause for cause in shop.stack.machine("app2").health.causes)


def test_a_machine_that_is_replicated_joins_no_group(shop):
    with pytest.raises(OperationRefused) as refused:
        shop.stack.groups.put("other", {"members": MEMBERS[:1], "consistent": True})
    assert refused.value.reason == "group-member"
    with pytest.raises(OperationRefused):
        shop.stack.groups.put("shop", {"members": MEMBERS[:1], "consistent": True})
    assert shop.stack.groups.get("shop").members == tuple(ADDRESSES)


def test_the_way_back_has_the_replicas_addresses(shop):
    share(shop, 2, "shop-1")
    for operation in ("failover", "commit"):
        for job in shop.stack.groups.start("shop", operation).values():
            shop.stack.wait_job(job, soon())
    for job in shop.stack.groups.start("shop", "reprotect").values():
        shop.stack.wait_job(job, soon())
    order = shop.agent.last("start-replication")["group"]
    assert [member["address"] for member in order["members"]] == [there for _, there in ADDRESSES.values()]
    for name in ADDRESSES:
        shop.finish_copy(shop.failback_target, name)
        shop.stack.wait_state(name, MachineState.PROTECTED_REVERSE, deadline=soon())
    with pytest.raises(OperationRefused) as alone:
        shop.stack.start("app2", "failback")
    assert alone.value.reason == "group-member"
    for operation, reached in (("failback", "failback-commit-pending"), ("commit-failback", "failed-back")):
        for job in shop.stack.groups.start("shop", operation).values():
            shop.stack.wait_job(job, soon())
        assert [shop.stack.machine(name).state for name in ADDRESSES] == [reached, reached]
    assert {machine.name for machine in shop.hosts["recovery"].machines()} == {"mt1"}


@pytest.mark.parametrize(
    "change",
    [
        {"members": []},
        {"members": [*MEMBERS, MEMBERS[0]]},
        {"members": [{"name": "app1"}]},
        {"consistent": "yes"},
        {"stall_bound_ms": 5},
        {"quorum": 2},
    ],
)
def test_a_wrong_group_is_not_stored(world, change):
    world.configure()
    with pytest.raises(InvalidRequest):
        world.stack.groups.put("shop", {**GROUP, **change})
    with pytest.raises(NotFound):
        world.stack.groups.get("shop")


def test_a_group_of_unknown_machines_is_not_stored(world):
    with pytest.raises(NotFound):
        world.stack.groups.put("shop", GROUP)


NAMES = st.lists(st.sampled_from(["s1", "s2", "s3", None]), max_size=6, unique_by=lambda name: name or object())


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), NAMES, min_size=1))
def test_shared_is_what_everybody_has(names):
    points = {
        member: [Point(f"{member}-{n}", member, n, n, n, n, {"shared": name}) for n, name in enumerate(found)]
        for member, found in names.items()
    }
    found = shared_points(points)
    assert {point.id for point in found} == set.intersection(*({n for n in own if n} for own in names.values()))
    for point in found:
        assert set(point.points) == set(names)
        assert {own.shared for own in point.points.values()} == {point.id}
    newest = choose(found, "latest-shared")
    assert newest is (found[-1] if found else None)
