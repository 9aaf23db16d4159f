"""What a place must be able to do so that machines can be replicated to it and run there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.policies import Policy
from lab.replication.configuration_server.sessions import Point, Session
from lab.replication.configuration_server.settings import Card
from lab.replication.configuration_server.steps import Steps
from lab.replication.support.matrix import Matrix

PickPoint = Callable[[], Awaitable[Point]]
"""Chooses the recovery point; asked as late as possible, because retention may remove one meanwhile."""


@dataclass(frozen=True)
class Order:
    """A machine that is to be made of a recovery point of a session."""

    machine: Machine
    session: Session
    name: str
    pick: PickPoint
    cards: Sequence[Card]
    paused: bool = False
    """Whether its first instruction waits until somebody resumes it; only recovery hosts can do that."""

    @property
    def kind(self) -> str:
        """Whether it is a ``test`` machine or the ``replica``, as steps of jobs name it."""
        return "test" if self.name == self.machine.test_name else "replica"


class Target(Protocol):
    """A place for replicas. Calls are idempotent and raise JobError when they cannot be done."""

    @property
    def label(self) -> str:
        """Who holds the data there, as steps of jobs name it."""

    @property
    def matrix(self) -> Matrix:
        """What is supported for machines that are replicated to here."""

    def refusal_of_growth(self) -> str | None:
        """Return why replica disks cannot grow here, None when they can."""

    def session(self, machine: Machine, stream: str) -> Session:
        """Return a new forward session of a machine to here."""

    async def prepare(self, machine: Machine, session: Session, policy: Policy, steps: Steps) -> Session:
        """Make an empty replica and open the stream here; return the session with its disks."""

    async def reopen(self, session: Session, policy: Policy) -> None:
        """Tell about a policy or a process server that has changed."""

    async def grow(self, session: Session) -> None:
        """Make replica disks as large as the session says; those that are stay."""

    async def destination(self, session: Session, policy: Policy) -> Mapping[str, Any]:
        """Return what ``open-stream`` tells a process server about where the data goes."""

    async def settle(self, session: Session, sequence: int) -> None:
        """Return when a document that the process server has passed on is part of the replica."""

    async def start_machine(self, order: Order, steps: Steps) -> Point:
        """Make a machine of a recovery point and start it, and return the point; the replica stays what it is."""

    async def stop_machine(self, machine: Machine, name: str) -> None:
        """Shut a machine down that was started here, or cut its power; return when it is off."""

    async def remove_machine(self, machine: Machine, name: str) -> None:
        """Remove a machine that was started here, with its disks."""

    async def commit(self, machine: Machine, session: Session, steps: Steps) -> None:
        """Give up the replica: the machine that was made of it is the workload now."""

    async def close(self, session: Session) -> None:
        """Refuse data of the stream from now on."""

    async def delete_replica(self, machine: Machine) -> None:
        """Remove the replica of a machine that is not replicated any more."""
