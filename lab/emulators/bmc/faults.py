"""Faults of a BMC that a test may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Busy:
    """A fault: 503, nothing is done."""


@dataclass(frozen=True)
class Ignored:
    """A fault: the answer of success, and nothing is done: a power that never comes, a medium that is not there."""


@dataclass(frozen=True)
class Broken:
    """A fault: 500, after the work is done or before it."""

    after: bool


@dataclass(frozen=True)
class Stale:
    """A fault of System.Get: this power state is told instead of the present one."""

    power_state: str


class Dropped(ConnectionAbortedError):
    """The connection is to be closed without an answer: what wsgiref does with this error."""
