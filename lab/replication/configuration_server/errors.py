"""What the control API can refuse, as types; ``api.py`` turns them into HTTP answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ControlError(Exception):
    """A request that cannot be served; ``status`` and ``kind`` are what the caller sees."""

    status = 500
    kind = "internal-error"

    def to_json(self) -> dict[str, Any]:
        """Return the error object of the answer."""
        return {"type": self.kind, "message": str(self)}


class BadRequest(ControlError):
    """The request does not say what it has to, or says it wrongly."""

    status = 400
    kind = "bad-request"


class Forbidden(ControlError):
    """The caller is not who may do this."""

    status = 403
    kind = "forbidden"


class Unknown(ControlError):
    """There is no such object."""

    status = 404
    kind = "not-found"


class OperationRefused(ControlError):
    """The operation is illegal now, and nothing has changed.

    Args:
        reason: ``operation-refused`` (not in this state), ``not-supported`` (never), ``not-ready`` (something that
            the operation needs is missing), ``unsupported-system`` (the machine is not in the support matrix),
            ``master-target-full`` or ``job-running``.
        operation: the operation that was asked for.
        state: the state of the machine.
        allowed: the operations that are legal now.
        message: why, for people.
    """

    status = 409

    def __init__(self, reason: str, operation: str, state: str, allowed: Sequence[str], message: str) -> None:
        super().__init__(message)
        self.kind = reason
        self.operation = operation
        self.state = state
        self.allowed = tuple(allowed)

    def to_json(self) -> dict[str, Any]:
        """Return the error object of the answer."""
        return {
            **super().to_json(),
            "operation": self.operation,
            "state": self.state,
            "allowed": list(self.allowed),
        }


class JobError(Exception):
    """A step of a job failed; ``kind`` is recorded as the type of the job's error."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Unavailable(ControlError):
    """Something that the call depends on is not there, or does not do its part."""

    status = 502
    kind = "unavailable"


class SetupRefused(ControlError):
    """A step of the set-up came too early, and nothing has changed (seed L60).

    Args:
        step: what was asked for.
        missing: the steps that have to come first.
        message: the same for people.
    """

    status = 409
    kind = "step-too-early"

    def __init__(self, step: str, missing: Sequence[str], message: str) -> None:
        super().__init__(message)
        self.step = step
        self.missing = tuple(missing)

    def to_json(self) -> dict[str, Any]:
        """Return the error object of the answer."""
        return {**super().to_json(), "step": self.step, "missing": list(self.missing)}


class ComponentUnreachable(JobError):
    """A component did not take a command in time."""

    def __init__(self, message: str) -> None:
        super().__init__("component-unreachable", message)
