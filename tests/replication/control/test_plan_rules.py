"""What a plan may say, and how a run of one goes on: pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.replication.configuration_server.errors import BadRequest
from lab.replication.configuration_server.plans.document import Action, Group, Plan, parse_plan
from lab.replication.configuration_server.plans.kinds import RunKind, check_arguments
from lab.replication.configuration_server.plans.progress import (
    ACTIVE,
    RunState,
    StepKind,
    StepState,
    allowed_on,
    cancelled,
    state_of,
    steps_of,
    to_repeat,
    to_start,
)

SCRIPT, MANUAL = {"script": "note"}, {"manual": "look"}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "'groups' is missing"),
        ({"groups": []}, "1 to 7 groups"),
        ({"groups": [{"machines": ["a"]}] * 8}, "1 to 7 groups"),
        ({"groups": [{"machines": []}]}, "a group needs a machine"),
        ({"groups": [{"machines": ["a"]}, {"machines": ["a"]}]}, "a can be in a plan only once"),
        ({"groups": [{"machines": ["a", "a"]}]}, "a can be in a plan only once"),
        ({"groups": [{"machines": [f"m{n}" for n in range(101)]}]}, "at most 100 machines"),
        ({"groups": [{"machines": ["A b"]}]}, "'A b' is not a name"),
        ({"groups": [{"machines": ["a"], "before": [{}]}]}, "'script' is missing"),
        ({"groups": [{"machines": ["a"], "before": [{"script": "../x"}]}]}, "a name"),
        ({"groups": [{"machines": ["a"], "before": [{"script": "/bin/sh"}]}]}, "a name"),
        ({"groups": [{"machines": ["a"], "after": [{"script": "x", "arguments": ["y"]}]}]}, "unknown key 'arguments'"),
        ({"groups": [{"machines": ["a"], "after": [{"script": "x", "timeout_s": 0}]}]}, "timeout_s"),
        ({"groups": [{"machines": ["a"], "after": [{"manual": "x", "script": "y"}]}]}, "unknown key 'script'"),
        ({"groups": [{"machines": ["a"], "after": [MANUAL] * 21}]}, "at most 20 actions"),
        ({"groups": [{"machines": ["a"], "name": "x"}]}, "unknown key 'name'"),
    ],
)
def test_plans_that_cannot_be(document, message):
    with pytest.raises(BadRequest) as refused:
        parse_plan(document)
    assert message in str(refused.value)


def test_the_largest_plan():
    groups = [{"machines": [f"m{group}-{n}" for n in range(14 + (group < 2))]} for group in range(7)]
    assert len(parse_plan({"groups": groups}).machines) == 100


def test_actions_belong_to_failovers_only():
    plan = parse_plan({"groups": [{"machines": ["a"], "before": [MANUAL], "after": [SCRIPT]}]})
    kinds = [step.kind for step in steps_of(plan, RunKind.TEST)]
    assert kinds == [StepKind.MANUAL, StepKind.MACHINE, StepKind.SCRIPT]
    assert [step.kind for step in steps_of(plan, RunKind.CLEANUP_TEST)] == [StepKind.MACHINE]


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (RunKind.TEST, {"shutdown_source": True}),
        (RunKind.UNPLANNED, {"shutdown_source": "yes"}),
        (RunKind.UNPLANNED, {"recovery_point": "s-1-4"}),
        (RunKind.COMMIT, {"recovery_point": "latest"}),
    ],
)
def test_arguments_that_a_run_cannot_have(kind, arguments):
    with pytest.raises(BadRequest):
        check_arguments(kind, arguments)


actions = st.lists(st.sampled_from([Action(script="s"), Action(manual="m")]), max_size=2).map(tuple)
plans = st.lists(st.tuples(st.integers(1, 3), actions, actions), min_size=1, max_size=4).map(
    lambda rows: Plan(
        tuple(
            Group(tuple(f"m{number}-{n}" for n in range(count)), before, after)
            for number, (count, before, after) in enumerate(rows)
        )
    )
)
ENDS = (StepState.DONE, StepState.FAILED, StepState.SKIPPED)


def moved(steps, step, state):
    from dataclasses import replace

    return [replace(each, state=state) if each.position == step.position else each for each in steps]


@given(plans, st.data())
def test_every_step_happens_once_and_only_after_all_stages_before_it(plan, data):
    steps = steps_of(plan, RunKind.UNPLANNED)
    started = []
    while state_of(steps) in ACTIVE:
        ready = to_start(steps)
        for step in ready:
            assert all(each.state in ENDS for each in steps if each.stage < step.stage)
            started.append(step.position)
            waits = step.kind is StepKind.MANUAL
            steps = moved(steps, step, StepState.WAITING if waits else StepState.RUNNING)
        assert not to_start(steps)
        under_way = [step for step in steps if step.state in (StepState.RUNNING, StepState.WAITING)]
        assert under_way, "a run that is active has something under way"
        assert len({step.stage for step in under_way}) == 1
        steps = moved(steps, data.draw(st.sampled_from(under_way)), data.draw(st.sampled_from(ENDS)))
    assert sorted(started) == [step.position for step in steps]
    failed = [step for step in steps if step.state is StepState.FAILED]
    machines = [step for step in steps if step.kind is StepKind.MACHINE]
    if not failed:
        assert state_of(steps) is RunState.SUCCEEDED
    elif all(step.state is StepState.FAILED for step in machines):
        assert state_of(steps) is RunState.FAILED
    else:
        assert state_of(steps) is RunState.PARTIALLY_FAILED


def test_a_run_of_the_largest_plan_starts_whole_groups_side_by_side_and_one_after_the_other():
    groups = [{"machines": [f"m{group}-{n}" for n in range(14 + (group < 2))]} for group in range(7)]
    steps = steps_of(parse_plan({"groups": groups}), RunKind.UNPLANNED)
    together = []
    while state_of(steps) in ACTIVE:
        ready = to_start(steps)
        together.append([step.name for step in ready])
        for step in ready:
            steps = moved(steps, step, StepState.DONE)
    assert together == [group["machines"] for group in groups]
    assert state_of(steps) is RunState.SUCCEEDED


@given(plans, st.data())
def test_a_cancelled_run_begins_nothing_more_and_ends(plan, data):
    steps = steps_of(plan, RunKind.TEST)
    for step in to_start(steps):
        steps = moved(steps, step, data.draw(st.sampled_from([StepState.RUNNING, StepState.WAITING])))
    for step in cancelled(steps):
        steps = moved(steps, step, StepState.CANCELLED)
    assert not to_start(steps)
    for step in steps:
        if step.state is StepState.RUNNING:
            steps = moved(steps, step, StepState.DONE)
    assert state_of(steps) not in ACTIVE


@given(plans, st.data())
def test_a_resumption_repeats_what_failed_and_nothing_that_was_done(plan, data):
    steps = steps_of(plan, RunKind.TEST)
    for step in steps:
        steps = moved(steps, step, data.draw(st.sampled_from([*ENDS, StepState.INTERRUPTED])))
    again = to_repeat(steps)
    assert {step.state for step in again} <= {StepState.FAILED, StepState.INTERRUPTED}
    for step in again:
        steps = moved(steps, step, StepState.PENDING)
    assert (state_of(steps) is RunState.RUNNING) == bool(again)


def test_what_is_allowed():
    assert {state: [str(each) for each in allowed_on(state)] for state in RunState} == {
        RunState.RUNNING: ["cancel"],
        RunState.WAITING: ["continue", "cancel"],
        RunState.SUCCEEDED: [],
        RunState.PARTIALLY_FAILED: ["resume"],
        RunState.FAILED: ["resume"],
        RunState.INTERRUPTED: ["resume"],
        RunState.CANCELLED: [],
    }
