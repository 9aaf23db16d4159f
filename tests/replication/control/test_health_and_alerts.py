"""Health follows from facts alone, and every cause is announced once when it begins and once when it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from control_stand_ins import QUICK, World, soon
from hypothesis import given
from hypothesis import strategies as st

from lab.replication.configuration_server.alerts import news
from lab.replication.configuration_server.health import NS, Cause, Facts, health_of, silence_s
from lab.replication.configuration_server.states import State
from lab.waiting import wait_until

GOOD = Facts(
    state=State.PROTECTED,
    attributes={},
    silent_s={"mobility-app1": 1.0},
    rpo_s=10,
    rpo_threshold_s=60,
    interval_s=15,
    silence_limit_s=90,
)


def codes(**changes) -> list[tuple[str, str]]:
    return [(cause.code, cause.level) for cause in health_of(replace(GOOD, **changes)).causes]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"rpo_s": 60.0}, []),
        ({"rpo_s": 60.5}, [("rpo-over-threshold", "warning")]),
        ({"rpo_s": 75.5}, [("rpo-over-threshold", "warning"), ("recovery-points-missing", "critical")]),
        ({"rpo_s": None}, [("no-recovery-point", "critical")]),
        ({"silent_s": {"mobility-app1": None}}, [("component-silent:mobility-app1", "critical")]),
        ({"silent_s": {"process-server-ps1": 91.0}}, [("component-silent:process-server-ps1", "critical")]),
        ({"attributes": {"broken_links": {"master-target": "refused"}}}, [("link-down:master-target", "critical")]),
        ({"attributes": {"resynchronising": {"reason": "x"}}}, [("resynchronisation-required", "warning")]),
        (
            {"attributes": {"resynchronising": {"reason": "x", "running": True}}},
            [("resynchronisation-running", "warning")],
        ),
        (
            {"attributes": {"resynchronising": {"reason": "x", "cause": "log-overflow"}}},
            [("resynchronisation-required", "warning"), ("log-overflow", "critical")],
        ),
        ({"attributes": {"retention_problem": "no room"}}, [("retention-shortened", "warning")]),
        ({"state": State.FAILED_OVER, "rpo_s": 9999.0, "silent_s": {"mobility-app1": None}}, []),
        ({"state": State.INITIAL_REPLICATION, "rpo_s": None}, []),
        (
            {"state": State.FAILOVER_FAILED, "attributes": {"last_error": {"operation": "o", "message": "m"}}},
            [("operation-failed", "critical")],
        ),
        ({"attributes": {"last_error": {"operation": "o", "message": "m"}}}, [("operation-failed", "warning")]),
    ],
)
def test_causes(changes, expected):
    assert codes(**changes) == expected
    levels = [level for _, level in expected]
    worst = "critical" if "critical" in levels else "warning" if levels else "healthy"
    assert health_of(replace(GOOD, **changes)).status == worst


@given(st.lists(st.frozensets(st.sampled_from("abcd")), max_size=20))
def test_every_alert_is_raised_once_and_cleared_once(looks):
    standing: set[str] = set()
    for present in looks:
        found = news(standing, [Cause(code, "warning", "m") for code in present])
        raised = {cause.code for cause in found.raised}
        assert raised == present - standing
        assert set(found.cleared) == standing - present
        standing = (standing | raised) - set(found.cleared)
        assert standing == present


def alerts(world, kind: str) -> list[str]:
    return [event.data["code"] for event in world.stack.events(0) if event.kind == kind]


@pytest.mark.requirement("LAB-RPO")
def test_an_old_point_raises_one_alert_and_a_new_one_clears_it(world):
    world.protected()
    world.point(world.master_target, 2, age_s=61)
    code = "rpo-over-threshold"
    wait_until(lambda: alerts(world, "alert").count(code), soon(), "alert")
    assert not alerts(world, "alert-cleared")
    world.restart_server()
    world.point(world.master_target, 3)
    wait_until(lambda: alerts(world, "alert-cleared").count(code), soon(), "end of the alert")
    assert alerts(world, "alert").count(code) == 1
    assert alerts(world, "alert-cleared").count(code) == 1
    cleared = next(event for event in world.stack.events(0) if event.kind == "alert-cleared")
    assert (cleared.machine, cleared.data["level"]) == ("app1", "warning")
    assert cleared.data["seconds"] > 0


def test_a_lost_link_and_an_overflow_are_alerts(world):
    world.protected()
    stream = world.stream()
    tell = world.agent.client.event
    tell("health", {"process_server": "connection refused"}, machine="app1", stream=stream)
    lost = {"reason": "the spool is full", "cause": "log-overflow"}
    tell("resynchronisation-required", lost, machine="app1", stream=stream)
    wanted = {"link-down:process-server", "resynchronisation-required", "log-overflow"}
    wait_until(lambda: wanted <= set(alerts(world, "alert")), soon(), "alerts")
    tell("progress", {"phase": "checksum"}, machine="app1", stream=stream)
    wait_until(lambda: "resynchronisation-running" in alerts(world, "alert"), soon(), "alert")
    tell("resynchronisation-complete", {}, machine="app1", stream=stream)
    tell("health", {"process_server": "ok"}, machine="app1", stream=stream)
    every = {*wanted, "resynchronisation-running"}
    wait_until(lambda: every <= set(alerts(world, "alert-cleared")), soon(), "ends of the alerts")
    assert world.stack.machine("app1").health.status == "healthy"


@pytest.mark.parametrize(
    ("now", "last_seen", "started", "silent"), [(200, 50, 10, 150.0), (200, 50, 195, 5.0), (200, 201, 10, 0.0)]
)
def test_silence_is_counted_from_the_start_of_the_server(now, last_seen, started, silent):
    """While the server was down nobody could be heard: a restart is no alert."""
    assert silence_s(now * NS, last_seen * NS, started * NS) == silent
    assert silence_s(now * NS, None, started * NS) is None


def test_a_component_that_falls_silent_is_an_alert(tmp_path):
    world = World(tmp_path, replace(QUICK, silence=1.5))
    try:
        world.protected()
        world.master_target.stop()
        wait_until(lambda: "component-silent:master-target-mt1" in alerts(world, "alert"), soon(), "alert")
    finally:
        world.close()
