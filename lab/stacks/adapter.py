"""What another package registers: how its stack is deployed, and what it cannot do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from lab.provision.board import Board
from lab.provision.lab import Lab
from lab.stacks.abilities import Lacks
from lab.stacks.protocol import Stack
from lab.topology.model import Topology

Deployed = Callable[[Lab, Board], AbstractContextManager[Stack]]
Resume = Callable[[Lab, Board], Callable[[], None]]
"""Begins with what needs no machine; what it returns is called once all machines let themselves be logged in to."""


@dataclass(frozen=True)
class Adapter:
    """A replication stack under test.

    Args:
        deployed: yields the stack on a lab, installed now unless the lab has it already.
        lacks: of a topology, what the stack cannot do with it. Tests that need it are left out, with the reason. It is
            asked before there is a lab. Raises BadInput for a topology that the stack cannot serve at all.
        resume: lets the stack go on in a lab that was saved after its installation; without, labs are not saved.
        reinstall: puts this build of the stack over another one, on a lab that went on from a saved one.
    """

    deployed: Deployed
    lacks: Callable[[Topology], Lacks]
    resume: Resume | None = None
    reinstall: Callable[[Lab, Board], None] | None = None
