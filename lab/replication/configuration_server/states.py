"""Which operation is legal in which state, and where it leads. A table and pure functions, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """The state of a protected machine; problems show in health, not here."""

    UNPROTECTED = "unprotected"
    ENABLING = "enabling"
    ENABLING_FAILED = "enabling-failed"
    INITIAL_REPLICATION = "initial-replication"
    PROTECTED = "protected"
    FAILING_OVER = "failing-over"
    FAILOVER_FAILED = "failover-failed"
    COMMIT_PENDING = "commit-pending"
    CHANGING_RECOVERY_POINT = "changing-recovery-point"
    CHANGE_RECOVERY_POINT_FAILED = "change-recovery-point-failed"
    FAILED_OVER = "failed-over"
    REPROTECTING = "reprotecting"
    REPROTECT_FAILED = "reprotect-failed"
    PROTECTED_REVERSE = "protected-reverse"
    FAILING_BACK = "failing-back"
    FAILBACK_FAILED = "failback-failed"
    FAILBACK_COMMIT_PENDING = "failback-commit-pending"
    FAILED_BACK = "failed-back"
    DISABLING = "disabling"
    DISABLING_FAILED = "disabling-failed"


class Operation(StrEnum):
    """What can be done with a machine; each is a job."""

    PUSH_INSTALL = "push-install"
    ENABLE = "enable"
    DISABLE = "disable"
    RESYNCHRONISE = "resynchronise"
    CUT = "cut"
    APPLY_POLICY = "apply-policy"
    MOVE = "move"
    GROW_DISKS = "grow-disks"
    TEST_FAILOVER = "test-failover"
    CLEANUP_TEST_FAILOVER = "cleanup-test-failover"
    FAILOVER = "failover"
    PLANNED_FAILOVER = "planned-failover"
    CHANGE_RECOVERY_POINT = "change-recovery-point"
    COMMIT = "commit"
    REPROTECT = "reprotect"
    FAILBACK = "failback"
    COMMIT_FAILBACK = "commit-failback"


class Family(StrEnum):
    """How a machine is replicated, which decides what can be done with it."""

    GUEST = "from-the-guest"
    HOST_TO_SITE = "from-the-host-to-a-site"
    HOST_TO_AZURE = "from-the-host-to-azure"


_FROM_HOST = "is not supported for machines that are replicated from their host: nothing is installed in them"
UNSUPPORTED: Mapping[Family, Mapping[str, str]] = MappingProxyType(
    {
        Family.GUEST: {
            "planned-failover": "planned failover is not supported in this scenario (seed L76); use failover"
        },
        Family.HOST_TO_SITE: {"push-install": f"push installation {_FROM_HOST}"},
        Family.HOST_TO_AZURE: {
            "push-install": f"push installation {_FROM_HOST}",
            "reprotect": "from Azure the way back is a planned failover, which is called failback (seed L111)",
        },
    }
)
"""Operations that exist in other scenarios and are refused here in every state."""


@dataclass(frozen=True)
class Transition:
    """The state while the job runs, and after it succeeded or failed."""

    during: State
    done: State
    failed: State


def _stay(state: State) -> Transition:
    return Transition(state, state, state)


_ENABLE = Transition(State.ENABLING, State.INITIAL_REPLICATION, State.ENABLING_FAILED)
_DISABLE = Transition(State.DISABLING, State.UNPROTECTED, State.DISABLING_FAILED)
_FAILOVER = Transition(State.FAILING_OVER, State.COMMIT_PENDING, State.FAILOVER_FAILED)
_CHANGE = Transition(State.CHANGING_RECOVERY_POINT, State.COMMIT_PENDING, State.CHANGE_RECOVERY_POINT_FAILED)
_COMMIT = Transition(State.COMMIT_PENDING, State.FAILED_OVER, State.COMMIT_PENDING)
_REPROTECT = Transition(State.REPROTECTING, State.REPROTECTING, State.REPROTECT_FAILED)
_FAILBACK = Transition(State.FAILING_BACK, State.FAILBACK_COMMIT_PENDING, State.FAILBACK_FAILED)
_COMMIT_FAILBACK = Transition(State.FAILBACK_COMMIT_PENDING, State.FAILED_BACK, State.FAILBACK_COMMIT_PENDING)

_MOVES: Mapping[Operation, tuple[Transition, tuple[State, ...]]] = {
    Operation.ENABLE: (_ENABLE, (State.UNPROTECTED, State.ENABLING_FAILED, State.FAILED_BACK)),
    Operation.DISABLE: (
        _DISABLE,
        (
            State.INITIAL_REPLICATION,
            State.PROTECTED,
            State.ENABLING_FAILED,
            State.DISABLING_FAILED,
        ),
    ),
    Operation.FAILOVER: (_FAILOVER, (State.PROTECTED, State.FAILOVER_FAILED)),
    Operation.CHANGE_RECOVERY_POINT: (_CHANGE, (State.COMMIT_PENDING, State.CHANGE_RECOVERY_POINT_FAILED)),
    Operation.COMMIT: (_COMMIT, (State.COMMIT_PENDING,)),
    Operation.REPROTECT: (_REPROTECT, (State.FAILED_OVER, State.REPROTECT_FAILED)),
    Operation.FAILBACK: (_FAILBACK, (State.PROTECTED_REVERSE, State.FAILBACK_FAILED)),
    Operation.COMMIT_FAILBACK: (_COMMIT_FAILBACK, (State.FAILBACK_COMMIT_PENDING,)),
}

_REPLICATING = (State.INITIAL_REPLICATION, State.PROTECTED, State.PROTECTED_REVERSE)
_STAYS: Mapping[Operation, tuple[State, ...]] = {
    Operation.PUSH_INSTALL: (State.UNPROTECTED, State.ENABLING_FAILED, State.PROTECTED, State.FAILED_BACK),
    Operation.RESYNCHRONISE: (State.PROTECTED, State.PROTECTED_REVERSE),
    Operation.CUT: (State.PROTECTED, State.PROTECTED_REVERSE),
    Operation.APPLY_POLICY: _REPLICATING,
    Operation.MOVE: (State.PROTECTED,),
    Operation.GROW_DISKS: _REPLICATING,
    Operation.TEST_FAILOVER: (State.PROTECTED,),
    Operation.CLEANUP_TEST_FAILOVER: (
        State.PROTECTED,
        State.FAILOVER_FAILED,
        State.COMMIT_PENDING,
        State.CHANGE_RECOVERY_POINT_FAILED,
        State.FAILED_OVER,
    ),
}

_Table = Mapping[tuple[State, Operation], Transition]


def _table(
    moves: Mapping[Operation, tuple[Transition, tuple[State, ...]]], stays: Mapping[Operation, tuple[State, ...]]
) -> _Table:
    return MappingProxyType(
        {(state, operation): move for operation, (move, states) in moves.items() for state in states}
        | {(state, operation): _stay(state) for operation, states in stays.items() for state in states}
    )


TRANSITIONS: _Table = _table(_MOVES, _STAYS)
_HOST_MOVES = {**_MOVES, Operation.PLANNED_FAILOVER: (_FAILOVER, (State.PROTECTED, State.FAILOVER_FAILED))}
_HOST_STAYS: Mapping[Operation, tuple[State, ...]] = {
    operation: states
    for operation, states in _STAYS.items()
    if operation not in (Operation.PUSH_INSTALL, Operation.MOVE, Operation.GROW_DISKS)
}
_AGAIN = Transition(State.ENABLING, State.INITIAL_REPLICATION, State.FAILED_BACK)
"""Reverse replication once more, when the primary site is the active one again (seed L193)."""
TABLES: Mapping[Family, _Table] = MappingProxyType(
    {
        Family.GUEST: TRANSITIONS,
        Family.HOST_TO_SITE: MappingProxyType(
            {**_table(_HOST_MOVES, _HOST_STAYS), (State.FAILED_BACK, Operation.REPROTECT): _AGAIN}
        ),
        # Back from Azure there is one way: a planned failover of the machine that was failed over (seed L111).
        Family.HOST_TO_AZURE: _table(
            {
                **{operation: move for operation, move in _HOST_MOVES.items() if operation is not Operation.REPROTECT},
                Operation.FAILBACK: (_FAILBACK, (State.FAILED_OVER, State.FAILBACK_FAILED)),
            },
            _HOST_STAYS,
        ),
    }
)

_REFUSED_WITH_TEST_MACHINE = (Operation.TEST_FAILOVER, Operation.DISABLE, Operation.REPROTECT)


def allowed_operations(
    state: State, *, test_machine: bool = False, family: Family = Family.GUEST
) -> tuple[Operation, ...]:
    """Return what is legal in ``state``; ``test_machine``: whether one exists that was not cleaned up."""
    legal = (operation for operation in Operation if (state, operation) in TABLES[family])
    if test_machine:
        return tuple(operation for operation in legal if operation not in _REFUSED_WITH_TEST_MACHINE)
    return tuple(operation for operation in legal if operation is not Operation.CLEANUP_TEST_FAILOVER)


def transition_for(
    state: State, operation: Operation, *, test_machine: bool = False, family: Family = Family.GUEST
) -> Transition | None:
    """Return where ``operation`` leads, or None when it is illegal."""
    if operation not in allowed_operations(state, test_machine=test_machine, family=family):
        return None
    return TABLES[family][(state, operation)]


def settled(state: State, *, copied: bool, has_point: bool, family: Family = Family.GUEST) -> State:
    """Return the state after a report of a component.

    A machine is protected once its copy is complete and the first recovery point exists (seed L62). After a planned
    failover to a site that is so by itself: the reverse stream began with it (seed L190).
    """
    if not (copied and has_point):
        return state
    moves = {State.INITIAL_REPLICATION: State.PROTECTED, State.REPROTECTING: State.PROTECTED_REVERSE}
    if family is Family.HOST_TO_SITE:
        moves[State.FAILED_OVER] = State.PROTECTED_REVERSE
    return moves.get(state, state)
