"""What a stack answers when it does not do what was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from lab.errors import LabError


class StackError(LabError):
    """The stack does not answer, or not as it should."""


class NotAuthorised(StackError):
    """The stack does not accept who asks."""


class NotFound(StackError):
    """The stack knows no such machine, job or policy."""


class InvalidRequest(StackError):
    """The stack does not accept what was sent; the message names the place."""


class OperationRefused(StackError):
    """The operation is illegal now and nothing has changed.

    Args:
        reason: ``operation-refused`` (not in this state), ``not-supported``, ``not-ready``, ``unsupported-system``,
            ``master-target-full``, ``step-too-early`` or ``job-running``.
        operation: what was asked for.
        state: the state of the machine.
        allowed: what is legal now.
        message: why, for people.
    """

    def __init__(self, reason: str, operation: str, state: str, allowed: Sequence[str], message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.operation = operation
        self.state = state
        self.allowed = tuple(allowed)
