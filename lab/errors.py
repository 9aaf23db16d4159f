"""What can go wrong, as types: the command line turns them into one message and an exit code."""

from __future__ import annotations


class LabError(Exception):
    """Something failed while running (exit code 1).

    ``hint`` says what the reader can do next, for example ``lab ssh app1``.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class BadInput(LabError):
    """The user's input is wrong (exit code 2); nothing was touched."""

    exit_code = 2
