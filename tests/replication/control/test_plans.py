"""Recovery plans over the real API: order, scripts, manual actions, errors, restarts."""

from __future__ import annotations

import itertools
import os
import threading
import time

import pytest
from control_stand_ins import soon

from lab.hypervisors.model import PowerState
from lab.stacks.errors import InvalidRequest, NotFound, OperationRefused
from lab.stacks.machines import MachineState
from lab.stacks.plans import PlanRunEnded, PlanRunKind, PlanRunState

PLAN = {
    "groups": [
        {"machines": ["app1"], "after": [{"script": "note"}, {"manual": "Look at the orders."}]},
        {"machines": ["app2"]},
    ]
}
NOTE = """#!/bin/sh
echo "$RECOVERY_PLAN $RECOVERY_KIND $RECOVERY_GROUP $RECOVERY_MACHINES"
"""


@pytest.fixture
def world(world):
    register(world, "note", NOTE)
    world.protected()
    world.protect_too("app2")
    return world


def register(world, name: str, text: str, mode: int = 0o755) -> None:
    path = world.config.scripts_dir / name
    path.write_text(text)
    path.chmod(mode)


def start(world, kind=PlanRunKind.TEST, plan=PLAN, **arguments) -> str:
    world.stack.put_plan("shop", plan)
    return world.stack.start_plan("shop", kind, arguments)


def wait(world, run: str, *states):
    return world.stack.wait_plan("shop", run, *states, deadline=soon())


def states(run) -> list[str]:
    return [step.state for step in run.steps]


@pytest.mark.requirement("V2A-FO-RP")
def test_a_test_run_goes_group_by_group_and_pauses_for_a_manual_action(world):
    run = start(world)
    waiting = wait(world, run, PlanRunState.WAITING)
    assert states(waiting) == ["done", "done", "waiting", "pending"]
    assert waiting.steps[1].detail == "exit code 0: shop test 1 app1"
    assert waiting.allowed == ("continue", "cancel")
    assert world.stack.machine("app2").test_machine is None
    world.stack.continue_plan("shop", run)
    done = wait(world, run, PlanRunState.SUCCEEDED)
    assert world.hosts["recovery"].power("app1-test") is PowerState.ON
    assert world.hosts["recovery"].power("app2-test") is PowerState.ON
    ends = [(step.started_ns, step.ended_ns) for step in done.steps]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(ends))
    assert done.seconds > 0
    jobs = [world.stack.job(done.machine(name).job) for name in ("app1", "app2")]
    assert jobs[0].ended_ns <= jobs[1].started_ns
    clean = world.stack.start_plan("shop", PlanRunKind.CLEANUP_TEST)
    assert states(wait(world, clean, PlanRunState.SUCCEEDED)) == ["done", "done"]
    assert world.stack.machine("app2").test_failover == "performed"
    events = [e.data["state"] for e in world.stack.events(0) if e.kind == "plan-run" and e.data["run"] == run]
    assert events == ["running", "waiting-for-manual-action", "running", "succeeded"]


def test_machines_of_one_group_fail_over_side_by_side(world):
    # The stand-in of one component answers one command at a time, so the proof is in the jobs' times.
    run = start(world, PlanRunKind.UNPLANNED, {"groups": [{"machines": ["app1", "app2"]}]})
    done = wait(world, run, PlanRunState.SUCCEEDED)
    first, second = (world.stack.job(step.job) for step in done.steps)
    assert second.started_ns < first.ended_ns
    assert {world.stack.machine(name).state for name in ("app1", "app2")} == {MachineState.COMMIT_PENDING}


def test_errors_do_not_stop_a_run_and_it_can_be_resumed(world):
    register(world, "note", "#!/bin/sh\nexit 3\n")
    fails = [True]

    def drain(arguments):
        if fails[0] and arguments["stream"] == world.stream("app1"):
            raise OSError("cache is broken")
        return {"last_sequence": 1}

    world.process_server.answers["drain"] = drain
    plan = {"groups": [{"machines": ["app1"], "after": [{"script": "note"}]}, {"machines": ["app2"]}]}
    run = start(world, PlanRunKind.UNPLANNED, plan)
    ended = wait(world, run, PlanRunState.PARTIALLY_FAILED)
    assert states(ended) == ["failed", "failed", "done"]
    assert "cache is broken" in ended.steps[0].detail
    assert ended.steps[1].detail == "exit code 3"
    with pytest.raises(PlanRunEnded):
        wait(world, run, PlanRunState.SUCCEEDED)
    fails[0] = False
    register(world, "note", NOTE)
    world.stack.resume_plan("shop", run)
    again = wait(world, run, PlanRunState.SUCCEEDED)
    assert again.steps[2] == ended.steps[2]
    assert world.stack.machine("app1").state is MachineState.COMMIT_PENDING


def test_a_machine_that_is_failed_over_already_is_skipped_and_that_is_said(world):
    world.do("failover")
    run = start(world, PlanRunKind.UNPLANNED, {"groups": [{"machines": ["app1"]}, {"machines": ["app2"]}]})
    done = wait(world, run, PlanRunState.SUCCEEDED)
    assert states(done) == ["skipped", "done"]
    assert done.steps[0].detail == "app1 is commit-pending already"
    commit = world.stack.start_plan("shop", PlanRunKind.COMMIT)
    assert states(wait(world, commit, PlanRunState.SUCCEEDED)) == ["done", "done"]


def test_what_a_run_cannot_do_is_refused(world):
    world.stack.put_plan("shop", PLAN)
    with pytest.raises(OperationRefused) as refused:
        world.stack.start_plan("shop", PlanRunKind.PLANNED)
    assert refused.value.reason == "not-supported"
    with pytest.raises(InvalidRequest):
        world.stack.start_plan("shop", "surprise")
    with pytest.raises(InvalidRequest):
        world.stack.start_plan("shop", PlanRunKind.TEST, {"recovery_point": f"{world.stream()}-1"})
    with pytest.raises(NotFound):
        world.stack.start_plan("shed", PlanRunKind.TEST)
    with pytest.raises(NotFound):
        world.stack.plan_run("shop", "7")
    world.stack.put_plan("odd", {"groups": [{"machines": ["app9"]}]})
    with pytest.raises(OperationRefused) as refused:
        world.stack.start_plan("odd", PlanRunKind.TEST)
    assert refused.value.reason == "not-ready"
    assert "app9" in str(refused.value)


def test_one_run_at_a_time_and_no_change_meanwhile(world):
    run = start(world)
    wait(world, run, PlanRunState.WAITING)
    for refused_call in (
        lambda: world.stack.start_plan("shop", PlanRunKind.TEST),
        lambda: world.stack.put_plan("shop", PLAN),
        lambda: world.stack.delete_plan("shop"),
        lambda: world.stack.resume_plan("shop", run),
    ):
        with pytest.raises(OperationRefused):
            refused_call()
    world.stack.cancel_plan("shop", run)
    ended = wait(world, run, PlanRunState.CANCELLED)
    assert states(ended) == ["done", "done", "cancelled", "cancelled"]
    assert ended.steps[3].started_ns is None
    with pytest.raises(OperationRefused):
        world.stack.continue_plan("shop", run)
    world.stack.delete_plan("shop")
    with pytest.raises(NotFound):
        world.stack.plan("shop")
    assert world.stack.plan_run("shop", run).state is PlanRunState.CANCELLED


def test_a_busy_machine_is_waited_for(world):
    release = threading.Event()
    world.agent.answers["cut"] = lambda _: release.wait(10) and {}
    cut = world.stack.start("app1", "cut")
    run = start(world, plan={"groups": [{"machines": ["app1"]}]})
    time.sleep(0.3)
    assert states(world.stack.plan_run("shop", run)) == ["pending"]
    release.set()
    wait(world, run, PlanRunState.SUCCEEDED)
    world.stack.wait_job(cut, soon())


def test_a_run_that_waits_survives_a_restart(world):
    run = start(world)
    wait(world, run, PlanRunState.WAITING)
    world.restart_server()
    assert world.stack.plan_run("shop", run).state is PlanRunState.WAITING
    world.stack.continue_plan("shop", run)
    assert states(wait(world, run, PlanRunState.SUCCEEDED)) == ["done"] * 4


def test_a_run_that_was_under_way_is_interrupted_and_can_be_resumed(world):
    reached, go_on = threading.Event(), threading.Event()

    def slow(_):
        reached.set()
        go_on.wait(20)
        return {"applied": world.applied}

    world.master_target.answers["copy-barrier"] = slow
    run = start(world, PlanRunKind.UNPLANNED)
    assert reached.wait(10)
    world.restart_server()
    world.master_target.answers["copy-barrier"] = lambda _: {"applied": world.applied}
    go_on.set()
    found = world.stack.plan_run("shop", run)
    assert (found.state, states(found)) == (PlanRunState.INTERRUPTED, ["interrupted"] + ["pending"] * 3)
    world.stack.resume_plan("shop", run)
    wait(world, run, PlanRunState.WAITING)
    assert world.stack.machine("app1").state is MachineState.COMMIT_PENDING
    world.stack.continue_plan("shop", run)
    wait(world, run, PlanRunState.SUCCEEDED)


def test_a_script_that_takes_too_long_is_killed_with_its_children(world):
    marks = world.config.scripts_dir / "marks"
    marks.mkdir()
    marks.chmod(0o777)
    register(world, "note", f"#!/bin/sh\n(touch {marks}/begun; sleep 3; touch {marks}/ended) &\nsleep 30\n")
    plan = {"groups": [{"machines": ["app1"], "before": [{"script": "note", "timeout_s": 1}]}]}
    run = start(world, plan=plan)
    ended = wait(world, run, PlanRunState.PARTIALLY_FAILED)
    assert ended.steps[0].detail == "note was killed after 1 s"
    assert ended.steps[1].state == "done"
    time.sleep(3)
    assert [path.name for path in marks.iterdir()] == ["begun"]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "no script"),
        (lambda folder: (folder / "odd").mkdir(), "not an executable file"),
        (lambda folder: (folder / "odd").symlink_to("/bin/sh"), "not an executable file"),
        (lambda folder: (folder / "odd").write_text("x"), "not an executable file"),
    ],
)
def test_only_registered_files_are_scripts(world, prepare, message):
    prepare(world.config.scripts_dir)
    with pytest.raises(InvalidRequest) as refused:
        world.stack.put_plan("shop", {"groups": [{"machines": ["app1"], "before": [{"script": "odd"}]}]})
    assert message in str(refused.value)
    with pytest.raises(NotFound):
        world.stack.plan("shop")


def test_a_script_that_others_could_have_written_is_refused(world):
    register(world, "odd", NOTE, mode=0o777)
    with pytest.raises(InvalidRequest, match="written by others"):
        world.stack.put_plan("shop", {"groups": [{"machines": ["app1"], "before": [{"script": "odd"}]}]})


def test_a_script_has_an_environment_of_its_own_and_no_rights(world, monkeypatch):
    monkeypatch.setenv("SECRET", "canary")
    register(world, "note", "#!/bin/sh\nenv | grep -c SECRET\nid -u\npwd\n")
    plan = {"groups": [{"machines": ["app1"], "before": [{"script": "note"}]}]}
    run = start(world, plan=plan)
    detail = wait(world, run, PlanRunState.SUCCEEDED).steps[0].detail
    count, user, folder = detail.removeprefix("exit code 0: ").split()
    assert (count, folder) == ("0", "/")
    if os.geteuid() == 0:
        assert user != "0"


def test_nobody_but_an_operator_sees_or_runs_plans(world):
    run = "/v1/plans/shop/runs/1"
    calls = [(method, "/v1/plans/shop") for method in ("GET", "PUT", "DELETE")]
    calls += [("GET", "/v1/plans"), ("GET", "/v1/plans/shop/runs"), ("POST", "/v1/plans/shop/runs"), ("GET", run)]
    calls += [("POST", f"{run}/{operation}") for operation in ("continue", "cancel", "resume")]
    for method, path in calls:
        assert world.agent.client._calls.call(method, path, {"kind": "test"}).status == 403, path
