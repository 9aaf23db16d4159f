"""Stacks by the name that a topology uses: the reference stack, and those of other packages, by entry point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import EntryPoint, entry_points

from lab.errors import BadInput
from lab.provision.board import Board
from lab.provision.lab import Lab
from lab.stacks.protocol import Stack
from lab.stacks.reference.deploy import credentials, deploy
from lab.stacks.reference.fabrics import resume_fabrics
from lab.stacks.reference.operate import operated
from lab.stacks.reference.reinstall import reinstall

Deployed = Callable[[Lab, Board], AbstractContextManager[Stack]]


@contextmanager
def reference(lab: Lab, board: Board) -> Iterator[Stack]:
    """Yield the reference stack, installed now unless this lab has it already."""
    if not credentials(lab).certificate.exists():
        deploy(lab, board)
    with operated(lab) as stack:
        yield stack


ADAPTERS: dict[str, Deployed] = {"reference": reference}
RESUMED: dict[str, Callable[[Lab, Board], None]] = {"reference": resume_fabrics}
"""By adapter: what lets its stack go on in a lab that was saved after the installation; without, labs are not saved."""
REINSTALLED: dict[str, Callable[[Lab, Board], None]] = {"reference": reinstall}
"""By adapter: what puts this build of its stack over another one, on a lab that went on from a saved one."""
ENTRY_POINTS = "recovery_lab.stacks"
"""The group in which another package registers its adapters: name = module:function of type ``Deployed``."""


def deployed(lab: Lab, board: Board) -> AbstractContextManager[Stack]:
    """Return the topology's stack on a lab.

    Raises:
        BadInput: there is no such adapter, two packages have one of that name, or it cannot be loaded.
    """
    return adapter(lab.topology.stack.adapter, str(lab.topology.source))(lab, board)


def adapter(name: str, where: str) -> Deployed:
    """Return an adapter; the lab's own names cannot be taken by others. Raises BadInput, which names ``where``."""
    if name in ADAPTERS:
        return ADAPTERS[name]
    registered = entry_points(group=ENTRY_POINTS)
    found = [point for point in registered if point.name == name]
    if not found:
        known = sorted({*ADAPTERS, *(point.name for point in registered)})
        raise BadInput(f"{where}: no stack adapter {name!r}; there are: {', '.join(known)}")
    if len({point.value for point in found}) > 1:
        raise BadInput(f"{where}: more than one package has a stack adapter {name!r}: {_named(found)}")
    try:
        loaded: Deployed = found[0].load()
    except (ImportError, AttributeError) as error:
        raise BadInput(f"{where}: stack adapter {name!r} cannot be loaded from {found[0].value}: {error}") from error
    return loaded


def _named(points: list[EntryPoint]) -> str:
    return ", ".join(sorted(point.value for point in points))
