"""Stacks by the name that a topology uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from lab.errors import BadInput
from lab.provision.board import Board
from lab.provision.lab import Lab
from lab.stacks.protocol import Stack
from lab.stacks.reference.deploy import credentials, deploy
from lab.stacks.reference.operate import operated

Deployed = Callable[[Lab, Board], AbstractContextManager[Stack]]


@contextmanager
def reference(lab: Lab, board: Board) -> Iterator[Stack]:
    """Yield the reference stack, installed now unless this lab has it already."""
    if not credentials(lab).certificate.exists():
        deploy(lab, board)
    with operated(lab) as stack:
        yield stack


ADAPTERS: dict[str, Deployed] = {"reference": reference}


def deployed(lab: Lab, board: Board) -> AbstractContextManager[Stack]:
    """Return the topology's stack on a lab. Raises BadInput for an adapter that does not exist."""
    name = lab.topology.stack.adapter
    if name not in ADAPTERS:
        raise BadInput(f"{lab.topology.source}: no stack adapter {name!r}; there are: {', '.join(sorted(ADAPTERS))}")
    return ADAPTERS[name](lab, board)
