from __future__ import annotations

from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lab.replication.configuration_server.states import (
    TABLES,
    TRANSITIONS,
    UNSUPPORTED,
    Family,
    Operation,
    State,
    allowed_operations,
    settled,
    transition_for,
)
from lab.stacks.machines import MachineState

RESTING = set(State) - {
    State.ENABLING,
    State.FAILING_OVER,
    State.CHANGING_RECOVERY_POINT,
    State.REPROTECTING,
    State.FAILING_BACK,
    State.DISABLING,
}


@pytest.mark.parametrize(("state", "operation"), list(product(State, Operation)))
def test_an_operation_is_legal_exactly_when_it_leads_somewhere(state, operation):
    for test_machine in (False, True):
        legal = operation in allowed_operations(state, test_machine=test_machine)
        assert legal == (transition_for(state, operation, test_machine=test_machine) is not None)


@pytest.mark.parametrize("state", sorted(RESTING))
def test_no_state_is_a_dead_end(state):
    assert allowed_operations(state)


def test_states_in_which_a_job_runs_allow_nothing():
    assert all(allowed_operations(state) == () for state in set(State) - RESTING)


def test_a_failed_operation_can_be_repeated_from_where_it_leaves_the_machine():
    for (state, operation), transition in TRANSITIONS.items():
        assert (transition.failed, operation) in TRANSITIONS, (state, operation)


@pytest.mark.parametrize("family", list(Family))
def test_in_every_family_a_machine_can_go_on_from_where_it_rests(family):
    reached = {State.UNPROTECTED, *(move.done for move in TABLES[family].values())}
    reached |= {settled(state, copied=True, has_point=True, family=family) for state in reached}
    for state in reached & RESTING:
        assert allowed_operations(state, family=family), state
    for (state, operation), transition in TABLES[family].items():
        assert (transition.failed, operation) in TABLES[family], (state, operation)
    assert all(allowed_operations(state, family=family) == () for state in set(State) - RESTING)


@pytest.mark.requirement("H2S-PFO", "H2S-UFO", "H2A-PFO", "H2A-UFO", "V2A-PFO-REFUSED")
def test_planned_failover_belongs_to_machines_that_are_replicated_from_their_host():
    for family in Family:
        planned = Operation.PLANNED_FAILOVER in allowed_operations(State.PROTECTED, family=family)
        assert planned == (family is not Family.GUEST)
        assert ("planned-failover" in UNSUPPORTED[family]) == (family is Family.GUEST)


@pytest.mark.requirement("H2A-FB-PLANNED", "H2S-RR", "H2S-FB")
def test_the_way_back_is_another_one_for_each_target():
    assert Operation.FAILBACK in allowed_operations(State.FAILED_OVER, family=Family.HOST_TO_AZURE)
    assert Operation.REPROTECT not in allowed_operations(State.FAILED_OVER, family=Family.HOST_TO_AZURE)
    assert Operation.REPROTECT in allowed_operations(State.FAILED_OVER, family=Family.HOST_TO_SITE)
    assert Operation.FAILBACK not in allowed_operations(State.FAILED_OVER, family=Family.HOST_TO_SITE)
    again = transition_for(State.FAILED_BACK, Operation.REPROTECT, family=Family.HOST_TO_SITE)
    assert again.done is State.INITIAL_REPLICATION
    assert transition_for(State.FAILED_BACK, Operation.REPROTECT) is None


def test_suites_know_every_state():
    assert {state.value for state in State} == {state.value for state in MachineState}


@pytest.mark.parametrize("state", list(State))
def test_only_a_complete_copy_with_a_point_protects(state):
    assert settled(state, copied=False, has_point=True) is state
    assert settled(state, copied=True, has_point=False) is state


class Life(RuleBasedStateMachine):
    """Whatever is done and however it ends, a machine gets from protection to protection again."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State.UNPROTECTED
        self.test_machine = False
        self.replica_active = False

    @rule(data=st.data(), succeeds=st.booleans())
    def operate(self, data, succeeds):
        legal = allowed_operations(self.state, test_machine=self.test_machine)
        if not legal:
            return
        operation = data.draw(st.sampled_from(legal))
        transition = transition_for(self.state, operation, test_machine=self.test_machine)
        self.state = transition.done if succeeds else transition.failed
        if operation is Operation.TEST_FAILOVER:
            self.test_machine = True
        if operation is Operation.CLEANUP_TEST_FAILOVER and succeeds:
            self.test_machine = False
        if succeeds and operation in (Operation.FAILOVER, Operation.COMMIT_FAILBACK):
            self.replica_active = operation is Operation.FAILOVER

    @rule()
    def finish_copy(self):
        self.state = settled(self.state, copied=True, has_point=True)

    @invariant()
    def something_can_be_done(self):
        assert allowed_operations(self.state, test_machine=self.test_machine) or self.state is State.REPROTECTING

    @invariant()
    def an_active_replica_is_never_forgotten(self):
        assert not (self.replica_active and self.state in (State.UNPROTECTED, State.INITIAL_REPLICATION))


Life.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestLife = Life.TestCase
